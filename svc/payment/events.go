package payment

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/stream"
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
		msgs = append(msgs, stream.Message{Subject: subject, Payload: api.PaymentEvent{Payment: r.Payment()}})
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
		Stream: api.EventsStream, Durable: consumer, Filters: []string{api.OrderRefundDue.Subject},
		Concurrency: refundWorkers, BackOff: s.pauses,
		Log: s.log, Registry: s.registry,
	}, s.onRefundDue)
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
