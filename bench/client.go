package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// answerTimeout is how long a connection waits for an answer before the operation counts as failed.
const answerTimeout = 15 * time.Second

// mostConns is how many connections a client has at most.
const mostConns = 16384

// Client speaks HTTP/1.1 with keep-alive to one server on the loopback.
type Client struct {
	addr string
	http *fasthttp.HostClient
}

func newClient(addr string) *Client {
	return &Client{addr: addr, http: &fasthttp.HostClient{
		Addr:         addr,
		MaxConns:     mostConns,
		ReadTimeout:  answerTimeout,
		WriteTimeout: answerTimeout,
		// well below the servers' own, so that none is closed under a request
		MaxIdleConnDuration:           5 * time.Second,
		MaxIdemponentCallAttempts:     1, // a repeated request would be measured as one
		NoDefaultUserAgentHeader:      true,
		DisableHeaderNamesNormalizing: false,
	}}
}

// request is a prepared request with the answer's buffer. It belongs to one connection and is used again and again.
type request struct {
	client *Client
	req    *fasthttp.Request
	resp   *fasthttp.Response
}

// prepare returns a request. A nil body sends none; a token is sent as bearer token.
func (c *Client) prepare(method, path, token string, body []byte) *request {
	r := &request{client: c, req: &fasthttp.Request{}, resp: &fasthttp.Response{}}
	r.set(method, path, token, body)
	return r
}

// set makes r a request for something else.
func (r *request) set(method, path, token string, body []byte) {
	r.req.Reset()
	r.req.Header.SetMethod(method)
	r.req.SetRequestURI("http://" + r.client.addr + path)
	if token != "" {
		r.req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		r.req.Header.SetContentType("application/json")
		r.req.SetBodyRaw(body)
	}
}

// send returns the status of the answer, or 0 when there was none.
func (r *request) send() int {
	r.resp.Reset()
	if err := r.client.http.Do(r.req, r.resp); err != nil {
		return 0
	}
	return r.resp.StatusCode()
}

// call does one request with JSON in and out, outside of a measurement. A status other than want is an error that
// quotes the answer.
func (c *Client) call(method, path, token string, in, out any, want int) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r := c.prepare(method, path, token, body)
	r.resp.Reset()
	if err := c.http.Do(r.req, r.resp); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if status := r.resp.StatusCode(); status != want {
		return fmt.Errorf("%s %s: %w", method, path, &statusError{status: status, body: string(r.resp.Body())})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.resp.Body(), out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// text returns what is under a path, as it is.
func (c *Client) text(path string) ([]byte, error) {
	r := c.prepare("GET", path, "", nil)
	if status := r.send(); status != 200 {
		return nil, fmt.Errorf("%s: %w", path, &statusError{status: status, body: string(r.resp.Body())})
	}
	return bytes.Clone(r.resp.Body()), nil
}

// statusError is an answer with an unexpected status.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// waitReady asks url's path until it answers 200.
func (c *Client) waitReady(ctx context.Context, path string, ended <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.prepare("GET", path, "", nil).send() == 200 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s%s did not become ready: %w", c.addr, path, ctx.Err())
		case <-ended:
			return errors.New("the process ended before it was ready")
		case <-tick.C:
		}
	}
}
