// Package audit proves that orders, tickets, stock and the inventory agree, from the rows and the stream alone.
package audit

import (
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"

	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

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
	Pending  []string // where it does not hold yet: something is on its way, for less than a minute
}

// OnItsWay is how long something may be on its way between the inventory and SQL, in either direction.
const OnItsWay = time.Minute

// Run proves that seats, orders and tickets agree: the inventory with itself at every revision it still has, the fence
// with the inventory, the orders with what the inventory holds and has sold, and the tickets with the orders.
//
// On a running system an order that has just changed may be on its way between the inventory and SQL: that is pending.
// What is found broken should be looked at again a moment later: only what stays is broken.
func Run(ctx context.Context, db *store.DB, js jetstream.JetStream) ([]Finding, error) {
	ledger, err := inventory.Audit(ctx, js)
	if err != nil {
		return nil, err
	}
	return Compare(ctx, db, ledger)
}

// Compare is Run with what the inventory was found to be.
func Compare(ctx context.Context, db *store.DB, ledger *inventory.Ledger) ([]Finding, error) {
	r, err := readRecords(ctx, db)
	if err != nil {
		return nil, err
	}
	if err := r.readRetired(ctx, db, ledger); err != nil {
		return nil, err
	}
	orders, moving := r.auditOrders(ledger)
	return []Finding{
		{Check: "inventory: at every revision, held and sold are the sums over the orders and leased is that " +
			"over the leases, within capacity and quotas, and codes are used as often as orders use them, and " +
			"may",
			Compared: ledger.Checked, Broken: ledger.Broken},
		r.auditStock(ledger, moving), orders, r.auditTickets(), r.auditExchanges(),
		r.auditLeases(ledger), r.auditDoors(), r.auditFence(),
	}, nil
}

// records are what SQL says at one moment.
type records struct {
	stock  []stockRow
	orders []orderRow
	leases []leaseRow
	doors  doorRecords

	leaseSales map[ids.Lease]int // seats sold from each lease, by the sales

	retired map[ids.Event]bool // over for so long that the inventory does not keep them any more

	valid, revoked ticketCounts
	// that take a seat: the valid ones, and those that were admitted before they were revoked
	seated ticketCounts
}

// orderRow is what an audit reads of an order.
type orderRow struct {
	ID      ids.Order
	EventID ids.Event
	Status  string
	Items   []api.OrderItem
	Charges struct {
		Fees  []api.OrderFee `json:"fees"`
		Taxes []api.TaxTotal `json:"taxes"`
	} `bun:"type:text"`

	PromoCodeID ids.PromoCode

	exchanged
	Total     int64
	Refunded  int64
	Fee       int64 // that the organizer keeps of tickets that were given back
	PaidAt    *time.Time
	UpdatedAt time.Time
}

type stockRow struct {
	TicketTypeID ids.TicketType
	EventID      ids.Event
	Sold         int
	Leased       int
}

// ticketCounts are numbers of tickets by order and type.
type ticketCounts map[ids.Order]map[ids.TicketType]int

func readRecords(ctx context.Context, db *store.DB) (*records, error) {
	var opts sql.TxOptions
	if db.Postgres() {
		opts = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := db.Read().BeginTx(ctx, &opts) // on SQLite the first read fixes what all see
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	var r records
	if err := tx.NewRaw("SELECT ticket_type_id, event_id, sold, leased FROM stock").Scan(ctx, &r.stock); err != nil {
		return nil, err
	}
	err = tx.NewRaw(`SELECT id, event_id, status, items, charges, promo_code_id, total, refunded, fee, paid_at, updated_at,
		exchange_of, exchange, credited FROM orders`).Scan(ctx, &r.orders)
	if err != nil {
		return nil, err
	}
	if err := r.readLeases(ctx, tx); err != nil {
		return nil, err
	}
	if err := r.readDoors(ctx, tx); err != nil {
		return nil, err
	}
	return &r, r.countTickets(ctx, tx)
}

// readRetired finds the events that the inventory has retired.
func (r *records) readRetired(ctx context.Context, db *store.DB, ledger *inventory.Ledger) error {
	r.retired = map[ids.Event]bool{}
	for _, row := range r.stock {
		if _, known := r.retired[row.EventID]; known || ledger.Has(row.EventID) {
			continue
		}
		over, err := offers.IsOver(ctx, db, row.EventID, ledger.ReadAt)
		if err != nil {
			return err
		}
		r.retired[row.EventID] = over
	}
	return nil
}

// auditStock compares the fence with the inventory. moving is by how much SQL is ahead because of orders on their way.
func (r *records) auditStock(ledger *inventory.Ledger, moving map[ids.TicketType]int) Finding {
	f := Finding{Check: "stock: what SQL counts as sold is what the inventory has sold"}
	sold := ledger.Sold()
	for _, row := range r.stock {
		if r.retired[row.EventID] {
			continue
		}
		f.Compared++
		switch ahead := row.Sold - sold[row.TicketTypeID]; {
		case ahead != moving[row.TicketTypeID]:
			f.Broken = append(f.Broken,
				fmt.Sprintf("ticket type %s: SQL says %d sold, the inventory %d", row.TicketTypeID, row.Sold,
					sold[row.TicketTypeID]))
		case ahead != 0:
			f.Pending = append(f.Pending,
				fmt.Sprintf("ticket type %s: SQL says %d sold, the inventory %d", row.TicketTypeID, row.Sold,
					sold[row.TicketTypeID]))
		}
		delete(sold, row.TicketTypeID)
	}
	for _, t := range slices.Sorted(maps.Keys(sold)) {
		f.Broken = append(f.Broken, fmt.Sprintf("ticket type %s: SQL knows nothing of %d sold", t, sold[t]))
	}
	return f
}

// auditFence compares the fence with the tickets, of all events: both change in one transaction.
func (r *records) auditFence() Finding {
	f := Finding{Check: "fence: what the stock counts as sold is the number of tickets that take a seat"}
	seats := map[ids.TicketType]int{}
	for _, of := range r.seated {
		for t, n := range of {
			seats[t] += n
		}
	}
	for _, row := range r.stock {
		f.Compared++
		if n := seats[row.TicketTypeID]; n != row.Sold {
			f.Broken = append(f.Broken,
				fmt.Sprintf("ticket type %s: the stock says %d sold, and %d tickets take a seat", row.TicketTypeID,
					row.Sold, n))
		}
		delete(seats, row.TicketTypeID)
	}
	for _, t := range slices.Sorted(maps.Keys(seats)) {
		f.Broken = append(f.Broken, fmt.Sprintf("ticket type %s: the stock knows nothing of %d tickets", t, seats[t]))
	}
	return f
}

// auditOrders compares the orders with what the inventory keeps for them. It also returns by how much SQL is ahead of
// the inventory, by ticket type, because of orders on their way.
func (r *records) auditOrders(ledger *inventory.Ledger) (Finding, map[ids.TicketType]int) {
	f := Finding{
		Check: "orders: the inventory has sold to each order exactly the seats of its tickets, with the use of " +
			"its code, and holds only for those that are pending"}
	moving := map[ids.TicketType]int{}
	kept := map[ids.Order]inventory.Entry{}
	ledger.Orders(func(ref inventory.Ref, e inventory.Entry) { kept[ref.Order] = e })
	for _, row := range r.orders {
		if r.retired[row.EventID] {
			continue
		}
		f.Compared++
		e := kept[row.ID]
		delete(kept, row.ID)
		sold := map[ids.TicketType]int{}
		if e.State == inventory.Sold {
			for _, l := range e.Lines {
				sold[l.Type] += l.N
			}
		}
		want := r.seated[row.ID]
		sameCode := e.State == "" || e.Code == row.PromoCodeID
		if maps.Equal(sold, want) && sameCode && (e.State != inventory.Held || row.Status == api.OrderPending) {
			continue
		}
		text := fmt.Sprintf("order %s is %s with seats %v and code %q, and the inventory says %q %v %q", row.ID,
			row.Status, want, row.PromoCodeID, e.State, e.Lines, e.Code)
		changed := row.UpdatedAt
		if at := ledger.Changed(row.ID); at.After(changed) {
			changed = at
		}
		if ledger.ReadAt.Sub(changed) > OnItsWay {
			f.Broken = append(f.Broken, text)
			continue
		}
		f.Pending = append(f.Pending, text)
		for t, n := range want {
			moving[t] += n
		}
		for t, n := range sold {
			moving[t] -= n
		}
	}
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		if kept[id].State == inventory.Sold { // a hold without an order expires by itself
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has seats and does not exist", id))
		}
	}
	return f, moving
}

// countTickets reads the numbers of tickets.
func (r *records) countTickets(ctx context.Context, tx bun.Tx) error {
	var rows []struct {
		OrderID           ids.Order
		TicketTypeID      ids.TicketType
		Revoked, Admitted bool
		N                 int
	}
	err := tx.NewRaw(`SELECT order_id, ticket_type_id, status = 'revoked' AS revoked, admitted_at IS NOT NULL AS admitted,
		COUNT(*) AS n FROM tickets GROUP BY 1, 2, 3, 4`).Scan(ctx, &rows)
	r.valid, r.revoked, r.seated = ticketCounts{}, ticketCounts{}, ticketCounts{}
	for _, row := range rows {
		counts := r.valid
		if row.Revoked {
			counts = r.revoked
		}
		counts.add(row.OrderID, row.TicketTypeID, row.N)
		if !row.Revoked || row.Admitted {
			r.seated.add(row.OrderID, row.TicketTypeID, row.N)
		}
	}
	return err
}

func (c ticketCounts) add(order ids.Order, typ ids.TicketType, n int) {
	if c[order] == nil {
		c[order] = map[ids.TicketType]int{}
	}
	c[order][typ] += n
}

// auditTickets compares the tickets with the orders.
func (r *records) auditTickets() Finding {
	f := Finding{
		Check: "tickets: an order costs what its lines do, one that was paid has exactly its tickets, those whose " +
			"money went back are revoked, and no other order has any"}
	valid := maps.Clone(r.valid)
	for _, row := range r.orders {
		f.Compared++
		issued := map[ids.TicketType]int{}
		back, prices := int64(0), map[ids.TicketType]int64{}
		order := api.Order{Items: row.Items, Fees: row.Charges.Fees}
		for i, item := range row.Items {
			least := order.PaidFor(i, item.Quantity-1)
			if of, known := prices[item.TicketTypeID]; known { // a product was bought, and came with a ticket
				least = min(least, of)
			}
			prices[item.TicketTypeID] = least
		}
		for t, n := range valid[row.ID] {
			issued[t] += n
		}
		for t, n := range r.revoked[row.ID] {
			issued[t] += n
			back += prices[t] * int64(n)
		}
		want := map[ids.TicketType]int{}
		if row.PaidAt != nil {
			for _, item := range row.Items {
				want[item.TicketTypeID] += item.Quantity
			}
		}
		lines := int64(0)
		for _, item := range row.Items {
			lines += item.Gross()
		}
		for _, fee := range row.Charges.Fees {
			lines += fee.Gross()
		}
		switch {
		case lines != row.Total:
			f.Broken = append(f.Broken, fmt.Sprintf("order %s costs %d and its lines are %d", row.ID, row.Total, lines))
		case !maps.Equal(issued, want):
			f.Broken = append(f.Broken,
				fmt.Sprintf("order %s is %s and has tickets %v, want %v", row.ID, row.Status, issued, want))
		case (row.Status == api.OrderPaid) != (len(valid[row.ID]) > 0):
			f.Broken = append(f.Broken,
				fmt.Sprintf("order %s is %s and has valid tickets %v", row.ID, row.Status, valid[row.ID]))
		case row.Refunded+row.Fee < min(back, row.Total):
			f.Broken = append(f.Broken,
				fmt.Sprintf("order %s has revoked tickets for %d and %d goes back", row.ID, back, row.Refunded))
		}
		delete(valid, row.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(valid)) {
		f.Broken = append(f.Broken, fmt.Sprintf("tickets %v belong to order %s, which does not exist", valid[id], id))
	}
	return f
}

// Sale is what the ledger says of an event: all that was ever paid, refunded or not.
type Sale struct {
	EventID                   ids.Event
	Orders, Tickets, Admitted int64
	Revenue                   int64 // minor units
}

// Sales returns the sums of every event that has sold something.
func Sales(ctx context.Context, db *store.DB) ([]Sale, error) {
	var sales []Sale
	err := db.Read().NewRaw(`SELECT o.event_id, count(*) AS orders, sum(o.total) AS revenue, sum(t.tickets) AS tickets, sum(t.admitted) AS admitted
		FROM orders o JOIN (SELECT order_id, sum(CASE WHEN kind = '' THEN 1 ELSE 0 END) AS tickets,
		sum(CASE WHEN admitted_at IS NULL OR kind <> '' THEN 0 ELSE 1 END) AS admitted FROM tickets GROUP BY order_id) t
		ON t.order_id = o.id WHERE o.paid_at IS NOT NULL GROUP BY o.event_id`).Scan(ctx, &sales)
	return sales, err
}
