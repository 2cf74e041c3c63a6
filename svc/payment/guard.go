package payment

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/starlightsymphony/starlight/shared/fault"
)

const (
	// providerTimeout bounds one call of a provider.
	providerTimeout = 10 * time.Second
	// providerCalls bounds the calls of one provider at the same time in this instance. Who comes when all are taken is
	// told so at once: the workers are there for those who use another provider, too.
	providerCalls = 128

	// A provider that fails breakerFailures times in a row is left alone for breakerPause.
	breakerFailures = 8
	breakerPause    = 5 * time.Second
)

// guard stands before a provider: every call has a deadline, there are only so many at a time, and while the provider
// fails it is not asked at all. Callers see that as Unavailable: the outcome is unknown or nothing was done, and asking
// again later makes sense.
type guard struct {
	Provider
	metrics instruments
	calls   chan struct{}
	breaker *gobreaker.CircuitBreaker[any]
}

func newGuard(p Provider, m instruments, log *slog.Logger) *guard {
	g := &guard{Provider: p, metrics: m, calls: make(chan struct{}, providerCalls)}
	g.breaker = gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name: p.Name(), Timeout: breakerPause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsSuccessful: func(err error) bool { return err == nil || !passing(err) },
		OnStateChange: func(name string, _, to gobreaker.State) {
			log.Warn("the way to a payment provider changed", "provider", name, "breaker", to.String())
		},
	})
	m.guard(p.Name(), func() float64 { return float64(g.breaker.State()) }, func() float64 { return float64(len(g.calls)) })
	return g
}

// passing reports whether an error says nothing about what was asked, but about the provider.
func passing(err error) bool {
	switch fault.From(err).Code {
	case fault.Unavailable, fault.Timeout, fault.Internal:
		return true
	}
	return false
}

// guarded makes one call.
func guarded[T any](ctx context.Context, g *guard, call string, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	select {
	case g.calls <- struct{}{}:
	default:
		g.metrics.providerError(g.Name(), call, "busy")
		return zero, fault.New(fault.Unavailable, "the payment provider %s is busy", g.Name()).After(retryCreate)
	}
	defer func() { <-g.calls }()
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	start := time.Now()
	out, err := g.breaker.Execute(func() (any, error) { return fn(ctx) })
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		g.metrics.providerError(g.Name(), call, "open")
		return zero, fault.New(fault.Unavailable, "the payment provider %s does not answer at the moment", g.Name()).After(breakerPause)
	case err != nil:
		g.metrics.providerError(g.Name(), call, string(fault.From(err).Code))
		return zero, err
	}
	g.metrics.providerCall(g.Name(), call, start)
	return out.(T), nil
}

func (g *guard) Create(ctx context.Context, req CreateRequest) (Remote, error) {
	return guarded(ctx, g, "create", func(ctx context.Context) (Remote, error) { return g.Provider.Create(ctx, req) })
}

func (g *guard) Fetch(ctx context.Context, remoteID string) (RemoteState, error) {
	return guarded(ctx, g, "fetch", func(ctx context.Context) (RemoteState, error) { return g.Provider.Fetch(ctx, remoteID) })
}

func (g *guard) Cancel(ctx context.Context, remoteID string) (RemoteState, error) {
	return guarded(ctx, g, "cancel", func(ctx context.Context) (RemoteState, error) { return g.Provider.Cancel(ctx, remoteID) })
}

func (g *guard) Refund(ctx context.Context, req RefundRequest) (RemoteRefund, error) {
	return guarded(ctx, g, "refund", func(ctx context.Context) (RemoteRefund, error) { return g.Provider.Refund(ctx, req) })
}
