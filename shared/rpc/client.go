package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/rpc/identity"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/rpc/traffic"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// DefaultGrace is how long a call waits for an instance to appear when there is none.
const DefaultGrace = 200 * time.Millisecond

// ClientConfig says how a Client behaves.
type ClientConfig struct {
	Name string // the role that calls, as in Spec.Callers
	// how long to wait for an instance when there is none; 0 means DefaultGrace, negative not at all
	Grace time.Duration

	// Identity proves who calls and for whom, to servers that have one; nil for a NATS server without accounts.
	Identity *identity.Identity
	Now      func() time.Time // nil means time.Now

	Traffic   *traffic.Control // rules that change while the system runs; nil: there are none
	Instances *instances.Set   // among which it may choose; nil: none
}

// Client calls endpoints. It is safe for concurrent use.
type Client struct {
	nc       *nats.Conn
	name     string
	grace    time.Duration
	identity *identity.Identity
	now      func() time.Time
	traffic  *traffic.Control
	choice   *instances.Set
	codecs   sync.Map // reflect.Type of a request -> *codec.Request
}

// NewClient returns a client that calls over nc.
func NewClient(nc *nats.Conn, cfg ClientConfig) *Client {
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{nc: nc, name: cfg.Name, grace: cfg.Grace, identity: cfg.Identity, now: cfg.Now,
		traffic: cfg.Traffic, choice: cfg.Instances}
}

// Call asks an endpoint and returns its answer. It waits until the context's deadline, but never longer than the
// endpoint's timeout, and carries the request id and trace of the request that ctx belongs to. Its identity is carried
// by the gateway, and by a service to an endpoint with OnBehalf; else a service acts as itself.
//
// Faults of the endpoint come back as they were raised there. Without an instance the fault is Unavailable; without an
// answer in time it is Timeout, and then the outcome is unknown.
func Call[Req, Resp any](ctx context.Context, c *Client, ep Endpoint[Req, Resp], req *Req) (*Resp, error) {
	return CallOnce(ctx, c, ep, req, "")
}

// CallOnce is Call of an Idempotent endpoint: a request that comes again under the same key gets the stored answer.
func CallOnce[Req, Resp any](
	ctx context.Context, c *Client, ep Endpoint[Req, Resp], req *Req, key string,
) (*Resp, error) {
	request, err := c.codec(ep.Spec, reflect.TypeFor[Req]())
	if err != nil {
		return nil, err
	}
	m, err := request.Encode(req)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the request cannot be encoded")
	}
	if m.Params != "" {
		m.Header[HeaderParams] = []string{m.Params}
	}
	if key != "" {
		m.Header[HeaderHTTP+IdempotencyKey] = []string{key}
	}
	reply, err := c.Forward(ctx, ep.Spec, m.Header, m.Body)
	if err != nil {
		return nil, err
	}
	if err := Fault(reply); err != nil {
		return nil, err
	}
	resp := new(Resp)
	switch r := any(resp).(type) {
	case *None:
	case *Blob:
		r.ContentType, r.Data = header(reply.Header, HeaderContentType), reply.Data
	default:
		if err := json.Unmarshal(reply.Data, resp); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the answer of %s is unreadable", ep.Subject())
		}
	}
	return resp, nil
}

func (c *Client) codec(spec Spec, t reflect.Type) (*codec.Request, error) {
	if known, ok := c.codecs.Load(t); ok {
		return known.(*codec.Request), nil
	}
	made, err := codecOf(spec, t)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the request type of %s is wrong", spec.Subject())
	}
	c.codecs.Store(t, made)
	return made, nil
}

// Forward sends a request that is already in its wire form and returns the reply, which may be a fault: see Fault. It
// adds to h what From(ctx) says of the request. The error is a fault too: Unavailable if there is no instance, Timeout
// if none answered, TooLarge if the body is more than the servers accept.
func (c *Client) Forward(ctx context.Context, spec Spec, h nats.Header, body []byte) (*nats.Msg, error) {
	m := From(ctx)
	if m.Span == nil {
		return c.forward(ctx, m, ChildTrace(m.TraceParent), spec, h, body)
	}
	span := m.Span.Child(spec.Service+"."+spec.Name, tracing.Client)
	span.Set("rpc.system", "nats")
	reply, err := c.forward(ctx, m, span.Traceparent(), spec, h, body)
	outcome := err
	if err == nil {
		if f := Fault(reply); f != nil {
			outcome = f
		}
	}
	span.End(outcome)
	return reply, err
}

func (c *Client) forward(
	ctx context.Context, m *Meta, trace string, spec Spec, h nats.Header, body []byte,
) (*nats.Msg, error) {
	rule := c.traffic.Of(spec.Service, spec.Name)
	wait := spec.timeout()
	if rule.Timeout > 0 {
		wait = min(wait, rule.Timeout)
	}
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end))
	}
	if wait <= 0 {
		return nil, fault.New(fault.Timeout, "the request took too long")
	}
	wait, err := c.strike(ctx, rule.Fault, wait)
	if err != nil {
		return nil, err
	}
	rule.Again = secondTry(spec, h, wait, rule.Again)
	id := m.RequestID
	if id == "" {
		id = NewRequestID()
	}
	h[HeaderCall] = []string{callHeader(wait, c.name, id, trace, m)}
	for range mostMeetings {
		sealed, data, err := c.prove(spec, h, id, m, body)
		if err != nil {
			return nil, err
		}
		reply, err := c.send(ctx, spec, &nats.Msg{Subject: spec.Subject(), Header: h, Data: data}, wait, rule.Again)
		if err != nil {
			return nil, err
		}
		delete(h, HeaderCertificate)
		again, err := c.meet(spec, h, reply)
		if err != nil {
			return nil, err
		}
		if !again {
			return opened(reply, sealed)
		}
	}
	return nil, fault.New(fault.Unavailable, "the %s service changes its keys", spec.Service).After(time.Second)
}

// send sends a message and waits for the reply, and sends it again after a while, if that is not 0. The error is a
// fault.
func (c *Client) send(ctx context.Context, spec Spec, msg *nats.Msg, wait, again time.Duration) (*nats.Msg, error) {
	var reply *nats.Msg
	var err error
	to := c.choice.Pick(spec.Service, nil)
	switch {
	case again > 0:
		reply, err = c.twice(ctx, spec, to, msg, wait, again)
	case to != nil:
		ctx, cancel := context.WithTimeout(ctx, wait)
		reply, err = c.ask(ctx, spec, to, msg)
		cancel()
	default:
		reply, err = c.request(ctx, msg, wait)
	}
	if errors.Is(err, nats.ErrNoResponders) && c.grace > 0 {
		reply, err = c.again(ctx, msg, wait)
	}
	if err == nil {
		return reply, nil
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, nats.ErrDisconnected): // it was sent: the outcome is unknown, just as after a deadline
		return nil, fault.Wrap(err, fault.Timeout, "the request took too long")
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, fault.Wrap(err, fault.TooLarge, "the request is too large")
	default: // no responders, closed, draining: it was not sent
		return nil, fault.Wrap(err, fault.Unavailable, "the %s service is not available",
			spec.Service).After(time.Second)
	}
}

func (c *Client) request(ctx context.Context, msg *nats.Msg, wait time.Duration) (*nats.Msg, error) {
	if ctx.Done() == nil {
		return c.nc.RequestMsg(msg, wait)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return c.nc.RequestMsgWithContext(ctx, msg)
}

// again repeats a request that reached no instance, until one is there or the grace is over. Such a request was not
// run, so repeating it is safe whatever it does.
func (c *Client) again(ctx context.Context, msg *nats.Msg, wait time.Duration) (*nats.Msg, error) {
	const pause = 20 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for spent := pause; spent <= min(c.grace, wait-pause); spent += pause {
		select {
		case <-ctx.Done():
			return nil, nats.ErrNoResponders
		case <-tick.C:
		}
		reply, err := c.request(ctx, msg, wait-spent)
		if !errors.Is(err, nats.ErrNoResponders) {
			return reply, err
		}
	}
	return nil, nats.ErrNoResponders
}

// onlyIfCut is longer than any call waits.
const onlyIfCut = time.Duration(math.MaxInt64)

// secondTry returns after how long a request is sent once more, by a rule that says so; 0 means never. What reads may
// run twice at a time. A change whose answer is stored under its key may run again, but not beside the first run: that
// one could have the last seat, and the other be told that none is left.
func secondTry(spec Spec, h nats.Header, wait, rule time.Duration) time.Duration {
	switch {
	case rule == 0 || rule >= wait:
		return 0
	case spec.Method == "GET":
		return rule
	case spec.Idempotent && header(h, HeaderHTTP+IdempotencyKey) != "":
		return onlyIfCut
	}
	return 0
}

// strike does what a rule wants to go wrong. It returns how long the caller still waits.
func (c *Client) strike(ctx context.Context, f traffic.Fault, wait time.Duration) (time.Duration, error) {
	if !c.traffic.Strikes(f) {
		return wait, nil
	}
	if f.Code != "" {
		return 0, fault.New(f.Code, "this goes wrong on purpose: mesh.faults")
	}
	timer := time.NewTimer(min(f.Delay, wait))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if wait -= f.Delay; wait <= 0 || ctx.Err() != nil {
		return 0, fault.New(fault.Timeout, "the request took too long")
	}
	return wait, nil
}

// ask sends a request to an instance, and to whichever comes if that is nil or gone by now, which has not run it.
func (c *Client) ask(ctx context.Context, spec Spec, to *instances.Instance, msg *nats.Msg) (*nats.Msg, error) {
	if to == nil {
		return c.nc.RequestMsgWithContext(ctx, msg)
	}
	began := time.Now()
	to.Begin()
	named := &nats.Msg{Subject: spec.SubjectAt(to.ID), Header: msg.Header, Data: msg.Data}
	reply, err := c.nc.RequestMsgWithContext(ctx, named)
	to.End(outcome(spec, time.Since(began), reply, err))
	if errors.Is(err, nats.ErrNoResponders) {
		c.choice.Lost(to)
		return c.nc.RequestMsgWithContext(ctx, msg)
	}
	return reply, err
}

// slowPart of the timeout of an endpoint is what a call takes that is slow.
const slowPart = 8

// outcome returns what a call tells of the instance that was called.
func outcome(spec Spec, took time.Duration, reply *nats.Msg, err error) instances.Outcome {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return instances.Failed
	case err != nil && !errors.Is(err, context.Canceled):
		return instances.Untold
	case err == nil && Shed(reply):
		return instances.Untold
	case err == nil && strings.HasPrefix(header(reply.Header, HeaderErrorCode), "5"):
		return instances.Failed
	case spec.Waits == "" && took > spec.timeout()/slowPart: // also when its caller does not wait for it any more
		return instances.Slow
	case err != nil:
		return instances.Untold
	}
	return instances.Good
}

// twice sends a request once more if there is no answer after a while or the connection was cut: see secondTry.
// The first answer counts: that of another instance, if the one that was asked first hangs. Nothing reads the message
// when it returns: its header and its body are the caller's again.
func (c *Client) twice(
	ctx context.Context, spec Spec, to *instances.Instance, msg *nats.Msg, wait, after time.Duration,
) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var second *nats.Msg
	ended := make(chan struct{})
	timer := time.AfterFunc(after, func() {
		defer close(ended)
		if !c.traffic.Again(false) {
			return
		}
		if got, err := c.ask(ctx, spec, c.choice.Pick(spec.Service, to), msg); err == nil {
			second = got
			cancel() // the first try
		}
	})
	reply, err := c.ask(ctx, spec, to, msg)
	alone := timer.Stop()
	if !alone {
		if err == nil {
			cancel() // the second try
		}
		<-ended
	}
	switch {
	case err == nil:
		return reply, nil
	case second != nil:
		return second, nil
	case alone && errors.Is(err, nats.ErrDisconnected) && c.traffic.Again(true):
		return c.nc.RequestMsgWithContext(ctx, msg) // which waits for the connection
	}
	return nil, err
}

// Shed reports whether a reply refuses a request because the service has too much to do.
func Shed(reply *nats.Msg) bool { return header(reply.Header, HeaderShed) != "" }

// Fault returns the fault that a reply carries, or nil if it is a success.
func Fault(reply *nats.Msg) *fault.Error {
	if header(reply.Header, HeaderErrorCode) == "" {
		return nil
	}
	return fault.Unmarshal(reply.Data)
}
