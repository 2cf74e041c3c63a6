package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

// ErrDuplicateAnswer is returned by Remember if the scope and key have an answer already. The caller rolls back and
// returns it, and shared/rpc sends the answer that was first.
var ErrDuplicateAnswer = rpc.ErrDuplicateAnswer

// Answers keeps the answers to requests that carry an Idempotency-Key, so that a repeated request gets the first answer
// and changes nothing. An answer is written in the transaction of the change itself: both are there or neither.
type Answers struct{ db *DB }

// Answers returns the answers kept in db.
func (db *DB) Answers() Answers { return Answers{db} }

// Lookup returns the answer kept under the scope (the endpoint and the caller) and the caller's key. The hash is the one
// given to Remember: another hash means that the key was used for a different request. A key that is not there, or not
// committed yet, is not found and no error.
func (a Answers) Lookup(ctx context.Context, scope, key string) (hash string, status int, body []byte, found bool, err error) {
	var row struct {
		Hash   string
		Status int
		Body   string
	}
	err = a.db.read.NewRaw("SELECT hash, status, body FROM answers WHERE scope = ? AND key = ?", scope, key).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, nil, false, nil
	}
	if err != nil {
		return "", 0, nil, false, inTime(ctx, err)
	}
	return row.Hash, row.Status, []byte(row.Body), true, nil
}

// Forget deletes the answers given before olderThan.
func (a Answers) Forget(ctx context.Context, olderThan time.Time) (deleted int64, err error) {
	err = a.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM answers WHERE at < ?", olderThan)
		if err != nil {
			return err
		}
		deleted, err = res.RowsAffected()
		return err
	})
	return deleted, err
}

// Remember keeps an answer, as part of the transaction tx that the answer tells of. The body is text, such as JSON. It
// returns ErrDuplicateAnswer if there is one already; it waits for a transaction that is just writing the same key. The
// transaction stays usable, so one that serves several requests can drop only the repeated one: call Remember before
// making the change.
func Remember(ctx context.Context, tx bun.IDB, scope, key, hash string, status int, body []byte) error {
	res, err := tx.ExecContext(ctx,
		"INSERT INTO answers (scope, key, hash, status, body, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, key) DO NOTHING",
		scope, key, hash, status, string(body), time.Now())
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrDuplicateAnswer
	}
	return nil
}
