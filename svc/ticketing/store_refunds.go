package ticketing

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
)

// refundRow is a decision that money goes back.
type refundRow struct {
	bun.BaseModel `bun:"table:refunds,alias:refunds"`

	ID        ids.Refund   `bun:"id,pk"`
	OrderID   ids.Order    `bun:"order_id"`
	PaymentID ids.Payment  `bun:"payment_id"`
	Amount    int64        `bun:"amount"`
	Currency  string       `bun:"currency"`
	Tickets   []ids.Ticket `bun:"tickets,type:text"`
	Reason    string       `bun:"reason"`
	CreatedAt time.Time    `bun:"created_at"`

	Taxes  []api.TaxTotal `bun:"taxes,type:text"`
	DoneAt *time.Time     `bun:"done_at"` // when the money was back
}

func (r refundRow) due() api.RefundDue {
	return api.RefundDue{RefundID: r.ID, OrderID: r.OrderID, PaymentID: r.PaymentID,
		Amount: api.Money{Amount: r.Amount, Currency: r.Currency}, Taxes: r.Taxes,
		Tickets: r.Tickets, Reason: r.Reason}
}

func newRefund(due api.RefundDue, now time.Time) refundRow {
	row := refundRow{ID: due.RefundID, OrderID: due.OrderID, PaymentID: due.PaymentID, Amount: due.Amount.Amount,
		Currency: due.Amount.Currency,
		Tickets:  due.Tickets, Reason: due.Reason, CreatedAt: now, Taxes: due.Taxes}
	if row.Tickets == nil {
		row.Tickets = []ids.Ticket{}
	}
	if row.Taxes == nil {
		row.Taxes = []api.TaxTotal{}
	}
	return row
}

// recordRefundDue records that all the money of a payment goes back, once: it came for an order that cannot have its
// seats. The order becomes refunding, unless it lives on another payment.
func (db ticketStore) recordRefundDue(ctx context.Context, due api.RefundDue, now time.Time) (first bool, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if first, err = insertRefund(ctx, tx, due, now); err != nil || !first {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE orders SET status = ?, payment_id = ?, updated_at = ?, revision = revision + 1,
			refunded = CASE WHEN exchange_of = '' THEN total ELSE ? END
			WHERE id = ? AND status IN ('pending', 'expired', 'cancelled')`,
			api.OrderRefunding, due.PaymentID, now, due.Amount.Amount, due.OrderID); err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.OrderRefundDue.Subject, due)
	})
	return first, err
}

// insertRefund keeps a decision. It reports false if it was kept before.
func insertRefund(ctx context.Context, tx tx, due api.RefundDue, now time.Time) (bool, error) {
	row := newRefund(due, now)
	res, err := tx.NewInsert().Model(&row).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// refundLine is what the audit log has of a refund. Its reason is not among that: a person wrote it.
type refundLine struct {
	PaymentID   ids.Payment  `json:"payment_id"`
	OrderID     ids.Order    `json:"order_id"`
	Amount      api.Money    `json:"amount"`
	Tickets     []ids.Ticket `json:"tickets,omitempty"`
	KeepTickets bool         `json:"keep_tickets,omitempty"`
}

// refund decides about one order, if what the caller gives back in the day is no more than most. Deciding again under
// one id gives the same decision.
func (db ticketStore) refund(
	ctx context.Context, req *api.RefundOrder, most int64, now time.Time,
) (api.RefundDue, error) {
	var due api.RefundDue
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, tickets, err := db.lockedOrder(ctx, tx, req.OrderID)
		if err != nil {
			return err
		}
		var known []refundRow
		if err := tx.NewRaw("SELECT * FROM refunds WHERE id = ?", req.RefundID).Scan(ctx, &known); err != nil {
			return err
		}
		if len(known) == 1 {
			due = known[0].due()
			return nil
		}
		d, err := decide(row, tickets, req)
		if err != nil {
			return err
		}
		if due = d.due; most < math.MaxInt64 {
			sum, err := sumOfDay(ctx, tx, due.Amount, now)
			if err != nil {
				return err
			}
			if sum > most {
				return moreThan(ctx, most)
			}
		}
		line := refundLine{due.PaymentID, row.ID, due.Amount, due.Tickets, req.KeepTickets}
		if err := auditlog.Add(ctx, tx, "ticketing", auditlog.Act{Act: "payment.refund", At: now,
			Object: due.RefundID.String(), Event: row.EventID, After: line}); err != nil {
			return err
		}
		_, parts, _ := d.settle()
		due = d.dues(parts)[0]
		return db.applyRefunds(ctx, tx, []decision{d}, now)
	})
	return due, err
}

// reverseSale takes back what is left of a sale at a counter, and reports whether that was not done before.
func (db ticketStore) reverseSale(
	ctx context.Context, req *api.ReverseSaleRequest, now time.Time,
) (refund refundRow, first bool, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, tickets, err := db.lockedOrder(ctx, tx, req.OrderID)
		if err != nil {
			return err
		}
		var known []refundRow
		if err := tx.NewRaw("SELECT * FROM refunds WHERE id = ?", reversalOf(row.ID)).Scan(ctx, &known); err != nil {
			return err
		}
		admitted := slices.ContainsFunc(tickets, func(t ticketRow) bool { return t.AdmittedAt != nil })
		switch {
		case len(known) == 1:
			refund, first = known[0], false
			return nil
		case row.Status != api.OrderPaid:
			return fault.New(fault.Conflict, "the order is %s", row.Status)
		case admitted && !req.IncludeAdmitted:
			return api.ErrAdmittedSale
		}
		d := decideAll(row, tickets, reversalOf(row.ID), api.RefundReversed)
		refund, first = newRefund(d.due, now), true
		line := refundLine{d.due.PaymentID, row.ID, d.due.Amount, d.due.Tickets, false}
		if err := auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(), Event: row.EventID,
			After: line}); err != nil {
			return err
		}
		return db.applyRefunds(ctx, tx, []decision{d}, now)
	})
	return refund, first, err
}

// lockedOrder returns an order with its tickets that are not revoked, locked.
func (db ticketStore) lockedOrder(ctx context.Context, tx tx, id ids.Order) (orderRow, []ticketRow, error) {
	var row orderRow
	err := tx.NewRaw("SELECT * FROM orders WHERE id = ? ?", id, db.forUpdate()).Scan(ctx, &row)
	if err != nil {
		return row, nil, store.OrNotFound(err, "there is no such order")
	}
	var tickets []ticketRow
	err = tx.NewRaw("SELECT * FROM tickets WHERE order_id = ? AND status <> ? ORDER BY position ?", id,
		api.TicketRevoked, db.forUpdate()).Scan(ctx, &tickets)
	return row, tickets, err
}

// cancelFree takes back a paid order of which nothing is left to refund, or that was paid at once, and returns it as it
// then is. Unless forced it refuses if a ticket was used or given away.
func (db ticketStore) cancelFree(ctx context.Context, id ids.Order, force bool, now time.Time) (orderRow, error) {
	var row orderRow
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		err := tx.NewRaw("SELECT * FROM orders WHERE id = ? ?", id, db.forUpdate()).Scan(ctx, &row)
		if err != nil || row.Status != api.OrderPaid {
			return err
		}
		var tickets []ticketRow
		err = tx.NewRaw("SELECT * FROM tickets WHERE order_id = ? AND status <> ? ORDER BY position ?", id,
			api.TicketRevoked, db.forUpdate()).Scan(ctx, &tickets)
		if err != nil {
			return err
		}
		for _, t := range tickets {
			if !force && (t.Status != api.TicketValid || t.OwnerID != row.UserID) {
				return fault.New(fault.Conflict, "a ticket of this order was used or given away")
			}
		}
		d := decideAll(row, tickets, "", "")
		if d.due.Amount.Amount > 0 { // sold at a counter
			d.due.RefundID, d.due.Reason = ids.Derive[ids.RefundKind]("no seats", row.ID.String()), api.RefundSoldOut
		}
		if err := db.applyRefunds(ctx, tx, []decision{d}, now); err != nil {
			return err
		}
		return tx.NewRaw("SELECT * FROM orders WHERE id = ?", id).Scan(ctx, &row)
	})
	return row, err
}

// refundEvent takes back paid orders of a cancelled event, at most limit of them, and returns them.
func (db ticketStore) refundEvent(ctx context.Context, event ids.Event, limit int, now time.Time) ([]ids.Order, error) {
	var done []ids.Order
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		done = nil
		var rows []orderRow
		err := tx.NewRaw("SELECT * FROM orders WHERE event_id = ? AND status = ? ORDER BY id LIMIT ? ?", event,
			api.OrderPaid, limit, db.forUpdate()).Scan(ctx, &rows)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			done = append(done, row.ID)
		}
		var tickets []ticketRow
		err = tx.NewRaw("SELECT * FROM tickets WHERE order_id IN (?) AND status <> ? ORDER BY id ?", bun.List(done),
			api.TicketRevoked, db.forUpdate()).Scan(ctx, &tickets)
		if err != nil {
			return err
		}
		of := map[ids.Order][]ticketRow{}
		for _, t := range tickets {
			of[t.OrderID] = append(of[t.OrderID], t)
		}
		decisions := make([]decision, len(rows))
		for i, row := range rows {
			decisions[i] = decideAll(row, of[row.ID], ids.Derive[ids.RefundKind]("event cancelled", row.ID.String()),
				api.RefundEventCancelled)
			decisions[i].cause = api.RevokedByCancellation
		}
		return db.applyRefunds(ctx, tx, decisions, now)
	})
	return done, err
}

// applyRefunds writes decisions about orders down that the transaction has locked, with their credit notes, as its last
// step.
func (db ticketStore) applyRefunds(ctx context.Context, tx tx, decisions []decision, now time.Time) error {
	var notes invoices.Batch
	if err := db.applyDecisions(ctx, tx, decisions, &notes, now); err != nil {
		return err
	}
	return notes.Issue(ctx, tx)
}

// applyDecisions is applyRefunds but for the numbers of credit notes: tickets and stock, orders, what goes back, and
// the news of it. That the inventory has to be told is noted with the order. The seat of a ticket that was admitted is
// not for sale again.
func (db ticketStore) applyDecisions(
	ctx context.Context, tx tx, decisions []decision, notes *invoices.Batch, now time.Time,
) error {
	returned, changed, err := db.writeDecisions(ctx, tx, decisions, notes, now)
	if err != nil {
		return err
	}
	if err := restock(ctx, tx, returned); err != nil {
		return err
	}
	return markAll(ctx, tx, changed)
}

// writeDecisions is applyDecisions without stock and marks: it returns how many tickets of each type come back, and
// which were changed.
func (db ticketStore) writeDecisions(
	ctx context.Context, tx tx, decisions []decision, notes *invoices.Batch, now time.Time,
) (map[ids.TicketType]int, map[ids.Event][]ids.Ticket, error) {
	if len(decisions) == 0 {
		return nil, nil, nil
	}
	returned := map[ids.TicketType]int{}
	var revoked []ids.Ticket
	changed := map[ids.Event][]ids.Ticket{}
	var refunds []refundRow
	var events []stream.Message
	changes := make([]bun.TupleValues, len(decisions))
	for i, d := range decisions {
		for _, t := range d.revoked {
			revoked = append(revoked, t.ID)
			changed[t.EventID] = append(changed[t.EventID], t.ID)
			if t.AdmittedAt == nil {
				returned[t.TicketTypeID]++
			}
			events = append(events, stream.Message{Subject: api.TicketWasRevoked.Subject,
				Payload: api.TicketEvent{TicketID: t.ID, EventID: t.EventID,
					TicketTypeID: t.TicketTypeID, Kind: t.Kind, OwnerID: t.OwnerID, Cause: d.cause, At: now}})
		}
		after, parts, _ := d.settle()
		after.Status, after.Credited = d.status(), d.row.Credited+d.moved
		after.SeatsDue = d.row.SeatsDue || len(d.revoked) > 0
		after.UpdatedAt, after.Revision = now, d.row.Revision+1
		back, err := json.Marshal(d.givenBack)
		if err != nil {
			return nil, nil, err
		}
		swapped, err := json.Marshal(after.Exchange)
		if err != nil {
			return nil, nil, err
		}
		changes[i] = bun.Tuple([]any{after.ID, after.Status, after.Refunded, after.SeatsDue, after.Revision,
			string(back), after.Credited, string(swapped)})
		for _, due := range d.dues(parts) {
			if due.RefundID != "" {
				refunds = append(refunds, newRefund(due, now))
			}
			if due.Amount.Amount > 0 {
				events = append(events, stream.Message{Subject: api.OrderRefundDue.Subject, Payload: due})
			}
		}
		switch after.Status {
		case api.OrderCancelled:
			events = append(events, stream.Message{Subject: api.OrderWasCancelled.Subject,
				Payload: api.OrderEvent{Order: after.order(), Quiet: d.cause == api.RevokedByExchange}})
		case api.OrderRefunded:
			events = append(events, stream.Message{Subject: api.OrderWasRefunded.Subject,
				Payload: api.OrderEvent{Order: after.order()}})
		}
	}
	// Both databases name the columns of VALUES so.
	_, err := tx.ExecContext(ctx, `UPDATE orders SET status = v.column2, refunded = v.column3, seats_due = v.column4, revision = v.column5,
		given_back = v.column6, credited = v.column7, exchange = v.column8, updated_at = ?
		FROM (VALUES ?) AS v WHERE orders.id = v.column1`, now, bun.List(changes))
	if err != nil {
		return nil, nil, err
	}
	if len(refunds) > 0 {
		if _, err := tx.NewInsert().Model(&refunds).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(
			ctx); err != nil {
			return nil, nil, err
		}
	}
	if len(revoked) > 0 {
		if _, err := tx.ExecContext(ctx, "UPDATE tickets SET status = ? WHERE id IN (?)", api.TicketRevoked,
			bun.List(revoked)); err != nil {
			return nil, nil, err
		}
	}
	if err := addCredit(ctx, tx, decisions, notes, now); err != nil {
		return nil, nil, err
	}
	return returned, changed, stream.AddAll(ctx, tx, events...)
}
