package quota_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

var (
	perDay = settings.Int("things.per_day", 20, "Things in a day.", settings.Between(0, 100))
	inAll  = settings.Int("things.in_all", 30, "Things in all.", settings.Between(0, 100))
)

// Two instances that make things at the same moment make no more than the limits say, and no less.
func TestLimitsAreExact(t *testing.T) {
	urls := map[string]func(testing.TB) string{store.SQLite: testkit.SQLite, store.Postgres: testkit.Postgres}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			clock := testkit.NewClock(time.Date(2026, 5, 1, 22, 30, 0, 0, time.UTC))
			live := settings.Fixed()
			things := fstest.MapFS{"0001_things.sql": {Data: []byte("CREATE TABLE things (name TEXT NOT NULL)")}}
			counters := make([]quota.Counter, 2)
			for i := range counters {
				counters[i] = quota.Counter{DB: testkit.Open(t, at, "things", things), Live: live, Now: clock.Now}
			}
			thing := func(c quota.Counter) error {
				return c.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					if err := c.Room(ctx, tx, inAll, "ada", "things", tx.NewRaw("SELECT count(*) FROM things")); err != nil {
						return err
					}
					if _, err := tx.ExecContext(ctx, "INSERT INTO things (name) VALUES ('x')"); err != nil {
						return err
					}
					return c.Take(ctx, tx, perDay, "ada", "things", 1)
				})
			}
			race := func(want int64, code fault.Code, after time.Duration) {
				t.Helper()
				var made atomic.Int64
				var all sync.WaitGroup
				for i := range 40 {
					all.Go(func() {
						err := thing(counters[i%2])
						if err == nil {
							made.Add(1)
						} else if f := fault.From(err); f.Code != code || f.RetryAfter != after {
							t.Errorf("refused with %v after %s", err, f.RetryAfter)
						}
					})
				}
				all.Wait()
				if n := made.Load(); n != want {
					t.Errorf("%d were made, want %d", n, want)
				}
			}
			race(20, fault.RateLimited, 90*time.Minute)
			clock.Advance(90 * time.Minute)
			race(10, fault.Conflict, 0)
			if err := quota.Forget(t.Context(), counters[0].DB, clock.Now().Add(-time.Hour)); err != nil {
				t.Error(err)
			}
			var days int
			if err := counters[0].DB.Read().NewRaw("SELECT count(*) FROM day_counts").Scan(t.Context(), &days); err != nil || days != 1 {
				t.Errorf("%d days are counted, %v", days, err)
			}
		})
	}
}

// A limit of 0 is none, and what is undone does not count.
func TestNoLimit(t *testing.T) {
	testkit.DB(t, "things", nil, func(t *testing.T, db *store.DB) {
		c := quota.Counter{DB: db, Live: settings.Fixed(perDay.Is(0), inAll.Is(0)), Now: time.Now}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for range 3 {
				if err := c.Take(ctx, tx, perDay, "ada", "things", 50); err != nil {
					return err
				}
			}
			return c.Room(ctx, tx, inAll, "ada", "things", tx.NewRaw("SELECT 1000"))
		})
		if err != nil {
			t.Error(err)
		}
		c.Live = settings.Fixed(perDay.Is(1))
		take := func(after error) error {
			return db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				if err := c.Take(ctx, tx, perDay, "ada", "things", 1); err != nil {
					return err
				}
				return after
			})
		}
		undone := fault.New(fault.Conflict, "undone")
		for _, want := range []error{undone, nil} {
			if err := take(want); !fault.Is(err, fault.From(undone).Code) && want != nil || want == nil && err != nil {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		if err := take(nil); !fault.Is(err, fault.RateLimited) {
			t.Errorf("beyond the limit: %v", err)
		}
	})
}
