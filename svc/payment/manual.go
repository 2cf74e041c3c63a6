package payment

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// manualName is what callers choose the manual provider by.
const manualName = "manual"

// The states of a manual payment in its tables.
const (
	manualPending   = "pending"
	manualPaid      = "paid"
	manualCancelled = "cancelled" // by us
	manualExpired   = "expired"
)

// manual is the provider without machinery: the payer gets a reference number, brings the money by bank transfer or to the
// box office, and a manager of the event says that it is there. Money goes back the same way: a refund is due until
// a manager says that it has been paid out.
//
// Nobody can keep a transfer from arriving. Money that comes after the end of its payment is therefore taken note of like
// any other, and is a late success for those who look.
type manual struct {
	store     *manualStore
	live      *settings.Live
	publicURL string
	now       func() time.Time
}

// manualDue returns when a manual payment has to be made. It is counted from the payment's own beginning: asking again
// does not put it off.
func manualDue(id ids.Payment, live *settings.Live) time.Time {
	return store.Time(id.Time().Add(api.ManualTTL.Get(live)))
}

// Name implements provider.Provider.
func (m *manual) Name() string { return manualName }

// OffReason implements provider.Switched.
func (m *manual) OffReason() string { return provider.OffReason(m.Name(), api.ManualEnabled, m.live) }

// HoldUntil implements provider.Holder.
func (m *manual) HoldUntil(id ids.Payment) time.Time { return manualDue(id, m.live) }

// Create implements provider.Provider.
func (m *manual) Create(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	now, due := store.Time(m.now()), manualDue(req.PaymentID, m.live)
	row, err := m.store.create(ctx, &manualPayment{
		RequestKey: req.Key, PaymentID: req.PaymentID, Amount: req.Amount.Amount, Currency: req.Amount.Currency,
		Status: manualPending, CreatedAt: now, RemindAt: now.Add(due.Sub(now) / 2), DueAt: due,
	})
	if err != nil {
		return provider.Remote{}, err
	}
	if row.money() != req.Amount {
		return provider.Remote{}, fault.New(fault.Unprocessable, "the key was used for another payment")
	}
	return provider.Remote{ID: row.Reference, CheckoutURL: m.publicURL + "/manual/checkout/" + row.PaymentID.String()}, nil
}

// Fetch implements provider.Provider.
func (m *manual) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	row, err := m.store.byReference(ctx, remoteID)
	if err != nil {
		return provider.State{}, err
	}
	state := provider.State{ID: row.Reference, PaymentID: row.PaymentID, Amount: row.money(), Status: provider.Pending}
	switch {
	case row.Status == manualPaid:
		state.Status = provider.Succeeded
	case row.Status == manualCancelled:
		state.Status, state.Reason = provider.Failed, api.FailureCancelled
	case !row.open(m.now()):
		state.Status, state.Reason = provider.Failed, api.FailureExpired
	}
	return state, nil
}

// Cancel implements provider.Provider.
func (m *manual) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	if err := m.store.end(ctx, manualCancelled, remoteID); err != nil {
		return provider.State{}, err
	}
	return m.Fetch(ctx, remoteID)
}

// Refund implements provider.Provider.
func (m *manual) Refund(ctx context.Context, req provider.RefundRequest) (provider.Refund, error) {
	row, err := m.store.refund(ctx, &manualRefund{
		ID: "mr_" + rand.Text(), RequestKey: req.Key, Reference: req.RemoteID, Amount: req.Amount.Amount, CreatedAt: store.Time(m.now()),
	}, req.Amount.Currency)
	if err != nil {
		return provider.Refund{}, err
	}
	return provider.Refund{ID: row.ID, Pending: row.PaidAt == nil}, nil
}

// ParseCallback implements provider.Provider.
func (m *manual) ParseCallback(*api.Callback) (provider.CallbackEvent, error) {
	return provider.CallbackEvent{}, fault.New(fault.NotFound, "nobody calls back about manual payments")
}

// open reports whether the payer is in time.
func (p *manualPayment) open(now time.Time) bool {
	return p.Status == manualPending && now.Before(p.DueAt)
}

func (p *manualPayment) money() api.Money { return api.Money{Amount: p.Amount, Currency: p.Currency} }

// sweepManual reminds of payments that are half way to their end, once each, and ends those that are at it.
func (s *Service) sweepManual(ctx context.Context) error {
	if err := s.manual.store.remind(ctx, sweepLimit); err != nil {
		return err
	}
	due, err := s.manual.store.overdue(ctx, sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, pollWorkers, due, func(ctx context.Context, reference string) {
		err := s.confirm(ctx, s.manual, reference, nil) // it finds that the time is over
		if err == nil {
			err = s.manual.store.end(ctx, manualExpired, reference)
		}
		if err != nil {
			s.log.WarnContext(ctx, "a manual payment cannot be ended", "reference", reference, "error", err)
		}
	})
}
