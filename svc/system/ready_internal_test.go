package system

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestOutboxThatStandsStillIsNotReady(t *testing.T) {
	testkit.DB(t, "ticketing", nil, func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(time.Time{})
		w := &outboxWatch{db: db, now: clock.Now}
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
		add := func(n int) {
			t.Helper()
			for i := range n { // of an instance whose clock is an hour behind
				exec("INSERT INTO outbox (id, subject, header, payload, at) VALUES (?, 'ev.x.y.z', '{}', ?, ?)",
					fmt.Sprint(clock.Now(), i), []byte("{}"), clock.Now().Add(-time.Hour))
			}
		}
		after := func(d time.Duration, ready bool, what string) {
			t.Helper()
			clock.Advance(d)
			if err := w.check(t.Context()); (err == nil) != ready {
				t.Errorf("%s: %v", what, err)
			}
		}
		after(0, true, "empty")
		after(time.Hour, true, "empty for an hour")
		add(3)
		after(time.Second, true, "new rows, however old they say they are")
		after(29*time.Second, true, "still for 29 s")
		after(2*time.Second, false, "still for 31 s")
		add(3)
		after(time.Second, false, "more rows come and none goes")
		exec("DELETE FROM outbox WHERE seq IN (SELECT max(seq) FROM outbox)")
		after(time.Second, true, "a row went, if not the oldest")
		after(31*time.Second, false, "still again")
		exec("DELETE FROM outbox")
		after(time.Second, true, "all went")
	})
}

func TestFullDiskIsTold(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, fmt.Errorf("write x: %w", syscall.ENOSPC), errors.New("database or disk is full (13)"),
		errors.New("write /data/1.blk: no space left on device")} {
		if !DiskFull(err) {
			t.Errorf("%v is not taken for a full disk", err)
		}
	}
	if DiskFull(syscall.EACCES) {
		t.Error("no permission is taken for a full disk")
	}
	if err := takesWrites(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := takesWrites("/dev/null/x"); err == nil {
		t.Error("a folder that cannot be made takes writes")
	}
}
