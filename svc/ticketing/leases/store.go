package leases

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// Row is a row of the table leases.
type Row struct {
	bun.BaseModel `bun:"table:leases,alias:leases"`

	ID           ids.Lease      `bun:"id,pk"`
	EventID      ids.Event      `bun:"event_id"`
	VenueID      ids.Venue      `bun:"venue_id"`
	TicketTypeID ids.TicketType `bun:"ticket_type_id"`
	State        string         `bun:"state"`
	Quantity     int            `bun:"quantity"` // seats that were leased and are not back, sold ones included
	Sold         int            `bun:"sold"`
	Target       int            `bun:"target"` // what Quantity shall be
	Moving       int            `bun:"moving"` // seats that the inventory is to move at this revision, if Due
	Due          bool           `bun:"due"`
	Seen         bool           `bun:"seen"`    // the venue may have heard of it
	Unknown      int            `bun:"unknown"` // seats that came back by force
	Revision     int64          `bun:"revision"`
	CreatedAt    time.Time      `bun:"created_at"`
	UpdatedAt    time.Time      `bun:"updated_at"`
}

// Left is how many seats the venue may still sell.
func (r *Row) Left() int { return r.Quantity - r.Sold }

// Lease returns the row as it is shown.
func (r *Row) Lease() api.Lease {
	return api.Lease{ID: r.ID, EventID: r.EventID, VenueID: r.VenueID, TicketTypeID: r.TicketTypeID, State: r.State,
		Quantity: r.Quantity, Sold: r.Sold, Left: r.Left(), Target: r.Target, Unknown: r.Unknown, Revision: r.Revision,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

// Get returns a lease, or a NotFound fault.
func (l *Leases) Get(ctx context.Context, id ids.Lease) (Row, error) {
	var row Row
	err := l.db.Read().NewRaw("SELECT * FROM leases WHERE id = ?", id).Scan(ctx, &row)
	return row, store.OrNotFound(err, noLease)
}

// lock returns a lease that the transaction keeps as it is.
func (l *Leases) lock(ctx context.Context, tx bun.Tx, id ids.Lease) (Row, error) {
	var row Row
	err := tx.NewRaw("SELECT * FROM leases WHERE id = ? ?", id, l.forUpdate()).Scan(ctx, &row)
	return row, store.OrNotFound(err, noLease)
}

// forUpdate ends a query whose rows the transaction keeps as they are.
func (l *Leases) forUpdate() bun.Safe {
	if l.db.Postgres() { // SQLite has one writer
		return "FOR UPDATE"
	}
	return ""
}

// note writes a line of the audit log about a lease.
func note(ctx context.Context, tx bun.Tx, before, after *Row) error {
	act := auditlog.Act{Object: after.ID.String(), Event: after.EventID, After: after.Lease(), At: after.UpdatedAt,
		Without: []string{"updated_at", "revision"}}
	if before != nil {
		act.Before = before.Lease()
	}
	return auditlog.Add(ctx, tx, "ticketing", act)
}

// write keeps a lease that the transaction has locked, as it is after a change, under its next revision.
func (l *Leases) write(ctx context.Context, tx bun.Tx, row *Row) error {
	row.Revision++
	row.UpdatedAt = store.Time(l.now())
	_, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx)
	return err
}

// insert keeps a new lease unless it is there. An event that has as many as the inventory remembers gets no more: a
// lease whose first move the inventory has neither made nor refused would be made later, when nobody asks for it.
func (l *Leases) insert(ctx context.Context, row *Row) error {
	return l.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var types []ids.TicketType // one opens leases of an event at a time
		err := tx.NewRaw("SELECT ticket_type_id FROM stock WHERE event_id = ? ORDER BY ticket_type_id ?", row.EventID,
			l.forUpdate()).Scan(ctx, &types)
		if err != nil {
			return err
		}
		var has struct{ This, All int }
		err = tx.NewRaw(`SELECT COUNT(CASE WHEN id = ? THEN 1 END) AS this, COUNT(*) AS "all" FROM leases
			WHERE event_id = ? AND (id = ? OR state <> 'closed' OR due OR updated_at > ?)`, row.ID, row.EventID, row.ID,
			store.Time(l.now().Add(-inventory.ClosedFor-time.Minute))).Scan(ctx, &has)
		switch {
		case err != nil || has.This > 0:
			return err
		case has.All >= inventory.MaxLeases:
			return inventory.ErrTooMany
		}
		res, err := tx.NewInsert().Model(row).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return note(ctx, tx, nil, row)
	})
}

// fence moves seats into or out of what the stock counts as leased.
func fence(ctx context.Context, tx bun.Tx, typ ids.TicketType, n int) error {
	if n == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE stock SET leased = leased + ? WHERE ticket_type_id = ?", n, typ)
	return err
}

// Of returns all leases of an event, newest first.
func (l *Leases) Of(ctx context.Context, event ids.Event) ([]Row, error) {
	var rows []Row
	err := l.db.Read().NewRaw("SELECT * FROM leases WHERE event_id = ? ORDER BY created_at DESC, id DESC",
		event).Scan(ctx, &rows)
	return rows, err
}

// Unclosed returns the leases of a venue that are not closed, or of which seats are still to be moved.
func (l *Leases) Unclosed(ctx context.Context, venue ids.Venue) ([]ids.Lease, error) {
	var list []ids.Lease
	err := l.db.Read().NewRaw("SELECT id FROM leases WHERE venue_id = ? AND (state <> 'closed' OR due) ORDER BY id",
		venue).Scan(ctx, &list)
	return list, store.FaultOf(ctx, err)
}

// due returns leases of which a move is due that was asked for before a time, at most limit of them after another.
func (l *Leases) due(ctx context.Context, before time.Time, after ids.Lease, limit int) ([]ids.Lease, error) {
	var list []ids.Lease
	err := l.db.Read().NewRaw("SELECT id FROM leases WHERE due AND updated_at < ? AND id > ? ORDER BY id LIMIT ?",
		before, after, limit).Scan(ctx, &list)
	return list, err
}
