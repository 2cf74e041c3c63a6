package ticketing

import (
	"context"
	"database/sql"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// stockedAfter returns the first event after another that has been on sale, or "".
func (db ticketStore) stockedAfter(ctx context.Context, event ids.Event) (ids.Event, error) {
	var next ids.Event
	err := db.Read().NewRaw("SELECT COALESCE(MIN(event_id), '') FROM stock WHERE event_id > ?", event.String()).Scan(ctx, &next)
	return next, err
}

// hasOrders reports whether an event has orders that have, or had, seats.
func (db ticketStore) hasOrders(ctx context.Context, event ids.Event) (bool, error) {
	var found bool
	err := db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM orders WHERE event_id = ?)", event).Scan(ctx, &found)
	return found, err
}

// stockOf returns the quantities that the fence has for an event, and the newest revision among them.
func (db ticketStore) stockOf(ctx context.Context, event ids.Event) (revision int64, lines []inventory.Line, err error) {
	var rows []struct {
		TicketTypeID       ids.TicketType
		Capacity, Revision int64
	}
	err = db.Read().NewRaw("SELECT ticket_type_id, capacity, revision FROM stock WHERE event_id = ? ORDER BY ticket_type_id", event).Scan(ctx, &rows)
	for _, r := range rows {
		revision = max(revision, r.Revision)
		lines = append(lines, inventory.Line{Type: r.TicketTypeID, N: int(r.Capacity)})
	}
	return revision, lines, err
}

// seats returns, as of one moment, the orders of an event that should have seats, together with those that are known to
// the inventory, and the seats that the tickets of each order take. A known order that does not exist has an empty row.
func (db ticketStore) seats(ctx context.Context, event ids.Event, known []ids.Order) (map[ids.Order]orderRow, ticketCounts, error) {
	var opts sql.TxOptions
	if db.Postgres() {
		opts = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := db.Read().BeginTx(ctx, &opts)
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback()
	var counts []struct {
		OrderID      ids.Order
		TicketTypeID ids.TicketType
		N            int
	}
	err = tx.NewRaw("SELECT order_id, ticket_type_id, COUNT(*) AS n FROM tickets WHERE event_id = ? AND ? GROUP BY order_id, ticket_type_id",
		event, bun.Safe(seated)).Scan(ctx, &counts)
	if err != nil {
		return nil, nil, err
	}
	rows, seats := map[ids.Order]orderRow{}, ticketCounts{}
	for _, id := range known {
		rows[id] = orderRow{}
	}
	for _, c := range counts {
		if seats[c.OrderID] == nil {
			seats[c.OrderID] = map[ids.TicketType]int{}
		}
		seats[c.OrderID][c.TicketTypeID] = c.N
		rows[c.OrderID] = orderRow{}
	}
	const columns = "SELECT id, event_id, user_id, status, items, expires_at, updated_at FROM orders WHERE "
	var found []orderRow
	if err := tx.NewRaw(columns+"event_id = ? AND status = 'pending'", event).Scan(ctx, &found); err != nil {
		return nil, nil, err
	}
	for _, row := range found {
		rows[row.ID] = row
	}
	for some := range slices.Chunk(sortedKeys(rows), sweepSize) {
		if err := tx.NewRaw(columns+"id IN (?)", bun.List(some)).Scan(ctx, &found); err != nil {
			return nil, nil, err
		}
		for _, row := range found {
			rows[row.ID] = row
		}
	}
	return rows, seats, nil
}
