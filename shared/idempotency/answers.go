// Package idempotency keeps the answers to requests that carry an Idempotency-Key, so that a repeated request gets the
// first answer and changes nothing. An answer is written in the transaction of the change itself: both are there or
// neither. It alone writes, reads and deletes the table answers, which every database of store has.
package idempotency

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Answers implements rpc.Answers for the answers in a database.
type Answers struct{ db *store.DB }

// In returns the answers in db.
func In(db *store.DB) Answers { return Answers{db} }

// Lookup returns the answer kept under the scope (the endpoint and the caller) and the caller's key. The hash is the
// one given to Keep: another hash means that the key was used for a different request. A key that is not there, or not
// committed yet, is not found and no error.
func (a Answers) Lookup(ctx context.Context, scope, key string) (hash string, status int, body []byte,
	found bool, err error) {
	var row struct {
		Hash   string
		Status int
		Body   string
	}
	const query = "SELECT hash, status, body FROM answers WHERE scope = ? AND key = ?"
	err = a.db.Read().NewRaw(query, scope, key).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, nil, false, nil
	}
	if err != nil {
		return "", 0, nil, false, store.FaultOf(ctx, err)
	}
	return row.Hash, row.Status, []byte(row.Body), true, nil
}

// DeleteBefore deletes the answers given before a time of this process's clock.
func (a Answers) DeleteBefore(ctx context.Context, before time.Time) (deleted int64, err error) {
	err = a.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM answers WHERE at < ?", before)
		if err != nil {
			return err
		}
		deleted, err = res.RowsAffected()
		return err
	})
	return deleted, err
}

// Keep keeps an answer, as part of the transaction tx that made what it says true. The body is text, such as JSON; a
// status of 0 means the one that the endpoint declares. Keep returns rpc.ErrDuplicateAnswer if there is an answer
// already, which it finds out by waiting for a transaction that is writing the same key. The transaction stays usable,
// so one that serves several requests can drop only the repeated one: call Keep before making the change.
func Keep(ctx context.Context, tx bun.IDB, scope, key, hash string, status int, body []byte) error {
	res, err := store.Exec(ctx, tx,
		"INSERT INTO answers (scope, key, hash, status, body, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, key) "+
			"DO NOTHING",
		scope, key, hash, status, string(body), time.Now())
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return rpc.ErrDuplicateAnswer
	}
	return nil
}

// KeepFor keeps resp as the answer to the request in ctx, if that request came with an Idempotency-Key; otherwise it
// does nothing. Call it in the transaction of the change, and return its error: a duplicate makes rpc send the answer
// that was first.
func KeepFor(ctx context.Context, tx bun.IDB, status int, resp any) error {
	scope, key, hash, ok := rpc.Answer(ctx)
	if !ok {
		return nil
	}
	body, err := json.Marshal(resp)
	if err != nil {
		return err
	}
	return Keep(ctx, tx, scope, key, hash, status, body)
}

// Delete deletes one answer, as part of a transaction.
func Delete(ctx context.Context, tx bun.IDB, scope, key string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM answers WHERE scope = ? AND key = ?", scope, key)
	return err
}

// DeleteOf deletes what a caller was answered, as part of a transaction. An answer shows what the caller had sent: it
// goes with the account.
func DeleteOf(ctx context.Context, tx bun.IDB, caller ids.User) error {
	var scopes []string
	for _, e := range api.All() {
		if e.Idempotent {
			scopes = append(scopes, e.AnswerScope(caller.String()))
		}
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM answers WHERE scope IN (?)", bun.List(scopes))
	return err
}

// DeleteAbout deletes the answers whose body mentions an id, as part of a transaction.
func DeleteAbout(ctx context.Context, tx bun.IDB, id string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM answers WHERE body LIKE ?", "%"+id+"%")
	return err
}
