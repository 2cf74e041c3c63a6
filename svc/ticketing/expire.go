package ticketing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// sweepSize is how many orders are ended together.
const sweepSize = 500

// Orders that the queue of holds does not know, because they were written late or the queue was lost, are found in SQL:
// every 5 seconds, when they are 5 seconds overdue. So are seats that did not come back at once.
const (
	expireEvery  = 200 * time.Millisecond
	sweepEvery   = 25 // passes
	overdueAfter = 5 * time.Second
)

// A payment that cannot be ended at its provider is tried again after closeAgain, a few at a time and out of the way of
// the orders that nobody began to pay.
const (
	closeAgain    = 2 * time.Second
	closeTogether = 50
	closers       = 4
)

// expiry is the state of expire between its passes.
type expiry struct {
	*Service
	n       int // passes so far
	closing errgroup.Group

	// How far the search of SQL for missed orders has come. It goes on where it stopped, so that orders which cannot be
	// ended yet do not keep it from the others.
	seats, overdue ids.Order

	// What came of the last try of each kind. What fails is tried again, so that an outage lasts as long as one of
	// them.
	searched, released error
	mu                 sync.Mutex
	closed             error
}

// expire ends the holds whose time is over, until ctx ends.
func (s *Service) expire(ctx context.Context) error {
	x := &expiry{Service: s}
	x.closing.SetLimit(closers)
	defer x.closing.Wait()
	return run.Loop{Name: "overdue orders", Interval: expireEvery, Do: x.pass}.Run(ctx, s.log)
}

// pass ends what is overdue now. The error tells what failed when it was tried last, in this pass or before.
func (x *expiry) pass(ctx context.Context) error {
	refs := x.inv.Expired(x.now(), sweepSize)
	if x.n%sweepEvery == 0 {
		var missed []inventory.Ref
		missed, x.searched = x.missed(ctx)
		refs = append(refs, missed...)
	}
	x.n++
	if len(refs) > 0 {
		x.released = x.attempt(ctx, refs)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return errors.Join(x.searched, x.released, x.closed)
}

// attempt ends orders. Those that are being paid are left to a few goroutines, and wait if all of those are busy.
func (x *expiry) attempt(ctx context.Context, refs []inventory.Ref) error {
	rows, err := x.rowsOf(ctx, refs)
	if err != nil {
		return err
	}
	open, tied := split(refs, rows)
	_, err = x.release(ctx, open, rows, api.OrderExpired)
	for some := range slices.Chunk(tied, closeTogether) {
		started := x.closing.TryGo(func() error {
			_, err := x.closeAndRelease(ctx, some, rows, api.OrderExpired)
			x.mu.Lock()
			defer x.mu.Unlock()
			x.closed = err
			return nil
		})
		if !started {
			x.requeue(some)
		}
	}
	return err
}

// missed returns overdue orders that SQL knows of, and brings back seats that are still due.
func (x *expiry) missed(ctx context.Context) ([]inventory.Ref, error) {
	due, failed := x.db.seatsDue(ctx, x.seats, sweepSize)
	failed = errors.Join(failed, x.tryReturnSeats(ctx, due...))
	x.seats = ""
	if len(due) == sweepSize {
		x.seats = due[len(due)-1]
	}
	before := store.Time(x.now().Add(-overdueAfter))
	oldest, late := x.db.oldestPending(ctx)
	failed = errors.Join(failed, late)
	x.metrics.holdLag.Set(max(0, x.now().Sub(oldest).Seconds()))
	refs, err := x.db.pending(ctx, "expires_at", "<", before, x.overdue, sweepSize)
	x.overdue = ""
	if len(refs) == sweepSize {
		x.overdue = refs[len(refs)-1].Order
	}
	return refs, errors.Join(failed, err)
}

// end releases the seats of pending orders and moves them to status. It returns how many it moved. An order that SQL
// knows as paid is confirmed instead: it was interrupted between the two.
func (s *Service) end(ctx context.Context, refs []inventory.Ref, status string) (int, error) {
	rows, err := s.rowsOf(ctx, refs)
	if err != nil {
		return 0, err
	}
	open, tied := split(refs, rows)
	n, err := s.release(ctx, open, rows, status)
	for some := range slices.Chunk(tied, closeTogether) {
		if err != nil {
			break
		}
		var more int
		more, err = s.closeAndRelease(ctx, some, rows, status)
		n += more
	}
	return n, err
}

// rowsOf reads the orders. If it cannot, they are put back into the queue.
func (s *Service) rowsOf(ctx context.Context, refs []inventory.Ref) (map[ids.Order]orderRow, error) {
	id := make([]ids.Order, len(refs))
	for i, r := range refs {
		id[i] = r.Order
	}
	rows, err := s.db.orders(ctx, s.db.Read(), id)
	if err != nil {
		s.requeue(refs)
	}
	return rows, err
}

func (s *Service) requeue(refs []inventory.Ref) {
	for _, r := range refs {
		s.inv.Requeue(r, s.now().Add(closeAgain))
	}
}

// split parts the orders that nobody began to pay from those that somebody may be paying at this moment.
func split(refs []inventory.Ref, rows map[ids.Order]orderRow) (open, tied []inventory.Ref) {
	for _, r := range refs {
		if row := rows[r.Order]; row.Status == api.OrderPending && row.PaymentID != "" {
			tied = append(tied, r)
			continue
		}
		open = append(open, r)
	}
	return open, tied
}

// closeAndRelease ends the payments of orders at their providers, and then the orders. Those whose payment cannot be
// ended keep their seats for now: until the money comes, the provider answers, or the setting ticketing.payment_grace
// has passed.
func (s *Service) closeAndRelease(
	ctx context.Context, refs []inventory.Ref, rows map[ids.Order]orderRow, status string,
) (int, error) {
	id := make([]ids.Order, len(refs))
	for i, r := range refs {
		id[i] = r.Order
	}
	closed, failed := s.closePayments(ctx, id)
	overdue := s.now().Add(-api.PaymentGrace.Get(s.live))
	var free, kept []inventory.Ref
	for _, r := range refs {
		switch {
		case closed[r.Order]:
			s.metrics.branch("payment_closed_first")
			free = append(free, r)
		case rows[r.Order].ExpiresAt.Before(overdue):
			s.metrics.branch("grace_passed")
			free = append(free, r)
		default:
			kept = append(kept, r)
		}
	}
	s.requeue(kept)
	n, err := s.release(ctx, free, rows, status)
	return n, errors.Join(failed, err)
}

// release gives the seats of orders back and moves them to status.
func (s *Service) release(
	ctx context.Context, refs []inventory.Ref, rows map[ids.Order]orderRow, status string,
) (int, error) {
	errs := make([]error, len(refs))
	together(refs, func(i int, ref inventory.Ref) { // at the same time, so that they share a batch
		if row := rows[ref.Order]; row.Status == api.OrderPaid {
			errs[i] = s.confirm(ctx, row)
			return
		}
		errs[i] = s.inv.Release(ctx, ref)
	})
	var released []ids.Order
	var failed error
	for i, ref := range refs {
		switch {
		case errs[i] == nil:
			released = append(released, ref.Order)
		case errors.Is(errs[i], inventory.ErrSold): // paid at this moment
		default:
			s.requeue(refs[i : i+1])
			failed = errs[i]
		}
	}
	if len(released) == 0 {
		return 0, failed
	}
	moved, err := s.db.endPending(ctx, released, status, store.Time(s.now()))
	s.publishChanges(orderIDs(moved)...)
	return len(moved), errors.Join(failed, err)
}

// together calls fn for all items at once and returns when all are done.
func together[T any](items []T, fn func(int, T)) {
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { fn(i, item) })
	}
	wg.Wait()
}

// endPending moves orders that are still pending to expired or cancelled, and returns those that it moved.
func (db ticketStore) endPending(
	ctx context.Context, id []ids.Order, status string, now time.Time,
) ([]orderRow, error) {
	topic := api.OrderHasExpired
	if status == api.OrderCancelled {
		topic = api.OrderWasCancelled
	}
	var moved []orderRow
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		before := moved
		moved = nil
		err := tx.NewRaw(
			"UPDATE orders SET status = ?, updated_at = ?, revision = revision + 1 WHERE id IN (?) AND status = ? "+
				"RETURNING *",
			status, now, bun.List(id), api.OrderPending).Scan(ctx, &moved)
		if err != nil {
			return err
		}
		if len(moved) == 0 && len(before) > 0 { // an earlier run has done it after all, or another request
			return tx.NewRaw("SELECT * FROM orders WHERE id IN (?) AND status = ?", bun.List(orderIDs(before)),
				status).Scan(ctx, &moved)
		}
		return announceOrders(ctx, tx, topic, moved)
	})
	return moved, err
}

// oldestPending returns the earliest end of a hold that an order still has, or the far future.
func (db ticketStore) oldestPending(ctx context.Context) (time.Time, error) {
	var ends []time.Time
	err := db.Read().NewRaw("SELECT expires_at FROM orders WHERE status = 'pending' ORDER BY expires_at LIMIT 1").
		Scan(ctx, &ends)
	if err != nil || len(ends) == 0 {
		return time.Unix(1<<40, 0), err
	}
	return ends[0], nil
}

// pending returns pending orders after the given one whose column compares so with the value.
func (db ticketStore) pending(
	ctx context.Context, column bun.Ident, compare bun.Safe, value any, after ids.Order, limit int,
) ([]inventory.Ref, error) {
	var rows []struct {
		ID      ids.Order
		EventID ids.Event
	}
	err := db.Read().NewRaw(
		"SELECT id, event_id FROM orders WHERE status = 'pending' AND ? ? ? AND id > ? ORDER BY id LIMIT ?",
		column, compare, value, after, limit).Scan(ctx, &rows)
	refs := make([]inventory.Ref, len(rows))
	for i, r := range rows {
		refs[i] = inventory.Ref{Event: r.EventID, Order: r.ID}
	}
	return refs, err
}
