package store_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The write-ahead log that grew while a reader was in the way is emptied once it is gone; a reader keeps nobody waiting.
func TestCheckpointEmptiesTheLog(t *testing.T) {
	url := testkit.SQLite(t)
	db := testkit.Open(t, url, "ticketing", schema())
	exec := func(query string, args ...any) {
		t.Helper()
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(filepath.Join(strings.TrimPrefix(url, "sqlite:"), "ticketing.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	checkpoint := func() {
		t.Helper()
		if err := db.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reader, err := db.Read().(*bun.DB).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	if _, err := reader.ExecContext(t.Context(), "SELECT count(*) FROM things"); err != nil { // now it has a place in the log
		t.Fatal(err)
	}
	exec("INSERT INTO things (id, n, at) VALUES ('a', 0, ?)", time.Now())
	for _, letter := range "abcdef" {
		exec("UPDATE things SET note = ?", strings.Repeat(string(letter), 8<<20))
	}
	grown := size()
	if grown < 40<<20 {
		t.Fatalf("the log has only %d bytes", grown)
	}
	checkpoint()
	if size() != grown {
		t.Error("the log was emptied under a reader")
	}
	exec("UPDATE things SET n = 1") // writing goes on
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	checkpoint()
	if n := size(); n != 0 {
		t.Errorf("the log has %d bytes", n)
	}
	exec("UPDATE things SET n = 2")
	if n := size(); n == 0 || n >= grown {
		t.Errorf("after one more change the log has %d bytes", n)
	}
	checkpoint() // a small log is left alone
	if size() == 0 {
		t.Error("a small log was emptied")
	}
}
