package ticketing

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// exchange is what an order has whose tickets replace those of another.
type exchange struct {
	Tickets []ids.Ticket `json:"tickets,omitempty"` // of the other
	Worth   int64        `json:"worth,omitempty"`   // what was paid for them
	Credits []credit     `json:"credits,omitempty"` // what of that pays this order
}

// credit is money of a payment that pays a part of an order.
type credit struct {
	Payment ids.Payment `json:"payment"`
	Amount  int64       `json:"amount"`
	Back    int64       `json:"back,omitempty"` // what of it goes back, or pays a further order
}

// sum is how much the credits are together, and how much of them is left.
func (x exchange) sum() (all, left int64) {
	for _, c := range x.Credits {
		all += c.Amount
		left += c.Amount - c.Back
	}
	return all, left
}

// toPay is what the order costs beside its credits.
func (r orderRow) toPay() int64 {
	all, _ := r.Exchange.sum()
	return r.Total - all
}

// isPaidBy reports whether a payment has paid the order, or a part of it by a credit.
func (r orderRow) isPaidBy(p ids.Payment) bool {
	return r.PaymentID == p || slices.ContainsFunc(r.Exchange.Credits, func(c credit) bool { return c.Payment == p })
}

// showExchange adds to an order what it has of an exchange.
func (r orderRow) showExchange(o *api.Order) {
	if r.Credited > 0 {
		o.Credited = r.money(r.Credited)
	}
	if r.ExchangeOf == "" {
		return
	}
	o.ExchangeOf, o.Due = r.ExchangeOf, r.money(r.toPay())
	for _, c := range r.Exchange.Credits {
		of := api.OrderCredit{PaymentID: c.Payment, Amount: r.money(c.Amount)}
		if c.Back > 0 {
			of.Refunded = r.money(c.Back)
		}
		o.Credits = append(o.Credits, of)
	}
}

// portion is money of a payment.
type portion struct {
	payment ids.Payment
	amount  int64
}

// draw takes an amount out of what an order keeps: of its own payment first, then of those of its credits.
func (r *orderRow) draw(amount int64) (out []portion) {
	take := func(from ids.Payment, left int64) int64 {
		n := min(amount, left)
		if n <= 0 {
			return 0
		}
		amount -= n
		r.Refunded += n
		out = append(out, portion{from, n})
		return n
	}
	_, credits := r.Exchange.sum()
	take(r.PaymentID, r.Total-r.Refunded-credits)
	for i := range r.Exchange.Credits {
		c := &r.Exchange.Credits[i]
		c.Back += take(c.Payment, c.Amount-c.Back)
	}
	return out
}

// settle returns the order as it keeps money after the decision, what leaves of which payment, and what of which pays
// another order.
func (d *decision) settle() (after orderRow, back, moved []portion) {
	after = d.row
	after.Exchange.Credits = slices.Clone(after.Exchange.Credits)
	back = after.draw(d.due.Amount.Amount - d.moved)
	return after, back, after.draw(d.moved)
}

// dues are the refunds of a decision, one for each payment; the first has its id and its tickets. If no money leaves,
// there is that one alone, about nothing.
func (d *decision) dues(parts []portion) []api.RefundDue {
	if len(parts) == 0 {
		none := d.due
		none.Amount.Amount, none.Taxes = 0, nil
		return []api.RefundDue{none}
	}
	out := make([]api.RefundDue, len(parts))
	var given []int64
	for i, p := range parts {
		out[i] = d.due
		out[i].PaymentID, out[i].Amount.Amount = p.payment, p.amount
		if i > 0 {
			out[i].RefundID = ids.Derive[ids.RefundKind](d.due.RefundID.String(), p.payment.String())
			out[i].Tickets = nil
		}
		out[i].Taxes, given = price.Refund(d.due.Taxes, given, nil, p.amount)
	}
	return out
}

// errExchangeOver is an exchange whose old tickets are not there any more as they were.
var errExchangeOver = fault.New(fault.Conflict, "a ticket of the order was used, given away or refunded meanwhile")

// swap decides about the old order of one that is paid: its tickets are revoked, and what was paid for them pays the
// new one; the rest goes back. The new one learns which payments that money is of.
func swap(row *orderRow, old orderRow, valid []ticketRow) (*decision, error) {
	if old.Status != api.OrderPaid {
		return nil, errExchangeOver
	}
	tickets, err := chosen(returnable(old, valid), row.Exchange.Tickets)
	if err != nil {
		return nil, errExchangeOver
	}
	worth, _ := worth(old, tickets, api.CancellationPolicy{})
	if worth < row.Exchange.Worth {
		return nil, errExchangeOver
	}
	d := &decision{row: old, revoked: tickets, left: len(valid) - len(tickets), cause: api.RevokedByExchange,
		due: api.RefundDue{RefundID: exchangeRefund(row.ID), OrderID: old.ID, PaymentID: old.PaymentID,
			Amount: old.money(row.Exchange.Worth), Tickets: row.Exchange.Tickets, Reason: api.RefundExchanged}}
	pays, _ := row.Exchange.sum()
	d.moved = pays
	rates := make([]int64, len(old.Charges.Taxes))
	for _, t := range tickets {
		old.paidFor(t.Position, rates)
	}
	d.carryTax(rates)
	row.Exchange.draw(old, pays)
	return d, nil
}

// draw has so much of what the tickets cost pay the new order: by the payments of the old one that are left when the
// rest has gone back.
func (x *exchange) draw(old orderRow, pays int64) {
	d := decision{row: old, moved: pays}
	d.due.Amount.Amount = x.Worth
	_, _, moved := d.settle()
	x.Credits = nil
	for _, p := range moved {
		x.Credits = append(x.Credits, credit{Payment: p.payment, Amount: p.amount})
	}
}

// exchangeRefund is the id of the decision that an exchange makes about the old order.
func exchangeRefund(order ids.Order) ids.Refund {
	return ids.Derive[ids.RefundKind]("exchange", order.String())
}

// exchanged is what is published of an exchange, when the new order is paid.
func (d *decision) exchanged(order api.Order, now time.Time) stream.Message {
	return stream.Message{Subject: api.TicketsWereExchanged.Subject, Payload: api.ExchangeEvent{
		RefundID: d.due.RefundID, OrderID: d.row.ID, EventID: d.row.EventID, PaymentID: d.row.PaymentID,
		UserID: order.UserID, Tickets: d.due.Tickets, Credit: d.row.money(d.moved),
		Refund: d.row.money(d.due.Amount.Amount - d.moved), Order: order, At: now}}
}

// lockExchanged locks the old orders of exchanges that a transaction is to write, before anything else is locked, and
// decides about those whose new orders are paid at once. It returns those that cannot be, by their places.
func (db ticketStore) lockExchanged(ctx context.Context, tx tx, in []creation) (map[int]error, error) {
	var list []ids.Order
	for i := range in {
		if in[i].swap = nil; in[i].row.ExchangeOf != "" {
			list = append(list, in[i].row.ExchangeOf)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	old, err := db.exchangedOrders(ctx, tx, list)
	if err != nil {
		return nil, err
	}
	var there []struct {
		ID, ExchangeOf ids.Order
		Status         string
	}
	err = store.Select(ctx, tx, &there, "SELECT id, exchange_of, status FROM orders WHERE exchange_of IN (?)",
		store.List(list))
	if err != nil {
		return nil, err
	}
	known, waiting := map[ids.Order]bool{}, map[ids.Order]bool{}
	for _, o := range there {
		known[o.ID] = true
		waiting[o.ExchangeOf] = waiting[o.ExchangeOf] || o.Status == api.OrderPending
	}
	refused := map[int]error{}
	for i := range in {
		row := &in[i].row
		switch {
		case row.ExchangeOf == "" || known[row.ID]: // an earlier run of this transaction
		case waiting[row.ExchangeOf]:
			refused[i] = errExchangeWaits
		default:
			waiting[row.ExchangeOf] = true
			d, err := old.swap(row)
			if err != nil {
				refused[i] = err
				continue
			}
			if in[i].free {
				in[i].swap = d
			}
		}
	}
	return refused, nil
}

var errExchangeWaits = fault.New(fault.Conflict,
	"another exchange of the order waits for its payment: pay or cancel it")

// exchangedOrders are old orders of exchanges, locked, with their tickets that are not revoked.
type exchangedOrders struct {
	rows    map[ids.Order]orderRow
	tickets map[ids.Order][]ticketRow
	used    map[ids.Order]bool // by an exchange of this transaction
}

func (db ticketStore) exchangedOrders(ctx context.Context, tx tx, list []ids.Order) (*exchangedOrders, error) {
	rows, err := db.orders(ctx, tx, list)
	if err != nil {
		return nil, err
	}
	out := &exchangedOrders{rows: rows}
	return out, out.readTickets(ctx, db, tx, list)
}

func (x *exchangedOrders) readTickets(ctx context.Context, db ticketStore, tx tx, list []ids.Order) error {
	x.tickets, x.used = map[ids.Order][]ticketRow{}, map[ids.Order]bool{}
	if len(list) == 0 {
		return nil
	}
	var tickets []ticketRow
	err := tx.NewRaw("SELECT * FROM tickets WHERE order_id IN (?) AND status <> ? ORDER BY order_id, position ?",
		bun.List(list), api.TicketRevoked, db.forUpdate()).Scan(ctx, &tickets)
	for _, t := range tickets {
		x.tickets[t.OrderID] = append(x.tickets[t.OrderID], t)
	}
	return err
}

// exchangedOf returns the old orders of the receipts that are for exchanges; the transaction has locked all rows.
func (db ticketStore) exchangedOf(
	ctx context.Context, tx tx, in []receipt, rows map[ids.Order]orderRow,
) (*exchangedOrders, error) {
	var list []ids.Order
	for _, r := range in {
		if r.swaps != "" {
			list = append(list, r.swaps)
		}
	}
	out := &exchangedOrders{rows: rows}
	return out, out.readTickets(ctx, db, tx, list)
}

// errExchangesMeet is for the second of two exchanges of an order that are paid in one transaction: it is tried again.
var errExchangesMeet = fault.New(fault.Unavailable, "another exchange of the order is paid at this moment")

// swap is that of the row with its old order.
func (x *exchangedOrders) swap(row *orderRow) (*decision, error) {
	old, ok := x.rows[row.ExchangeOf]
	switch {
	case !ok:
		return nil, errExchangeOver
	case x.used[old.ID]:
		return nil, errExchangesMeet
	}
	d, err := swap(row, old, x.tickets[old.ID])
	if err == nil {
		x.used[old.ID] = true
	}
	return d, err
}

// revokeWith writes the decisions about old orders, whose seats and marks go with those of the tickets that are issued:
// all transactions take them in one order.
func (db ticketStore) revokeWith(
	ctx context.Context, tx tx, issue *issuing, swaps []decision, notes *invoices.Batch, now time.Time,
) error {
	returned, changed, err := db.writeDecisions(ctx, tx, swaps, notes, now)
	for t, n := range returned {
		issue.sold[t] -= n
	}
	issue.revoked = changed
	return err
}

// setCredits writes which payments the credits of an order are of.
func setCredits(ctx context.Context, tx tx, row orderRow) error {
	text, err := json.Marshal(row.Exchange)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE orders SET exchange = ? WHERE id = ?", string(text), row.ID)
	return err
}
