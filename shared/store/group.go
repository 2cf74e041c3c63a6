package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/batch"
)

// groupLimit and groupQueue bound how many changes one transaction of a Group takes, and how many may wait for one.
const (
	groupLimit = 256
	groupQueue = 4096
)

// Group runs the small transactions of concurrent requests as one, so that they share the price of its commit. Each runs
// in a savepoint of its own: one that fails does not disturb its neighbours.
type Group struct {
	db    *DB
	batch *batch.Group[change, struct{}]
}

type change = func(ctx context.Context, tx bun.Tx) error

// NewGroup returns a Group on db. Close it before the database.
func NewGroup(db *DB) *Group {
	g := &Group{db: db}
	g.batch = batch.New(groupLimit, groupQueue, g.commit)
	return g
}

// Do runs fn in a transaction, like DB.Tx and under the same rules for fn. The context that fn is given is that of the
// shared transaction: it does not carry the values of ctx.
func (g *Group) Do(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	_, err := g.batch.Do(ctx, fn)
	return err
}

// Close finishes what is under way and refuses what comes after.
func (g *Group) Close() { g.batch.Close() }

func (g *Group) commit(ctx context.Context, changes []change) []batch.Result[struct{}] {
	if len(changes) == 1 {
		return []batch.Result[struct{}]{{Err: g.db.Tx(ctx, changes[0])}}
	}
	results := make([]batch.Result[struct{}], len(changes))
	err := g.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for i, fn := range changes {
			results[i].Err = savepoint(ctx, tx, fn)
			if errors.Is(results[i].Err, errSavepoint) || results[i].Err != nil && retryable(results[i].Err) {
				return results[i].Err
			}
		}
		return nil
	})
	if err != nil {
		return batch.Fail[struct{}](len(changes), err)
	}
	for i := range results {
		results[i].Err = classify(results[i].Err)
	}
	return results
}

var errSavepoint = errors.New("store: the savepoint failed")

// savepoint runs fn within tx so that its failure undoes only what it did itself.
func savepoint(ctx context.Context, tx bun.Tx, fn change) error {
	inner, err := tx.BeginTx(ctx, nil)
	if err != nil {
		return errors.Join(errSavepoint, err)
	}
	if err := fn(ctx, inner); err != nil {
		if back := inner.Rollback(); back != nil {
			return errors.Join(errSavepoint, err, back)
		}
		if state, ok := ctx.Value(txKey{}).(*txState); ok {
			state.failed = nil // the statement that failed is undone
		}
		return err
	}
	if err := inner.Commit(); err != nil {
		return errors.Join(errSavepoint, err)
	}
	return nil
}
