// Package leases keeps the seats that venues sell by themselves, also while they are cut off.
//
// A lease stands in SQL and in the inventory. SQL says what shall be, the inventory whether there is room: a change is
// written with the move that is due in the inventory, the move is made, and then it is written that it was made. The
// inventory decides a move once, at its revision, so each step may be repeated by any instance; what is interrupted is
// found by Sweep. One move of a lease is due at a time.
//
// Seats come back in one of two ways. From a lease that the venue has never heard of they come back at once. From any
// other the venue has to give them back, because only the venue knows what it has sold: until its journal says so they
// are its own, however long that takes.
package leases

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// Leases are those of a database and an inventory.
type Leases struct {
	db  *store.DB
	inv *inventory.Inventory
	now func() time.Time
	log *slog.Logger

	// refill makes a pool whose seats are being counted again ready.
	refill func(context.Context, ids.Event) error
}

// New returns the leases. refill is called for an event whose pool is closed.
func New(
	db *store.DB, inv *inventory.Inventory, now func() time.Time, log *slog.Logger,
	refill func(context.Context, ids.Event) error,
) *Leases {
	return &Leases{db: db, inv: inv, now: now, log: log, refill: refill}
}

// attempts bounds how often a change is tried again because another one was faster.
const attempts = 20

// refused is the revision of a lease whose first move the inventory did not make.
const refused = 2

const noLease = "there is no such lease"

var (
	errBusy     = fault.New(fault.Unavailable, "the lease is being changed").After(time.Second)
	errClosed   = fault.New(fault.Conflict, "the lease is closed")
	errSoldOut  = fault.New(fault.SoldOut, "the event does not have so many seats to lease")
	errElsewise = errors.New("another change was faster")
)

// Open leases seats of an event. A lease with the id that is there already is returned as it is.
func (l *Leases) Open(ctx context.Context, in api.NewLease, id ids.Lease) (Row, error) {
	now := store.Time(l.now())
	row := Row{ID: id, EventID: in.EventID, VenueID: in.VenueID, TicketTypeID: in.TicketTypeID, State: api.LeaseOpen,
		Target: in.Quantity, Moving: in.Quantity, Due: true, Revision: 1, CreatedAt: now, UpdatedAt: now}
	if err := l.insert(ctx, &row); err != nil {
		return Row{}, err
	}
	row, err := l.settle(ctx, id)
	if err == nil && row.State == api.LeaseClosed && row.Revision == refused {
		return Row{}, errSoldOut
	}
	return row, err
}

// Resize makes a lease larger or smaller. SoldOut if there is no room. Fewer seats than now are asked for
// from the venue, unless it cannot have heard of the lease.
func (l *Leases) Resize(ctx context.Context, id ids.Lease, quantity int) (Row, error) {
	return l.change(ctx, id, func(ctx context.Context, tx bun.Tx, row *Row) error {
		switch {
		case row.State != api.LeaseOpen:
			return errClosed
		case quantity < row.Sold:
			return fault.New(fault.Conflict, "%d tickets are sold from the lease", row.Sold)
		case quantity > row.Quantity:
			row.Moving, row.Due = quantity-row.Quantity, true
		case quantity < row.Quantity && !row.Seen:
			return l.takeBack(ctx, tx, row, row.Quantity-quantity)
		}
		row.Target = quantity
		return nil
	}, func(row *Row) error {
		if row.Quantity < quantity && row.Target != quantity {
			return errSoldOut
		}
		return nil
	})
}

// Close ends a lease. A venue that may have heard of it is asked, and says when it is done; force does not wait for
// that, for a venue that is lost for ever. Closing what is closed changes nothing.
func (l *Leases) Close(ctx context.Context, id ids.Lease, force bool) (Row, error) {
	return l.change(ctx, id, func(ctx context.Context, tx bun.Tx, row *Row) error {
		switch {
		case row.State == api.LeaseClosed:
			return errElsewise
		case !row.Seen:
			return l.end(ctx, tx, row)
		case force:
			row.Unknown = row.Left()
			return l.end(ctx, tx, row)
		case row.State == api.LeaseClosing:
			return errElsewise
		}
		row.State, row.Target = api.LeaseClosing, row.Sold
		return nil
	}, nil)
}

// Lose closes a lease whose venue is lost for ever, unless it is closed, and calls keep with the lease as it then is in
// the same transaction.
func (l *Leases) Lose(ctx context.Context, id ids.Lease, keep func(context.Context, bun.Tx, *Row) error) error {
	_, err := l.change(ctx, id, func(ctx context.Context, tx bun.Tx, row *Row) error {
		if row.State == api.LeaseClosed {
			return errElsewise
		}
		if row.Seen {
			row.Unknown = row.Left()
		}
		if err := l.end(ctx, tx, row); err != nil {
			return err
		}
		return keep(ctx, tx, row)
	}, nil)
	return err
}

// change makes a change of a lease of which no move is due, and the move that follows from it. The change returns
// errElsewise if there is nothing to do.
func (l *Leases) change(
	ctx context.Context, id ids.Lease, apply func(context.Context, bun.Tx, *Row) error,
	verdict func(*Row) error,
) (Row, error) {
	for range attempts {
		_, err := l.settle(ctx, id)
		if err != nil {
			return Row{}, err
		}
		var row Row
		err = l.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
			if row, err = l.lock(ctx, tx, id); err != nil {
				return err
			}
			if row.Due {
				return errBusy
			}
			before := row
			if err := apply(ctx, tx, &row); err != nil {
				return err
			}
			if err := l.write(ctx, tx, &row); err != nil {
				return err
			}
			return note(ctx, tx, &before, &row)
		})
		switch {
		case errors.Is(err, errBusy):
			continue
		case errors.Is(err, errElsewise):
			return row, nil
		case err != nil:
			return Row{}, err
		}
		if row, err = l.settle(ctx, id); err == nil && verdict != nil {
			err = verdict(&row)
		}
		return row, err
	}
	return Row{}, errBusy
}

// takeBack takes unsold seats out of a lease that the transaction has locked. SQL is first: what it counts as leased is
// never sold by others.
func (l *Leases) takeBack(ctx context.Context, tx bun.Tx, row *Row, n int) error {
	row.Quantity -= n
	row.Target = row.Quantity
	row.Moving -= n
	row.Due = true
	return fence(ctx, tx, row.TicketTypeID, -n)
}

// end closes a lease that the transaction has locked, and takes back all that it has.
func (l *Leases) end(ctx context.Context, tx bun.Tx, row *Row) error {
	row.State = api.LeaseClosed
	return l.takeBack(ctx, tx, row, row.Left())
}

// settle makes the move of a lease that is due, and returns the lease as it is when none is.
func (l *Leases) settle(ctx context.Context, id ids.Lease) (Row, error) {
	stale := int64(0)
	for range attempts {
		row, err := l.Get(ctx, id)
		if err != nil || !row.Due {
			return row, err
		}
		moved, err := l.move(ctx, &row)
		if errors.Is(err, inventory.ErrStale) && row.Revision != stale {
			stale = row.Revision // another instance has been faster, or else it is so again
			continue
		}
		if err != nil {
			return Row{}, err
		}
		if err := l.finish(ctx, row, moved); err != nil {
			return Row{}, err
		}
	}
	return Row{}, errBusy
}

// move has the inventory make the move that is due, and reports whether it did.
func (l *Leases) move(ctx context.Context, row *Row) (bool, error) {
	move := func() error {
		return l.inv.MoveLease(ctx, row.EventID, row.ID, row.TicketTypeID, row.Revision, row.Moving,
			row.State == api.LeaseClosed)
	}
	err := move()
	if errors.Is(err, inventory.ErrClosed) {
		if err = l.refill(ctx, row.EventID); err == nil {
			err = move()
		}
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, inventory.ErrSoldOut):
		return false, nil
	case errors.Is(err, inventory.ErrNoPool): // the event is over, or its pool will be made from SQL
		return row.Moving <= 0, nil
	}
	return false, err
}

// finish writes that a move was made or refused, unless another instance has.
func (l *Leases) finish(ctx context.Context, seen Row, moved bool) error {
	return l.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err := l.lock(ctx, tx, seen.ID)
		if err != nil || !row.Due || row.Revision != seen.Revision {
			return err
		}
		if moved && row.Moving > 0 { // the inventory is first: what it has given is nobody else's
			row.Quantity += row.Moving
			if err := fence(ctx, tx, row.TicketTypeID, row.Moving); err != nil {
				return err
			}
		}
		if !moved {
			row.Target = row.Quantity
			if row.Revision == refused-1 {
				row.State = api.LeaseClosed
			}
		}
		row.Moving, row.Due = 0, false
		return l.write(ctx, tx, &row)
	})
}

// State returns the leases that a venue may sell from or has to close, by event. From here on the venue may have heard
// of each.
func (l *Leases) State(ctx context.Context, venue ids.Venue, events []ids.Event) (map[ids.Event][]line.Lease, error) {
	out := map[ids.Event][]line.Lease{}
	if len(events) == 0 {
		return out, nil
	}
	const some = "venue_id = ? AND event_id IN (?) AND state <> 'closed' AND quantity > 0"
	var fresh bool
	err := l.db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM leases WHERE "+some+" AND NOT seen)", venue,
		bun.List(events)).Scan(ctx, &fresh)
	if err == nil && fresh {
		err = l.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE leases SET seen = ? WHERE "+some+" AND NOT seen", true, venue,
				bun.List(events))
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	var rows []Row
	err = l.db.Read().NewRaw("SELECT * FROM leases WHERE "+some+" AND seen ORDER BY id", venue,
		bun.List(events)).Scan(ctx, &rows)
	for _, r := range rows {
		out[r.EventID] = append(out[r.EventID], line.Lease{ID: r.ID, TicketTypeID: r.TicketTypeID,
			Quantity: r.Quantity, Target: r.Target, Revision: r.Revision, Closing: r.State == api.LeaseClosing})
	}
	return out, err
}
