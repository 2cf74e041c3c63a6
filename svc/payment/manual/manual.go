// Package manual is a provider without machinery: the payer gets a reference number, brings the money by bank transfer
// or to the box office, and a manager of the event says that it is there. Money goes back the same way: a refund is due
// until a manager says that it has been paid out.
//
// A transfer cannot be kept from arriving. Money that comes after the end of its payment is therefore recorded like any
// other, and is a late success for the payment service.
package manual

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/checkout"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// Name is what callers choose the provider by.
const Name = "manual"

const (
	// sweepInterval is how often payments are looked for that are to be reminded of or ended.
	sweepInterval = time.Second
	// sweepLimit bounds how many one transaction reminds of or ends.
	sweepLimit = 1000
)

// The states of a payment in the tables of this provider.
const (
	statusPending   = "pending"
	statusPaid      = "paid"
	statusCancelled = "cancelled" // by us
	statusExpired   = "expired"
)

// Config is what the provider needs.
type Config struct {
	DB        *store.DB // the payment service's, in which the provider has tables of its own
	Live      *settings.Live
	Log       *slog.Logger
	Now       func() time.Time // nil means time.Now
	PublicURL string           // where buyers reach the gateway
}

// Provider takes payments by hand.
type Provider struct {
	tables    *tables
	live      *settings.Live
	log       *slog.Logger
	publicURL string
	now       func() time.Time
	page      *checkout.Page
}

// New returns the provider. It does no work in the background before Run.
func New(cfg Config) (*Provider, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	page, err := newPage()
	if err != nil {
		return nil, err
	}
	return &Provider{tables: &tables{db: cfg.DB, now: cfg.Now}, live: cfg.Live, log: cfg.Log,
		publicURL: strings.TrimSuffix(cfg.PublicURL, "/"), now: cfg.Now, page: page}, nil
}

// dueAt returns when a payment has to be made. It is counted from the payment's own beginning: asking again
// does not put it off.
func dueAt(id ids.Payment, live *settings.Live) time.Time {
	return store.Time(id.Time().Add(api.ManualTTL.Get(live)))
}

// Name implements provider.Provider.
func (m *Provider) Name() string { return Name }

// OffReason implements provider.Switched.
func (m *Provider) OffReason() string { return provider.OffReason(m.Name(), api.ManualEnabled, m.live) }

// HoldUntil implements provider.Holder.
func (m *Provider) HoldUntil(id ids.Payment) time.Time { return dueAt(id, m.live) }

// Create implements provider.Provider.
func (m *Provider) Create(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	now, due := store.Time(m.now()), dueAt(req.PaymentID, m.live)
	row, err := m.tables.create(ctx, &paymentRow{
		RequestKey: req.Key, PaymentID: req.PaymentID, Amount: req.Amount.Amount, Currency: req.Amount.Currency,
		Status: statusPending, CreatedAt: now, RemindAt: now.Add(due.Sub(now) / 2), DueAt: due,
	})
	if err != nil {
		return provider.Remote{}, err
	}
	if row.money() != req.Amount {
		return provider.Remote{}, fault.New(fault.Unprocessable, "the key was used for another payment")
	}
	return provider.Remote{ID: row.Reference, CheckoutURL: m.publicURL + "/manual/checkout/" +
		row.PaymentID.String()}, nil
}

// Fetch implements provider.Provider.
func (m *Provider) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	row, err := m.tables.byReference(ctx, remoteID)
	if err != nil {
		return provider.State{}, err
	}
	state := provider.State{ID: row.Reference, PaymentID: row.PaymentID, Amount: row.money(), Status: provider.Pending}
	switch {
	case row.Status == statusPaid:
		state.Status = provider.Succeeded
	case row.Status == statusCancelled:
		state.Status, state.Reason = provider.Failed, api.FailureCancelled
	case !row.open(m.now()):
		state.Status, state.Reason = provider.Failed, api.FailureExpired
	}
	return state, nil
}

// Cancel implements provider.Provider.
func (m *Provider) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	if err := m.tables.cancel(ctx, remoteID); err != nil {
		return provider.State{}, err
	}
	return m.Fetch(ctx, remoteID)
}

// Refund implements provider.Provider.
func (m *Provider) Refund(ctx context.Context, req provider.RefundRequest) (provider.Refund, error) {
	return m.refund(ctx, req, false)
}

// refund stores what is to be paid out, or what was paid out before it was asked for.
func (m *Provider) refund(ctx context.Context, req provider.RefundRequest, done bool) (provider.Refund, error) {
	now := store.Time(m.now())
	due := &refundRow{ID: "mr_" + rand.Text(), RequestKey: req.Key, Reference: req.RemoteID,
		Amount: req.Amount.Amount, CreatedAt: now}
	if done {
		due.PaidAt = &now
	}
	row, err := m.tables.refund(ctx, due, req.Amount.Currency)
	if err != nil {
		return provider.Refund{}, err
	}
	return provider.Refund{ID: row.ID, Pending: row.PaidAt == nil}, nil
}

// ParseCallback implements provider.Provider.
func (m *Provider) ParseCallback(*api.Callback) (provider.CallbackEvent, error) {
	return provider.CallbackEvent{}, fault.New(fault.NotFound, "there are no callbacks about manual payments")
}

// open reports whether the payer is in time.
func (p *paymentRow) open(now time.Time) bool {
	return p.Status == statusPending && now.Before(p.DueAt)
}

func (p *paymentRow) money() api.Money { return api.Money{Amount: p.Amount, Currency: p.Currency} }

// Run implements provider.Runner: it reminds of payments and ends them.
func (m *Provider) Run(ctx context.Context) error {
	return run.Loop{Name: "manual payments", Interval: sweepInterval, Do: m.sweep}.Run(ctx, m.log)
}

// sweep reminds of payments that are half way to their end, once each, and ends those that are at it.
func (m *Provider) sweep(ctx context.Context) error {
	if err := m.tables.remind(ctx, sweepLimit); err != nil {
		return err
	}
	return m.tables.expire(ctx, sweepLimit)
}
