package ticketing

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// consumer is the durable name under which this service reads the stream of domain events.
const consumer = "ticketing"

// onEvent follows what other services tell. It is safe to run twice for the same message.
func (s *Service) onEvent(ctx context.Context, msg stream.Msg) error {
	switch msg.Subject {
	case api.PaymentHasSucceeded.Subject:
		var e api.PaymentEvent
		if err := msg.Decode(&e); err != nil {
			return err
		}
		return s.recordPayment(ctx, e.Payment)
	case api.PaymentWasRefunded.Subject:
		var e api.PaymentEvent
		if err := msg.Decode(&e); err != nil {
			return err
		}
		_, err := s.db.refunded(ctx, e.Payment.OrderID, e.Payment, "", math.MaxInt64, // all is, whatever it was
			store.Time(s.now()))
		if err == nil {
			s.publishChanges(e.Payment.OrderID)
		}
		return err
	case api.RefundHasSucceeded.Subject: // also when the organizer keeps a part, so that never all is back
		var e api.RefundEvent
		if err := msg.Decode(&e); err != nil {
			return err
		}
		order := cmp.Or(e.Refund.OrderID, e.Payment.OrderID)
		done, err := s.db.refunded(ctx, order, e.Payment, e.Refund.ID, e.Payment.Refunded.Amount, store.Time(s.now()))
		if done {
			s.publishChanges(order)
		}
		return err
	case api.UserDeleted.Subject:
		var e api.UserEvent
		if err := msg.Decode(&e); err != nil {
			return err
		}
		if err := s.cancelOrders(ctx, "user_id", e.UserID); err != nil {
			return err
		}
		return s.db.forgetPerson(ctx, e.UserID)
	case api.UserUpdated.Subject:
		var e api.UserEvent
		if err := msg.Decode(&e); err != nil {
			return err
		}
		return s.guests.ClaimAll(ctx, e.UserID)
	case api.OrderLinksRequested.Subject:
		var e api.LinksRequest
		if err := msg.Decode(&e); err != nil {
			return err
		}
		return s.guests.SendLinks(ctx, e)
	case api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject:
		var offer api.Offer
		if err := msg.Decode(&offer); err != nil {
			return err
		}
		return s.followEvent(ctx, &offer)
	case api.OrganizerTeamChanged.Subject:
		var e api.OrganizerChange
		if err := msg.Decode(&e); err != nil {
			return err
		}
		if err := s.offers.SaveTeam(ctx, &e.Team); err != nil {
			return err
		}
		s.offers.EvictOrganizer(e.Team.ID)
	}
	return nil
}

// subjects are the domain events that onEvent follows.
func subjects() []string {
	return []string{api.PaymentHasSucceeded.Subject, api.PaymentWasRefunded.Subject,
		api.RefundHasSucceeded.Subject, api.UserDeleted.Subject,
		api.UserUpdated.Subject, api.OrderLinksRequested.Subject,
		api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject,
		api.OrganizerTeamChanged.Subject}
}

// followEvent takes over an event as it is now.
func (s *Service) followEvent(ctx context.Context, offer *api.Offer) error {
	if err := s.offers.Save(ctx, offer); err != nil {
		return err
	}
	id := offer.Event.ID
	s.offers.Evict(id)
	switch offer.Event.Status {
	case api.EventPublished:
		err := s.setQuantities(ctx, id, offer.Event.Revision, stockOf(offer), "")
		if fault.Is(err, fault.Conflict) {
			// The event service asks before it lowers a quantity, so this is an older message than the pool.
			s.log.WarnContext(ctx, "event asks for fewer tickets than are held or sold", "event", id,
				"revision", offer.Event.Revision)
			return nil
		}
		return err
	case api.EventCancelled:
		// From here on nothing of this event becomes paid: see storage.cancelled.
		if err := s.refundEvent(ctx, id); err != nil {
			return err
		}
		return s.cancelOrders(ctx, "event_id", id)
	}
	return nil
}

// cancelOrders cancels pending orders, page by page, all that can be. Of those that are being paid the next try
// decides.
func (s *Service) cancelOrders(ctx context.Context, column string, value any) error {
	left, after := 0, ids.Order("")
	for {
		refs, err := s.db.pending(ctx, bun.Ident(column), "=", value, after, sweepSize)
		if err != nil {
			return err
		}
		if len(refs) == 0 {
			break
		}
		after = refs[len(refs)-1].Order
		ended, err := s.end(ctx, refs, api.OrderCancelled)
		if err != nil {
			return err
		}
		left += len(refs) - ended
	}
	if left > 0 {
		return fault.New(fault.Unavailable, "%d orders are being paid at this moment", left)
	}
	return nil
}

// recordPayment turns money into tickets. The inventory decides first, then the order and its tickets are written in
// one transaction. A crash between the two is healed by the message coming again: every step finds what it did before.
func (s *Service) recordPayment(ctx context.Context, p api.Payment) error {
	order, err := s.db.order(ctx, p.OrderID)
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap(err, fault.Invalid, "payment %s is for an order that does not exist", p.ID)
	}
	if err != nil {
		return err
	}
	due := api.RefundDue{RefundID: ids.Derive[ids.RefundKind]("no seats", p.ID.String()), OrderID: order.ID,
		PaymentID: p.ID, Amount: p.Amount}
	switch {
	case order.paidBy(p.ID):
		return nil
	case order.Status == api.OrderPaid:
		due.Reason = api.RefundPaidTwice
		return s.recordRefundDue(ctx, due, "paid_twice")
	case order.Status == api.OrderPending, order.Status == api.OrderExpired:
	default:
		due.Reason = api.RefundOrderEnded
		return s.refundPayment(ctx, order, due, "given_up")
	}

	late := false
	err = s.inv.Confirm(ctx, order.ref())
	if errors.Is(err, inventory.ErrGone) {
		late = true
		err = s.sellLate(ctx, order, order.lines(), p.ID.String())
	}
	if fault.Is(err, fault.SoldOut) {
		due.Reason = api.RefundSoldOut
		return s.recordRefundDue(ctx, due, "late_sold_out")
	}
	if err != nil {
		return err
	}
	name := ""
	offer, err := s.offers.Get(ctx, order.EventID)
	switch {
	case err == nil:
		name = offer.Event.Name
	case !fault.Is(err, fault.NotFound): // whether there is an invoice is not known
		return err
	}
	_, err = s.receipts.Do(ctx, receipt{order: order.ID, payment: p.ID, eventName: name, offer: offer,
		swaps:   order.ExchangeOf,
		message: stream.NewMessage(ctx, api.OrderWasPaid.Subject, nil)})
	switch {
	case errors.Is(err, errPaidTwice):
		due.Reason = api.RefundPaidTwice
		return s.recordRefundDue(ctx, due, "paid_twice")
	case errors.Is(err, errNotPayable):
		due.Reason = api.RefundOrderEnded
		return s.refundPayment(ctx, order, due, "given_up")
	case errors.Is(err, errExchangeOver):
		due.Reason = api.RefundOrderEnded
		return s.refundPayment(ctx, order, due, "exchange_over")
	case errors.Is(err, errFenced):
		due.Reason = api.RefundSoldOut
		return s.refundPayment(ctx, order, due, "fenced")
	case err == nil && late:
		s.metrics.branch("late_resold")
	}
	if err == nil && order.ExchangeOf != "" {
		s.afterExchange(ctx, order.ExchangeOf)
	}
	return err
}

// sellLate takes the seats of an order whose hold is gone, and the use of its code.
func (s *Service) sellLate(ctx context.Context, row orderRow, lines []inventory.Line, tag string) error {
	use, err := s.codes.Terms(ctx, row.PromoCodeID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(lines, func(l inventory.Line) bool { return l.Stage != "" }) {
		offer, err := s.offers.Get(ctx, row.EventID)
		if err != nil {
			return err
		}
		use = withStages(use, offer, row.Items)
	}
	return s.inv.Sell(ctx, row.ref(), row.UserID, lines, tag, use)
}

// refundPayment sends money back for an order that cannot be paid, and makes sure that it keeps no seats.
func (s *Service) refundPayment(ctx context.Context, order orderRow, due api.RefundDue, branch string) error {
	known, err := s.db.remainingSeats(ctx, order.ID)
	if err == nil {
		err = s.updateSeats(ctx, known[order.ID])
	}
	if err != nil {
		return err
	}
	return s.recordRefundDue(ctx, due, branch)
}

// recordRefundDue sends money back. The branch is what brought it about, for the metric.
func (s *Service) recordRefundDue(ctx context.Context, due api.RefundDue, branch string) error {
	first, err := s.db.recordRefundDue(ctx, due, store.Time(s.now()))
	if err != nil || !first {
		return err
	}
	s.metrics.refunds.Inc()
	s.metrics.branch(branch)
	s.log.InfoContext(ctx, "money goes back", "order", due.OrderID, "payment", due.PaymentID, "reason", due.Reason)
	return nil
}

// commitReceipts pays orders together. If one of them breaks the transaction, each is tried alone, so that it stands
// alone with its error.
func (s *Service) commitReceipts(ctx context.Context, in []receipt) []batch.Result[struct{}] {
	verdicts, err := s.db.pay(ctx, in, store.Time(s.now()))
	if err != nil {
		return commitApart(ctx, in, err, s.reportOversell, s.commitReceipts)
	}
	results := make([]batch.Result[struct{}], len(in))
	for i := range verdicts {
		if results[i].Err = verdicts[i]; verdicts[i] == nil {
			s.publishChanges(in[i].order)
		}
	}
	return results
}

// commitCreations writes orders together, under the same rule.
func (s *Service) commitCreations(ctx context.Context, in []creation) []batch.Result[orderRow] {
	start := time.Now()
	results, err := s.db.create(ctx, in, store.Time(s.now()))
	s.metrics.write.UpdateDuration(start)
	if err != nil {
		return commitApart(ctx, in, err, s.reportOversell, s.commitCreations)
	}
	return results
}

// commitApart commits each operation of a batch alone if one of them was refused, and so nothing was written. A
// database that is away or slow says nothing about a single operation; nor does a commit whose outcome is unknown, of
// which each may have happened.
func commitApart[In, Out any](
	ctx context.Context, in []In, err error, alone func(error) error, commit batch.Commit[In, Out],
) []batch.Result[Out] {
	switch {
	case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout):
		return batch.Fail[Out](len(in), err)
	case len(in) == 1:
		return batch.Fail[Out](1, alone(err))
	}
	results := make([]batch.Result[Out], len(in))
	for i := range in {
		results[i] = commit(ctx, in[i:i+1])[0]
	}
	return results
}

// errFenced is a sale that the inventory had accepted and the stock refused.
var errFenced = fault.New(fault.Internal, "the sale was refused")

// reportOversell makes noise when the database had to refuse an oversell that the inventory let through.
func (s *Service) reportOversell(err error) error {
	if !store.IsCheck(err) && !errors.Is(err, errNoStock) {
		return err
	}
	s.metrics.fenced.Inc()
	s.log.Error("the stock refused a sale that the inventory had accepted", "error", err)
	return errors.Join(errFenced, err)
}

// confirm makes the hold of an order final that SQL knows as paid: one that is paid as it is written, because it is
// free or was sold at a counter.
//
// If the hold is gone, either the order was given up meanwhile, or it was written so late that its hold had ended. Then
// it takes its seats again, and if others have them by now, it is taken back.
func (s *Service) confirm(ctx context.Context, row orderRow) error {
	err := s.inv.Confirm(ctx, row.ref())
	if !errors.Is(err, inventory.ErrGone) {
		return err
	}
	known, err := s.db.remainingSeats(ctx, row.ID)
	if row = known[row.ID].row; err != nil || row.Status != api.OrderPaid {
		return err
	}
	err = s.sellLate(ctx, row, known[row.ID].lines, "free")
	if fault.Is(err, fault.SoldOut) {
		s.metrics.branch("free_sold_out")
		s.log.WarnContext(ctx, "an order is taken back that was paid at once: its hold had ended, its seats are taken",
			"order", row.ID, "total", row.Total)
		if _, err = s.db.cancelFree(ctx, row.ID, true, store.Time(s.now())); err == nil {
			s.publishChanges(row.ID)
		}
		return err
	}
	if err != nil {
		return err
	}
	// Given up between the look and the sale, it must not keep them.
	if row, err = s.db.order(ctx, row.ID); err == nil && row.ended() {
		err = s.inv.Return(ctx, row.ref())
	}
	return err
}
