package ticketing

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
)

// beginPayment ties a payment to a pending order of the user, which lasts until expires, if that is later: of the seats
// of such orders the user may have so many of an event.
func (db ticketStore) beginPayment(
	ctx context.Context, tx tx, id ids.Order, user ids.User, payment ids.Payment, expires, now time.Time, mostSeats int,
) (orderRow, error) {
	if !expires.IsZero() {
		if err := db.lockBuyers(ctx, tx, []ids.User{user}); err != nil {
			return orderRow{}, err
		}
	}
	var row orderRow
	err := store.Select(ctx, tx, &row, "SELECT * FROM orders WHERE id = ? AND user_id = ? ?", id, user, db.forUpdate())
	if err != nil {
		return orderRow{}, store.OrNotFound(err, "there is no such order")
	}
	switch {
	case row.Status != api.OrderPending:
		return orderRow{}, fault.New(fault.Conflict, "the order is %s", row.Status)
	case !now.Before(row.ExpiresAt):
		return orderRow{}, fault.New(fault.Expired, "the order has expired")
	case row.PaymentID == payment && !expires.After(row.ExpiresAt):
		return row, nil
	case row.AnswersDue:
		return orderRow{}, errAnswersDue
	}
	row.PaymentID, row.UpdatedAt = payment, now
	if expires.After(row.ExpiresAt) {
		others, err := unpaidOf(ctx, tx, []ids.User{user}, now)
		if err != nil {
			return orderRow{}, err
		}
		if err := mayExtend(row, others, mostSeats); err != nil {
			return orderRow{}, err
		}
		row.ExpiresAt, row.Extended = expires, true
	}
	row.Revision++
	_, err = store.Exec(ctx, tx,
		"UPDATE orders SET payment_id = ?, expires_at = ?, extended = ?, updated_at = ?, revision = ? WHERE id = ?",
		payment, row.ExpiresAt, row.Extended, now, row.Revision, id)
	return row, err
}

// receipt is money that has arrived for an order whose seats the inventory has sold.
type receipt struct {
	order     ids.Order
	payment   ids.Payment
	eventName string
	offer     *api.Offer     // what its event offers; nil if that is not known
	swaps     ids.Order      // the order whose tickets are exchanged for its; "" if it is no exchange
	message   stream.Message // about it, belonging to the message that told of the payment
}

// The verdicts on a receipt.
var (
	errNotPayable = fault.New(fault.Conflict, "the order is not for sale any more")
	errPaidTwice  = fault.New(fault.Conflict, "the order is paid by another payment")
)

// pay makes orders paid and issues their tickets, in one transaction. The verdict for each receipt is nil (also when
// that payment had paid it before), errPaidTwice or errNotPayable.
func (db ticketStore) pay(ctx context.Context, in []receipt, now time.Time) ([]error, error) {
	verdicts := make([]error, len(in))
	id := make([]ids.Order, 0, len(in))
	for _, r := range in {
		id = append(id, r.order)
		if r.swaps != "" {
			id = append(id, r.swaps)
		}
	}
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		clear(verdicts)
		rows, err := db.orders(ctx, tx, id)
		if err != nil {
			return err
		}
		of := map[ids.Event]bool{}
		for _, row := range rows {
			of[row.EventID] = true
		}
		offers, err := db.offered(ctx, tx, of)
		if err != nil {
			return err
		}
		var (
			issue  issuing
			events []stream.Message
			bills  invoices.Batch
			swaps  []decision
		)
		old, err := db.exchangedOf(ctx, tx, in, rows)
		if err != nil {
			return err
		}
		billing, err := billingOf(ctx, tx, in)
		if err != nil {
			return err
		}
		for i, r := range in {
			row, ok := rows[r.order]
			switch {
			case !ok:
				verdicts[i] = errNotPayable
				continue
			case row.paidBy(r.payment):
				continue
			case offers[row.EventID].cancelled:
				verdicts[i] = errNotPayable
				continue
			case row.Status == api.OrderPaid:
				verdicts[i] = errPaidTwice
				continue
			case row.Status != api.OrderPending && row.Status != api.OrderExpired:
				verdicts[i] = errNotPayable
				continue
			}
			var swap *decision
			if row.ExchangeOf != "" {
				if swap, verdicts[i] = old.swap(&row); verdicts[i] != nil {
					continue
				}
			}
			row = row.finished(true, now)
			row.PaymentID, row.UpdatedAt = r.payment, now
			row.Revision++
			rows[r.order] = row
			_, err := store.Exec(ctx, tx,
				"UPDATE orders SET status = ?, payment_id = ?, paid_at = ?, updated_at = ?, revision = ? WHERE id = ?",
				row.Status, row.PaymentID, now, now, row.Revision, row.ID)
			if err != nil {
				return err
			}
			tickets := issue.order(row, r.eventName, now)
			msg := r.message
			order := row.order()
			msg.Payload = api.OrderEvent{Order: order, Tickets: tickets}
			events = append(events, msg)
			bills.Paid(r.offer, order, billing[row.ID], 1, now)
			if swap != nil {
				swaps = append(swaps, *swap)
				events = append(events, swap.exchanged(order, now))
				if err := setCredits(ctx, tx, row); err != nil {
					return err
				}
			}
		}
		if len(events) == 0 {
			return nil
		}
		if err := db.revokeWith(ctx, tx, &issue, swaps, &bills, now); err != nil {
			return err
		}
		if err := issue.write(ctx, tx, offers); err != nil {
			return err
		}
		if err := stream.AddAll(ctx, tx, events...); err != nil {
			return err
		}
		return bills.Issue(ctx, tx)
	})
	return verdicts, err
}

// markUpdated notes that the inventory knows what orders kept at their revisions.
func (db ticketStore) markUpdated(ctx context.Context, rows []orderRow) error {
	if len(rows) == 0 {
		return nil
	}
	known := make([]bun.TupleValues, len(rows))
	for i, r := range rows {
		known[i] = bun.Tuple([]any{r.ID, r.Revision})
	}
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		_, err := tx.ExecContext(ctx,
			"UPDATE orders SET seats_due = ? FROM (VALUES ?) AS v WHERE orders.id = v.column1 AND orders.revision = "+
				"v.column2",
			false, bun.List(known))
		return err
	})
}

// refunded notes that a refund of an order has succeeded, which may be "", and closes the order if no more was to go
// back than is back of the payment. One whose money is of several payments, or pays another order, is closed when each
// of its refunds has succeeded. It reports whether it has closed it.
func (db ticketStore) refunded(
	ctx context.Context, order ids.Order, p api.Payment, refund ids.Refund, back int64, now time.Time,
) (done bool, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		// two refunds of the order at once: the second sees the first
		if err := db.lockOrder(ctx, tx, order); err != nil {
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE refunds SET done_at = ? WHERE id = ? AND done_at IS NULL", now,
			refund); err != nil {
			return err
		}
		var rows []orderRow
		err := tx.NewRaw(`UPDATE orders SET status = ?, updated_at = ?, revision = revision + 1 WHERE id = ?
			AND status = ? AND CASE WHEN exchange_of = '' AND credited = 0 THEN payment_id = ? AND refunded <= ?
			ELSE NOT EXISTS (SELECT 1 FROM refunds AS r WHERE r.order_id = orders.id AND r.amount > 0
				AND r.done_at IS NULL) END RETURNING *`,
			api.OrderRefunded, now, order, api.OrderRefunding, p.ID, back).Scan(ctx, &rows)
		if done = len(rows) > 0; err != nil {
			return err
		}
		return announceOrders(ctx, tx, api.OrderWasRefunded, rows)
	})
	return done, err
}

func announceOrders(ctx context.Context, tx tx, topic api.Topic[api.OrderEvent], rows []orderRow) error {
	if len(rows) == 0 {
		return nil
	}
	events := make([]stream.Message, len(rows))
	for i, row := range rows {
		events[i] = stream.Message{Subject: topic.Subject, Payload: api.OrderEvent{Order: row.order()}}
	}
	return stream.AddAll(ctx, tx, events...)
}
