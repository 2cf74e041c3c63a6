package store_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A pinned database is copied as it was, however much is written, also by the checkpoints of its log, in between.
func TestPin(t *testing.T) {
	db, err := store.Open(t.Context(), "sqlite:"+t.TempDir(), "pinned", nil, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	write := func(query string, args ...any) {
		t.Helper()
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("CREATE TABLE things (n INTEGER, filler TEXT)")
	for range 10 {
		write("INSERT INTO things VALUES (1, hex(randomblob(2000)))")
	}
	p, err := db.Pin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 { // more than the log holds before it is copied into the database
		write("INSERT INTO things VALUES (1, hex(randomblob(2000)))")
	}
	write("UPDATE things SET n = 2")
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := p.CopyTo(path); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	copied, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	var count, sum int
	var whole string
	if err := copied.QueryRow("SELECT COUNT(*), SUM(n) FROM things").Scan(&count, &sum); err != nil || count != 10 || sum != 10 {
		t.Errorf("the copy has %d rows with the sum %d, %v", count, sum, err)
	}
	if err := copied.QueryRow("PRAGMA integrity_check").Scan(&whole); err != nil || whole != "ok" {
		t.Errorf("the copy is %q, %v", whole, err)
	}
}
