package inventory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// newStream returns a server with the inventory's stream.
func newStream(t testing.TB) *testkit.NATSServer {
	t.Helper()
	n := testkit.NATS(t)
	if err := natsconf.Ensure(t.Context(), n.JS, api.Streams(), 1); err != nil {
		t.Fatal(err)
	}
	return n
}

// open returns an instance with a connection of its own. It follows the stream until the test ends.
func open(t testing.TB, n *testkit.NATSServer) *Inventory {
	t.Helper()
	js, err := jetstream.New(n.Connect())
	if err != nil {
		t.Fatal(err)
	}
	inv, err := Open(t.Context(), js, testkit.Log(t), observe.NewRegistry(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inv.Close)
	follow(t, inv)
	return inv
}

// follow lets an instance follow the stream until the test ends.
func follow(t testing.TB, inv *Inventory) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- inv.Follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func newEvent() (ids.Event, ids.TicketType) {
	now := time.Now()
	return ids.New[ids.EventKind](now), ids.New[ids.TicketTypeKind](now)
}

func newRef(event ids.Event) Ref { return Ref{event, ids.New[ids.OrderKind](time.Now())} }

func one(t ids.TicketType, n int) []Line { return []Line{{Type: t, N: n}} }

const anybody = ids.User("usr_00000000000000000000000000")

// watch checks the invariant at every revision from now on, and returns a function that ends the watch and reports.
func watch(t testing.TB, n *testkit.NATSServer) func() *Ledger {
	t.Helper()
	l := NewLedger()
	var mu sync.Mutex
	var last atomic.Uint64
	sub, err := n.JS.OrderedConsumer(t.Context(), Stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		t.Fatal(err)
	}
	cc, err := sub.Consume(func(msg jetstream.Msg) {
		meta, err := msg.Metadata()
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if event, found := poolOf(msg.Subject()); found {
			rec := stored{seq: meta.Sequence.Stream, at: meta.Timestamp}
			if err := unmarshal(msg.Subject(), msg.Data(), &rec.record); err != nil {
				t.Error(err)
			}
			l.apply(event, rec)
		}
		last.Store(meta.Sequence.Stream)
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() *Ledger {
		s, err := n.JS.Stream(t.Context(), Stream)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 20*time.Second, func() error {
			if got, want := last.Load(), s.CachedInfo().State.LastSeq; got < want {
				return fmt.Errorf("the watch is at %d of %d", got, want)
			}
			return nil
		})
		cc.Stop()
		mu.Lock()
		defer mu.Unlock()
		return l
	}
}

// rush lets many buyers want one ticket each from several instances and returns how many got one. Other errors than
// that all is sold are given to failed.
func rush(t *testing.T, event ids.Event, typ ids.TicketType, buyers int, failed func(error), instances ...*Inventory) int {
	t.Helper()
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range buyers {
		wg.Go(func() {
			err := instances[i%len(instances)].Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour))
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrSoldOut):
				failed(err)
			}
		})
	}
	wg.Wait()
	return int(won.Load())
}

func TestThousandBuyersForHundredSeats(t *testing.T) {
	n := newStream(t)
	a, b, c := open(t, n), open(t, n), open(t, n)
	event, typ := newEvent()
	check := watch(t, n)
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 100)); err != nil {
		t.Fatal(err)
	}
	if won := rush(t, event, typ, 1000, func(err error) { t.Error(err) }, a, b, c); won != 100 {
		t.Errorf("%d buyers got one of 100 seats", won)
	}
	if l := check(); len(l.Broken) > 0 || l.Checked == 0 {
		t.Errorf("checked %d revisions, broken: %v", l.Checked, l.Broken)
	}
	pool, err := b.Pool(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	if got := pool.Types[0]; got.Held != 100 || got.Available() != 0 {
		t.Errorf("pool is %+v", got)
	}
}

// The mutant publishes without compare-and-set. If this test could not tell it from the real thing, the one above would
// prove nothing.
func TestMutantWithoutCompareAndSetOversells(t *testing.T) {
	n := newStream(t)
	a, b, c := open(t, n), open(t, n), open(t, n)
	for _, inv := range []*Inventory{a, b, c} {
		inv.publish = func(ctx context.Context, c *commit) (uint64, error) {
			ack, err := inv.js.Publish(ctx, poolSubject(c.event), c.data)
			if err != nil {
				return 0, err
			}
			return ack.Sequence, nil
		}
	}
	event, typ := newEvent()
	check := watch(t, n)
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 100)); err != nil {
		t.Fatal(err)
	}
	noticed := func(err error) { // an instance finds that the records are no chain
		if !errors.Is(err, ErrBroken) && !fault.Is(err, fault.Unavailable) {
			t.Error(err)
		}
	}
	won := rush(t, event, typ, 1000, noticed, a, b, c)
	if l := check(); len(l.Broken) == 0 {
		t.Errorf("the mutant sold %d of 100 and it was not noticed", won)
	}
}

func TestLifeOfAnOrder(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, typ := newEvent()
	ctx := t.Context()
	ref, expires := newRef(event), time.Now().Add(time.Hour)

	if err := inv.Hold(ctx, ref, anybody, one(typ, 1), expires); !errors.Is(err, ErrNoPool) {
		t.Fatalf("hold without a pool: %v", err)
	}
	if err := inv.OpenPool(ctx, event, 1, one(typ, 3)); err != nil {
		t.Fatal(err)
	}
	if err := inv.Hold(ctx, ref, anybody, one(typ, 2), expires); err != nil {
		t.Fatal(err)
	}
	want := func(held, sold int) {
		t.Helper()
		pool, err := inv.Pool(ctx, event)
		if err != nil {
			t.Fatal(err)
		}
		if c := pool.Types[0]; c.Held != held || c.Sold != sold {
			t.Fatalf("held %d sold %d, want %d and %d", c.Held, c.Sold, held, sold)
		}
	}
	want(2, 0)
	if got := inv.HeldBy(anybody); got != 1 {
		t.Errorf("HeldBy = %d", got)
	}
	if err := inv.Hold(ctx, newRef(event), anybody, one(typ, 2), expires); !errors.Is(err, ErrSoldOut) {
		t.Fatalf("hold of 2 with 1 left: %v", err)
	}
	if err := inv.Resize(ctx, event, 2, one(typ, 1)); !errors.Is(err, ErrBelow) {
		t.Fatalf("resize below held: %v", err)
	}
	if err := inv.Resize(ctx, event, 0, one(typ, 1)); err != nil {
		t.Fatalf("an old resize: %v", err)
	}
	for range 2 { // the second time changes nothing
		if err := inv.Confirm(ctx, ref); err != nil {
			t.Fatal(err)
		}
		want(0, 2)
	}
	if err := inv.Release(ctx, ref); !errors.Is(err, ErrSold) {
		t.Fatalf("release of a sold order: %v", err)
	}
	for range 2 {
		if err := inv.Return(ctx, ref); err != nil {
			t.Fatal(err)
		}
		want(0, 0)
	}
	if err := inv.Confirm(ctx, ref); !errors.Is(err, ErrGone) {
		t.Fatalf("confirm of a returned order: %v", err)
	}
	for range 2 {
		if err := inv.Sell(ctx, ref, anybody, one(typ, 3), "late", nil); err != nil {
			t.Fatal(err)
		}
		want(0, 3)
	}
	if err := inv.Sell(ctx, ref, anybody, one(typ, 3), "other", nil); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a second sale of the same order: %v", err)
	}
	for _, keep := range []int{2, 2, 3, 1} { // never more than it has
		if err := inv.Reduce(ctx, ref, one(typ, keep)); err != nil {
			t.Fatal(err)
		}
		want(0, min(keep, 2))
	}
	if err := inv.Extend(ctx, ref, expires); !errors.Is(err, ErrSold) {
		t.Fatalf("extension of a sold order: %v", err)
	}
	held := newRef(event)
	if err := inv.Extend(ctx, held, expires); !errors.Is(err, ErrGone) {
		t.Fatalf("extension of nothing: %v", err)
	}
	if err := inv.Hold(ctx, held, anybody, one(typ, 2), expires); err != nil {
		t.Fatal(err)
	}
	for _, later := range []time.Duration{time.Hour, 0} { // never sooner
		if err := inv.Extend(ctx, held, expires.Add(later)); err != nil {
			t.Fatal(err)
		}
		if got := inv.Expired(expires.Add(time.Minute), 10); len(got) != 0 {
			t.Fatalf("expired: %v", got)
		}
	}
	for _, keep := range []int{3, 1, 1, 0} { // of a hold, too
		if err := inv.Reduce(ctx, held, one(typ, keep)); err != nil {
			t.Fatal(err)
		}
		want(min(keep, 2), 1)
	}
	if err := inv.Reduce(ctx, ref, nil); err != nil {
		t.Fatal(err)
	}
	want(0, 0)
	l, err := Audit(ctx, n.JS)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Broken) > 0 || l.Sold()[typ] != 0 {
		t.Errorf("sold %d, broken: %v", l.Sold()[typ], l.Broken)
	}
}

// An order with two types is held as a whole or not at all, and one type named twice does not slip through.
func TestAllOrNothing(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, seat := newEvent()
	_, parking := newEvent()
	if err := inv.OpenPool(t.Context(), event, 1, []Line{{Type: seat, N: 10}, {Type: parking, N: 1}}); err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(time.Hour)
	for _, lines := range [][]Line{{{Type: seat, N: 2}, {Type: parking, N: 2}},
		{{Type: parking, N: 1}, {Type: parking, N: 1}}, {{Type: seat, N: 0}}, {{Type: seat, N: -1}}} {
		if err := inv.Hold(t.Context(), newRef(event), anybody, lines, expires); !errors.Is(err, ErrSoldOut) {
			t.Errorf("hold %v: %v", lines, err)
		}
	}
	pool, err := inv.Pool(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range pool.Types {
		if c.Held != 0 {
			t.Errorf("%+v after refused holds", c)
		}
	}
}

// When the answer to a batch is lost, the instance reads back whether it was written. Half of the answers are lost
// here, some of batches that were written and some of batches that were not.
func TestUnknownOutcome(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	for _, inv := range []*Inventory{a, b} {
		rng := rand.New(rand.NewPCG(1, 2))
		inv.publish = func(ctx context.Context, c *commit) (uint64, error) {
			switch rng.IntN(4) {
			case 0:
				return 0, errUnknown
			case 1:
				if _, err := inv.publishCommit(ctx, c); err != nil {
					return 0, err
				}
				return 0, errUnknown
			}
			return inv.publishCommit(ctx, c)
		}
	}
	event, typ := newEvent()
	check := watch(t, n)
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 300)); err != nil {
		t.Fatal(err)
	}
	var held, sold, free atomic.Int64
	var wg sync.WaitGroup
	for i := range 400 {
		inv := []*Inventory{a, b}[i%2]
		wg.Go(func() {
			ref := newRef(event)
			err := inv.Hold(t.Context(), ref, anybody, one(typ, 1), time.Now().Add(time.Hour))
			if errors.Is(err, ErrSoldOut) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			switch i % 3 {
			case 0:
				held.Add(1)
			case 1:
				if err := inv.Confirm(t.Context(), ref); err != nil {
					t.Error(err)
				}
				sold.Add(1)
			case 2:
				if err := inv.Release(t.Context(), ref); err != nil {
					t.Error(err)
				}
				free.Add(1)
			}
		})
	}
	wg.Wait()
	l := check()
	if len(l.Broken) > 0 {
		t.Errorf("broken: %v", l.Broken)
	}
	c := l.events[event].Types[0]
	if c.Held != int(held.Load()) || c.Sold != int(sold.Load()) {
		t.Errorf("pool %+v, but callers were told held %d sold %d", c, held.Load(), sold.Load())
	}
	if a.metrics.unknown.Get() == 0 {
		t.Error("no outcome was unknown")
	}
}

func TestExpired(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 10)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	late, soon, paid := newRef(event), newRef(event), newRef(event)
	for ref, after := range map[Ref]time.Duration{late: time.Hour, soon: time.Minute, paid: time.Minute} {
		if err := a.Hold(t.Context(), ref, anybody, one(typ, 1), start.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Confirm(t.Context(), paid); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, func() error { // b hears of it by following
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held != 2 {
			return fmt.Errorf("%d holds are known", b.held)
		}
		return nil
	})
	for name, inv := range map[string]*Inventory{"own": a, "other": b} {
		if got := inv.Expired(start.Add(59*time.Second), 10); len(got) != 0 {
			t.Errorf("%s: too early: %v", name, got)
		}
		if got := inv.Expired(start.Add(61*time.Second), 10); len(got) != 1 || got[0] != soon {
			t.Errorf("%s: expired %v, want %v", name, got, soon)
		}
		if got := inv.Expired(start.Add(61*time.Second), 10); len(got) != 0 {
			t.Errorf("%s: told twice", name)
		}
		inv.Requeue(soon, time.UnixMilli(0))
		if got := inv.Expired(start.Add(61*time.Second), 10); len(got) != 1 {
			t.Errorf("%s: not told again after Requeue", name)
		}
	}
}

// A server that goes away in the middle of a sale loses nothing that it had acknowledged.
func TestServerRestart(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, typ := newEvent()
	if err := inv.OpenPool(t.Context(), event, 1, one(typ, 5000)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	held := map[ids.Order]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for ctx.Err() == nil {
				ref := newRef(event)
				if inv.Hold(ctx, ref, anybody, one(typ, 1), time.Now().Add(time.Hour)) == nil {
					mu.Lock()
					held[ref.Order] = true
					mu.Unlock()
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(held) }
	for range 2 {
		before := count()
		testkit.Eventually(t, 20*time.Second, func() error {
			if count() < before+50 {
				return errors.New("no progress")
			}
			return nil
		})
		n.Stop()
		n.Start()
	}
	stop()
	wg.Wait()
	testkit.Eventually(t, 20*time.Second, func() error {
		if n.Conn.Status() != nats.CONNECTED {
			return errors.New("not connected")
		}
		return nil
	})
	l, err := Audit(t.Context(), n.JS)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Broken) > 0 {
		t.Errorf("broken: %v", l.Broken)
	}
	for order := range held {
		if l.orders[order].State != Held {
			t.Errorf("order %s was acknowledged and is gone", order)
		}
	}
}

// The price of a hold by the number of buyers who wait at the same time, with every batch synced to the disk.
func BenchmarkHold(b *testing.B) {
	for _, buyers := range []int{64, 256, 1024} {
		b.Run(fmt.Sprint(buyers), func(b *testing.B) {
			srv, err := natsconf.Start(b.Context(), natsconf.Config{Dir: b.TempDir(), Roles: []natsconf.Role{
				natsconf.NewRole("ticketing", natsconf.ManageStreams(api.Streams()), natsconf.OwnKV(api.InventoryBucket))}})
			if err != nil {
				b.Fatal(err)
			}
			defer srv.Shutdown(context.Background())
			nc, err := srv.Connect("ticketing")
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				b.Fatal(err)
			}
			if err := natsconf.Ensure(b.Context(), js, api.Streams(), 1); err != nil {
				b.Fatal(err)
			}
			inv, err := Open(b.Context(), js, testkit.Log(b), observe.NewRegistry(), time.Now)
			if err != nil {
				b.Fatal(err)
			}
			defer inv.Close()
			event, typ := newEvent()
			if err := inv.OpenPool(b.Context(), event, 1, one(typ, 1<<30)); err != nil {
				b.Fatal(err)
			}
			expires := time.Now().Add(time.Hour)
			b.SetParallelism(buyers / runtime.GOMAXPROCS(0))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := inv.Hold(b.Context(), newRef(event), anybody, one(typ, 1), expires); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(inv.metrics.changes.Get())/float64(inv.metrics.commits.Get()), "changes/commit")
		})
	}
}
