package store

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// A commit takes up to groupLimit transactions, and none that begins later than groupTime after the first: those that
// are done wait for it.
const (
	groupLimit = 256
	groupTime  = 10 * time.Millisecond
)

// enough transactions share a commit well; fewer let those goroutines run first that are ready to.
const enough = 8

// queue runs transactions one after another on one connection. Those that follow each other without a gap share a
// commit, each in a savepoint of its own: one that fails does not disturb its neighbours. A lone transaction has a
// commit to itself, and a savepoint costs nothing before there is company.
//
// There is no goroutine behind it. Each transaction runs in that of its caller when its turn comes; the last one of a
// group commits for all.
type queue struct {
	db   *DB
	pool *bun.DB

	mu      sync.Mutex
	taken   bool      // a transaction has the turn, or a commit is under way
	waiting list.List // of *turn: those that wait

	group *group // that the next one joins; nil: there is none. Its user has the turn.
}

// turn is a transaction that waits.
type turn struct {
	given bool
	ready chan struct{} // closed when it is given
}

// group is the transactions that one commit takes.
type group struct {
	tx      bun.Tx
	abort   context.CancelFunc // rolls back
	began   time.Time
	members int // that are to be committed

	done chan struct{} // closed when the two below are known
	lost bool          // rolled back for what another member met: all run again
	err  error         // of the commit
}

// do runs fn, see DB.Tx.
func (q *queue) do(ctx context.Context, fn change) error {
	if ctx.Value(txKey{}) != nil {
		return errors.New("store: Tx within a Tx")
	}
	again := false // run before, and rolled back for another
	for attempt := 1; ; {
		announced, err := q.once(ctx, fn, again)
		switch {
		case err == nil:
			if announced {
				q.db.announce()
			}
			return nil
		case errors.Is(err, errGroupLost):
			again = true
			continue
		case !retryable(err) || attempt == attempts:
			return FaultOf(ctx, err)
		}
		q.db.log.DebugContext(ctx, "transaction refused, trying again", "attempt", attempt, "error", err)
		if !pause(ctx, attempt) {
			return FaultOf(ctx, err)
		}
		attempt++
	}
}

type firstKey struct{}

// First returns a context whose transactions go before those that wait, where transactions have turns: people stand at
// a door, and a crowd of buyers writes as much as it can.
func First(ctx context.Context) context.Context { return context.WithValue(ctx, firstKey{}, true) }

// errGroupLost says that a transaction was rolled back for what another one of its group has met.
var errGroupLost = errors.New("store: the group was rolled back")

// once runs fn when its turn comes, and returns when its commit has. One that runs again goes first, and lets no other
// follow it into its group: so it is not rolled back for another a second time.
func (q *queue) once(ctx context.Context, fn change, again bool) (announced bool, err error) {
	if err := q.enter(ctx, again || ctx.Value(firstKey{}) != nil); err != nil {
		return false, err
	}
	g, err := q.join(ctx)
	if err != nil {
		return false, err
	}
	state := &txState{}
	returned := false
	defer func() {
		if returned {
			return
		}
		if g.members == 0 || g.undo() != nil { // fn panicked, or ended its goroutine
			q.rollback(g)
		} else {
			q.pass(true)
		}
	}()
	whole, err := q.run(ctx, g, state, fn)
	returned = true
	if !whole || g.members == 0 {
		q.rollback(g)
		return false, err
	}
	q.pass(!again)
	<-g.done
	switch {
	case g.err != nil:
		return false, g.err
	case g.lost:
		return false, errGroupLost
	}
	return state.announced, err
}

// enter waits for the turn.
func (q *queue) enter(ctx context.Context, first bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	if !q.taken {
		q.taken = true
		q.mu.Unlock()
		return nil
	}
	t := &turn{ready: make(chan struct{})}
	var at *list.Element
	if first {
		at = q.waiting.PushFront(t)
	} else {
		at = q.waiting.PushBack(t)
	}
	q.mu.Unlock()
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	if !t.given {
		q.waiting.Remove(at)
		q.mu.Unlock()
		return ctx.Err()
	}
	q.mu.Unlock()
	q.pass(true)
	return ctx.Err()
}

// give hands the turn to the next one that waits, and reports false if there is none. mu is held.
func (q *queue) give() bool {
	first := q.waiting.Front()
	if first == nil {
		return false
	}
	t := q.waiting.Remove(first).(*turn)
	t.given = true
	close(t.ready)
	return true
}

// next hands the turn on, or back if none waits.
func (q *queue) next() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = q.give()
}

// join begins a transaction, or a savepoint in that of the group. It gives up the turn if it fails.
func (q *queue) join(ctx context.Context) (*group, error) {
	if g := q.group; g != nil {
		if err := g.exec("SAVEPOINT member"); err != nil {
			q.rollback(g)
			return nil, errGroupLost
		}
		return g, nil
	}
	inner, abort := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, abort)
	tx, err := q.pool.BeginTx(inner, nil)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		abort() // which also rolls back
		q.next()
		return nil, err
	}
	q.group = &group{tx: tx, abort: abort, began: time.Now(), done: make(chan struct{})}
	return q.group, nil
}

// run runs fn as a member of the group and undoes what it has done if it fails. If that cannot be done alone, the group
// is not whole any more.
func (q *queue) run(ctx context.Context, g *group, state *txState, fn change) (whole bool, err error) {
	stop := context.AfterFunc(ctx, g.abort) // no statement goes on for a caller that has left
	defer stop()
	err = fn(context.WithValue(ctx, txKey{}, state), g.tx)
	intact := stop()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && q.db.Postgres() {
		err = state.failed
	}
	if !intact {
		if errors.Is(err, context.Canceled) { // of the group's context, whatever has ended that of the caller
			err = ctx.Err()
		}
		return false, err
	}
	if err != nil {
		return !retryable(err) && g.undo() == nil, err
	}
	if g.members > 0 {
		if err := g.exec("RELEASE SAVEPOINT member"); err != nil {
			return false, err
		}
	}
	g.members++
	return true, nil
}

func (g *group) exec(query string) error {
	_, err := g.tx.Tx.ExecContext(context.Background(), query)
	return err
}

// undo takes back what the present member has done. The first one has no savepoint: the group is rolled back for it.
func (g *group) undo() error {
	if g.members == 0 {
		return nil
	}
	if err := g.exec("ROLLBACK TO SAVEPOINT member"); err != nil {
		return err
	}
	return g.exec("RELEASE SAVEPOINT member")
}

// rollback ends the group without a commit.
func (q *queue) rollback(g *group) {
	g.tx.Rollback() // its own error adds nothing: the transaction is gone either way
	g.lost = true
	q.end(g)
}

// pass hands the turn on, with the group if there is room in it. Otherwise it commits the group first.
func (q *queue) pass(more bool) {
	g := q.group
	if g == nil {
		q.next()
		return
	}
	if g.members < enough {
		runtime.Gosched() // some are about to come: a commit costs more than a moment
	}
	if more && g.members < groupLimit && time.Since(g.began) < groupTime {
		q.mu.Lock()
		given := q.give()
		q.mu.Unlock()
		if given {
			return
		}
	}
	q.commit(g)
	q.end(g)
}

// commit commits the group, with what rides on it. If that is refused, it may be for one member: all run again alone.
func (q *queue) commit(g *group) {
	riding, err := q.db.rides.board(g)
	if err != nil {
		g.tx.Rollback()
		g.err = err
		return
	}
	q.db.around(false)
	err = g.tx.Commit()
	if err == nil {
		q.db.around(true)
		for _, one := range riding {
			one.done()
		}
		return
	}
	q.db.rides.again(riding)
	err = commitError(err)
	if g.members > 1 && !errors.Is(err, ErrUnknown) {
		g.lost = true
		return
	}
	g.err = err
}

// end makes the outcome of the group known and hands the turn on.
func (q *queue) end(g *group) {
	g.abort()
	q.group = nil
	close(g.done)
	q.next()
}
