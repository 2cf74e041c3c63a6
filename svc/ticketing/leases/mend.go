package leases

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

const (
	// SweepEvery is how often moves are looked for that were interrupted.
	SweepEvery = 5 * time.Second

	// overdue is how old a move is that no request is working on any more.
	overdue = 10 * time.Second

	sweepSize = 100
)

// Sweep makes the moves that were interrupted.
func (l *Leases) Sweep(ctx context.Context) error {
	var failed error
	for after := ids.Lease(""); ; {
		list, err := l.due(ctx, store.Time(l.now().Add(-overdue)), after, sweepSize)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, id := range list {
			_, err := l.settle(ctx, id)
			failed = errors.Join(failed, err)
		}
		if len(list) < sweepSize {
			return failed
		}
		after = list[len(list)-1]
	}
}

// should returns what the inventory should have of a lease. A move that is due and adds seats is still to be made;
// seats that are to come back are not the lease's any more.
func (r *Row) should() inventory.Lease {
	out := inventory.Lease{ID: r.ID, Type: r.TicketTypeID, Left: r.Left(), Revision: r.Revision, Moved: r.Moving,
		Closed: r.State == api.LeaseClosed}
	if r.Due && r.Moving > 0 {
		out.Revision, out.Moved = r.Revision-1, 0
	}
	return out
}

// Mend makes the leases of an event's pool what SQL says. What was changed a moment ago may be on its way between the
// two, and is left alone, unless the pool is closed.
func (l *Leases) Mend(
	ctx context.Context, event ids.Event, pool inventory.Pool,
) (mended, waiting, noRoom int, err error) {
	rows, err := l.Of(ctx, event)
	if err != nil {
		return 0, 0, 0, err
	}
	known := map[ids.Lease]inventory.Lease{}
	for _, have := range pool.Leases {
		known[have.ID] = have
	}
	for i := range rows {
		should, have := rows[i].should(), known[rows[i].ID]
		delete(known, rows[i].ID)
		switch {
		case have.Left == should.Left && have.Closed == should.Closed, have.ID == "" && should.Closed:
			continue
		case !pool.Closed && l.recent(rows[i].UpdatedAt, have):
			waiting++
			continue
		}
		switch err := l.inv.MendLease(ctx, event, have, should); {
		case err == nil:
			mended++
		case fault.Is(err, fault.SoldOut):
			noRoom++
		case fault.Is(err, fault.Conflict): // it has just changed
			waiting++
		default:
			return mended, waiting, noRoom, err
		}
	}
	for _, have := range known { // of a database before it was restored
		if have.Left == 0 {
			continue
		}
		if !pool.Closed && l.recent(time.Time{}, have) {
			waiting++
			continue
		}
		should := have
		should.Left, should.Closed = 0, true
		if err := l.inv.MendLease(ctx, event, have, should); err != nil {
			return mended, waiting, noRoom, err
		}
		l.log.WarnContext(ctx, "the inventory had a lease that is not in the database: its seats are for sale again",
			"event", event, "lease", have.ID, "seats", have.Left)
		mended++
	}
	return mended, waiting, noRoom, nil
}

func (l *Leases) recent(updated time.Time, have inventory.Lease) bool {
	changed := time.Unix(have.Changed, 0)
	if updated.After(changed) {
		changed = updated
	}
	return l.now().Sub(changed) < audit.OnItsWay
}

// Problem is an entry of a venue's journal about a lease that does not say what it should.
type Problem string

// A Batch is what the entries of one transaction change of leases. Its moves are to be made after the commit, by
// Settle.
type Batch struct {
	*Leases
	tx      bun.Tx
	touched map[ids.Lease]bool
}

// Batch returns the changes of a transaction. The leases should have no move due before it begins: see Settle.
func (l *Leases) Batch(tx bun.Tx) *Batch {
	return &Batch{Leases: l, tx: tx, touched: map[ids.Lease]bool{}}
}

// Settle makes the moves of leases that are due. A lease that is not known has none.
func (l *Leases) Settle(ctx context.Context, list ...ids.Lease) error {
	var failed error
	for _, id := range list {
		if _, err := l.settle(ctx, id); err != nil && !fault.Is(err, fault.NotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// locked returns a lease of the venue for a change, or says why there is none. Unavailable if a move is due.
func (b *Batch) locked(ctx context.Context, venue ids.Venue, id ids.Lease) (Row, Problem, error) {
	row, err := b.lock(ctx, b.tx, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return row, "there is no such lease", nil
	case err != nil:
		return row, "", err
	case row.VenueID != venue:
		return row, "the lease is another venue's", nil
	case row.Due && !b.touched[id]:
		return row, "", errBusy
	}
	return row, "", nil
}

// Cut takes back seats that the venue has given up.
func (b *Batch) Cut(ctx context.Context, venue ids.Venue, id ids.Lease, n int) (Problem, error) {
	row, problem, err := b.locked(ctx, venue, id)
	switch {
	case problem != "" || err != nil:
		return problem, err
	case row.State == api.LeaseClosed:
		return "the lease is closed", nil
	case n < 1 || n > row.Left():
		return "the lease does not have so many seats to give back", nil
	}
	if err := b.takeBack(ctx, b.tx, &row, n); err != nil {
		return "", err
	}
	b.touched[id] = true
	return "", b.write(ctx, b.tx, &row)
}

// Done closes a lease from which the venue sells no more. One that is closed stays so.
func (b *Batch) Done(ctx context.Context, venue ids.Venue, id ids.Lease) (Problem, error) {
	row, problem, err := b.locked(ctx, venue, id)
	if problem != "" || err != nil || row.State == api.LeaseClosed {
		return problem, err
	}
	if err := b.end(ctx, b.tx, &row); err != nil {
		return "", err
	}
	b.touched[id] = true
	return "", b.write(ctx, b.tx, &row)
}

// Lacks says why leases of the venue do not have so many seats; "" if they do. They stay so until the end of the
// transaction.
func (b *Batch) Lacks(ctx context.Context, venue ids.Venue, n map[ids.Lease]int) (string, error) {
	for _, id := range slices.Sorted(maps.Keys(n)) {
		row, err := b.lock(ctx, b.tx, id)
		switch {
		case fault.Is(err, fault.NotFound):
			return "a lease of it is not in the database", nil
		case err != nil:
			return "", err
		case row.VenueID != venue:
			return "a lease of it is another venue's", nil
		case row.Left() < n[id]:
			return "a lease of it has fewer seats in the database than in the inventory", nil
		}
	}
	return "", nil
}

// Sold makes seats of a lease sold ones. Its caller moves them in the stock from leased to sold, after this.
func (b *Batch) Sold(ctx context.Context, id ids.Lease, n int) error {
	row, err := b.lock(ctx, b.tx, id)
	if err != nil {
		return err
	}
	return b.sold(ctx, row, n, 0)
}

// Unsold gives seats of a sale that was taken back to their lease, and returns how many of them those are: none of a
// lease that is closed. The other lost seats went to others while the venue has them again by its own count, so that
// the lease has as many fewer.
func (b *Batch) Unsold(ctx context.Context, id ids.Lease, n, lost int) (int, error) {
	row, err := b.lock(ctx, b.tx, id)
	if err != nil {
		return 0, err
	}
	if row.State == api.LeaseClosed {
		return 0, b.sold(ctx, row, 0, -lost-n)
	}
	return n, b.sold(ctx, row, -n, -lost)
}

// sold changes the numbers of a lease without a new revision: a move may be due at the one that it has.
func (b *Batch) sold(ctx context.Context, row Row, sold, both int) error {
	// What quantity shall be goes along with it; fewer that were asked for stay asked for.
	_, err := b.tx.ExecContext(ctx, `UPDATE leases SET sold = sold + ?, quantity = quantity + ?, updated_at = ?,
			target = CASE WHEN target >= quantity THEN target + ? WHEN target > quantity + ? THEN quantity + ?
				ELSE target END WHERE id = ?`, sold+both, both, store.Time(b.now()), both, both, both, row.ID)
	if err != nil {
		return err
	}
	return fence(ctx, b.tx, row.TicketTypeID, -sold)
}
