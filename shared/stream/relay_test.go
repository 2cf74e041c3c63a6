package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const long = 20 * time.Second

// relay runs a relay until the returned function is called, which returns once the relay has.
func relay(t *testing.T, db *store.DB, n *testkit.NATSServer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := stream.NewRelay(db, n.JS, testkit.Log(t), observe.NewRegistry())
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func add(t *testing.T, db *store.DB, msgs ...stream.Message) {
	t.Helper()
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return stream.AddAll(ctx, tx, msgs...) })
	if err != nil {
		t.Fatal(err)
	}
}

func numbered(subject string, from, to int) []stream.Message {
	var msgs []stream.Message
	for i := from; i < to; i++ {
		msgs = append(msgs, stream.Message{Subject: subject, Payload: map[string]int{"n": i}})
	}
	return msgs
}

func depth(t *testing.T, db *store.DB) int {
	t.Helper()
	var n int
	if err := db.Read().NewRaw("SELECT count(*) FROM outbox").Scan(context.Background(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func empty(t *testing.T, db *store.DB) {
	t.Helper()
	testkit.Eventually(t, long, func() error {
		if n := depth(t, db); n != 0 {
			return fmt.Errorf("%d messages in the outbox", n)
		}
		return nil
	})
}

// expect checks that the stream holds the numbers from 0 to n-1 in order, each once.
func expect(t *testing.T, n *testkit.NATSServer, count int) {
	t.Helper()
	msgs := n.Messages("EVENTS")
	if len(msgs) != count {
		t.Errorf("%d messages in the stream, want %d", len(msgs), count)
	}
	for i, m := range msgs {
		if want := fmt.Sprintf(`{"n":%d}`, i); string(m.Data) != want {
			t.Fatalf("message %d is %s, want %s", i, m.Data, want)
		}
	}
}

func each(t *testing.T, test func(t *testing.T, db *store.DB, n *testkit.NATSServer)) {
	testkit.DB(t, "ticketing", nil, func(t *testing.T, db *store.DB) {
		n := testkit.NATS(t)
		n.Stream("EVENTS", "ev.>")
		test(t, db, n)
	})
}

func TestCommittedMessagesArePublishedInOrder(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		add(t, db, numbered("ev.a", 0, 700)...) // before the relay starts, and more than a window and an INSERT
		relay(t, db, n)
		for i := 700; i < 720; i++ {
			add(t, db, numbered("ev.b", i, i+1)...)
		}
		empty(t, db)
		expect(t, n, 720)
	})
}

func TestRolledBackMessagesAreNot(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		stop := relay(t, db, n)
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if err := stream.Add(ctx, tx, "ev.a", "never"); err != nil {
				t.Error(err)
			}
			return errors.New("no")
		})
		if err == nil {
			t.Error("the transaction went through")
		}
		add(t, db, numbered("ev.a", 0, 1)...)
		stop()
		expect(t, n, 1)
	})
}

func TestRequestTravelsWithTheMessage(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		trace := rpc.ChildTrace("")
		ctx := rpc.WithMeta(t.Context(), rpc.Meta{RequestID: "req_1", TraceParent: trace})
		later := stream.NewMessage(ctx, "ev.b", []byte{0, 1, '\'', 255})
		if err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return stream.Add(ctx, tx, "ev.a", "x") }); err != nil {
			t.Fatal(err)
		}
		add(t, db, later) // by a transaction that has another context
		relay(t, db, n)
		empty(t, db)
		msgs := n.Messages("EVENTS")
		if len(msgs) != 2 || string(msgs[0].Data) != `"x"` || string(msgs[1].Data) != "\x00\x01'\xff" {
			t.Fatalf("messages %v", msgs)
		}
		for _, m := range msgs {
			if m.Header.Get("Starlight-Request-Id") != "req_1" || m.Header.Get("traceparent") != trace ||
				!strings.HasPrefix(m.Header.Get("Nats-Msg-Id"), "msg_") {
				t.Errorf("headers %v", m.Header)
			}
		}
	})
}

// The process dies after the stream has the message and before its row is deleted: the row comes again, the message does
// not.
func TestCrashBetweenPublishAndDelete(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		msgs := numbered("ev.a", 0, 10)
		for i := range msgs {
			msgs[i].ID = fmt.Sprintf("id-%d", i)
		}
		add(t, db, msgs...)
		stop := relay(t, db, n)
		empty(t, db)
		stop()
		add(t, db, msgs...) // as if the delete had been lost
		relay(t, db, n)
		empty(t, db)
		expect(t, n, 10)
	})
}

func TestSeveralRelaysPublishEachMessageOnceAndInOrder(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite, store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) {
			n := testkit.NATS(t)
			n.Stream("EVENTS", "ev.>")
			at := url(t)
			var dbs []*store.DB
			for range 3 {
				db := testkit.Open(t, at, "ticketing", nil)
				dbs = append(dbs, db)
				relay(t, db, n)
			}
			for i := range 100 {
				add(t, dbs[i%3], numbered("ev.a", 10*i, 10*i+10)...)
			}
			empty(t, dbs[0])
			expect(t, n, 1000)
		})
	}
}

// While deploy/backup holds its locks nothing leaves the outbox. Then all of it does.
func TestBackupHoldsTheOutbox(t *testing.T) {
	script, err := os.ReadFile("../../deploy/backup")
	if err != nil {
		t.Fatal(err)
	}
	_, locks, found := strings.Cut(string(script), "SET lock_timeout = '30s';\n")
	locks, _, ends := strings.Cut(locks, ";\n")
	if !found || !ends {
		t.Fatal("there are no locks")
	}
	db := testkit.Open(t, testkit.Postgres(t), "ticketing", nil)
	n := testkit.NATS(t)
	n.Stream("EVENTS", "ev.>")
	err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, locks); err != nil {
			return err
		}
		relay(t, db, n)
		add(t, db, numbered("ev.a", 0, 10)...)
		testkit.Eventually(t, long, func() error {
			const waits = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
			var waiting int
			if err := db.Read().NewRaw(waits).Scan(ctx, &waiting); err != nil || waiting == 0 {
				return fmt.Errorf("%d relays wait: %v", waiting, err)
			}
			return nil
		})
		expect(t, n, 0)
		_, err := tx.ExecContext(ctx, "SELECT pg_advisory_unlock_all()")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	empty(t, db)
	expect(t, n, 10)
}

func TestOutageDelaysAndLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		relay(t, db, n)
		add(t, db, numbered("ev.a", 0, 5)...)
		empty(t, db)
		n.Stop()
		add(t, db, numbered("ev.a", 5, 10)...)
		if got := depth(t, db); got != 5 {
			t.Errorf("%d messages in the outbox during the outage, want 5", got)
		}
		n.Start()
		empty(t, db)
		expect(t, n, 10)
	})
}

// An outage is one warning and one line at its end, not a line for each attempt.
func TestOutageOfTheRelayIsLoggedOnce(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "ticketing", nil)
	n := testkit.NATS(t)
	n.Stream("EVENTS", "ev.>")
	var log testkit.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- stream.NewRelay(db, n.JS, slog.New(slog.NewTextHandler(&log, nil)), observe.NewRegistry()).Run(ctx)
	}()
	logged := func(line string, want int) error {
		if got := strings.Count(log.String(), line); got != want {
			return fmt.Errorf("%q is logged %d times, want %d:\n%s", line, got, want, log.String())
		}
		return nil
	}
	n.Stop()
	add(t, db, numbered("ev.a", 0, 5)...)
	testkit.Eventually(t, long, func() error { return logged("outbox: cannot publish", 1) })
	n.Start()
	testkit.Eventually(t, long, func() error { return logged("outbox: published again", 1) })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := logged("WARN", 1); err != nil {
		t.Error(err)
	}
}

func TestRefusedMessageStepsAside(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		relay(t, db, n)
		add(t, db, stream.Message{Subject: "nowhere.x", Payload: "no stream takes this"})
		for i := range 10 {
			add(t, db, numbered("ev.a", i, i+1)...)
		}
		testkit.Eventually(t, long, func() error {
			if got := depth(t, db); got != 1 {
				return fmt.Errorf("%d messages in the outbox, want the refused one", got)
			}
			return nil
		})
		expect(t, n, 10)
		n.Stream("NOWHERE", "nowhere.>") // the fault is mended, and the message had not been dropped
		empty(t, db)
		if got := len(n.Messages("NOWHERE")); got != 1 {
			t.Errorf("%d messages in the other stream, want 1", got)
		}
	})
}

func TestCommitWakesTheRelay(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		relay(t, db, n)
		began := time.Now()
		for i := range 20 {
			add(t, db, numbered("ev.a", i, i+1)...)
			empty(t, db)
		}
		// By polling alone it would take about a second each.
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("20 messages one after the other took %s", took)
		}
	})
}

func TestShutdownPublishesWhatIsLeft(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB, n *testkit.NATSServer) {
		add(t, db, numbered("ev.a", 0, 600)...)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := stream.NewRelay(db, n.JS, nil, nil).Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := depth(t, db); got != 0 {
			t.Errorf("%d messages left", got)
		}
		expect(t, n, 600)
	})
}

func TestOnce(t *testing.T) {
	testkit.DB(t, "ticketing", nil, func(t *testing.T, db *store.DB) {
		once := func(consumer, id string, result error) (first bool) {
			db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				var err error
				if first, err = stream.Once(ctx, tx, consumer, id); err != nil {
					t.Error(err)
				}
				return result
			})
			return first
		}
		if !once("a", "1", errors.New("rolled back")) || !once("a", "1", nil) || !once("b", "1", nil) || !once("a", "2", nil) {
			t.Error("a first message was taken for a repeated one")
		}
		if once("a", "1", nil) {
			t.Error("a repeated message was taken for a first one")
		}
		if n, err := stream.Forget(t.Context(), db, time.Now().Add(time.Minute)); n != 3 || err != nil {
			t.Errorf("Forget: %d, %v; want 3", n, err)
		}
		if !once("a", "1", nil) {
			t.Error("a forgotten message is still known")
		}
	})
}

// Published rows are deleted by the next transaction of the service, without a commit for it, and published once.
func TestDeletionRidesOnTheNextCommit(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "ticketing", nil)
	n := testkit.NATS(t)
	n.Stream("EVENTS", "ev.>")
	var commits atomic.Int32
	db.AroundCommit(func(done bool) {
		if done {
			commits.Add(1)
		}
	})
	stop := relay(t, db, n)
	const rounds = 20
	for i := range rounds {
		add(t, db, numbered("ev.a", i, i+1)...)
		testkit.Eventually(t, long, func() error {
			if got := len(n.Messages("EVENTS")); got != i+1 {
				return fmt.Errorf("%d messages, want %d", got, i+1)
			}
			return nil
		})
	}
	if got := commits.Load(); got > rounds*3/2 {
		t.Errorf("%d commits for %d transactions", got, rounds)
	}
	stop()
	if left := depth(t, db); left != 0 {
		t.Errorf("%d rows are left", left)
	}
	expect(t, n, rounds)
}
