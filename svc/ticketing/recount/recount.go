// Package recount counts again what is kept as a sum of seats: what is sold and leased of ticket types, and what is
// sold of leases. The rows of tickets, leases and sales are what is true.
package recount

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// Counted are the sums of an event, and the rows of which they are the sums, with the tickets and sales counted.
type Counted struct {
	stock  []countedStock
	leases []countedLease
	seats  map[ids.TicketType]int // that tickets take
	sales  map[ids.Lease]int      // seats sold from each lease
}

type countedStock struct {
	TicketTypeID           ids.TicketType
	Capacity, Sold, Leased int
}

type countedLease struct {
	ID             ids.Lease
	TicketTypeID   ids.TicketType
	Quantity, Sold int
}

// Sums is how many sums there are.
func (c *Counted) Sums() int { return 2*len(c.stock) + len(c.leases) }

// mendLeases makes the sums of leases what they should be, and returns them. One that would have sold more than it had
// stays.
func (c *Counted) mendLeases() (mended []api.StockSum) {
	for i := range c.leases {
		l := &c.leases[i]
		if n := c.sales[l.ID]; n != l.Sold && n <= l.Quantity {
			mended = append(mended, api.StockSum{Lease: l.ID, What: api.StockSold, Was: l.Sold, Is: n})
			l.Sold = n
		}
	}
	return mended
}

// Wrong returns the sums that are not what they should be.
func (c *Counted) Wrong() []api.StockSum {
	all := []api.StockSum{}
	sales := maps.Clone(c.sales)
	for _, l := range c.leases {
		if n := sales[l.ID]; n != l.Sold {
			all = append(all, api.StockSum{Lease: l.ID, What: api.StockSold, Was: l.Sold, Is: n})
		}
		delete(sales, l.ID)
	}
	for _, l := range slices.Sorted(maps.Keys(sales)) { // that is not there
		all = append(all, api.StockSum{Lease: l, What: api.StockSold, Is: sales[l]})
	}
	differs := func(t ids.TicketType, what string, was, is int) {
		if was != is {
			all = append(all, api.StockSum{Type: t, What: what, Was: was, Is: is})
		}
	}
	seats, left := maps.Clone(c.seats), c.left()
	for _, row := range c.stock {
		differs(row.TicketTypeID, api.StockSold, row.Sold, seats[row.TicketTypeID])
		differs(row.TicketTypeID, api.StockLeased, row.Leased, left[row.TicketTypeID])
		delete(seats, row.TicketTypeID)
		delete(left, row.TicketTypeID)
	}
	for _, t := range slices.Sorted(maps.Keys(seats)) { // of which the fence knows nothing
		differs(t, api.StockSold, 0, seats[t])
	}
	for _, t := range slices.Sorted(maps.Keys(left)) {
		differs(t, api.StockLeased, 0, left[t])
	}
	return all
}

// left is what leases have left.
func (c *Counted) left() map[ids.TicketType]int {
	left := map[ids.TicketType]int{}
	for _, l := range c.leases {
		left[l.TicketTypeID] += l.Quantity - l.Sold
	}
	return left
}

// countStock reads what Counted has.
func countStock(ctx context.Context, q bun.IDB, event ids.Event) (*Counted, error) {
	c := &Counted{seats: map[ids.TicketType]int{}, sales: map[ids.Lease]int{}}
	err := q.NewRaw(
		"SELECT ticket_type_id, capacity, sold, leased FROM stock WHERE event_id = ? ORDER BY ticket_type_id",
		event).Scan(ctx, &c.stock)
	if err != nil {
		return nil, err
	}
	err = q.NewRaw("SELECT id, ticket_type_id, quantity, sold FROM leases WHERE event_id = ? ORDER BY id",
		event).Scan(ctx, &c.leases)
	if err != nil {
		return nil, err
	}
	var seats []struct {
		TicketTypeID ids.TicketType
		N            int
	}
	err = q.NewRaw(
		"SELECT ticket_type_id, COUNT(*) AS n FROM tickets WHERE event_id = ? AND ? GROUP BY ticket_type_id",
		event, bun.Safe(record.Seated)).Scan(ctx, &seats)
	if err != nil {
		return nil, err
	}
	for _, s := range seats {
		c.seats[s.TicketTypeID] = s.N
	}
	var sales []struct{ Sale line.Sale }
	err = q.NewRaw("SELECT sale FROM venue_sales WHERE event_id = ? AND state = 'leased'", event).Scan(ctx, &sales)
	for _, s := range sales {
		for _, l := range s.Sale.Lines {
			c.sales[l.LeaseID] += l.Quantity
		}
	}
	return c, err
}

// Read counts as of one moment, which holds nobody up.
func Read(ctx context.Context, db *store.DB, event ids.Event) (*Counted, error) {
	var opts sql.TxOptions
	if db.Postgres() {
		opts = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := db.Read().BeginTx(ctx, &opts)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	return countStock(ctx, tx, event)
}

// Mend makes the sums of an event anew, as far as they are possible, and returns those that were not what they
// should be. Leases are locked before the stock, as those do who sell from them; whoever changes tickets, sales or
// leases changes the stock in the same transaction, and either has committed before the rows are counted, or adds to
// what is written here.
func Mend(ctx context.Context, db *store.DB, event ids.Event) (mended []api.StockSum, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		lock := bun.Safe("") // SQLite needs none: it has one writer
		if db.Postgres() {
			lock = "FOR UPDATE"
		}
		var locked []string
		for _, query := range []string{"SELECT id FROM leases WHERE event_id = ? ORDER BY id ?",
			"SELECT ticket_type_id FROM stock WHERE event_id = ? ORDER BY ticket_type_id ?"} {
			if err := tx.NewRaw(query, event, lock).Scan(ctx, &locked); err != nil {
				return err
			}
		}
		c, err := countStock(ctx, tx, event)
		if err != nil {
			return err
		}
		sums := c.mendLeases()
		for _, l := range sums {
			if _, err := tx.ExecContext(ctx, "UPDATE leases SET sold = ? WHERE id = ?", l.Is, l.Lease); err != nil {
				return err
			}
		}
		left := c.left()
		for _, row := range c.stock {
			t, sold, leased := row.TicketTypeID, c.seats[row.TicketTypeID], left[row.TicketTypeID]
			if sold == row.Sold && leased == row.Leased || sold+leased > row.Capacity {
				continue
			}
			if sold != row.Sold {
				sums = append(sums, api.StockSum{Type: t, What: api.StockSold, Was: row.Sold, Is: sold})
			}
			if leased != row.Leased {
				sums = append(sums, api.StockSum{Type: t, What: api.StockLeased, Was: row.Leased, Is: leased})
			}
			if _, err := tx.ExecContext(ctx, "UPDATE stock SET sold = ?, leased = ? WHERE ticket_type_id = ?", sold,
				leased, t); err != nil {
				return err
			}
		}
		if len(sums) == 0 { // done by an earlier run, which has its line, or nothing can be done
			return nil
		}
		mended = sums
		was, is := map[string]int{}, map[string]int{}
		for _, sum := range sums {
			was[sum.Name()], is[sum.Name()] = sum.Was, sum.Is
		}
		return auditlog.Add(ctx, tx, "ticketing", auditlog.Act{Object: event.String(), Event: event, Before: was,
			After: is})
	})
	return mended, err
}

// Next returns the first event after another that has stock, leases or tickets, or "".
func Next(ctx context.Context, db *store.DB, event ids.Event) (ids.Event, error) {
	var next ids.Event
	err := db.Read().NewRaw(`SELECT COALESCE(MIN(event_id), '') FROM (
			SELECT MIN(event_id) AS event_id FROM stock WHERE event_id > ?
			UNION ALL SELECT MIN(event_id) FROM leases WHERE event_id > ?
			UNION ALL SELECT MIN(event_id) FROM tickets WHERE event_id > ?) AS events`,
		event.String(), event.String(), event.String()).Scan(ctx, &next)
	return next, err
}
