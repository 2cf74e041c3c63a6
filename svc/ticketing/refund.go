package ticketing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/products"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// decideRefund revokes tickets of a paid order and says how much of its money goes back, for a manager of the event.
// The payment service carries it out.
func (s *Service) decideRefund(ctx context.Context, req *api.RefundOrder) (*api.RefundDue, error) {
	row, err := s.db.order(ctx, req.OrderID)
	if err != nil {
		return nil, err
	}
	if _, err := s.offerAs(ctx, row.EventID, api.MayRefund); err != nil {
		return nil, err
	}
	var check fault.Check
	text.CheckLine(&check, "reason", req.Reason, 0, 200)
	check.Field(len(req.Tickets) <= sweepSize, "tickets", "must be at most %d", sweepSize)
	if err := check.Err(); err != nil {
		return nil, err
	}
	if req.Reason == "" {
		req.Reason = api.RefundByOrganizer
	}
	most := int64(api.RefundStepUp.Get(s.live))
	if most == 0 || rpc.Caller(ctx).Fresh {
		most = math.MaxInt64
	}
	due, err := s.db.refund(ctx, req, most, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	s.metrics.refunds.Inc()
	s.publishChanges(req.OrderID)
	s.returnSeats(ctx, req.OrderID)
	return &due, nil
}

// moreThan is the fault of a caller who would give more money back in a day than goes without a fresh proof of a
// person.
func moreThan(ctx context.Context, most int64) error {
	if !rpc.Caller(ctx).IsKey() {
		return rpc.StepUpNeeded()
	}
	return fault.New(fault.Forbidden, "a key gives back less money in a day; a person has to do this").
		About("amount", fmt.Sprintf("must be at most %d for a key", most))
}

// sumOfDay adds an amount to what the caller has given back in the day, and returns the sum.
func sumOfDay(ctx context.Context, tx tx, amount api.Money, now time.Time) (sum int64, err error) {
	err = tx.NewRaw(`INSERT INTO refund_days AS d (caller, day, currency, amount) VALUES (?, ?, ?, ?)
		ON CONFLICT (caller, day, currency) DO UPDATE SET amount = d.amount + excluded.amount RETURNING amount`,
		rpc.Caller(ctx).ID(), now.UTC().Truncate(24*time.Hour), amount.Currency, amount.Amount).Scan(ctx, &sum)
	return sum, err
}

// reversalOf is the id of the refund by which a sale is taken back, here or at a venue.
func reversalOf(order ids.Order) ids.Refund {
	return ids.Derive[ids.RefundKind]("reversal", order.String())
}

// decision is what is taken back of a paid order.
type decision struct {
	row     orderRow
	revoked []ticketRow
	left    int // tickets that stay valid
	due     api.RefundDue
	cause   string // of the revocations, as api.TicketEvent has it
	moved   int64  // what of the amount does not leave, because it pays another order

	givenBack []int64 // of the gross of each rate, with this
}

// decide checks a request against the order and its valid tickets.
func decide(row orderRow, tickets []ticketRow, req *api.RefundOrder) (decision, error) {
	switch {
	case row.Status != api.OrderPaid:
		return decision{}, fault.New(fault.Conflict, "the order is %s", row.Status)
	case !row.isPaidBy(req.PaymentID):
		return decision{}, fault.New(fault.Conflict, "the order was paid by another payment")
	}
	remaining := row.Total - row.Refunded
	if remaining == 0 && (req.Amount != nil || req.KeepTickets) {
		return decision{}, fault.New(fault.Conflict, "all of the money has been given back")
	}
	var check fault.Check
	check.Field(len(req.Tickets) == 0 || req.Amount == nil, "amount", "must not be given together with tickets")
	check.Field(len(req.Tickets) == 0 || !req.KeepTickets, "keep_tickets", "must not be true when tickets are named")
	if req.Amount != nil {
		check.Field(req.Amount.Currency == row.Currency, "amount.currency", "must be %s, as it was paid", row.Currency)
		check.Field(req.Amount.Amount > 0, "amount.amount", "must be greater than 0")
		check.Field(req.Amount.Amount <= remaining, "amount.amount", "must be at most %d, which is left", remaining)
	}
	if err := check.Err(); err != nil {
		return decision{}, err
	}
	all := decideAll(row, tickets, req.RefundID, req.Reason)
	switch {
	case req.KeepTickets, req.Amount != nil && req.Amount.Amount < remaining:
		if req.Amount != nil {
			all.due.Amount = *req.Amount
		}
		all.revoked, all.left, all.due.Tickets = nil, len(tickets), nil
		all.carryTax(nil)
		return all, nil
	case len(req.Tickets) == 0: // also when the amount is all that is left
		return all, nil
	}
	valid := make(map[ids.Ticket]ticketRow, len(tickets))
	for _, t := range tickets {
		valid[t.ID] = t
	}
	d := decision{row: row, due: all.due}
	d.due.Amount.Amount, d.due.Tickets = 0, nil
	rates := make([]int64, len(row.Charges.Taxes))
	for i, id := range req.Tickets {
		t, ok := valid[id]
		check.Field(ok, fieldName("tickets", i), "is no valid ticket of this order, or is named twice")
		if !ok {
			continue
		}
		delete(valid, id)
		d.revoked = append(d.revoked, t)
		d.due.Tickets = append(d.due.Tickets, id)
		d.due.Amount.Amount += row.paidFor(t.Position, rates)
	}
	if err := check.Err(); err != nil {
		return decision{}, err
	}
	// What came with them goes with them.
	named := len(d.revoked)
	d.revoked = products.With(row.Items, d.revoked, tickets)
	for _, t := range d.revoked[named:] {
		d.due.Tickets = append(d.due.Tickets, t.ID)
		d.due.Amount.Amount += row.paidFor(t.Position, rates)
	}
	d.left = len(tickets) - len(d.revoked)
	d.due.Amount.Amount = min(d.due.Amount.Amount, remaining)
	if d.left == 0 {
		d.due.Amount.Amount = remaining
	}
	d.carryTax(rates)
	return d, nil
}

// decideAll takes back all that is left of an order.
func decideAll(row orderRow, tickets []ticketRow, id ids.Refund, reason string) decision {
	d := decision{row: row, revoked: tickets,
		due: api.RefundDue{RefundID: id, OrderID: row.ID, PaymentID: row.PaymentID,
			Amount: row.money(row.Total - row.Refunded), Reason: reason}}
	for _, t := range tickets {
		d.due.Tickets = append(d.due.Tickets, t.ID)
	}
	d.carryTax(nil)
	return d
}

// status is that of the order after the decision.
func (d decision) status() string {
	switch {
	case d.left > 0:
		return api.OrderPaid
	case d.row.Total == 0:
		return api.OrderCancelled
	case d.due.Amount.Amount == 0 && d.row.Refunded == 0: // the organizer keeps all of its money
		return api.OrderCancelled
	case d.due.Amount.Amount == d.moved: // its money went back before, or pays another order
		return api.OrderRefunded
	}
	return api.OrderRefunding
}

// returnSeats tells the inventory what orders keep after their tickets were revoked. What fails is found by the sweep:
// SQL remembers it.
func (s *Service) returnSeats(ctx context.Context, orders ...ids.Order) {
	if err := s.tryReturnSeats(ctx, orders...); err != nil {
		s.log.InfoContext(ctx, "seats will come back later", "error", err)
	}
}

func (s *Service) tryReturnSeats(ctx context.Context, orders ...ids.Order) error {
	if len(orders) == 0 {
		return nil
	}
	all, err := s.db.remainingSeats(ctx, orders...)
	if err != nil {
		return err
	}
	list := slices.Collect(maps.Values(all))
	errs := make([]error, len(list))
	// at the same time, so that they share a batch
	together(list, func(i int, k remaining) { errs[i] = s.updateSeats(ctx, k) })
	var done []orderRow
	for i, k := range list {
		if errs[i] == nil {
			done = append(done, k.row)
		}
	}
	return errors.Join(errors.Join(errs...), s.db.markUpdated(ctx, done))
}

// updateSeats tells the inventory what an order keeps. An order that was paid at once may still be held there: what it
// does not keep must not be confirmed afterwards. An event without a pool needs nothing: it is over, or its pool will
// be made from SQL.
func (s *Service) updateSeats(ctx context.Context, k remaining) error {
	err := s.keepSeats(ctx, k)
	if errors.Is(err, inventory.ErrNoPool) {
		return nil
	}
	return err
}

func (s *Service) keepSeats(ctx context.Context, k remaining) error {
	if len(k.lines) == 0 && len(k.given) > 0 {
		return s.inv.ReturnLeased(ctx, k.row.ref(), k.given)
	}
	if len(k.lines) == 0 {
		return s.inv.Return(ctx, k.row.ref())
	}
	if k.row.paidAtOnce() {
		if err := s.inv.Confirm(ctx, k.row.ref()); err != nil && !errors.Is(err, inventory.ErrGone) {
			return err
		}
	}
	return s.inv.Reduce(ctx, k.row.ref(), k.lines)
}

// refundEvent gives back the money of every paid order of a cancelled event, page by page. Interrupted, it goes on
// where it was.
func (s *Service) refundEvent(ctx context.Context, event ids.Event) error {
	for {
		done, err := s.db.refundEvent(ctx, event, sweepSize, store.Time(s.now()))
		if err != nil || len(done) == 0 {
			return err
		}
		s.metrics.refunds.Add(len(done))
		s.publishChanges(done...)
		s.returnSeats(ctx, done...)
	}
}

// cancelFree gives a paid order back that cost nothing.
func (s *Service) cancelFree(ctx context.Context, id ids.Order) (*api.Order, error) {
	row, err := s.db.cancelFree(ctx, id, false, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	s.publishChanges(id)
	s.returnSeats(ctx, id)
	order := row.order()
	return &order, nil
}

// closePayments ends the open payments of orders at their providers, and returns those that nobody can pay any more.
// Seats are not given to others while the money for them may still come.
func (s *Service) closePayments(ctx context.Context, orders []ids.Order) (map[ids.Order]bool, error) {
	resp, err := rpc.Call(ctx, s.client, api.ClosePayments, &api.OrdersToClose{OrderIDs: orders})
	if err != nil {
		return nil, err
	}
	closed := make(map[ids.Order]bool, len(resp.OrderIDs))
	for _, id := range resp.OrderIDs {
		closed[id] = true
	}
	return closed, nil
}

// seatsDue returns orders after the given one whose revoked tickets the inventory still counts as sold.
func (db ticketStore) seatsDue(ctx context.Context, after ids.Order, limit int) ([]ids.Order, error) {
	var list []ids.Order
	err := db.Read().NewRaw("SELECT id FROM orders WHERE seats_due AND id > ? ORDER BY id LIMIT ?", after,
		limit).Scan(ctx, &list)
	return list, err
}

// remaining is an order with the lines of the seats that it has after its refunds.
type remaining struct {
	row   orderRow
	lines []inventory.Line
	given []inventory.Take // that go back to leases
}

// remainingSeats returns what orders have.
func (db ticketStore) remainingSeats(ctx context.Context, id ...ids.Order) (map[ids.Order]remaining, error) {
	rows, err := db.orders(ctx, db.Read(), id) // before the tickets: a newer revision is noticed by settled
	if err != nil {
		return nil, err
	}
	out := make(map[ids.Order]remaining, len(rows))
	for id, row := range rows {
		out[id] = remaining{row: row}
	}
	var counts []struct {
		OrderID      ids.Order
		TicketTypeID ids.TicketType
		N            int
	}
	err = db.Read().NewRaw(
		"SELECT order_id, ticket_type_id, COUNT(*) AS n FROM tickets WHERE order_id IN (?) AND ? GROUP BY order_id, "+
			"ticket_type_id",
		bun.List(id), bun.Safe(record.Seated)).Scan(ctx, &counts)
	for _, c := range counts {
		k := out[c.OrderID]
		k.lines = append(k.lines, inventory.Line{Type: c.TicketTypeID, N: c.N})
		out[c.OrderID] = k
	}
	if err != nil {
		return nil, err
	}
	given, err := db.givenBack(ctx, id)
	for order, takes := range given {
		k := out[order]
		k.given = takes
		out[order] = k
	}
	return out, err
}
