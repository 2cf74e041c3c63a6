// Package fault is the one catalogue of errors that cross a service boundary.
//
// A fault carries a code from a short, closed list, a sentence for the caller, and, for bad input, the fields at
// fault. It travels over the wire as JSON and is rebuilt on the other side, so fault.Is works on both ends. An error
// that is not a fault is a defect or a broken part: it reads as Internal, and its text never reaches a caller.
package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code names a kind of fault.
type Code string

// The whole catalogue.
const (
	Invalid         Code = "invalid"             // the request is malformed or breaks a rule that is visible in it
	Unauthenticated Code = "unauthenticated"     // no identity, or one that cannot be verified
	Forbidden       Code = "forbidden"           // a known identity without the right
	NotFound        Code = "not_found"           // it does not exist, or the caller may not know that it does
	Conflict        Code = "conflict"            // the state of the thing does not allow it now
	SoldOut         Code = "sold_out"            // no room left
	PriceChanged    Code = "price_changed"       // it costs more than the caller was shown
	Expired         Code = "expired"             // it was possible once
	Precondition    Code = "precondition_failed" // If-Match did not match
	WrongMethod     Code = "method_not_allowed"  // the address does not take the method
	TooLarge        Code = "too_large"           // the body is over its limit
	WrongMedia      Code = "unsupported_media_type"
	Unprocessable   Code = "unprocessable" // an idempotency key used again with another body
	RateLimited     Code = "rate_limited"  // too many requests from this caller
	Internal        Code = "internal"      // a defect
	Unavailable     Code = "unavailable"   // a part is down or full; trying again later makes sense
	Timeout         Code = "timeout"       // the deadline passed; the outcome may be unknown
)

// catalogue is the table from codes to HTTP: problem details, replies on the wire and the OpenAPI document follow it.
var catalogue = [...]struct {
	code   Code
	status int
	title  string
}{
	{Invalid, 400, "The request is not valid"},
	{Unauthenticated, 401, "Not signed in"},
	{Forbidden, 403, "Not allowed"},
	{NotFound, 404, "Not found"},
	{WrongMethod, 405, "Not the way to use this address"},
	{Conflict, 409, "Not possible in the present state"},
	{SoldOut, 409, "Sold out"},
	{PriceChanged, 409, "The price has changed"},
	{Expired, 410, "No longer possible"},
	{Precondition, 412, "It was changed meanwhile"},
	{TooLarge, 413, "The request is too large"},
	{WrongMedia, 415, "Not in a form that this address takes"},
	{Unprocessable, 422, "The idempotency key was used with another request"},
	{RateLimited, 429, "Too many requests"},
	{Internal, 500, "Something went wrong on our side"},
	{Unavailable, 503, "Not available at the moment"},
	{Timeout, 504, "It took too long"},
}

// Codes lists the catalogue by HTTP status.
func Codes() []Code {
	all := make([]Code, len(catalogue))
	for i, k := range catalogue {
		all[i] = k.code
	}
	return all
}

// Status returns the HTTP status of a code, 500 for one that is not in the catalogue.
func (c Code) Status() int {
	for i := range catalogue {
		if catalogue[i].code == c {
			return catalogue[i].status
		}
	}
	return 500
}

// Title returns what a code is called in problem details.
func (c Code) Title() string {
	for i := range catalogue {
		if catalogue[i].code == c {
			return catalogue[i].title
		}
	}
	return Internal.Title()
}

// Field is one member of a request that is wrong, and why; or something that a request needs beside it.
type Field struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error is a fault. Its JSON form is what travels between services; the cause stays at home.
type Error struct {
	Code       Code          `json:"code"`
	Detail     string        `json:"detail"`
	Fields     []Field       `json:"errors,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"` // for RateLimited and Unavailable, nanoseconds
	Challenge  *Challenge    `json:"challenge,omitempty"`   // for RateLimited: whoever solves it is served sooner

	cause error
}

// Challenge is a task. A request that brings its answer is served although there is much to do.
type Challenge struct {
	Kind      string `json:"kind"`       // how it is solved: "hashcash"
	Nonce     string `json:"nonce"`      // what is to be solved
	Bits      int    `json:"bits"`       // how hard it is: each one more doubles the work
	ExpiresIn int    `json:"expires_in"` // seconds
}

// New returns a fault whose detail is safe to show to the caller.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault that remembers cause for logs and errors.Is. The cause is never shown to the caller.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), cause: cause}
}

// After returns a copy of e that asks the caller to try again after d.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// About returns a copy of e that says to programs, in its fields, what is needed.
func (e *Error) About(field, detail string) *Error {
	c := *e
	c.Fields = []Field{{Field: field, Detail: detail}}
	return &c
}

// Error implements error. It includes the cause: it is for logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Code))
	b.WriteString(": ")
	b.WriteString(e.Detail)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Field, f.Detail)
	}
	if e.cause != nil {
		b.WriteString(": ")
		b.WriteString(e.cause.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether err is, or wraps, a fault with the code.
func Is(err error, code Code) bool { return err != nil && From(err).Code == code }

// From returns the fault within err. A context error becomes Timeout; anything else unknown becomes Internal, with err
// as its cause. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Wrap(err, Timeout, "the request took too long")
	}
	return Wrap(err, Internal, "something went wrong on our side")
}

// Marshal returns the wire form of err.
func Marshal(err error) []byte {
	b, merr := json.Marshal(From(err))
	if merr != nil { // cannot happen: the type holds only strings and a number
		return []byte(`{"code":"internal","detail":"something went wrong on our side"}`)
	}
	return b
}

// Unmarshal rebuilds a fault from its wire form. Bytes that are none become Internal.
func Unmarshal(b []byte) *Error {
	var e Error
	if err := json.Unmarshal(b, &e); err != nil || e.Code == "" {
		return Wrap(fmt.Errorf("unreadable fault %q", b), Internal, "something went wrong on our side")
	}
	return &e
}

// Check collects what is wrong with a request, so that the caller learns all of it at once.
type Check struct{ fields []Field }

// Field records a wrong field unless ok.
func (c *Check) Field(ok bool, field, format string, args ...any) {
	if !ok {
		c.fields = append(c.fields, Field{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
}

// Err returns an Invalid fault with all wrong fields, or nil.
func (c *Check) Err() error {
	if len(c.fields) == 0 {
		return nil
	}
	detail := c.fields[0].Field + ": " + c.fields[0].Detail
	if n := len(c.fields) - 1; n > 0 {
		detail = fmt.Sprintf("%s (and %d more)", detail, n)
	}
	return &Error{Code: Invalid, Detail: detail, Fields: c.fields}
}
