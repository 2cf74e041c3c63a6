package closures

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/doors"
	"github.com/starlightsymphony/starlight/svc/ticketing/leases"
)

// Row is a row of the table closures.
type Row struct {
	bun.BaseModel `bun:"table:closures,alias:closures"`

	ID        ids.Closure `bun:"id,pk"`
	VenueID   ids.Venue
	Reason    string
	CreatedBy ids.User
	CreatedAt time.Time
	DoneAt    *time.Time
	Access    string
	ContactAt *time.Time
	Journal   int64
}

// begin writes a closure, or returns the one with its id, or the one of its venue that is not done.
func (c *Closures) begin(ctx context.Context, want Row) (row Row, err error) {
	err = c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewInsert().Model(&want).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n > 0 {
			err := auditlog.Add(ctx, tx, "ticketing", auditlog.Act{Object: want.VenueID.String(), At: want.CreatedAt,
				After: map[string]any{"closure": want.ID}})
			if err != nil {
				return err
			}
		}
		// an earlier run of this transaction may have written it
		return tx.NewRaw(`SELECT * FROM closures WHERE venue_id = ? AND (done_at IS NULL OR id = ?)
			ORDER BY id = ? DESC LIMIT 1`, want.VenueID, want.ID, want.ID).Scan(ctx, &row)
	})
	return row, err
}

// silent returns the last closure of a venue, and whether it is done and no computer of the venue was heard of since.
func (c *Closures) silent(ctx context.Context, venue ids.Venue) (row Row, silent bool, err error) {
	err = c.db.Read().NewSelect().Model(&row).Where("venue_id = ?", venue).Order("created_at DESC", "id DESC").
		Limit(1).Scan(ctx)
	if err = store.OrNotFound(err, "the venue was never closed"); err != nil || row.DoneAt == nil {
		if fault.Is(err, fault.NotFound) {
			err = nil
		}
		return row, false, err
	}
	now, err := lastHeard(ctx, c.db.Read(), venue)
	switch {
	case err != nil:
		return row, false, store.FaultOf(ctx, err)
	case len(now) == 0:
		return row, row.ContactAt == nil, nil
	}
	return row, row.ContactAt != nil && row.ContactAt.Equal(now[0].ContactAt), nil
}

// contact is when the computer of a venue was heard of, and how far its journal was.
type contact struct {
	Number    int64
	ContactAt time.Time
}

// lastHeard returns the last contact of a venue, if there was one.
func lastHeard(ctx context.Context, from bun.IDB, venue ids.Venue) (last []contact, err error) {
	err = from.NewRaw("SELECT number, contact_at FROM journals WHERE venue_id = ? ORDER BY contact_at DESC LIMIT 1",
		venue).Scan(ctx, &last)
	return last, err
}

// cutOff writes that the computer can connect no more. What it has said until then is all that is known.
func (c *Closures) cutOff(ctx context.Context, row Row, access string) error {
	return c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		last, err := lastHeard(ctx, tx, row.VenueID)
		if err != nil {
			return err
		}
		q := tx.NewUpdate().Model((*Row)(nil)).Set("access = ?", access).Where("id = ?", row.ID)
		if len(last) > 0 {
			q = q.Set("contact_at = ?", last[0].ContactAt).Set("journal = ?", last[0].Number)
		}
		_, err = q.Exec(ctx)
		return err
	})
}

// done writes that nothing is left to do, and keeps the report as the answer to the request. It may be repeated.
func (c *Closures) done(ctx context.Context, id ids.Closure) error {
	return c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE closures SET done_at = ? WHERE id = ? AND done_at IS NULL",
			store.Time(c.now()), id)
		if err != nil {
			return err
		}
		report, err := c.report(ctx, tx, id)
		if err != nil {
			return err
		}
		return idempotency.KeepFor(ctx, tx, api.CloseVenue.Success(), report)
	})
}

// open returns closures that are not done and were begun before a time.
func (c *Closures) open(ctx context.Context, before time.Time) ([]Row, error) {
	var rows []Row
	err := c.db.Read().NewRaw("SELECT * FROM closures WHERE done_at IS NULL AND created_at < ? ORDER BY id",
		before).Scan(ctx, &rows)
	return rows, store.FaultOf(ctx, err)
}

type doorsRow struct {
	bun.BaseModel `bun:"table:closed_doors,alias:closed_doors"`

	ClosureID ids.Closure
	EventID   ids.Event
	Epoch     int64
	State     string
	Policy    string
	Admitted  int
}

type leaseRow struct {
	bun.BaseModel `bun:"table:closed_leases,alias:closed_leases"`

	ClosureID    ids.Closure
	LeaseID      ids.Lease
	EventID      ids.Event
	TicketTypeID ids.TicketType
	Sold         int
	Unknown      int
}

func keepDoors(ctx context.Context, tx bun.Tx, id ids.Closure, event ids.Event, had doors.Lost) error {
	_, err := tx.NewInsert().Model(&doorsRow{ClosureID: id, EventID: event, Epoch: had.Epoch, State: had.State,
		Policy: had.Policy, Admitted: had.Admitted}).On("CONFLICT DO NOTHING").Exec(ctx)
	return err
}

func keepLease(ctx context.Context, tx bun.Tx, id ids.Closure, l *leases.Row) error {
	_, err := tx.NewInsert().Model(&leaseRow{ClosureID: id, LeaseID: l.ID, EventID: l.EventID,
		TicketTypeID: l.TicketTypeID, Sold: l.Sold, Unknown: l.Unknown}).On("CONFLICT DO NOTHING").Exec(ctx)
	return err
}

// report returns a closure as it is shown.
func (c *Closures) report(ctx context.Context, from bun.IDB, id ids.Closure) (*api.VenueClosure, error) {
	var row Row
	if err := from.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out, err := c.reports(ctx, from, []Row{row})
	if err != nil {
		return nil, err
	}
	return &out[0], nil
}

// reports returns closures as they are shown.
func (c *Closures) reports(ctx context.Context, from bun.IDB, rows []Row) ([]api.VenueClosure, error) {
	out, at, list := make([]api.VenueClosure, len(rows)), map[ids.Closure]int{}, make([]ids.Closure, len(rows))
	for i, r := range rows {
		out[i] = api.VenueClosure{ID: r.ID, VenueID: r.VenueID, Done: r.DoneAt != nil, Reason: r.Reason,
			CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(), DoneAt: utc(r.DoneAt), Contact: utc(r.ContactAt),
			Journal: r.Journal, Access: r.Access, Doors: []api.LostDoors{}, Leases: []api.LostLease{}}
		at[r.ID], list[i] = i, r.ID
	}
	if len(rows) == 0 {
		return out, nil
	}
	var doors []doorsRow
	err := from.NewSelect().Model(&doors).Where("closure_id IN (?)", bun.List(list)).
		Order("closure_id", "event_id", "epoch").Scan(ctx)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	for _, d := range doors {
		o := &out[at[d.ClosureID]]
		o.Doors = append(o.Doors, api.LostDoors{EventID: d.EventID, State: d.State, Policy: d.Policy, Epoch: d.Epoch,
			Admitted: d.Admitted})
	}
	var lost []leaseRow
	err = from.NewSelect().Model(&lost).Where("closure_id IN (?)", bun.List(list)).
		Order("closure_id", "lease_id").Scan(ctx)
	for _, l := range lost {
		o := &out[at[l.ClosureID]]
		o.Unknown += l.Unknown
		o.Leases = append(o.Leases, api.LostLease{LeaseID: l.LeaseID, EventID: l.EventID, TicketTypeID: l.TicketTypeID,
			Sold: l.Sold, Unknown: l.Unknown})
	}
	return out, store.FaultOf(ctx, err)
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// list returns a page of a venue's closures.
func (c *Closures) list(ctx context.Context, req *api.VenueClosurePage) (*api.List[api.VenueClosure], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	then, after, err := store.DecodeTimeCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	var rows []Row
	q := c.db.Read().NewSelect().Model(&rows).Where("venue_id = ?", req.VenueID).Order("created_at DESC", "id DESC").
		Limit(int64(limit) + 1)
	if req.Cursor != "" {
		q = q.Where("(created_at, id) < (?, ?)", then, after)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.VenueClosure]{}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		out.NextCursor = store.EncodeTimeCursor(last.CreatedAt, string(last.ID))
	}
	out.Items, err = c.reports(ctx, c.db.Read(), rows)
	return out, err
}
