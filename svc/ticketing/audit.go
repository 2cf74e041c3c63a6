package ticketing

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

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
	f := Finding{Check: "orders: the inventory has sold to exactly those that are paid, and holds only for those that are pending"}
	kept := map[ids.Order]string{}
	ledger.Orders(func(ref inventory.Ref, e inventory.Entry) { kept[ref.Order] = e.State })
	err := eachOrder(ctx, db, func(id ids.Order, status string) {
		f.Compared++
		state := kept[id]
		delete(kept, id)
		if (status == api.OrderPaid) != (state == inventory.Sold) || state == inventory.Held && status != api.OrderPending {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s is %s and the inventory says %q", id, status, state))
		}
	})
	for _, id := range sortedKeys(kept) {
		if kept[id] == inventory.Sold { // a hold without an order expires by itself
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has seats and does not exist", id))
		}
	}
	return f, err
}

func eachOrder(ctx context.Context, db storage, f func(ids.Order, string)) error {
	rows, err := db.Read().QueryContext(ctx, "SELECT id, status FROM orders")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id ids.Order
		var status string
		if err := rows.Scan(&id, &status); err != nil {
			return err
		}
		f(id, status)
	}
	return rows.Err()
}

// auditTickets compares the tickets with the orders.
func auditTickets(ctx context.Context, db storage, _ *inventory.Ledger) (Finding, error) {
	f := Finding{Check: "tickets: a paid order has exactly its tickets, any other has none"}
	var rows []orderRow
	if err := db.Read().NewRaw("SELECT id, status, items FROM orders").Scan(ctx, &rows); err != nil {
		return f, err
	}
	var counts []struct {
		OrderID ids.Order
		N       int
	}
	err := db.Read().NewRaw("SELECT order_id, COUNT(*) AS n FROM tickets WHERE status <> 'revoked' GROUP BY order_id").Scan(ctx, &counts)
	if err != nil {
		return f, err
	}
	issued := make(map[ids.Order]int, len(counts))
	for _, c := range counts {
		issued[c.OrderID] = c.N
	}
	for _, r := range rows {
		f.Compared++
		want := 0
		if r.Status == api.OrderPaid {
			for _, l := range r.lines() {
				want += l.N
			}
		}
		if issued[r.ID] != want {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s is %s and has %d tickets, want %d", r.ID, r.Status, issued[r.ID], want))
		}
		delete(issued, r.ID)
	}
	for _, id := range sortedKeys(issued) {
		f.Broken = append(f.Broken, fmt.Sprintf("%d tickets belong to order %s, which does not exist", issued[id], id))
	}
	return f, nil
}

// Paid is an order that money has paid for.
type Paid struct {
	OrderID   ids.Order
	PaymentID ids.Payment
	Total     api.Money
}

// Receipts returns the paid orders that cost something.
func Receipts(ctx context.Context, db *store.DB) ([]Paid, error) {
	var rows []struct {
		ID        ids.Order
		PaymentID ids.Payment
		Total     int64
		Currency  string
	}
	err := db.Read().NewRaw("SELECT id, payment_id, total, currency FROM orders WHERE status = 'paid' AND total > 0").Scan(ctx, &rows)
	out := make([]Paid, len(rows))
	for i, r := range rows {
		out[i] = Paid{OrderID: r.ID, PaymentID: r.PaymentID, Total: api.Money{Amount: r.Total, Currency: r.Currency}}
	}
	return out, err
}
