package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A process that hangs in a transaction loses it, with its locks, and others go on; so does the process itself, later.
func TestIdleTransactionIsEnded(t *testing.T) {
	url := testkit.Postgres(t)
	var limit string
	usual := testkit.Open(t, url, "user", schema())
	if err := usual.Read().NewRaw("SHOW idle_in_transaction_session_timeout").Scan(t.Context(), &limit); err != nil || limit != "10s" {
		t.Fatalf("the usual limit is %q, %v", limit, err)
	}
	sign := "?"
	if strings.Contains(url, "?") {
		sign = "&"
	}
	hangs := testkit.Open(t, url+sign+"idle_in_transaction_session_timeout=300", "user", schema())
	if err := insert(t.Context(), usual, &thing{ID: "a", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	change := func(ctx context.Context, tx bun.Tx, n int) error {
		_, err := tx.ExecContext(ctx, "UPDATE things SET n = ? WHERE id = 'a'", n)
		return err
	}
	err := hangs.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if err := change(ctx, tx, 1); err != nil {
			return err
		}
		var pid int
		if err := tx.NewRaw("SELECT pg_backend_pid()").Scan(ctx, &pid); err != nil {
			return err
		}
		testkit.Eventually(t, 10*time.Second, func() error { // meanwhile it does nothing
			var n int
			err := usual.Read().NewRaw("SELECT count(*) FROM pg_stat_activity WHERE pid = ?", pid).Scan(ctx, &n)
			if err == nil && n != 0 {
				err = fmt.Errorf("the connection %d is still there", pid)
			}
			return err
		})
		if err := usual.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return change(ctx, tx, 2) }); err != nil {
			t.Errorf("the lock is still held: %v", err)
		}
		return nil
	})
	if errors.Is(err, store.ErrUnknown) || !fault.Is(err, fault.Unavailable) { // it has not happened, that is known
		t.Errorf("the transaction that was ended: %v", err)
	}
	if n := value(t, usual, "a"); n != 2 {
		t.Errorf("the row has %d", n)
	}
	if err := hangs.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return change(ctx, tx, 3) }); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
}
