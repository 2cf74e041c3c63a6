// Package vies asks the European Commission which VAT numbers the member states have given out.
//
// Its service only forwards questions to the member states, any of which may be slow or away for hours. So who asks
// waits for a moment, the question goes on beyond that, and its answer is remembered for the next one who asks.
package vies

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// URL is where the service of the European Commission is.
const URL = "https://ec.europa.eu/taxation_customs/vies/rest-api"

// mostBytes bounds an answer.
const mostBytes = 64 << 10

// Answer is what a registry says of a number.
type Answer struct {
	Known bool // it was given out, and its owner may trade within the Union
	// by which the registry knows the question; "" if it does not say, as where the requester is unknown to it
	Reference string
	At        time.Time // when it was asked
}

// Registry knows which VAT numbers were given out.
type Registry interface {
	// Ask asks about a number on behalf of who has the other: both with their letters, without blanks. An error means
	// that there is no answer, and says nothing about the number.
	Ask(ctx context.Context, number, requester string) (Answer, error)
}

// Client is VIES, by its REST interface. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
	now  func() time.Time
}

// NewClient returns the service at a URL; "" means URL.
func NewClient(at string, now func() time.Time) (*Client, error) {
	if at == "" {
		at = URL
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the URL of VIES must be https://HOST/PATH without user and query")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: mostCalls, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	// The deadline is the context's. A redirection is an answer like any other: numbers go nowhere else.
	return &Client{url: strings.TrimSuffix(at, "/"), now: now, http: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

type question struct {
	Country          string `json:"countryCode"`
	Number           string `json:"vatNumber"`
	RequesterCountry string `json:"requesterMemberStateCode,omitempty"`
	RequesterNumber  string `json:"requesterNumber,omitempty"`
}

// reply is what VIES answers, also where it cannot say anything.
type reply struct {
	Valid     *bool  `json:"valid"`
	Reference string `json:"requestIdentifier"`
	UserError string `json:"userError"`
	Errors    []struct {
		Error string `json:"error"`
	} `json:"errorWrappers"`
}

// Ask implements Registry. Without a requester that VIES knows there is no reference.
func (c *Client) Ask(ctx context.Context, number, requester string) (Answer, error) {
	if len(number) < 4 {
		return Answer{}, errors.New("vies: that is no number")
	}
	q := question{Country: number[:2], Number: number[2:]}
	if len(requester) > 2 {
		q.RequesterCountry, q.RequesterNumber = requester[:2], requester[2:]
	}
	answer, code, err := c.post(ctx, q)
	if code == "INVALID_REQUESTER_INFO" && q.RequesterNumber != "" {
		q.RequesterCountry, q.RequesterNumber = "", ""
		answer, _, err = c.post(ctx, q)
	}
	return answer, err
}

// post asks once. Where VIES says why there is no answer, that is the code.
func (c *Client) post(ctx context.Context, q question) (Answer, string, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Answer{}, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/check-vat-number", bytes.NewReader(body))
	if err != nil {
		return Answer{}, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes))
	if err != nil {
		return Answer{}, "", err
	}
	var r reply
	err = json.Unmarshal(text, &r)
	code := r.UserError
	if len(r.Errors) > 0 {
		code = r.Errors[0].Error
	}
	switch {
	case err == nil && code == "INVALID_INPUT": // the member state has no such numbers
		return Answer{At: c.now()}, code, nil
	case err != nil || resp.StatusCode != http.StatusOK || r.Valid == nil || !slices.Contains(answers(), code):
		return Answer{}, code, fmt.Errorf("vies: no answer: status %d, %.40q", resp.StatusCode, code)
	}
	return Answer{Known: *r.Valid, Reference: r.Reference, At: c.now()}, code, nil
}

// answers are the codes beside which a reply says something of the number.
func answers() []string { return []string{"", "VALID", "INVALID"} }
