package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// onQueue runs a test on a table of counters, and a group to change it in.
func onQueue(t *testing.T, test func(*testing.T, *store.DB, *store.Group)) {
	t.Helper()
	testkit.DB(t, "grouped", nil, func(t *testing.T, db *store.DB) {
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, `CREATE TABLE counters (id TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL, CHECK (n >= 0));
				CREATE TABLE parts (id TEXT NOT NULL PRIMARY KEY,
					counter TEXT NOT NULL REFERENCES counters (id) DEFERRABLE INITIALLY DEFERRED)`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, db, store.NewGroup(db))
	})
}

// count adds one to a counter.
func count(ctx context.Context, tx bun.Tx, id string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO counters (id, n) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET n = counters.n + 1", id)
	return err
}

// counters returns all counters.
func counters(t *testing.T, db *store.DB) map[string]int {
	t.Helper()
	var rows []struct {
		ID string
		N  int
	}
	if err := db.Read().NewRaw("SELECT id, n FROM counters").Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, r := range rows {
		all[r.ID] = r.N
	}
	return all
}

// gather starts transactions while the writer is busy, in their order, and returns when all of them wait. They run when
// run is called, which returns when they have.
func gather(t *testing.T, g *store.Group, members ...func()) (run func()) {
	t.Helper()
	busy, free := make(chan bool), make(chan bool)
	var begun sync.Once // it may run again
	var all sync.WaitGroup
	all.Go(func() {
		err := g.Do(context.Background(), func(context.Context, bun.Tx) error {
			begun.Do(func() { close(busy) })
			<-free
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-busy
	for i, fn := range members {
		all.Go(fn)
		testkit.Eventually(t, 10*time.Second, func() error {
			if n := g.Waiting(); n != i+1 {
				return fmt.Errorf("%d transactions wait, want %d", n, i+1)
			}
			return nil
		})
	}
	return func() {
		close(free)
		all.Wait()
	}
}

// Transactions that wait for the same writer share commits and have their turns in order. One that fails or panics does
// not disturb the others.
func TestTransactionsShareCommits(t *testing.T) {
	onQueue(t, func(t *testing.T, db *store.DB, g *store.Group) {
		var commits atomic.Int32
		db.AroundCommit(func(done bool) {
			if done {
				commits.Add(1)
			}
		})
		changed := errors.New("changed its mind")
		const n = 60
		var order []int
		members := make([]func(), n)
		for i := range members {
			members[i] = func() {
				if i%5 == 3 {
					defer func() {
						if recover() == nil {
							t.Errorf("the panic of %d did not come through", i)
						}
					}()
				}
				err := g.Do(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					order = append(order, i) // one at a time
					if err := count(ctx, tx, fmt.Sprint(i)); err != nil {
						return err
					}
					switch i % 5 {
					case 1:
						return changed
					case 2:
						_, err := tx.ExecContext(ctx, "UPDATE counters SET n = -1 WHERE id = ?", fmt.Sprint(i))
						return err
					case 3:
						panic("boom")
					}
					return nil
				})
				if i%5 == 1 && !errors.Is(err, changed) || i%5 == 2 && !store.IsCheck(err) || (i%5 == 0 || i%5 == 4) && err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		}
		gather(t, g, members...)()
		got := counters(t, db)
		for i := range n {
			want := 0
			if i%5 == 0 || i%5 == 4 {
				want = 1
			}
			if got[fmt.Sprint(i)] != want {
				t.Errorf("counter %d is %d, want %d", i, got[fmt.Sprint(i)], want)
			}
		}
		if !slices.IsSorted(order) || len(order) != n {
			t.Errorf("turns in the order %v", order)
		}
		if c := commits.Load(); c > n/3 {
			t.Errorf("%d transactions made %d commits", n, c)
		}
	})
}

// Transactions of callers that are ready to run when the first is done do not wait for a commit of their own.
func TestThoseAboutToComeShareACommit(t *testing.T) {
	onQueue(t, func(t *testing.T, db *store.DB, g *store.Group) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		var commits atomic.Int32
		db.AroundCommit(func(done bool) {
			if done {
				commits.Add(1)
			}
		})
		const rounds = 20
		for range rounds {
			var callers sync.WaitGroup
			for range 5 {
				callers.Go(func() {
					err := g.Do(t.Context(), func(ctx context.Context, tx bun.Tx) error { return count(ctx, tx, "a") })
					if err != nil {
						t.Error(err)
					}
				})
			}
			callers.Wait()
		}
		if n := commits.Load(); n > rounds*3/2 {
			t.Errorf("%d commits for %d times five callers at once", n, rounds)
		}
	})
}

// A commit is refused for what one member did. The others are committed all the same, each once.
func TestRefusedCommitIsOfOneMember(t *testing.T) {
	onQueue(t, func(t *testing.T, db *store.DB, g *store.Group) {
		var members []func()
		for i := range 9 {
			members = append(members, func() {
				err := g.Do(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					if err := count(ctx, tx, fmt.Sprint(i)); err != nil || i != 4 {
						return err
					}
					_, err := tx.ExecContext(ctx, "INSERT INTO parts (id, counter) VALUES ('a', 'missing')")
					return err
				})
				if i == 4 && !store.IsForeignKey(err) || i != 4 && err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		gather(t, g, members...)()
		for i, want := range []int{1, 1, 1, 1, 0, 1, 1, 1, 1} {
			if got := counters(t, db)[fmt.Sprint(i)]; got != want {
				t.Errorf("counter %d is %d, want %d", i, got, want)
			}
		}
	})
}

// A caller that leaves while it waits has changed nothing, and does not wait on. One that leaves while its statements run
// has changed nothing, and those who share its commit are committed once.
func TestMemberLeaves(t *testing.T) {
	onQueue(t, func(t *testing.T, db *store.DB, g *store.Group) {
		before, cancel := context.WithCancel(t.Context())
		cancel()
		never := func(context.Context, bun.Tx) error {
			t.Error("the transaction of a caller that has left runs")
			return nil
		}
		if err := g.Do(before, never); !fault.Is(err, fault.Timeout) {
			t.Errorf("called too late: %v", err)
		}
		queued, leave := context.WithCancel(t.Context())
		running, abort := context.WithCancel(t.Context())
		left := make(chan bool)
		ok := func(id string) func() {
			return func() {
				if err := g.Do(t.Context(), func(ctx context.Context, tx bun.Tx) error { return count(ctx, tx, id) }); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		}
		run := gather(t, g, ok("a"), func() {
			if err := g.Do(queued, never); !fault.Is(err, fault.Timeout) {
				t.Errorf("left while it waited: %v", err)
			}
			close(left)
		}, ok("b"), func() {
			err := g.Do(running, func(ctx context.Context, tx bun.Tx) error {
				if err := count(ctx, tx, "c"); err != nil {
					return err
				}
				abort()
				return count(ctx, tx, "c")
			})
			if !fault.Is(err, fault.Timeout) {
				t.Errorf("left while it ran: %v", err)
			}
		}, ok("d"))
		leave()
		<-left // while the writer is still busy
		run()
		if got := counters(t, db); got["a"] != 1 || got["b"] != 1 || got["c"] != 0 || got["d"] != 1 {
			t.Errorf("counters %v", got)
		}
	})
}

// Callers fail, panic and leave at any moment. What was acknowledged is there once, and nothing else is.
func TestGroupUnderFire(t *testing.T) {
	onQueue(t, func(t *testing.T, db *store.DB, g *store.Group) {
		var (
			mu    sync.Mutex
			acked = map[string]int{}
			all   sync.WaitGroup
		)
		for worker := range 16 {
			all.Go(func() {
				for i := range 60 {
					id := fmt.Sprintf("%d-%d", worker, i)
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					if rand.IntN(3) == 0 {
						ctx, cancel = context.WithTimeout(ctx, rand.N(4*time.Millisecond))
					}
					err := func() (err error) {
						defer func() {
							if recover() != nil {
								err = errors.New("panic")
							}
						}()
						return g.Do(ctx, func(ctx context.Context, tx bun.Tx) error {
							if err := count(ctx, tx, id); err != nil {
								return err
							}
							switch rand.IntN(8) {
							case 0:
								panic("boom")
							case 1:
								return errors.New("changed its mind")
							case 2:
								<-time.After(rand.N(time.Millisecond))
							}
							return count(ctx, tx, id)
						})
					}()
					cancel()
					if errors.Is(err, store.ErrUnknown) {
						t.Errorf("an outcome is not known: %v", err)
					}
					if err == nil {
						mu.Lock()
						acked[id] = 2
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		got := counters(t, db)
		for id, n := range acked {
			if got[id] != n {
				t.Errorf("%s was acknowledged and is %d", id, got[id])
			}
		}
		if len(got) != len(acked) {
			t.Errorf("%d counters are there, %d were acknowledged", len(got), len(acked))
		}
		t.Logf("%d of %d transactions succeeded", len(acked), 16*60)
	})
}

const crashDir = "STARLIGHT_TEST_CRASH_DIR"

// A process is killed while its transactions share commits. What it had acknowledged is there, and each transaction is
// there as a whole or not at all.
func TestCrashOfGroups(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashOfGroups$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
			if acked = append(acked, id); len(acked) == 300 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(acked) < 300 {
		t.Fatalf("the process ended by itself after %d transactions", len(acked))
	}
	db := testkit.Open(t, "sqlite:"+dir, "crash", schema())
	var ids []string
	if err := db.Read().NewRaw("SELECT id FROM things").Scan(t.Context(), &ids); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, id := range ids {
		there[id] = true
	}
	for _, id := range acked {
		if !there[id+".1"] || !there[id+".2"] {
			t.Errorf("transaction %s was acknowledged and is gone", id)
		}
	}
	for id := range there {
		if name := id[:len(id)-2]; !there[name+".1"] || !there[name+".2"] {
			t.Errorf("half of transaction %s is there", name)
		}
	}
}

func writeUntilKilled(t *testing.T, dir string) {
	db := testkit.Open(t, "sqlite:"+dir, "crash", schema())
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := range 10_000 {
				id := fmt.Sprintf("%d-%d", worker, i)
				err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					for _, part := range []string{".1", ".2"} {
						if _, err := tx.NewInsert().Model(&thing{ID: id + part, At: time.Now()}).Exec(ctx); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Println("acked", id)
			}
		})
	}
	all.Wait()
}

// What rides costs no commit of its own while there are others, and waits for none when there are not.
func TestTxSoon(t *testing.T) {
	onQueue(t, func(t *testing.T, db *store.DB, _ *store.Group) {
		var commits atomic.Int32
		db.AroundCommit(func(done bool) {
			if done {
				commits.Add(1)
			}
		})
		var done atomic.Bool
		tries := 0
		db.TxSoonThen(func(ctx context.Context, tx bun.Tx) error { return count(ctx, tx, "rides") }, func() { done.Store(true) })
		db.TxSoon(func(ctx context.Context, tx bun.Tx) error {
			if tries++; tries == 1 {
				_ = count(ctx, tx, "undone")
				panic("boom")
			}
			return count(ctx, tx, "again")
		})
		failed := errors.New("no")
		if err := db.Tx(t.Context(), func(context.Context, bun.Tx) error { return failed }); err != failed || done.Load() {
			t.Errorf("%v; a change is done without a commit: %v", err, done.Load())
		}
		if err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return count(ctx, tx, "first") }); err != nil {
			t.Error(err)
		}
		if got := counters(t, db); got["first"] != 1 || got["rides"] != 1 || got["undone"] != 0 || commits.Load() != 1 || !done.Load() {
			t.Errorf("after one commit: %v, %d commits", got, commits.Load())
		}
		testkit.Eventually(t, 10*time.Second, func() error {
			if got := counters(t, db); got["again"] != 1 {
				return fmt.Errorf("counters %v", got)
			}
			return nil
		})
	})
	url := testkit.SQLite(t)
	db := testkit.Open(t, url, "user", schema())
	db.TxSoon(func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&thing{ID: "last", At: time.Now()}).Exec(ctx)
		return err
	})
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if value(t, testkit.Open(t, url, "user", schema()), "last") != 0 {
		t.Error("what rode was lost when the database was closed")
	}
}

// Transactions of First go before those that wait, whatever came earlier.
func TestFirstGoesFirst(t *testing.T) {
	onQueue(t, func(t *testing.T, _ *store.DB, g *store.Group) {
		var order []string // one runs at a time
		member := func(ctx context.Context, name string) func() {
			return func() {
				err := g.Do(ctx, func(ctx context.Context, tx bun.Tx) error {
					order = append(order, name)
					return count(ctx, tx, name)
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
		ctx := context.Background()
		gather(t, g, member(ctx, "order"), member(ctx, "another"), member(store.First(ctx), "scan"))()
		if want := []string{"scan", "order", "another"}; !slices.Equal(order, want) {
			t.Errorf("%v, want %v", order, want)
		}
	})
}
