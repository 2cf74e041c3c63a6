package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

type task struct {
	bun.BaseModel `bun:"table:tasks,alias:t"`

	Kind  string `bun:",pk"`
	N     int    `bun:",pk"`
	Done  bool
	DueAt time.Time
}

const lease = 30 * time.Second

// onTasks runs a test on a table of n tasks that are due.
func onTasks(t *testing.T, n int, test func(*testing.T, store.Claim[task], *testkit.Clock)) {
	testkit.DB(t, "claims", nil, func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(store.Time(time.Now()))
		rows := make([]*task, n)
		for i := range rows {
			rows[i] = &task{Kind: "refund", N: i, DueAt: clock.Now()}
		}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, `CREATE TABLE tasks (kind TEXT NOT NULL, n BIGINT NOT NULL, done BOOLEAN NOT NULL,
				due_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (kind, n))`)
			if err == nil {
				_, err = tx.NewInsert().Model(&rows).Exec(ctx)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		claim := store.Claim[task]{DB: db, Due: "due_at", Where: "NOT done", Lease: lease, Now: clock.Now}
		test(t, claim, clock)
	})
}

// Instances that claim at the same time never get the same row, and together all of them.
func TestClaimOnce(t *testing.T) {
	const n = 300
	onTasks(t, n, func(t *testing.T, claim store.Claim[task], _ *testkit.Clock) {
		var (
			mu      sync.Mutex
			claimed = map[int]int{}
			workers sync.WaitGroup
		)
		for range 4 {
			workers.Go(func() {
				for {
					rows, err := claim.Take(t.Context(), 7)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, r := range rows {
						claimed[r.N]++
					}
					all := len(claimed) == n
					mu.Unlock()
					if all {
						return
					}
				}
			})
		}
		workers.Wait()
		for k, times := range claimed {
			if times != 1 {
				t.Errorf("row %d was claimed %d times", k, times)
			}
		}
	})
}

// Rows that another transaction has locked are passed over, not waited for.
func TestClaimPassesOverLockedRows(t *testing.T) {
	onTasks(t, 10, func(t *testing.T, claim store.Claim[task], _ *testkit.Clock) {
		if !claim.DB.Postgres() {
			t.Skip("SQLite has one writer")
		}
		err := claim.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "SELECT 1 FROM tasks WHERE n < 4 FOR UPDATE"); err != nil {
				return err
			}
			rows, err := claim.Take(t.Context(), 100)
			if err == nil && len(rows) != 6 {
				err = fmt.Errorf("%d rows, want the 6 that are free", len(rows))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// The row of an instance that died is claimed again when its lease is over, not before. Its claim is lost then.
func TestClaimOfDeadInstance(t *testing.T) {
	onTasks(t, 1, func(t *testing.T, claim store.Claim[task], clock *testkit.Clock) {
		take := func() *task {
			t.Helper()
			rows, err := claim.Take(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				return nil
			}
			return rows[0]
		}
		dead := take()
		if dead == nil || !dead.DueAt.Equal(clock.Now().Add(lease)) {
			t.Fatalf("claimed %+v", dead)
		}
		clock.Advance(lease - time.Millisecond)
		if other := take(); other != nil {
			t.Fatal("a row is claimed during its lease")
		}
		clock.Advance(time.Millisecond)
		heir := take()
		if heir == nil {
			t.Fatal("the row of a dead instance is not claimed")
		}
		if err := claim.Release(t.Context(), dead, clock.Now()); !errors.Is(err, store.ErrClaimLost) {
			t.Errorf("an instance without a claim gives the row back: %v", err)
		}
		err := claim.Work(t.Context(), dead, func(context.Context) error { return errors.New("it began") })
		if err != store.ErrClaimLost {
			t.Errorf("an instance without a claim works on the row: %v", err)
		}
		next := clock.Now().Add(time.Hour)
		if err := claim.Release(t.Context(), heir, next); err != nil || !heir.DueAt.Equal(next) {
			t.Errorf("Release: %v, due %v", err, heir.DueAt)
		}
		clock.Advance(time.Hour)
		if take() == nil {
			t.Error("a row that was given back is not due again")
		}
	})
}

func TestClaimTakesNoFinishedRows(t *testing.T) {
	onTasks(t, 3, func(t *testing.T, claim store.Claim[task], clock *testkit.Clock) {
		rows, err := claim.Take(t.Context(), 10)
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		err = claim.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE tasks SET done = ?", true)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		clock.Advance(2 * lease)
		if rows, err := claim.Take(t.Context(), 10); len(rows) != 0 || err != nil {
			t.Errorf("%d finished rows, %v", len(rows), err)
		}
		err = claim.Work(t.Context(), rows[0], func(context.Context) error { return errors.New("it began") })
		if err != store.ErrClaimLost {
			t.Errorf("work on a finished row: %v", err)
		}
	})
}

// While work lasts, its row stays claimed. Work whose claim is lost is stopped.
func TestClaimIsRenewedWhileWorking(t *testing.T) {
	onTasks(t, 1, func(t *testing.T, claim store.Claim[task], _ *testkit.Clock) {
		claim.Lease = 300 * time.Millisecond
		claim.Now = time.Now
		rows, err := claim.Take(t.Context(), 1)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		row, first := rows[0], rows[0].DueAt
		err = claim.Work(t.Context(), row, func(ctx context.Context) error {
			testkit.Eventually(t, 10*time.Second, func() error {
				var due time.Time
				err := claim.DB.Read().NewRaw("SELECT due_at FROM tasks").Scan(ctx, &due)
				if err == nil && due.Sub(first) < 2*claim.Lease {
					err = fmt.Errorf("the lease ends at %v, at first at %v", due, first)
				}
				return err
			})
			return nil
		})
		if err != nil || !row.DueAt.After(first) {
			t.Errorf("work: %v; the lease ends at %v, at first at %v", err, row.DueAt, first)
		}
		err = claim.Work(t.Context(), row, func(ctx context.Context) error {
			err := claim.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE tasks SET due_at = ?", time.Now().Add(time.Hour))
				return err
			})
			if err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, store.ErrClaimLost) {
			t.Errorf("work goes on without a claim: %v", err)
		}
	})
}
