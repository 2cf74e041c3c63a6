package venue

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// edges is the table of that name. One edge serves a venue. It is bound by its first hello, and each further hello
// begins a session that ends the one before.
type edges struct{ db *store.DB }

type edgeRow struct {
	bun.BaseModel `bun:"table:edges"`

	VenueID      ids.Venue `bun:",pk"`
	Edge         string
	Number       int64
	Released     string
	SeenAt       time.Time
	Status       string
	Watcher      string
	WatchedUntil time.Time
}

// status returns what the edge said of itself.
func (r edgeRow) status() (line.Status, error) {
	var s line.Status
	err := json.Unmarshal([]byte(r.Status), &s)
	return s, err
}

// bind begins the session of a hello, or refuses it with Precondition.
func (t edges) bind(ctx context.Context, req *line.Hello, now time.Time) error {
	now = store.Time(now)
	status, err := json.Marshal(line.Status{Version: req.Version})
	if err != nil {
		return err
	}
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO edges (venue_id, edge, number, released, seen_at, status, watcher, watched_until)
			VALUES (?, '', 0, '', ?, '{}', '', ?) ON CONFLICT (venue_id) DO NOTHING`, req.VenueID, now, now)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `
			UPDATE edges SET edge = ?, number = ?, seen_at = ?, status = ? WHERE venue_id = ?
			AND (edge = ? AND number < ? OR edge = '' AND (released <> ? OR ?))`,
			req.Edge, req.Number, now, string(status), req.VenueID, req.Edge, req.Number, req.Edge, req.Replace)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		var row edgeRow
		if err := tx.NewSelect().Model(&row).Where("venue_id = ?", req.VenueID).Scan(ctx); err != nil {
			return err
		}
		return row.refusal(req.Session)
	})
}

// refusal says why the hello of a session is refused.
func (r edgeRow) refusal(s line.Session) error {
	switch {
	case r.Edge == "":
		return fault.New(fault.Precondition, "this edge was released from the venue: start one with a new data "+
			"folder, or this one with --replace")
	case r.Edge != s.Edge:
		return fault.New(fault.Precondition, "another edge serves the venue: its owner releases it with "+
			"DELETE /v1/venues/%s/edge", r.VenueID)
	}
	return fault.New(fault.Precondition, "another edge has a copy of this data folder, or this is an older one: the "+
		"newest hello had the number %d, this one has %d", r.Number, s.Number)
}

// check refuses a request, with Precondition, that is not of the venue's newest session.
func (t edges) check(ctx context.Context, s line.Session) error {
	row, err := t.load(ctx, s.VenueID)
	switch {
	case fault.Is(err, fault.NotFound), err == nil && row.Edge == s.Edge && row.Number < s.Number:
		return fault.New(fault.Precondition, "say hello first")
	case err != nil:
		return err
	case row.Edge == "" || row.Edge != s.Edge:
		return row.refusal(s)
	case row.Number > s.Number:
		return fault.New(fault.Precondition, "a newer session of this edge has begun, with the number %d: if it is "+
			"not its own, another edge has a copy of the data folder", row.Number)
	}
	return nil
}

// load returns the edge of a venue, or a NotFound fault if none ever said hello.
func (t edges) load(ctx context.Context, venue ids.Venue) (edgeRow, error) {
	var row edgeRow
	err := t.db.Read().NewSelect().Model(&row).Where("venue_id = ?", venue).Scan(ctx)
	return row, store.OrNotFound(err, "no edge serves the venue")
}

// all returns the edges of some venues.
func (t edges) all(ctx context.Context, venues []ids.Venue) ([]edgeRow, error) {
	if len(venues) == 0 {
		return nil, nil
	}
	var rows []edgeRow
	err := t.db.Read().NewSelect().Model(&rows).Where("venue_id IN (?)", bun.List(venues)).Scan(ctx)
	return rows, store.FaultOf(ctx, err)
}

// seen keeps what the edge of a session says of itself.
func (t edges) seen(ctx context.Context, s line.Session, status line.Status, now time.Time) error {
	text, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx,
			"UPDATE edges SET seen_at = ?, status = ? WHERE venue_id = ? AND edge = ? AND number = ?",
			store.Time(now), string(text), s.VenueID, s.Edge, s.Number)
		return err
	})
}

// release lets another edge serve a venue, and refuses the present one from now on.
func (t edges) release(ctx context.Context, venue ids.Venue) error {
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx,
			"UPDATE edges SET released = edge, edge = '', number = 0 WHERE venue_id = ? AND edge <> ''", venue)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return note(ctx, tx, auditlog.Act{Object: venue.String()})
	})
}

// watch gives an instance the venues that no other one shows on the mesh, or keeps it those that it has, until a time.
// It returns those that are its own.
func (t edges) watch(
	ctx context.Context, instance string, online []ids.Venue, now, until time.Time,
) (own []ids.Venue, err error) {
	if len(online) == 0 {
		return nil, nil
	}
	err = t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		own = nil
		return tx.NewRaw(`UPDATE edges SET watcher = ?, watched_until = ?
			WHERE venue_id IN (?) AND (watcher = ? OR watched_until <= ?) RETURNING venue_id`,
			instance, store.Time(until), bun.List(online), instance, store.Time(now)).Scan(ctx, &own)
	})
	return own, err
}
