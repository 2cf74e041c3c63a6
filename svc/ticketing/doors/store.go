package doors

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// doorRow is a row of the table doors.
type doorRow struct {
	EventID    ids.Event `bun:"event_id"`
	VenueID    ids.Venue `bun:"venue_id"`
	State      string    `bun:"state"`
	Epoch      int64     `bun:"epoch"`
	Policy     string    `bun:"policy"`
	Unknown    string    `bun:"unknown"`
	Position   int64     `bun:"position"`
	Generation int64     `bun:"generation"`
	ChangedAt  time.Time `bun:"changed_at"`
	Asks       string    `bun:"asks,scanonly"` // see asksHash
}

// closesHub reports whether the system admits nothing.
func (r *doorRow) closesHub() bool { return r.State != line.DoorsHub && r.Policy == line.PolicyVenue }

func (r *doorRow) authority() *api.Authority {
	changed := r.ChangedAt.UTC()
	out := &api.Authority{EventID: r.EventID, State: r.State, Epoch: r.Epoch, ChangedAt: &changed}
	if r.State != line.DoorsHub {
		out.VenueID, out.Policy, out.Unknown = r.VenueID, r.Policy, r.Unknown
	}
	return out
}

// lockTickets keeps every transaction away that admits, sells or changes tickets, until the end of this one, and waits
// for those under way. Those that come later see what this one does: they read the doors in or after the statement that
// locks tickets, or, to sell, offers. It is for the few moments in which the system stops to admit for an event. On
// SQLite there is one writer.
func (db doorStore) lockTickets(ctx context.Context, tx tx) error {
	if !db.Postgres() {
		return nil
	}
	// Who waits for a lock keeps all others waiting behind it: not for longer than this.
	if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '2s'"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "LOCK TABLE offers, tickets IN EXCLUSIVE MODE")
	return err
}

// forUpdateOf is the clause that keeps the rows of one table of a query from changing until the end of the transaction.
func (db doorStore) forUpdateOf(table string) bun.Safe {
	if db.Postgres() {
		return bun.Safe("FOR UPDATE OF " + table)
	}
	return ""
}

// doorOf returns the doors of an event, or nil if they were never handed over.
func doorOf(ctx context.Context, from bun.IDB, event ids.Event) (*doorRow, error) {
	var row doorRow
	err := from.NewRaw("SELECT * FROM doors WHERE event_id = ?", event).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &row, nil
}

// lockedDoor is doorOf that keeps the row from changing until the end of the transaction.
func (db doorStore) lockedDoor(ctx context.Context, tx tx, event ids.Event) (*doorRow, error) {
	var row doorRow
	err := tx.NewRaw("SELECT * FROM doors WHERE event_id = ? ?", event, db.forUpdateOf("doors")).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &row, nil
}

// put writes the row. One that was there before is locked.
func (r *doorRow) put(ctx context.Context, tx tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO doors (event_id, venue_id, state, epoch, policy, unknown, position,
			generation, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (event_id) DO UPDATE SET venue_id = excluded.venue_id, state = excluded.state,
			epoch = excluded.epoch, policy = excluded.policy, unknown = excluded.unknown,
			position = excluded.position, generation = excluded.generation, changed_at = excluded.changed_at`,
		r.EventID, r.VenueID, r.State, r.Epoch, r.Policy, r.Unknown, r.Position, r.Generation, r.ChangedAt)
	return err
}

// after returns a number that is greater than before, and greater than any that another copy of this database has given
// out earlier, if the clocks are true: a database that was restored from a backup must not give one out twice.
func after(before int64, now time.Time) int64 { return max(before+1, now.UnixMilli()) }

// handOver begins to hand the doors of an event over, or changes the terms if that has begun. It returns the doors as
// they then are: other ones, if they are not to be had.
func (db doorStore) handOver(ctx context.Context, want doorRow, now time.Time) (*doorRow, error) {
	var row *doorRow
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if err := db.lockTickets(ctx, tx); err != nil {
			return err
		}
		var err error
		if row, err = db.lockedDoor(ctx, tx, want.EventID); err != nil {
			return err
		}
		next := want
		next.State, next.ChangedAt = line.DoorsHandingOver, now
		switch {
		case row == nil:
			next.Position, next.Generation, next.Epoch = 1, after(0, now), after(0, now)
		case row.State == line.DoorsHub:
			next.Position, next.Generation, next.Epoch = row.Position, row.Generation, after(row.Epoch, now)
		case row.VenueID != want.VenueID, row.State == line.DoorsReturning,
			row.Policy == want.Policy && row.Unknown == want.Unknown:
			return nil
		default:
			next = *row
			next.Policy, next.Unknown = want.Policy, want.Unknown
		}
		before := row
		row = &next
		return row.change(ctx, tx, before)
	})
	return row, err
}

// change keeps the doors, which a person has changed, with the line of the audit log.
func (r *doorRow) change(ctx context.Context, tx tx, before *doorRow) error {
	act := auditlog.Act{Object: r.EventID.String(), Event: r.EventID, At: r.ChangedAt, After: r.authority(),
		Without: []string{"changed_at", "event_id"}}
	if before != nil {
		act.Before = before.authority()
	}
	if err := auditlog.Add(ctx, tx, "ticketing", act); err != nil {
		return err
	}
	return r.put(ctx, tx)
}

// takeBack begins to take the doors of an event back. Forced, the system admits at once, and whatever the venue says of
// the hand-over counts no more. It returns the doors before and after; nil if they were never handed over.
func (db doorStore) takeBack(
	ctx context.Context, event ids.Event, force bool, now time.Time,
) (before, row *doorRow, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if row, err = db.lockedDoor(ctx, tx, event); err != nil || row == nil {
			return err
		}
		before = row
		next := *row
		next.ChangedAt = now
		switch {
		case row.State == line.DoorsHub, row.State == line.DoorsReturning && !force:
			return nil
		case force:
			next.State, next.Epoch = line.DoorsHub, after(row.Epoch, now)
		default: // also from handing_over: the venue may have taken the doors already
			next.State = line.DoorsReturning
		}
		row = &next
		return row.change(ctx, tx, before)
	})
	return before, row, err
}

// ofVenue returns the doors that a venue has, or is about to get or to give back.
func (db doorStore) ofVenue(ctx context.Context, venue ids.Venue) ([]doorRow, error) {
	var rows []doorRow
	err := db.Read().NewRaw("SELECT * FROM doors WHERE venue_id = ? AND state <> 'hub' ORDER BY event_id",
		venue).Scan(ctx, &rows)
	return rows, err
}

// markAll marks changed tickets, event after event.
func markAll(ctx context.Context, tx tx, changed map[ids.Event][]ids.Ticket) error {
	for _, event := range sortedKeys(changed) {
		if err := record.Mark(ctx, tx, event, changed[event]...); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
