package provider

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

const (
	// CallTimeout bounds one call of a provider.
	CallTimeout = 10 * time.Second
	// MaxCalls bounds the calls of one provider at the same time in this instance. A call beyond
	// that fails at once: the workers are there for the other providers, too.
	MaxCalls = 128

	// RetryAfter is when a caller may try again after a provider has failed.
	RetryAfter = 2 * time.Second

	// A provider that fails BreakerFailures times in a row is left alone for breakerPause.
	BreakerFailures = 8
	breakerPause    = 5 * time.Second
)

// Guard stands before a provider: every call has a deadline, there are only so many at a time, and while the provider
// fails it is not asked at all. Callers see that as Unavailable: the outcome is unknown or nothing was done, and asking
// again later makes sense.
type Guard struct {
	Provider
	registry *observe.Registry
	calls    chan struct{}
	breaker  *gobreaker.CircuitBreaker[any]
}

// NewGuard returns a guard before p.
func NewGuard(p Provider, reg *observe.Registry, log *slog.Logger) *Guard {
	g := &Guard{Provider: p, registry: reg, calls: make(chan struct{}, MaxCalls)}
	g.breaker = gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name: p.Name(), Timeout: breakerPause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= BreakerFailures },
		IsSuccessful: func(err error) bool { return err == nil || !passing(err) },
		OnStateChange: func(name string, _, to gobreaker.State) {
			log.Warn("the way to a payment provider changed", "provider", name, "breaker", to.String())
		},
	})
	reg.GaugeFunc("starlight_payment_provider_breaker",
		"The circuit breaker of a provider: 0 closed, 1 half open, 2 open.",
		func() float64 { return float64(g.breaker.State()) }, "provider", p.Name())
	reg.GaugeFunc("starlight_payment_provider_calls", "Calls of a provider at this moment.",
		func() float64 { return float64(len(g.calls)) }, "provider", p.Name())
	return g
}

// passing reports whether an error is of the provider's state, not an answer to what was asked.
func passing(err error) bool {
	switch fault.From(err).Code {
	case fault.Unavailable, fault.Timeout, fault.Internal:
		return true
	}
	return false
}

// guarded makes one call.
func guarded[T any](ctx context.Context, g *Guard, call string, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	select {
	case g.calls <- struct{}{}:
	default:
		g.failed(call, "busy")
		return zero, fault.New(fault.Unavailable, "the payment provider %s is busy", g.Name()).After(RetryAfter)
	}
	defer func() { <-g.calls }()
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	start := time.Now()
	span := tracing.From(ctx).Child(g.Name()+" "+call, tracing.Client)
	out, err := g.breaker.Execute(func() (any, error) { return fn(ctx) })
	span.End(err)
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		g.failed(call, "open")
		return zero, fault.New(fault.Unavailable, "the payment provider %s does not answer at the moment",
			g.Name()).After(breakerPause)
	case err != nil:
		g.failed(call, string(fault.From(err).Code))
		return zero, err
	}
	g.registry.Histogram("starlight_payment_provider_seconds",
		"How long calls of payment providers took that were answered.", "provider", g.Name(), "call",
		call).UpdateDuration(start)
	return out.(T), nil
}

func (g *Guard) failed(call, code string) {
	g.registry.Counter("starlight_payment_provider_errors_total",
		"Calls of payment providers that failed or were not made, by call and code.", "provider", g.Name(), "call",
		call, "code", code).Inc()
}

// HoldUntil returns until when an order has to keep its seats for a payment; nil if its hold is long enough.
func (g *Guard) HoldUntil(id ids.Payment) *time.Time {
	h, ok := g.Provider.(Holder)
	if !ok {
		return nil
	}
	until := h.HoldUntil(id)
	return &until
}

// OffReason implements Switched. It is "" for a provider that is never off.
func (g *Guard) OffReason() string {
	if p, ok := g.Provider.(Switched); ok {
		return p.OffReason()
	}
	return ""
}

// Concerns implements Watcher. It is false for a provider that is none.
func (g *Guard) Concerns(eventType string) bool {
	w, ok := g.Provider.(Watcher)
	return ok && w.Concerns(eventType)
}

// Afterwards implements Watcher. It is empty for a provider that is none.
func (g *Guard) Afterwards(ctx context.Context, remoteID string) (Afterwards, error) {
	w, ok := g.Provider.(Watcher)
	if !ok {
		return Afterwards{}, nil
	}
	return guarded(ctx, g, "afterwards", func(ctx context.Context) (Afterwards,
		error) {
		return w.Afterwards(ctx, remoteID)
	})
}

// Create implements Provider.
func (g *Guard) Create(ctx context.Context, req CreateRequest) (Remote, error) {
	return guarded(ctx, g, "create", func(ctx context.Context) (Remote, error) { return g.Provider.Create(ctx, req) })
}

// Prepare implements Local. A provider that is none creates the payment.
func (g *Guard) Prepare(ctx context.Context, req CreateRequest) (Remote, error) {
	l, ok := g.Provider.(Local)
	if !ok {
		return g.Create(ctx, req)
	}
	return guarded(ctx, g, "create", func(ctx context.Context) (Remote, error) { return l.Prepare(ctx, req) })
}

// Store implements Local. For a provider that is none there is nothing left to store.
func (g *Guard) Store(ctx context.Context, tx bun.Tx, reqs []CreateRequest) error {
	if l, ok := g.Provider.(Local); ok {
		return l.Store(ctx, tx, reqs)
	}
	return nil
}

// Fetch implements Provider.
func (g *Guard) Fetch(ctx context.Context, remoteID string) (State, error) {
	return guarded(ctx, g, "fetch", func(ctx context.Context) (State, error) { return g.Provider.Fetch(ctx, remoteID) })
}

// Cancel implements Provider.
func (g *Guard) Cancel(ctx context.Context, remoteID string) (State, error) {
	return guarded(ctx, g, "cancel",
		func(ctx context.Context) (State, error) { return g.Provider.Cancel(ctx, remoteID) })
}

// Refund implements Provider.
func (g *Guard) Refund(ctx context.Context, req RefundRequest) (Refund, error) {
	return guarded(ctx, g, "refund", func(ctx context.Context) (Refund, error) { return g.Provider.Refund(ctx, req) })
}
