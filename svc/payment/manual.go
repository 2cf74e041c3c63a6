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
)

// manualName is what callers choose the manual provider by.
const manualName = "manual"

// The states of a manual payment in its books.
const (
	manualPending   = "pending"
	manualPaid      = "paid"
	manualCancelled = "cancelled" // by us
	manualExpired   = "expired"
)

// manual is the provider without machinery: the payer gets a reference number, brings the money by bank transfer or to the
// box office, and a manager of the event says that it is there. Money goes back the same way: a refund is due until
// somebody says that it has been paid out.
//
// Nobody can keep a transfer from arriving. Money that comes after the end of its payment is therefore taken note of like
// any other, and is a late success for those who look.
type manual struct {
	books     *manualBooks
	live      *settings.Live
	publicURL string
	now       func() time.Time
}

// manualDue returns when a manual payment has to be made. It is counted from the payment's own beginning: asking again
// does not put it off.
func manualDue(id ids.Payment, live *settings.Live) time.Time {
	return store.Time(id.Time().Add(api.ManualTTL.Get(live)))
}

// Name implements Provider.
func (m *manual) Name() string { return manualName }

// Create implements Provider.
func (m *manual) Create(ctx context.Context, req CreateRequest) (Remote, error) {
	now, due := store.Time(m.now()), manualDue(req.PaymentID, m.live)
	row, err := m.books.create(ctx, &manualPayment{
		RequestKey: req.Key, PaymentID: req.PaymentID, Amount: req.Amount.Amount, Currency: req.Amount.Currency,
		Status: manualPending, CreatedAt: now, RemindAt: now.Add(due.Sub(now) / 2), DueAt: due,
	})
	if err != nil {
		return Remote{}, err
	}
	if row.money() != req.Amount {
		return Remote{}, fault.New(fault.Unprocessable, "the key was used for another payment")
	}
	return Remote{ID: row.Reference, CheckoutURL: m.publicURL + "/manual/checkout/" + row.PaymentID.String()}, nil
}

// Fetch implements Provider.
func (m *manual) Fetch(ctx context.Context, remoteID string) (RemoteState, error) {
	row, err := m.books.byReference(ctx, remoteID)
	if err != nil {
		return RemoteState{}, err
	}
	state := RemoteState{ID: row.Reference, PaymentID: row.PaymentID, Amount: row.money(), Status: RemotePending}
	switch {
	case row.Status == manualPaid:
		state.Status = RemoteSucceeded
	case row.Status == manualCancelled:
		state.Status, state.Reason = RemoteFailed, api.FailureCancelled
	case !row.open(m.now()):
		state.Status, state.Reason = RemoteFailed, api.FailureExpired
	}
	return state, nil
}

// Cancel implements Provider.
func (m *manual) Cancel(ctx context.Context, remoteID string) (RemoteState, error) {
	if err := m.books.end(ctx, manualCancelled, remoteID); err != nil {
		return RemoteState{}, err
	}
	return m.Fetch(ctx, remoteID)
}

// Refund implements Provider.
func (m *manual) Refund(ctx context.Context, req RefundRequest) (RemoteRefund, error) {
	row, err := m.books.refund(ctx, &manualRefund{
		ID: "mr_" + rand.Text(), RequestKey: req.Key, Reference: req.RemoteID, Amount: req.Amount.Amount, CreatedAt: store.Time(m.now()),
	}, req.Amount.Currency)
	if err != nil {
		return RemoteRefund{}, err
	}
	return RemoteRefund{ID: row.ID, Pending: row.PaidAt == nil}, nil
}

// ParseCallback implements Provider.
func (m *manual) ParseCallback(*api.Callback) (CallbackEvent, error) {
	return CallbackEvent{}, fault.New(fault.NotFound, "nobody calls back about manual payments")
}

// open reports whether the payer is in time.
func (p *manualPayment) open(now time.Time) bool {
	return p.Status == manualPending && now.Before(p.DueAt)
}

func (p *manualPayment) money() api.Money { return api.Money{Amount: p.Amount, Currency: p.Currency} }

// sweepManual reminds of payments that are half way to their end, once each, and ends those that are at it.
func (s *Service) sweepManual(ctx context.Context) error {
	if err := s.manual.books.remind(ctx, sweepLimit); err != nil {
		return err
	}
	due, err := s.manual.books.overdue(ctx, sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, pollWorkers, due, func(ctx context.Context, reference string) {
		err := s.settle(ctx, s.manual, reference, nil) // it finds that the time is over
		if err == nil {
			err = s.manual.books.end(ctx, manualExpired, reference)
		}
		if err != nil {
			s.log.WarnContext(ctx, "a manual payment cannot be ended", "reference", reference, "error", err)
		}
	})
}
