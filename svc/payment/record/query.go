package record

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Lock has a query in a transaction lock the rows that it reads. On SQLite every transaction does.
func Lock(db *store.DB, q *bun.SelectQuery) *bun.SelectQuery {
	if db.Postgres() {
		return q.For("UPDATE")
	}
	return q
}

// ForUpdate is the clause by which a query in a transaction locks the rows that it reads, as Lock does.
func ForUpdate(db *store.DB) bun.Safe {
	if db.Postgres() {
		return "FOR UPDATE"
	}
	return ""
}

// LockFree is Lock for work that another instance may have taken: its rows are passed over.
func LockFree(db *store.DB, q *bun.SelectQuery) *bun.SelectQuery {
	if db.Postgres() {
		return q.For("UPDATE SKIP LOCKED")
	}
	return q
}

// Match gives each input of a batch the row with its key, or the fault.
func Match[In, Row any, Key comparable](ins []In, rows []Row, of func(In) Key, by func(Row) Key,
	missing error) []batch.Result[Row] {
	index := make(map[Key]Row, len(rows))
	for _, r := range rows {
		index[by(r)] = r
	}
	results := make([]batch.Result[Row], len(ins))
	for i, in := range ins {
		row, ok := index[of(in)]
		if !ok {
			results[i].Err = missing
			continue
		}
		results[i].Out = row
	}
	return results
}

// deleteLimit bounds the rows that one transaction of DeleteSome deletes.
const deleteLimit = 1000

// DeleteSome runs a statement that deletes up to as many rows as its last parameter says, until it finds fewer: small
// transactions keep no writer waiting.
func DeleteSome(ctx context.Context, db *store.DB, query string, args ...any) error {
	args = append(args, deleteLimit)
	for {
		var deleted int64
		err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			res, err := tx.ExecContext(ctx, query, args...)
			if err == nil {
				deleted, err = res.RowsAffected()
			}
			return err
		})
		if err != nil || deleted < deleteLimit {
			return err
		}
	}
}
