package store_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestTxRollsBackOnErrorAndPanic(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		boom := fault.New(fault.Conflict, "no")
		write := func(ctx context.Context, tx bun.Tx) {
			if _, err := tx.NewInsert().Model(&thing{ID: "a", At: time.Now()}).Exec(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { write(ctx, tx); return boom }); !errors.Is(err, boom) {
			t.Errorf("Tx returned %v, want the function's own error", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not come through")
				}
			}()
			db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { write(ctx, tx); panic("boom") })
		}()
		var n int
		if err := db.Read().NewRaw("SELECT count(*) FROM things").Scan(ctx, &n); err != nil || n != 0 {
			t.Errorf("%d rows, %v; want none", n, err)
		}
		if err := db.Ping(ctx); err != nil { // the writer is free again
			t.Error(err)
		}
	})
}

// A statement that failed must not look like success when the function overlooks it: PostgreSQL would answer the COMMIT
// with a rollback and no error.
func TestOverlookedFailureIsNotACommit(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(&thing{ID: "a", At: time.Now()}).Exec(ctx); err != nil {
				return err
			}
			_, _ = tx.NewInsert().Model(&thing{ID: "b", N: -1, At: time.Now()}).Exec(ctx)
			return nil
		})
		var n int
		if err := db.Read().NewRaw("SELECT count(*) FROM things").Scan(ctx, &n); err != nil {
			t.Fatal(err)
		}
		if committed := n == 1; committed != (err == nil) {
			t.Errorf("Tx said %v, and %d rows are there", err, n)
		}
		if err != nil && !store.IsCheck(err) {
			t.Errorf("Tx: %v, want the failed statement", err)
		}
	})
}

func TestTxDoesNotNest(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		err := db.Tx(t.Context(), func(ctx context.Context, _ bun.Tx) error { return db.Ping(ctx) })
		if err == nil {
			t.Error("a Tx within a Tx went through")
		}
	})
}

// Two instances add to the same rows in opposite order, at the isolation level that refuses most: nothing may be lost, and
// the refusals may not reach the caller.
func TestConcurrentTransactionsAreRetried(t *testing.T) {
	for name, url := range databases() {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			instances := []*store.DB{testkit.Open(t, at, "user", schema()), testkit.Open(t, at, "user", schema())}
			ids := []string{"a", "b"}
			for _, id := range ids {
				if err := insert(t.Context(), instances[0], &thing{ID: id, At: time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
			const rounds = 10
			runs := make([]int, 4)
			var wg sync.WaitGroup
			for worker := range runs {
				db := instances[worker%2]
				wg.Go(func() {
					for range rounds {
						err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
							runs[worker]++
							for i := range ids {
								_, err := tx.ExecContext(ctx, "UPDATE things SET n = n + 1 WHERE id = ?", ids[(i+worker)%2])
								if err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			for _, id := range ids {
				if got := value(t, instances[0], id); got != int64(len(runs)*rounds) {
					t.Errorf("%s = %d, want %d", id, got, len(runs)*rounds)
				}
			}
			t.Logf("the functions ran %v times for %d transactions each", runs, rounds)
		})
	}
}

func TestReadersDoNotWaitForTheWriter(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := insert(ctx, db, &thing{ID: "a", N: 1, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "UPDATE things SET n = 2"); err != nil {
				return err
			}
			if got := value(t, db, "a"); got != 1 {
				t.Errorf("read %d during the transaction, want 1", got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := value(t, db, "a"); got != 2 {
			t.Errorf("read %d after the transaction, want 2", got)
		}
	})
}

func TestTimeoutAndLossAreFaults(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			cancel()
			_, err := tx.NewInsert().Model(&thing{ID: "a", At: time.Now()}).Exec(ctx)
			return err
		})
		if !fault.Is(err, fault.Timeout) {
			t.Errorf("Tx with a cancelled context: %v, want timeout", err)
		}
		var n int
		if err := db.Read().NewRaw("SELECT count(*) FROM things").Scan(t.Context(), &n); err != nil || n != 0 {
			t.Errorf("%d rows, %v; want none", n, err)
		}
	})
	t.Run("terminated", func(t *testing.T) {
		db := testkit.Open(t, testkit.Postgres(t), "user", schema())
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			var pid int
			if err := tx.NewRaw("SELECT pg_backend_pid()").Scan(ctx, &pid); err != nil {
				return err
			}
			if _, err := db.Read().ExecContext(ctx, "SELECT pg_terminate_backend(?)", pid); err != nil {
				return err
			}
			return nil // the commit meets a dead connection
		})
		if !errors.Is(err, store.ErrUnknown) && !fault.Is(err, fault.Unavailable) {
			t.Errorf("commit on a dead connection: %v", err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("the pool did not recover: %v", err)
		}
	})
}

// The process was stopped for a while, or the database slow: the deadline has passed when the commit's turn comes.
func TestATransactionThatTookTooLongIsUnavailable(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		for name, fn := range map[string]func(context.Context, bun.Tx) error{
			"commit": func(context.Context, bun.Tx) error { return nil },
			"statement": func(_ context.Context, tx bun.Tx) error {
				var err error
				testkit.Eventually(t, 5*time.Second, func() error { // database/sql ends the transaction a moment later
					if _, err = tx.ExecContext(t.Context(), "UPDATE things SET n = 1"); err == nil {
						return errors.New("the transaction goes on")
					}
					return nil
				})
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			err := db.Tx(ctx, func(_ context.Context, tx bun.Tx) error {
				if _, err := tx.NewInsert().Model(&thing{ID: "late", At: time.Now()}).Exec(t.Context()); err != nil {
					return err
				}
				<-ctx.Done()
				return fn(ctx, tx)
			})
			cancel()
			if !fault.Is(err, fault.Unavailable) || errors.Is(err, store.ErrUnknown) {
				t.Errorf("%s: %v, want unavailable", name, err)
			}
		}
		var n int
		if err := db.Read().NewRaw("SELECT count(*) FROM things").Scan(t.Context(), &n); err != nil || n != 0 {
			t.Errorf("%d rows, %v; want none", n, err)
		}
	})
}

// The answer of a commit is lost: who repeats the transaction learns what has become of it.
func TestLostCommit(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	db := testkit.Open(t, lose.URL, "user", schema())
	runs := 0
	change := func(id string) func(context.Context, bun.Tx) error {
		return func(ctx context.Context, tx bun.Tx) error {
			runs++
			_, err := tx.NewInsert().Model(&thing{ID: id, At: time.Now()}).On("CONFLICT DO NOTHING").Exec(ctx)
			return err
		}
	}
	insert := func(query []byte) bool { return bytes.Contains(query, []byte("INSERT")) }
	lose.Next(insert)
	if err := db.Tx(t.Context(), change("a")); !errors.Is(err, store.ErrUnknown) || !fault.Is(err, fault.Timeout) {
		t.Errorf("Tx: %v, want an unknown outcome", err)
	}
	lose.Next(insert)
	if err := db.TxRepeatable(t.Context(), change("b")); err != nil || !lose.Lost() || runs != 3 {
		t.Errorf("TxRepeatable: %v after %d runs", err, runs)
	}
	var n int
	if err := db.Read().NewRaw("SELECT count(*) FROM things").Scan(t.Context(), &n); err != nil || n != 2 {
		t.Errorf("%d rows, %v; want both", n, err)
	}
}

func TestAnnounce(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		calls := 0
		cancel := db.OnAnnounce(func() { calls++ })
		tx := func(announce bool, result error) {
			db.Tx(t.Context(), func(ctx context.Context, _ bun.Tx) error {
				if announce {
					store.Announce(ctx)
				}
				return result
			})
		}
		tx(false, nil)
		tx(true, errors.New("rolled back"))
		if calls != 0 {
			t.Errorf("%d calls without a commit that was announced", calls)
		}
		tx(true, nil)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
		cancel()
		tx(true, nil)
		if calls != 1 {
			t.Errorf("%d calls after cancel, want 1", calls)
		}
	})
}
