package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/starlightsymphony/starlight/shared/tracing"
)

// trace begins the span of a transaction, if what it is for is traced.
func (db *DB) trace(ctx context.Context, name string) *tracing.Span {
	span := tracing.From(ctx).Child(name, tracing.Client)
	span.Set("db.system.name", db.dialect)
	span.Set("db.namespace", db.service)
	return span
}

// statement begins the span of a statement of Exec or Select, the hot ones. Its text is a constant of the program; that
// of other statements has values in it, and they are seen in the time of their transaction alone.
func statement(ctx context.Context, query string) *tracing.Span {
	parent := tracing.From(ctx)
	if parent == nil {
		return nil
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	span := parent.Child(verb, tracing.Client)
	span.Set("db.query.text", query)
	return span
}

// ended ends the span of a statement. That there is no row is an answer.
func ended(span *tracing.Span, err error) {
	if span == nil {
		return
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	span.End(classify(err))
}
