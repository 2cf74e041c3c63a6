package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/rpc/identity"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// binding is one endpoint with its handler: a bounded set of workers behind a bounded queue. The callbacks of a
// subscription run one after another, and it drops silently what it cannot hold. So accept only queues, and refuses
// what cannot be served in time.
type binding struct {
	server   *Server
	spec     Spec
	name     string // service.name
	metadata map[string]string
	codec    *codec.Request
	call     func(ctx context.Context, h nats.Header, body []byte) (answer, error)
	quick    func(ctx context.Context, h nats.Header, body []byte) (answer, bool) // may be nil; see HandleCached
	stats    stats

	queue queue
	jobs  chan job    // to the workers; has room for all that may run
	quiet atomic.Bool // a refused message was logged a moment ago

	mu      sync.Mutex
	started int // workers
	closed  bool
}

// answer is a reply before it is sent.
type answer struct {
	status      int // 0 means the one in the spec
	body        []byte
	etag        string
	contentType string
	disposition string
	next        string // see HandleParts
	transient   bool
	shared      time.Duration
	resp        any // to be encoded as the body
	replayed    bool
}

// accept runs on the subscription's goroutine and must not block.
func (b *binding) accept(r *nats.Msg) {
	if !isRequest(r) {
		b.stray(r)
		return
	}
	b.stats.requests.Add(1)
	if b.quick != nil && b.answerQuickly(r) {
		return
	}
	now := time.Now()
	j := job{r, now, now.Add(callWait(header(r.Header, HeaderCall), b.spec.timeout()))}
	running, refused := b.queue.join(j)
	if refused > 0 {
		b.shed(r, refused)
		return
	}
	if running > 0 {
		b.startWorkers(running)
		b.jobs <- j
	}
}

// answerQuickly answers a request from memory. It reports false for everything else, mistakes included: those take the
// long way.
func (b *binding) answerQuickly(r *nats.Msg) (done bool) {
	start := time.Now()
	h := r.Header
	ctx := &requestContext{base: b.server.base}
	defer ctx.end()
	defer func() {
		if p := recover(); p != nil {
			b.panicked(ctx, p)
			done = false
		}
	}()
	ctx.deadline = start.Add(parseCall(header(h, HeaderCall), b.spec.timeout(), &ctx.meta))
	if b.admit(r, &ctx.meta, start) != nil {
		return false
	}
	a, ok := b.quick(ctx, h, r.Data)
	if !ok {
		return false
	}
	b.stats.took(start, nil) // before the reply, so that its receiver finds it counted
	b.stats.ok.Inc()
	if err := b.respond(r, a, nil); err != nil {
		b.lost(err)
	}
	return true
}

// startWorkers starts workers until there are n.
func (b *binding) startWorkers(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.started < n && !b.closed {
		b.started++
		b.server.workers.Add(1)
		go b.work()
	}
}

// close keeps new workers from starting.
func (b *binding) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

func (b *binding) work() {
	defer b.server.workers.Done()
	for {
		select {
		case j := <-b.jobs:
			for ok := true; ok && b.server.base.Err() == nil; {
				start := time.Now()
				b.serve(j, start)
				j, ok = b.next(j, start)
			}
		case <-b.server.done:
			return
		}
	}
}

// next returns the request that the worker of one that is done serves now.
func (b *binding) next(done job, started time.Time) (next job, ok bool) {
	now := time.Now()
	next, ok, late := b.queue.leave(done, started, now)
	for _, j := range late {
		if now.Before(j.deadline) {
			b.shed(j.request, time.Second)
		} else {
			b.stats.expired.Inc()
		}
	}
	return next, ok
}

// shed refuses a request of which nothing was done.
func (b *binding) shed(r *nats.Msg, retry time.Duration) {
	b.stats.shed.Inc()
	f := fault.New(fault.Unavailable, "the %s service has too much to do", b.spec.Service).After(retry)
	b.sendFault(r, f, nats.Header{HeaderShed: {"true"}})
}

// serve answers one request.
func (b *binding) serve(j job, start time.Time) {
	h := j.request.Header
	ctx := &requestContext{base: b.server.base}
	defer ctx.end()
	parseCall(header(h, HeaderCall), b.spec.timeout(), &ctx.meta)
	ctx.deadline = j.deadline
	if !start.Before(ctx.deadline) { // the caller has stopped waiting
		b.stats.expired.Inc()
		return
	}
	b.trace(&ctx.meta, j, start)
	err := b.admit(j.request, &ctx.meta, j.received)
	var sealed *identity.Sealed
	var body []byte
	if err == nil {
		sealed, body, err = b.open(j.request, &ctx.meta)
	}
	if errors.Is(err, identity.ErrUnknown) {
		b.introduce(j.request)
		return
	}
	var a answer
	if err == nil {
		a, err = b.run(ctx, h, body)
	}
	if err == nil && b.acknowledges() {
		err = b.server.acknowledge(ctx, header(h, HeaderParams))
	}
	b.stats.took(start, ctx.meta.Span) // before the reply, so that its receiver finds it counted
	ctx.meta.Span.End(err)
	if err == nil {
		b.stats.ok.Inc()
		if err = b.respond(j.request, a, sealed); err != nil {
			err = fault.Wrap(err, fault.Internal, "the answer cannot be sent")
		}
	}
	if err != nil {
		f := fault.From(err)
		b.log(ctx, f)
		b.refuse(j.request, f)
	}
}

// trace begins the span of a request, if that is traced: with its arrival, so that its time in the queue is seen.
func (b *binding) trace(m *Meta, j job, start time.Time) {
	m.Span = b.server.cfg.Tracer.Start(m.TraceParent, b.name, tracing.Server, j.received)
	if m.Span == nil {
		return
	}
	m.TraceParent = m.Span.Traceparent()
	m.Span.Set("rpc.system", "nats")
	m.Span.Set("starlight.caller", m.Caller)
	m.Span.Set("starlight.request_id", m.RequestID)
	m.Span.SetInt("starlight.queued_us", int(start.Sub(j.received).Microseconds()))
}

// admit reads the principal into m and applies the access rule. The gateway has done so already; a service does not
// rely on it. The request came at the time arrived of the machine's clock.
func (b *binding) admit(r *nats.Msg, m *Meta, arrived time.Time) error {
	m.Endpoint = b.name
	if b.spec.Audited {
		m.Device = header(r.Header, HeaderHTTP+UserAgent)
	}
	if err := b.principal(r, m, arrived); err != nil {
		return err
	}
	if b.spec.Access != Internal {
		if err := b.spec.CheckKey(m.Principal); err != nil {
			return err
		}
		if m.Principal.Guest() && !b.spec.Guests {
			return NotForGuests()
		}
	}
	switch b.spec.Access {
	case User, Admin:
		if !m.Principal.Known() && !m.Principal.IsKey() {
			return fault.New(fault.Unauthenticated, "sign in first")
		}
		if b.spec.Access == Admin && !m.Principal.Admin() {
			return fault.New(fault.Forbidden, "only administrators may do this")
		}
		if b.spec.StepUp && !m.Principal.Fresh {
			return StepUpNeeded()
		}
	case Internal:
		if !slices.Contains(b.spec.Callers, m.Caller) {
			return fault.New(fault.Forbidden, "%s is not for %q", m.Endpoint, m.Caller)
		}
	}
	return nil
}

// StepUpNeeded is the fault of a caller who has to prove once more who they are, and may then try again.
func StepUpNeeded() *fault.Error {
	return fault.New(fault.Forbidden, "this needs a fresh proof of who you are: POST /v1/sessions/current/proof, "+
		"then try again").About("step_up", "is needed")
}

// NotForGuests is the fault of who comes with the token of an order to where that is not good.
func NotForGuests() *fault.Error {
	return fault.New(fault.Forbidden, "the token of an order is good for that order alone: sign in with an account")
}

// run calls the handler, and survives it.
func (b *binding) run(ctx context.Context, h nats.Header, body []byte) (a answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.panicked(ctx, p)
			err = fault.Wrap(errPanic, fault.Internal, "something went wrong on our side")
		}
	}()
	key := header(h, HeaderHTTP+IdempotencyKey)
	if !b.spec.Idempotent || key == "" {
		return b.call(ctx, h, body)
	}
	return b.once(ctx, key, h, body)
}

func (b *binding) panicked(ctx context.Context, p any) {
	b.stats.crashed.Add(1)
	b.stats.panics.Inc()
	b.server.cfg.Log.ErrorContext(ctx, "a handler panicked", "endpoint", b.name, "panic", fmt.Sprint(p),
		"stack", string(debug.Stack()))
}

var errPanic = errors.New("the handler panicked")

// respond sends a success, sealed if the request was.
func (b *binding) respond(r *nats.Msg, a answer, sealed *identity.Sealed) error {
	h := make(nats.Header, 2)
	if a.status != 0 && a.status != b.spec.Success() {
		h[HeaderStatus] = []string{strconv.Itoa(a.status)}
	}
	if a.etag != "" {
		h[HeaderETag] = []string{`"` + a.etag + `"`}
	}
	if a.contentType != "" {
		h[HeaderContentType] = []string{a.contentType}
	}
	if a.disposition != "" {
		h[HeaderDisposition] = []string{a.disposition}
	}
	if id := b.createdID(a); id != "" {
		h[HeaderID] = []string{id}
	}
	if a.next != "" {
		h[HeaderNext] = []string{a.next}
	}
	if a.shared >= time.Millisecond && (b.spec.Near != nil || b.spec.Joint) {
		h[HeaderShared] = []string{strconv.FormatInt(a.shared.Milliseconds(), 10)}
	}
	if a.transient && b.spec.Waits != "" {
		h[HeaderTransient] = []string{"true"}
	}
	if a.replayed {
		h[HeaderReplayed] = []string{"true"}
	}
	if sealed != nil {
		h[HeaderSealed] = []string{"true"}
		return b.send(r, h, sealed.SealReply(a.body))
	}
	return b.send(r, h, a.body)
}

// acknowledges reports whether a success of the endpoint acknowledges a change.
func (b *binding) acknowledges() bool {
	return b.server.acknowledge != nil && b.spec.Method != "" && b.spec.Method != "GET"
}

// createdID returns the id of what an endpoint with a location has created, or "".
func (b *binding) createdID(a answer) string {
	status := orDefault(a.status, b.spec.Success())
	rest, ok := bytes.CutPrefix(a.body, []byte(`{"id":"`)) // see checkSpec
	if b.spec.Location == "" || status != 201 || !ok {
		return ""
	}
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(id)
}

// refuse sends a fault. If that fails the caller times out.
func (b *binding) refuse(r *nats.Msg, f *fault.Error) {
	b.sendFault(r, f, make(nats.Header, 2))
}

func (b *binding) sendFault(r *nats.Msg, f *fault.Error, h nats.Header) {
	b.stats.fault(f)
	h[HeaderError], h[HeaderErrorCode] = []string{string(f.Code)}, []string{strconv.Itoa(f.Code.Status())}
	if err := b.send(r, h, fault.Marshal(f)); err != nil {
		b.lost(err)
	}
}

func (b *binding) lost(err error) {
	b.server.cfg.Log.Warn("a reply was lost", "endpoint", b.name, "error", err)
}

// send publishes a reply.
func (b *binding) send(r *nats.Msg, h nats.Header, body []byte) error {
	return b.server.nc.PublishMsg(&nats.Msg{Subject: r.Reply, Header: h, Data: body})
}

// log logs a fault. Errors are those that are ours: not the caller's, and not those of a part that is away.
func (b *binding) log(ctx context.Context, f *fault.Error) {
	if errors.Is(f, errPanic) {
		return // logged with its stack
	}
	level := slog.LevelDebug
	switch f.Code {
	case fault.Internal:
		level = slog.LevelError
	case fault.Unavailable, fault.Timeout: // counted by code; what is away logs that itself
		level = slog.LevelInfo
	}
	m := From(ctx)
	b.server.cfg.Log.Log(ctx, level, "a request failed", "endpoint", m.Endpoint, "error", f, "user", m.Principal.User)
}
