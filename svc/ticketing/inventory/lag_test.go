package inventory

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// openDeaf returns an instance that follows only while the returned function says so: what it knows is old otherwise.
func openDeaf(t testing.TB, n *testkit.NATSServer) (inv *Inventory, follow func() (stop func())) {
	t.Helper()
	js, err := jetstream.New(n.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if inv, err = Open(t.Context(), js, testkit.Log(t), observe.NewRegistry(), time.Now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inv.Close)
	return inv, func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- inv.Follow(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// leader returns the first type of a pool and the entry of an order as the leader has them.
func leader(t testing.TB, inv *Inventory, ref Ref) (Counts, Entry) {
	t.Helper()
	last, _, err := lastRecord(t.Context(), inv.stream, ref.Event)
	if err != nil {
		t.Fatal(err)
	}
	known, err := inv.Entries(t.Context(), ref.Event)
	if err != nil {
		t.Fatal(err)
	}
	return last.Types[0], known[ref.Order]
}

// An instance that lags has an order as held for which another has done something since. What it is asked to do then
// goes by the leader's state. The mutant goes by its cache, and is wrong wherever nothing would change.
func TestInstanceThatLags(t *testing.T) {
	n := newStream(t)
	b := open(t, n)
	expires := time.Now().Add(time.Hour)
	event, typ := newEvent()
	if err := b.OpenPool(t.Context(), event, 1, one(typ, 2)); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	sold := func(ref Ref) error { return b.Confirm(ctx, ref) }
	gone := func(ref Ref) error { return b.Release(ctx, ref) }
	lost := func(ref Ref) error { // another order has its seats now
		return errors.Join(b.Release(ctx, ref), b.Hold(ctx, newRef(event), anybody, one(typ, 2), expires))
	}
	less := func(ref Ref) error { return b.Reduce(ctx, ref, one(typ, 1)) }
	for _, c := range []struct {
		name   string
		before func(Ref) error
		do     func(*Inventory, Ref) error
		want   error
		left   string // the state of the order afterwards
		fools  bool   // the mutant
	}{
		{"keep nothing of what is sold", sold, func(a *Inventory, r Ref) error { return a.Reduce(ctx, r, nil) }, nil, "", false},
		{"keep what was held of what is less", less, func(a *Inventory, r Ref) error { return a.Reduce(ctx, r, one(typ, 2)) }, nil, Held, false},
		{"extend what is sold", sold, func(a *Inventory, r Ref) error { return a.Extend(ctx, r, expires) }, ErrSold, Sold, true},
		{"extend what is gone", gone, func(a *Inventory, r Ref) error { return a.Extend(ctx, r, expires) }, ErrGone, "", true},
		{"extend further what is gone", gone, func(a *Inventory, r Ref) error { return a.Extend(ctx, r, expires.Add(time.Hour)) }, ErrGone, "", false},
		{"hold again what is gone", gone, func(a *Inventory, r Ref) error { return a.Hold(ctx, r, anybody, one(typ, 2), expires) }, nil, Held, true},
		{"hold again what another has", lost, func(a *Inventory, r Ref) error { return a.Hold(ctx, r, anybody, one(typ, 2), expires) }, ErrSoldOut, "", true},
		{"sell what another has", lost, func(a *Inventory, r Ref) error { return a.Sell(ctx, r, anybody, one(typ, 2), "late", nil) }, ErrSoldOut, "", false},
		{"confirm what is gone", gone, func(a *Inventory, r Ref) error { return a.Confirm(ctx, r) }, ErrGone, "", false},
		{"confirm what is sold", sold, func(a *Inventory, r Ref) error { return a.Confirm(ctx, r) }, nil, Sold, false},
		{"release what is sold", sold, func(a *Inventory, r Ref) error { return a.Release(ctx, r) }, ErrSold, Sold, false},
		{"release what is gone", gone, func(a *Inventory, r Ref) error { return a.Release(ctx, r) }, nil, "", false},
		{"return what is sold", sold, func(a *Inventory, r Ref) error { return a.Return(ctx, r) }, nil, "", false},
	} {
		for _, mutant := range []bool{false, true} {
			if mutant && !c.fools {
				continue
			}
			a, follow := openDeaf(t, n)
			stop := follow()
			if mutant {
				a.publish = a.guess
			}
			ref := newRef(event)
			if err := b.Hold(ctx, ref, anybody, one(typ, 2), expires); err != nil {
				t.Fatal(c.name, err)
			}
			testkit.Eventually(t, 5*time.Second, func() error {
				if a.HeldBy(anybody) != 1 {
					return errors.New("the hold is not known")
				}
				return nil
			})
			stop()
			if err := c.before(ref); err != nil {
				t.Fatal(c.name, err)
			}
			err := c.do(a, ref)
			_, entry := leader(t, b, ref)
			if right := errors.Is(err, c.want) && entry.State == c.left; right == mutant {
				t.Errorf("%s: %v, want %v; the order is %q, want %q; mutant %v", c.name, err, c.want, entry.State, c.left, mutant)
			}
			if err := b.Return(ctx, ref); err != nil {
				t.Fatal(c.name, err)
			}
			b.mu.Lock()
			var others []Ref
			for id := range b.states[event].orders {
				others = append(others, Ref{event, id})
			}
			b.mu.Unlock()
			for _, other := range others {
				if err := b.Release(ctx, other); err != nil {
					t.Fatal(c.name, err)
				}
			}
		}
	}
	if l, err := Audit(ctx, n.JS); err != nil || len(l.Broken) > 0 {
		t.Errorf("%v, broken: %v", err, l.Broken)
	}
}

// What is left is as of now at any instance, and as of the newest that it knows while the leader does not answer.
func TestCurrentPool(t *testing.T) {
	n := newStream(t)
	b := open(t, n)
	a, _ := openDeaf(t, n)
	event, typ := newEvent()
	none, _ := newEvent()
	if _, err := a.Current(t.Context(), none); !errors.Is(err, ErrNoPool) {
		t.Fatalf("without a pool: %v", err)
	}
	if err := b.OpenPool(t.Context(), event, 1, one(typ, 9)); err != nil {
		t.Fatal(err)
	}
	for held := range 3 {
		for name, inv := range map[string]*Inventory{"the instance that changed it": b, "one that has heard of nothing": a} {
			if p, err := inv.Current(t.Context(), event); err != nil || p.Types[0].Held != held {
				t.Errorf("%s has %+v, %v, want %d held", name, p.Types, err, held)
			}
		}
		if held == 0 { // from now on the deaf one has an old view
			if _, err := a.Pool(t.Context(), event); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	n.Stop()
	if p, err := a.Current(t.Context(), event); err != nil || p.Types[0].Held != 0 {
		t.Errorf("without the stream's leader: %+v, %v, want what was known", p.Types, err)
	}
}

// What an instance remembers as no pool is no answer when another has opened one.
func TestPoolThatAnotherOpened(t *testing.T) {
	n := newStream(t)
	b := open(t, n)
	a, _ := openDeaf(t, n)
	event, typ := newEvent()
	ref := newRef(event)
	for range 2 {
		if err := a.Return(t.Context(), ref); !errors.Is(err, ErrNoPool) {
			t.Fatalf("without a pool: %v", err)
		}
	}
	if err := b.OpenPool(t.Context(), event, 1, one(typ, 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Sell(t.Context(), ref, anybody, one(typ, 1), "tag", nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Return(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if c, _ := leader(t, b, ref); c.Sold != 0 {
		t.Errorf("the pool is %+v", c)
	}
}

// An answer that came late says that there is no pool. It does not replace the pool that was heard of meanwhile.
func TestOlderMissingPool(t *testing.T) {
	n := newStream(t)
	inv, _ := openDeaf(t, n)
	event, typ := newEvent()
	orders := map[ids.Order]Entry{}
	inv.replace(event, &state{Pool: Pool{Types: []Counts{{Type: typ, Capacity: 3}}}, exists: true, seq: 7, at: 7, orders: orders})
	inv.replace(event, &state{at: 6, orders: orders})
	if got, err := inv.Pool(t.Context(), event); err != nil || got.Types[0].Capacity != 3 {
		t.Errorf("the pool is %+v %v", got, err)
	}
	inv.replace(event, &state{at: 8, orders: orders}) // purged since
	if _, err := inv.Pool(t.Context(), event); !errors.Is(err, ErrNoPool) {
		t.Errorf("a pool that is gone: %v", err)
	}
}

// The answer to a batch that was stored is lost, and the follower tells of its hold before the order is read back: the
// instance still knows the hold, counts it and expires it.
func TestHoldWhoseAnswerWasLost(t *testing.T) {
	n := newStream(t)
	for _, follows := range []bool{true, false} {
		inv, follow := openDeaf(t, n)
		if follows {
			defer follow()()
		}
		event, typ := newEvent()
		if err := inv.OpenPool(t.Context(), event, 1, one(typ, 1)); err != nil {
			t.Fatal(err)
		}
		inv.publish = func(ctx context.Context, c *commit) (uint64, error) {
			inv.publish = inv.publishCommit
			if _, err := inv.publishCommit(ctx, c); err != nil {
				return 0, err
			}
			if follows {
				testkit.Eventually(t, 5*time.Second, func() error {
					if inv.HeldBy(anybody) != 1 {
						return errors.New("the follower has not told")
					}
					return nil
				})
			}
			return 0, errUnknown
		}
		ref, expires := newRef(event), time.Now().Add(time.Minute)
		if err := inv.Hold(t.Context(), ref, anybody, one(typ, 1), expires); err != nil {
			t.Fatal(err)
		}
		if got := inv.HeldBy(anybody); got != 1 {
			t.Errorf("follows %v: %d orders of the buyer hold seats", follows, got)
		}
		if got := inv.Expired(expires.Add(time.Second), 10); len(got) != 1 || got[0] != ref {
			t.Errorf("follows %v: expired %v, want %v", follows, got, ref)
		}
	}
}

// A hold that is asked for again, later, lasts as long as it says then.
func TestHoldAgainLastsLonger(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, typ := newEvent()
	if err := inv.OpenPool(t.Context(), event, 1, one(typ, 1)); err != nil {
		t.Fatal(err)
	}
	ref, expires := newRef(event), time.Now().Add(time.Hour)
	for _, after := range []time.Duration{0, time.Minute, time.Second} {
		if err := inv.Hold(t.Context(), ref, anybody, one(typ, 1), expires.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	if _, e := leader(t, inv, ref); e.Expires != expires.Add(time.Minute).UnixMilli() {
		t.Errorf("the hold lasts %v longer than the first said", time.Duration(e.Expires-expires.UnixMilli())*time.Millisecond)
	}
	if got := inv.Expired(expires.Add(time.Second), 10); len(got) != 0 {
		t.Errorf("expired by its first end: %v", got)
	}
}

// step is an operation of a history on one of a few orders, each of one seat.
type step struct {
	name  string
	order int
}

// orders is the specification: what each order has, none, Held or Sold, in a pool of so many seats.
func orders(capacity int) porcupine.Model {
	type states [4]string
	return porcupine.Model{
		Init: func() any { return states{} },
		Step: func(state, input, output any) (bool, any) {
			s, in := state.(states), input.(step)
			err, _ := output.(error)
			was, taken := s[in.order], 0
			for _, one := range s {
				if one != "" {
					taken++
				}
			}
			to := func(next string, want error) (bool, any) {
				s[in.order] = next
				return errors.Is(err, want), s
			}
			switch in.name {
			case "hold":
				switch {
				case was != "":
					return to(was, nil)
				case taken == capacity:
					return to("", ErrSoldOut)
				}
				return to(Held, nil)
			case "confirm":
				if was == "" {
					return to("", ErrGone)
				}
				return to(Sold, nil)
			case "extend":
				return to(was, map[string]error{"": ErrGone, Sold: ErrSold}[was])
			case "release":
				if was == Sold {
					return to(Sold, ErrSold)
				}
				return to("", nil)
			}
			return to("", nil) // return, keep nothing
		},
	}
}

// orderHistory lets instances, of which some follow late or not at all, work on the same few orders. It returns whether
// what they answered is one history.
func orderHistory(t *testing.T, change func(*Inventory)) porcupine.CheckResult {
	t.Helper()
	n := newStream(t)
	deaf, _ := openDeaf(t, n)
	late, follow := openDeaf(t, n)
	instances := []*Inventory{open(t, n), open(t, n), deaf, late}
	for _, inv := range instances {
		change(inv)
	}
	event, typ := newEvent()
	const capacity = 2
	if err := deaf.OpenPool(t.Context(), event, 1, one(typ, capacity)); err != nil {
		t.Fatal(err)
	}
	refs := make([]Ref, 4)
	for i := range refs {
		refs[i] = newRef(event)
	}
	ctx, expires := t.Context(), time.Now().Add(time.Hour)
	run := func(inv *Inventory, s step) error {
		switch ref := refs[s.order]; s.name {
		case "hold":
			return inv.Hold(ctx, ref, anybody, one(typ, 1), expires)
		case "confirm":
			return inv.Confirm(ctx, ref)
		case "extend":
			return inv.Extend(ctx, ref, expires)
		case "release":
			return inv.Release(ctx, ref)
		case "return":
			return inv.Return(ctx, ref)
		default:
			return inv.Reduce(ctx, ref, nil)
		}
	}
	names := []string{"hold", "hold", "hold", "confirm", "extend", "release", "return", "keep"}
	start := time.Now()
	var (
		mu  sync.Mutex
		ops []porcupine.Operation
		wg  sync.WaitGroup
	)
	for client, inv := range instances {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), uint64(start.UnixNano())))
			stop := func() {}
			for i := range 24 {
				switch {
				case inv == late && i%8 == 0: // it hears of everything now and then
					stop = follow()
				case inv == late && i%8 == 3:
					stop()
				}
				s := step{names[rng.IntN(len(names))], rng.IntN(len(refs))}
				call := time.Since(start)
				err := run(inv, s)
				end := time.Since(start)
				if err != nil && !slices.ContainsFunc([]error{ErrSoldOut, ErrGone, ErrSold}, func(e error) bool { return errors.Is(err, e) }) {
					t.Error(s, err)
					return
				}
				mu.Lock()
				ops = append(ops, porcupine.Operation{ClientId: client, Input: s, Output: err, Call: call.Nanoseconds(), Return: end.Nanoseconds()})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l, err := Audit(ctx, n.JS); err != nil || len(l.Broken) > 0 {
		t.Errorf("%v, broken: %v", err, l.Broken)
	}
	return porcupine.CheckOperationsTimeout(orders(capacity), ops, 20*time.Second)
}

func TestOrdersAreLinearizable(t *testing.T) {
	if got := orderHistory(t, func(*Inventory) {}); got != porcupine.Ok {
		t.Errorf("the history is %s", got)
	}
}

// The mutant goes by what it has cached. If the history could not tell, the test above would prove nothing.
func TestMutantThatTrustsItsCache(t *testing.T) {
	testkit.Eventually(t, 2*time.Minute, func() error {
		got := orderHistory(t, func(inv *Inventory) {
			inv.publish = inv.guess
		})
		if got != porcupine.Illegal {
			return errors.New("the history is " + string(got))
		}
		return nil
	})
}
