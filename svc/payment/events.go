package payment

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// publish puts what became of payments into the outbox, in the transaction that made it so.
func (b *paymentStore) publish(ctx context.Context, tx bun.Tx, rows ...*record.Payment) error {
	msgs := make([]stream.Message, 0, len(rows))
	for _, r := range rows {
		var subject string
		switch r.Status {
		case api.PaymentSucceeded:
			subject = api.PaymentHasSucceeded.Subject
		case api.PaymentFailed:
			subject = api.PaymentHasFailed.Subject
		case api.PaymentRefunded:
			subject = api.PaymentWasRefunded.Subject
		default:
			continue // no other service needs it
		}
		msgs = append(msgs, stream.Message{Subject: subject, Payload: api.PaymentEvent{Payment: r.Payment()},
			Cause: r.Cause})
	}
	if len(msgs) == 0 {
		return nil
	}
	return stream.AddAll(ctx, tx, msgs...)
}

// consumer names the durable consumer of the events that concern payments.
const consumer = "payment"

// consume follows the events of ticketing until ctx ends.
func (s *Service) consume(ctx context.Context) error {
	return stream.Consume(ctx, s.js, stream.Consumer{
		Stream: api.EventsStream, Durable: consumer,
		Filters:     []string{api.OrderRefundDue.Subject, api.OrderWasSold.Subject, api.OrderWasClaimed.Subject},
		Concurrency: refundWorkers, BackOff: s.pauses,
		Log: s.log, Registry: s.registry,
	}, s.onEvent)
}

func (s *Service) onEvent(ctx context.Context, m stream.Msg) error {
	switch m.Subject {
	case api.OrderWasSold.Subject:
		return s.onSale(ctx, m)
	case api.OrderWasClaimed.Subject:
		return s.onClaim(ctx, m)
	}
	return s.onRefundDue(ctx, m)
}

// onClaim gives the payments of an order that was made without an account to the account that has the order now.
func (s *Service) onClaim(ctx context.Context, m stream.Msg) error {
	var e api.GuestEvent
	if err := m.Decode(&e); err != nil {
		return err
	}
	return s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE payments SET user_id = ? WHERE user_id = ?", e.To, e.UserID)
		return err
	})
}

// onSale records the money of a sale at a counter, which is there already. One sale is recorded once.
func (s *Service) onSale(ctx context.Context, m stream.Msg) error {
	var sale api.SaleEvent
	if err := m.Decode(&sale); err != nil {
		return err
	}
	o, now := sale.Order, store.Time(s.now())
	if o.Total.Amount == 0 {
		return nil
	}
	till, ok := s.providers[api.BoxOffice]
	if !ok {
		return fault.New(fault.Unavailable, "the provider %s is not there", api.BoxOffice)
	}
	row := &record.Payment{ID: o.PaymentID, EventID: o.EventID, OrganizerID: sale.OrganizerID,
		OrderID: o.ID, UserID: o.UserID, Provider: api.BoxOffice, Method: sale.Payment.Method,
		Status: api.PaymentSucceeded, Amount: o.Total.Amount,
		Currency: o.Total.Currency, Captured: o.Total.Amount, CapturedIn: o.Total.Currency,
		Description: sale.Payment.Reference, RemoteKey: "box-office-" + o.PaymentID.String(),
		RemoteID: o.PaymentID.String(), Revision: 1, PollAt: now, CreatedAt: now, UpdatedAt: now}
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewInsert().Model(row).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		if err := till.Provider.(provider.Counter).Collected(ctx, tx, row, sale.By); err != nil {
			return err
		}
		return ledger.Enter(ctx, tx, ledger.Capture(row, now))
	})
}

// onRefundDue records that money goes back, as ticketing has decided. One decision is carried out once, however often
// the event comes.
func (s *Service) onRefundDue(ctx context.Context, m stream.Msg) error {
	var due api.RefundDue
	if err := m.Decode(&due); err != nil {
		return err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := s.store.addRefund(ctx, tx, due)
		return err
	})
	if err == nil {
		s.RefundNow()
	}
	return err
}
