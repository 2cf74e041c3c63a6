package store

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// A change that rides waits so long for a transaction to carry it, and for the database after a failure.
const (
	rideWithin = 250 * time.Millisecond
	rideAgain  = time.Second
)

// ride is a change that waits for a commit.
type ride struct {
	fn   change
	done func()
}

// rides are all that wait.
type rides struct {
	db *DB

	mu      sync.Mutex
	waiting []ride
	timer   *time.Timer // nil: none is set
}

// TxSoon runs fn as part of the next transaction that commits, or of one of its own within a moment, so that it costs
// no commit. It is for what may be lost and happen twice, such as a note that spares work: a crash before the commit
// forgets it, and after a commit whose outcome is unknown it runs again. An error of fn is logged, and fn runs again
// later.
func (db *DB) TxSoon(fn func(ctx context.Context, tx bun.Tx) error) {
	db.TxSoonThen(fn, func() {})
}

// TxSoonThen is TxSoon that calls done after the commit. It must not block.
func (db *DB) TxSoonThen(fn func(ctx context.Context, tx bun.Tx) error, done func()) {
	db.rides.add(rideWithin, ride{fn, done})
}

func (r *rides) add(within time.Duration, some ...ride) {
	if len(some) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, some...)
	if r.timer == nil {
		r.timer = time.AfterFunc(within, func() { r.flush(context.Background()) })
	}
}

// again lets them wait for a commit after a pause.
func (r *rides) again(some []ride) {
	if len(some) > 0 {
		time.AfterFunc(rideAgain, func() { r.add(0, some...) })
	}
}

// all returns what waits. Nothing waits then.
func (r *rides) all() []ride {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	all := r.waiting
	r.waiting = nil
	return all
}

// flush makes a commit for the changes that wait.
func (r *rides) flush(ctx context.Context) {
	r.mu.Lock()
	n := len(r.waiting)
	r.mu.Unlock()
	if n == 0 {
		return
	}
	if err := r.db.Tx(ctx, func(context.Context, bun.Tx) error { return nil }); err != nil {
		r.db.log.DebugContext(ctx, "a change that can wait is tried again", "error", err)
		r.again(r.all())
	}
}

// board runs the changes that wait in the transaction of the group and returns those that succeeded. An error means
// that the transaction cannot go on; then all of them wait again.
func (r *rides) board(g *group) (riding []ride, err error) {
	waiting := r.all()
	for i, one := range waiting {
		if err := g.exec("SAVEPOINT ride"); err != nil {
			r.again(append(riding, waiting[i:]...))
			return nil, err
		}
		failed := r.run(g.tx, one.fn)
		end := "RELEASE SAVEPOINT ride"
		if failed != nil {
			end = "ROLLBACK TO SAVEPOINT ride"
		}
		if err := g.exec(end); err != nil {
			r.again(append(riding, waiting[i:]...))
			return nil, err
		}
		if failed != nil {
			r.db.log.Warn("a change that can wait has failed and is tried again", "error", failed)
			r.again(waiting[i : i+1])
			continue
		}
		riding = append(riding, one)
	}
	return riding, nil
}

func (r *rides) run(tx bun.Tx, fn change) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	state := &txState{}
	err = fn(context.WithValue(context.Background(), txKey{}, state), tx)
	if err == nil && r.db.Postgres() {
		err = state.failed
	}
	return err
}
