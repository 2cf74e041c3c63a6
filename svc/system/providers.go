package system

import (
	"context"
	"errors"

	"github.com/starlightsymphony/starlight/svc/payment/manual"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/sandbox"
	"github.com/starlightsymphony/starlight/svc/payment/stripe"
)

// providers makes the payment providers: those that a live setting switches on, and those that there are credentials
// for.
func providers(ctx context.Context, m *member) ([]provider.Provider, error) {
	var list []provider.Provider
	var failed error
	add := func(p provider.Provider, err error) {
		list, failed = append(list, p), errors.Join(failed, err)
	}
	cfg := m.sys.cfg
	add(sandbox.New(ctx, sandbox.Config{DB: m.db, Live: m.sys.live, Log: m.log, Metrics: m.sys.registry, Now: cfg.Now,
		PublicURL: cfg.PublicURL, CallbackURL: cfg.CallbackURL, Secret: cfg.SandboxSecret}))
	byHand, err := manual.New(manual.Config{DB: m.db, Live: m.sys.live, Log: m.log, Now: cfg.Now,
		PublicURL: cfg.PublicURL})
	if err != nil {
		return nil, err
	}
	list = append(list, byHand, byHand.Counter())
	if cfg.Stripe.Key != "" {
		add(stripe.New(cfg.Stripe, cfg.Now, m.log))
	}
	return list, failed
}
