// Package web is what the HTTP servers of the system, a gateway and the one of a venue, have in common: how they name
// requests, read bodies and queries, and answer with problems.
package web

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// problem is an RFC 9457 answer.
type problem struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail"`
	Code      fault.Code    `json:"code"`
	RequestID string        `json:"request_id"`
	Errors    []fault.Field `json:"errors,omitempty"`

	Challenge *fault.Challenge `json:"challenge,omitempty"`
}

// statusError is a fault of HTTP itself, whose status no code stands for.
type statusError struct {
	status int
	fault  *fault.Error
}

func (e *statusError) Error() string { return e.fault.Error() }
func (e *statusError) Unwrap() error { return e.fault }

// Problem answers with err. What is not a fault is an internal error, and its text stays here.
func Problem(rc *fasthttp.RequestCtx, requestID string, err error) {
	f := fault.From(err)
	p := problem{Type: "urn:starlight:problem:" + string(f.Code), Title: f.Code.Title(), Status: f.Code.Status(),
		Detail: f.Detail, Code: f.Code, RequestID: requestID, Errors: f.Fields,
		Challenge: f.Challenge}
	var special *statusError
	if errors.As(err, &special) {
		p.Status, p.Title = special.status, fasthttp.StatusMessage(special.status)
	}
	body, err := json.Marshal(p)
	if err != nil { // cannot happen: strings and a number
		body = []byte(`{}`)
	}
	h := &rc.Response.Header
	switch f.Code {
	case fault.Unauthenticated:
		h.Set("WWW-Authenticate", `Bearer realm="starlight"`)
	case fault.RateLimited, fault.Unavailable:
		h.Set("Retry-After", retryAfter(f.RetryAfter))
	}
	h.Set("Cache-Control", "no-store")
	rc.Response.SetStatusCode(p.Status)
	h.SetContentType("application/problem+json")
	rc.Response.SetBody(body)
}

// retryAfter writes d in whole seconds, rounded up and at least one.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// OfStatus turns a status with which an HTTP library refuses a request into a fault. It returns err for those that are
// the server's own.
func OfStatus(status int, err error) error {
	switch status {
	case fasthttp.StatusNotFound:
		return fault.New(fault.NotFound, "there is nothing under this address")
	case fasthttp.StatusMethodNotAllowed:
		return fault.New(fault.WrongMethod, "this address does not take this method")
	case fasthttp.StatusRequestEntityTooLarge:
		return fault.New(fault.TooLarge, "the body is too large")
	case fasthttp.StatusRequestHeaderFieldsTooLarge:
		return fault.New(fault.TooLarge, "the address or the headers are too large")
	case fasthttp.StatusRequestTimeout:
		return &statusError{status, fault.New(fault.Invalid, "the request did not arrive in time")}
	}
	if status >= 500 {
		return err
	}
	return fault.New(fault.Invalid, "the request is not readable")
}
