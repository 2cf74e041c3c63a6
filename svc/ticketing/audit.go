package ticketing

import (
	"context"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// Finding is the outcome of one question of an audit.
type Finding struct {
	Check    string   // what must hold
	Compared int      // how many things were looked at
	Broken   []string // where it does not hold
}

// Audit proves that seats, orders and tickets agree: the inventory with itself at every revision it still has, the fence
// with the inventory, the orders with what the inventory holds and has sold, and the tickets with the orders.
//
// On a running system something may be on its way between the inventory and SQL. What is found broken should be looked
// at again a moment later: only what stays is broken.
func Audit(ctx context.Context, db *store.DB, js jetstream.JetStream) ([]Finding, error) {
	ledger, err := inventory.Audit(ctx, js)
	if err != nil {
		return nil, err
	}
	findings := []Finding{{Check: "inventory: at every revision, held and sold are the sums over the orders, within capacity",
		Compared: ledger.Checked, Broken: ledger.Broken}}
	for _, check := range []func(context.Context, storage, *inventory.Ledger) (Finding, error){auditStock, auditOrders, auditTickets} {
		f, err := check(ctx, storage{db}, ledger)
		if err != nil {
			return nil, err
		}
		findings = append(findings, f)
	}
	return findings, nil
}

// auditStock compares the fence with the inventory.
func auditStock(ctx context.Context, db storage, ledger *inventory.Ledger) (Finding, error) {
	f := Finding{Check: "stock: what SQL counts as sold is what the inventory has sold"}
	var rows []struct {
		TicketTypeID ids.TicketType
		Capacity     int
		Sold         int
	}
	if err := db.Read().NewRaw("SELECT ticket_type_id, capacity, sold FROM stock").Scan(ctx, &rows); err != nil {
		return f, err
	}
	sold := ledger.Sold()
	for _, r := range rows {
		f.Compared++
		if r.Sold != sold[r.TicketTypeID] {
			f.Broken = append(f.Broken, fmt.Sprintf("ticket type %s: SQL says %d sold, the inventory %d", r.TicketTypeID, r.Sold, sold[r.TicketTypeID]))
		}
		delete(sold, r.TicketTypeID)
	}
	for _, t := range sortedKeys(sold) {
		f.Broken = append(f.Broken, fmt.Sprintf("ticket type %s: SQL knows nothing of %d sold", t, sold[t]))
	}
	return f, nil
}

// auditOrders compares the orders with what the inventory keeps for them.
func auditOrders(ctx context.Context, db storage, ledger *inventory.Ledger) (Finding, error) {
	f := Finding{Check: "orders: the inventory has sold to each paid order exactly its valid tickets, and holds only for those that are pending"}
	rows, valid, err := ordersAndTickets(ctx, db)
	if err != nil {
		return f, err
	}
	kept := map[ids.Order]inventory.Entry{}
	ledger.Orders(func(ref inventory.Ref, e inventory.Entry) { kept[ref.Order] = e })
	for _, r := range rows {
		f.Compared++
		e := kept[r.ID]
		delete(kept, r.ID)
		if (r.Status == api.OrderPaid) != (e.State == inventory.Sold) || e.State == inventory.Held && r.Status != api.OrderPending {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s is %s and the inventory says %q", r.ID, r.Status, e.State))
			continue
		}
		if e.State != inventory.Sold {
			continue
		}
		sold := map[ids.TicketType]int{}
		for _, l := range e.Lines {
			sold[l.Type] += l.N
		}
		if !maps.Equal(sold, valid[r.ID]) {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has valid tickets %v and the inventory has sold it %v", r.ID, valid[r.ID], sold))
		}
	}
	for _, id := range sortedKeys(kept) {
		if kept[id].State == inventory.Sold { // a hold without an order expires by itself
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has seats and does not exist", id))
		}
	}
	return f, nil
}

// ordersAndTickets returns every order, and for each the number of its valid tickets by type.
func ordersAndTickets(ctx context.Context, db storage) ([]orderRow, map[ids.Order]map[ids.TicketType]int, error) {
	var rows []orderRow
	if err := db.Read().NewRaw("SELECT id, status, items, total, refunded, paid_at FROM orders").Scan(ctx, &rows); err != nil {
		return nil, nil, err
	}
	valid, err := countTickets(ctx, db, "status <> 'revoked'")
	return rows, valid, err
}

func countTickets(ctx context.Context, db storage, which string) (map[ids.Order]map[ids.TicketType]int, error) {
	var counts []struct {
		OrderID      ids.Order
		TicketTypeID ids.TicketType
		N            int
	}
	err := db.Read().NewRaw("SELECT order_id, ticket_type_id, COUNT(*) AS n FROM tickets WHERE ? GROUP BY order_id, ticket_type_id", bun.Safe(which)).Scan(ctx, &counts)
	out := map[ids.Order]map[ids.TicketType]int{}
	for _, c := range counts {
		if out[c.OrderID] == nil {
			out[c.OrderID] = map[ids.TicketType]int{}
		}
		out[c.OrderID][c.TicketTypeID] = c.N
	}
	return out, err
}

// auditTickets compares the tickets with the orders.
func auditTickets(ctx context.Context, db storage, _ *inventory.Ledger) (Finding, error) {
	f := Finding{Check: "tickets: an order that was paid has exactly its tickets, those whose money went back are revoked, and no other order has any"}
	rows, valid, err := ordersAndTickets(ctx, db)
	if err != nil {
		return f, err
	}
	revoked, err := countTickets(ctx, db, "status = 'revoked'")
	if err != nil {
		return f, err
	}
	for _, r := range rows {
		f.Compared++
		issued := map[ids.TicketType]int{}
		back := int64(0)
		for t, n := range valid[r.ID] {
			issued[t] += n
		}
		for t, n := range revoked[r.ID] {
			issued[t] += n
			back += r.price(t) * int64(n)
		}
		want := map[ids.TicketType]int{}
		if r.PaidAt != nil {
			for _, l := range r.lines() {
				want[l.Type] += l.N
			}
		}
		switch {
		case !maps.Equal(issued, want):
			f.Broken = append(f.Broken, fmt.Sprintf("order %s is %s and has tickets %v, want %v", r.ID, r.Status, issued, want))
		case (r.Status == api.OrderPaid) != (len(valid[r.ID]) > 0):
			f.Broken = append(f.Broken, fmt.Sprintf("order %s is %s and has valid tickets %v", r.ID, r.Status, valid[r.ID]))
		case r.Refunded < min(back, r.Total):
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has revoked tickets for %d and %d goes back", r.ID, back, r.Refunded))
		}
		delete(valid, r.ID)
	}
	for _, id := range sortedKeys(valid) {
		f.Broken = append(f.Broken, fmt.Sprintf("tickets %v belong to order %s, which does not exist", valid[id], id))
	}
	return f, nil
}

// Paid is what an order says about its money.
type Paid struct {
	OrderID   ids.Order
	EventID   ids.Event
	PaymentID ids.Payment
	Kept      api.Money // its total without what goes back; nothing, if it is not paid
}

// Receipts returns the orders that money has paid for, whatever became of them afterwards.
func Receipts(ctx context.Context, db *store.DB) ([]Paid, error) {
	var rows []struct {
		ID        ids.Order
		EventID   ids.Event
		PaymentID ids.Payment
		Total     int64
		Refunded  int64
		Currency  string
	}
	err := db.Read().NewRaw("SELECT id, event_id, payment_id, total, refunded, currency FROM orders WHERE paid_at IS NOT NULL AND total > 0").Scan(ctx, &rows)
	out := make([]Paid, len(rows))
	for i, r := range rows {
		out[i] = Paid{OrderID: r.ID, EventID: r.EventID, PaymentID: r.PaymentID, Kept: api.Money{Amount: r.Total - r.Refunded, Currency: r.Currency}}
	}
	return out, err
}
