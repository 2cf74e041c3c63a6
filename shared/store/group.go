package store

import (
	"context"

	"github.com/uptrace/bun"
)

// Group runs the small transactions of concurrent requests as one, so that they share the price of its commit. Each
// runs in a savepoint of its own: one that fails does not disturb its neighbours.
//
// On SQLite all transactions share commits that way. On PostgreSQL those of a Group do, on a connection of their own.
type Group struct{ queue *queue }

// NewGroup returns a Group on db.
func NewGroup(db *DB) *Group {
	if db.queue != nil {
		return &Group{db.queue}
	}
	return &Group{&queue{db: db, pool: db.write}}
}

// Do runs fn in a transaction, like DB.Tx and under the same rules for fn.
func (g *Group) Do(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	return g.queue.do(ctx, fn)
}
