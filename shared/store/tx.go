package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/uptrace/bun"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// attempts bounds how often a transaction runs that the database keeps refusing.
const attempts = 12

type txKey struct{}

// txState is what is known of a running transaction. One goroutine uses it at a time, as with the transaction itself.
type txState struct {
	announced bool
	failed    error // the first statement that failed
}

// Tx runs fn in a transaction: it commits if fn returns nil and rolls back if fn fails or panics. On SQLite
// transactions that wait for each other share a commit, each in a savepoint. An outcome is known to all of them at the
// same moment.
//
// When the database refuses because of concurrent transactions (serialization failure, deadlock, busy), fn runs again
// from the start, up to 12 times. It also runs again if one that shares its commit cannot be undone alone. It must have
// no effect but through tx, and must overwrite, not add to, what it leaves in captured variables. Use the context it is
// given. Transactions do not nest: the one writer of SQLite would wait for itself, so a Tx within a Tx is an error on
// both databases.
//
// An error of fn is returned as it is, so faults pass through. An unreachable or full database is a fault of code
// Unavailable. If the connection breaks during the commit, the error matches ErrUnknown: the change may have happened.
//
// On PostgreSQL a transaction in which a statement failed cannot commit. Tx returns the failed statement's error even
// if fn overlooked it; where a duplicate is expected use ON CONFLICT DO NOTHING.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	q := db.queue
	if q == nil {
		q = &queue{db: db, pool: db.write}
	}
	span := db.trace(ctx, "transaction")
	err := q.do(tracing.In(ctx, span), fn)
	span.End(err)
	return err
}

// change is what a transaction does.
type change = func(ctx context.Context, tx bun.Tx) error

// settleWithin bounds how long TxRepeatable tries to find out what has become of a commit.
const settleWithin = 5 * time.Second

// TxRepeatable is Tx for an fn that recognises what an earlier run of it has done, by keys that stay the same, and then
// changes nothing. If a commit is cut off, fn runs again, which waits for what is left of the first transaction and
// finds it done or not: the caller knows the outcome. Only if the database stays away for longer than 5 seconds the
// error matches ErrUnknown.
func (db *DB) TxRepeatable(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	first := db.Tx(ctx, fn)
	if !errors.Is(first, ErrUnknown) {
		return first
	}
	db.log.InfoContext(ctx, "the outcome of a commit is not known, running the transaction again", "error", first)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	for attempt := 1; ; attempt = min(attempt+1, attempts) {
		switch err := db.Tx(ctx, fn); {
		case errors.Is(err, ErrUnknown), fault.Is(err, fault.Unavailable), fault.Is(err, fault.Timeout):
		default:
			return err
		}
		if !pause(ctx, attempt) {
			return first
		}
	}
}

// FaultOf returns what an error of a query under ctx is to a caller: once ctx has ended, a broken connection only says
// so.
func FaultOf(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && rolledBack(ctx, err) {
		return fault.Wrap(err, fault.Unavailable,
			"the database was too slow, and nothing was changed").After(time.Second)
	}
	if cause := ctx.Err(); cause != nil && (unavailable(err) || liteCode(err)&0xff == sqlite3.SQLITE_INTERRUPT) {
		return fault.Wrap(errors.Join(cause, err), fault.Timeout, "the request took too long")
	}
	return classify(err)
}

// AroundCommit has fn called before each commit and, with done, after it: a test can end the process there. Call it
// before the database is used.
func (db *DB) AroundCommit(fn func(done bool)) { db.aroundCommit = fn }

func (db *DB) around(done bool) {
	if db.aroundCommit != nil {
		db.aroundCommit(done)
	}
}

// pause waits before the next attempt, longer each time and never as long as a neighbour that started together.
func pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(time.Duration(1+rand.Int64N(1<<min(attempt, 8))) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Announce marks the transaction that ctx belongs to: after its commit the functions given to OnAnnounce are called.
// Outside of a transaction it does nothing.
func Announce(ctx context.Context) {
	if state, ok := ctx.Value(txKey{}).(*txState); ok {
		state.announced = true
	}
}

// failures is a bun hook that remembers the first failed statement of a transaction. PostgreSQL answers COMMIT in such
// a transaction by rolling back, and reports success.
type failures struct{}

func (failures) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (failures) AfterQuery(ctx context.Context, event *bun.QueryEvent) {
	if event.Err == nil || errors.Is(event.Err, sql.ErrNoRows) {
		return
	}
	if state, ok := ctx.Value(txKey{}).(*txState); ok && state.failed == nil {
		state.failed = fmt.Errorf("store: a statement of the transaction failed: %w", event.Err)
	}
}

// rolledBack reports whether database/sql has ended the transaction by itself because its context had ended.
func rolledBack(ctx context.Context, err error) bool {
	return errors.Is(err, sql.ErrTxDone) || ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// commitError tells a refused commit, which surely did not happen, from a broken one.
func commitError(err error) error {
	if refused(err) || errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return fault.Wrap(errors.Join(ErrUnknown, err), fault.Timeout, "the outcome is not known")
}
