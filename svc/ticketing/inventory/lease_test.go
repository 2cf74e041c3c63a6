package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/starlightsymphony/starlight/shared/ids"
)

func newLease() ids.Lease { return ids.New[ids.LeaseKind](time.Now()) }

// poolIs compares the leader's counters of the first type, and what leases have left.
func poolIs(t *testing.T, inv *Inventory, event ids.Event, held, sold, leased int, left map[ids.Lease]int) {
	t.Helper()
	last, _, err := lastRecord(t.Context(), inv.stream, event)
	if err != nil {
		t.Fatal(err)
	}
	if c := last.Types[0]; c.Held != held || c.Sold != sold || c.Leased != leased {
		t.Errorf("held %d, sold %d, leased %d; want %d, %d, %d", c.Held, c.Sold, c.Leased, held, sold, leased)
	}
	for id, want := range left {
		if l := last.lease(id); l == nil || l.Left != want {
			t.Errorf("lease %s is %+v; want %d left", id, l, want)
		}
	}
}

func TestLease(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	ctx := t.Context()
	want := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v; want %v", err, want)
		}
	}
	want(a.OpenPool(ctx, event, 1, one(typ, 10)), nil)
	id := newLease()
	want(a.MoveLease(ctx, event, id, typ, 1, 6, false), nil)
	want(b.MoveLease(ctx, event, id, typ, 1, 6, false), nil) // again
	poolIs(t, b, event, 0, 0, 6, map[ids.Lease]int{id: 6})
	want(b.Hold(ctx, newRef(event), anybody, one(typ, 5), time.Now().Add(time.Hour)), ErrSoldOut)
	want(b.Hold(ctx, newRef(event), anybody, one(typ, 3), time.Now().Add(time.Hour)), nil)
	want(a.MoveLease(ctx, event, id, typ, 2, 2, false), ErrSoldOut)
	want(a.Resize(ctx, event, 2, one(typ, 20)), nil)
	want(a.MoveLease(ctx, event, id, typ, 2, 2, false), ErrSoldOut) // it was decided
	want(a.MoveLease(ctx, event, id, typ, 3, 2, false), nil)
	want(a.MoveLease(ctx, event, id, typ, 2, 2, false), ErrStale)
	poolIs(t, b, event, 3, 0, 8, map[ids.Lease]int{id: 8})
	want(a.Resize(ctx, event, 3, one(typ, 10)), ErrBelow)

	first, second, third := newRef(event), newRef(event), newRef(event)
	want(b.SellLeased(ctx, first, anybody, []Take{{id, 2}, {id, 3}}), nil)
	want(a.SellLeased(ctx, first, anybody, []Take{{id, 2}, {id, 3}}), nil)
	want(b.SellLeased(ctx, second, anybody, []Take{{id, 3}, {id, 1}}), ErrOverLease)
	want(b.SellLeased(ctx, second, anybody, []Take{{newLease(), 1}}), ErrOverLease)
	want(b.SellBeside(ctx, second, anybody, one(typ, 4)), nil)
	want(b.SellLeased(ctx, second, anybody, []Take{{id, 3}}), ErrOverLease)
	poolIs(t, b, event, 3, 9, 3, map[ids.Lease]int{id: 3})

	want(a.ReturnLeased(ctx, first, []Take{{id, 4}}), nil) // one was refunded: its seat is the pool's
	want(b.ReturnLeased(ctx, first, []Take{{id, 4}}), nil)
	poolIs(t, b, event, 3, 4, 7, map[ids.Lease]int{id: 7})

	want(b.SellLeased(ctx, third, anybody, []Take{{id, 2}}), nil)
	want(b.MoveLease(ctx, event, id, typ, 4, -6, false), ErrOverLease)
	want(b.MoveLease(ctx, event, id, typ, 4, -5, true), nil)
	want(b.MoveLease(ctx, event, id, typ, 4, -5, true), nil)
	want(b.SellLeased(ctx, newRef(event), anybody, []Take{{id, 1}}), ErrOverLease)
	want(a.ReturnLeased(ctx, third, []Take{{id, 2}}), nil) // the lease is closed
	poolIs(t, b, event, 3, 4, 0, map[ids.Lease]int{id: 0})

	refused := newLease()
	want(a.MoveLease(ctx, event, refused, typ, 1, 100, false), ErrSoldOut)
	want(a.MoveLease(ctx, event, refused, typ, 1, 100, false), ErrSoldOut)
	want(a.MoveLease(ctx, event, refused, typ, 2, 1, false), ErrSoldOut) // it never came to be
	poolIs(t, b, event, 3, 4, 0, nil)
	audited(t, n)
}

// What comes again after its lease was forgotten would lease seats for ever: closed ones are remembered for a while.
func TestTooManyLeases(t *testing.T) {
	n := newStream(t)
	inv, _ := openDeaf(t, n)
	now := time.Now()
	inv.now = func() time.Time { return now }
	event, typ := newEvent()
	if err := inv.OpenPool(t.Context(), event, 1, one(typ, 100)); err != nil {
		t.Fatal(err)
	}
	first := newLease()
	for i := range MaxLeases {
		id := first
		if i > 0 {
			id = newLease()
		}
		if err := inv.MoveLease(t.Context(), event, id, typ, 1, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	more := newLease()
	if err := inv.MoveLease(t.Context(), event, more, typ, 1, 1, false); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if err := inv.MoveLease(t.Context(), event, first, typ, 2, -1, true); err != nil {
		t.Error(err)
	}
	if err := inv.MoveLease(t.Context(), event, more, typ, 1, 1, false); !errors.Is(err, ErrTooMany) {
		t.Errorf("one was closed just now: %v", err)
	}
	now = now.Add(ClosedFor + time.Second)
	if err := inv.MoveLease(t.Context(), event, more, typ, 1, 1, false); err != nil {
		t.Errorf("one was closed long ago: %v", err)
	}
	audited(t, n)
}

// Records of an edition before leases have neither their counter nor the leases.
func TestRecordsBeforeLeases(t *testing.T) {
	n := newStream(t)
	event, typ := newEvent()
	old := `{"r":1,"types":[{"t":"` + typ.String() + `","c":5,"h":0,"s":2}],"after":0,"orders":[{"id":"` +
		newRef(event).Order.String() + `","s":"sold","l":[{"t":"` + typ.String() + `","n":2}]}]}`
	if _, err := n.JS.Publish(t.Context(), poolSubject(event), []byte(old)); err != nil {
		t.Fatal(err)
	}
	inv := open(t, n)
	if err := inv.MoveLease(t.Context(), event, newLease(), typ, 1, 4, false); !errors.Is(err, ErrSoldOut) {
		t.Errorf("4 of 3: %v", err)
	}
	if err := inv.MoveLease(t.Context(), event, newLease(), typ, 1, 3, false); err != nil {
		t.Error(err)
	}
	poolIs(t, inv, event, 0, 2, 3, nil)
	audited(t, n)
}

// A lease is as it was for an instance that begins with a checkpoint.
func TestLeaseBehindTheCheckpoint(t *testing.T) {
	n := newStream(t)
	a := open(t, n)
	a.limits = limits{records: 12, bytes: 1 << 20, part: 500}
	event, typ := newEvent()
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 100)); err != nil {
		t.Fatal(err)
	}
	id, sale := newLease(), newRef(event)
	if err := a.MoveLease(t.Context(), event, id, typ, 1, 10, false); err != nil {
		t.Fatal(err)
	}
	if err := a.SellLeased(t.Context(), sale, anybody, []Take{{id, 4}}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := a.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	checkpointed(t, a, event, 1)
	b := open(t, n)
	if err := b.SellLeased(t.Context(), sale, anybody, []Take{{id, 4}}); err != nil {
		t.Errorf("the same sale: %v", err)
	}
	if err := b.SellLeased(t.Context(), newRef(event), anybody, []Take{{id, 7}}); !errors.Is(err, ErrOverLease) {
		t.Errorf("7 of 6: %v", err)
	}
	poolIs(t, b, event, 20, 4, 6, map[ids.Lease]int{id: 6})
	audited(t, n)
}

// forgetLeased is how a mutant publishes whose counters forget what is leased.
func (inv *Inventory) forgetLeased(ctx context.Context, c *commit) (uint64, error) {
	for i := range c.record.Types {
		c.record.Types[i].Leased = 0
	}
	var err error
	if c.data, err = json.Marshal(&c.record); err != nil {
		return 0, err
	}
	return inv.publishCommit(ctx, c)
}

// leaseRush lets 1,000 buyers want a seat of 100 while a lease of them grows and shrinks and a venue sells from it, at
// so many instances. It returns how many seats buyers have, the venue has sold and the lease has left.
func leaseRush(t *testing.T, many int, change func(*Inventory)) (bought, sold, left int, broken []string) {
	t.Helper()
	n := newStream(t)
	var instances []*Inventory
	for range many {
		instances = append(instances, open(t, n))
	}
	event, typ := newEvent()
	check := watch(t, n)
	if err := instances[0].OpenPool(t.Context(), event, 1, one(typ, 100)); err != nil {
		t.Fatal(err)
	}
	for _, inv := range instances {
		change(inv)
	}
	id := newLease()
	if err := instances[0].MoveLease(t.Context(), event, id, typ, 1, 30, false); err != nil {
		t.Fatal(err)
	}
	var venue atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for revision := int64(2); revision < 40; revision++ {
			err := instances[1%many].MoveLease(t.Context(), event, id, typ, revision, rng.IntN(9)-4, false)
			if err != nil && !errors.Is(err, ErrSoldOut) && !errors.Is(err, ErrOverLease) {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range 15 {
			err := instances[2%many].SellLeased(t.Context(), newRef(event), anybody, []Take{{id, 1}})
			if err != nil && !errors.Is(err, ErrOverLease) {
				t.Error(err)
			}
			if err == nil {
				venue.Add(1)
			}
		}
	})
	bought = rush(t, event, typ, 1000, func(err error) { t.Error(err) }, instances...)
	wg.Wait()
	bought += rush(t, event, typ, 200, func(err error) { t.Error(err) }, instances...) // what came back
	last, _, err := lastRecord(t.Context(), instances[0].stream, event)
	if err != nil {
		t.Fatal(err)
	}
	return bought, int(venue.Load()), last.lease(id).Left, check().Broken
}

func TestThousandBuyersBesideALease(t *testing.T) {
	bought, sold, left, broken := leaseRush(t, 3, func(*Inventory) {})
	if bought+sold+left != 100 || sold == 0 || len(broken) > 0 {
		t.Errorf("of 100 seats %d were bought, %d sold at the venue, %d are leased; broken: %v", bought, sold, left, broken)
	}
}

// If the test above could not tell the mutant, it would prove nothing. There is one instance of it: a second would
// refuse what does not add up.
func TestMutantThatForgetsLeased(t *testing.T) {
	bought, sold, left, broken := leaseRush(t, 1, func(inv *Inventory) { inv.publish = inv.forgetLeased })
	if bought+sold+left <= 100 {
		t.Errorf("of 100 seats %d were bought, %d sold at the venue, %d are leased", bought, sold, left)
	}
	if len(broken) == 0 {
		t.Error("the ledger has nothing to say about it")
	}
}

// turn is an operation of a history: n seats moved into the lease, out of it, sold from it, or held.
type turn struct {
	name string
	n    int
}

// leasedSeats is the specification: seats of one pool, of which some are leased.
func leasedSeats(capacity int) porcupine.Model {
	type counts struct{ held, sold, left int }
	return porcupine.Model{
		Init: func() any { return counts{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, won := state.(counts), input.(turn), output.(bool)
			room := capacity - s.held - s.sold - s.left
			switch in.name {
			case "hold":
				if won {
					return room >= in.n, counts{s.held + in.n, s.sold, s.left}
				}
				return room < in.n, s
			case "grow":
				if won {
					return room >= in.n, counts{s.held, s.sold, s.left + in.n}
				}
				return room < in.n, s
			case "shrink":
				if won {
					return s.left >= in.n, counts{s.held, s.sold, s.left - in.n}
				}
				return s.left < in.n, s
			default:
				if won {
					return s.left >= in.n, counts{s.held, s.sold + in.n, s.left - in.n}
				}
				return s.left < in.n, s
			}
		},
	}
}

func TestLeaseIsLinearizable(t *testing.T) {
	n := newStream(t)
	instances := []*Inventory{open(t, n), open(t, n), open(t, n)}
	event, typ := newEvent()
	const capacity = 12
	if err := instances[0].OpenPool(t.Context(), event, 1, one(typ, capacity)); err != nil {
		t.Fatal(err)
	}
	id := newLease()
	if err := instances[0].MoveLease(t.Context(), event, id, typ, 1, 0, false); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var (
		mu  sync.Mutex
		ops []porcupine.Operation
		wg  sync.WaitGroup
	)
	do := func(client int, in turn, f func() error) {
		call := time.Since(start)
		err := f()
		if err != nil && !errors.Is(err, ErrSoldOut) && !errors.Is(err, ErrOverLease) {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, porcupine.Operation{ClientId: client, Input: in, Output: err == nil,
			Call: call.Nanoseconds(), Return: time.Since(start).Nanoseconds()})
	}
	wg.Go(func() { // each move has a revision of its own, so one client makes them
		rng := rand.New(rand.NewPCG(3, 4))
		for i := range 30 {
			in := turn{"grow", 1 + rng.IntN(3)}
			moved := in.n
			if i%3 == 2 {
				in.name, moved = "shrink", -in.n
			}
			do(0, in, func() error {
				return instances[i%3].MoveLease(t.Context(), event, id, typ, int64(i)+2, moved, false)
			})
		}
	})
	for client := 1; client < 7; client++ {
		wg.Go(func() {
			inv, rng := instances[client%3], rand.New(rand.NewPCG(uint64(client), 7))
			for range 6 {
				in := turn{"sell", 1}
				if rng.IntN(2) == 0 {
					in.name = "hold"
				}
				do(client, in, func() error {
					if in.name == "hold" {
						return inv.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour))
					}
					return inv.SellLeased(t.Context(), newRef(event), anybody, []Take{{id, 1}})
				})
			}
		})
	}
	wg.Wait()
	if got := porcupine.CheckOperationsTimeout(leasedSeats(capacity), ops, 20*time.Second); got != porcupine.Ok {
		t.Errorf("%d operations: %s", len(ops), got)
	}
	audited(t, n)
}

// A lease whose records are lost is made anew as SQL says.
func TestMendLease(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, typ := newEvent()
	if err := inv.OpenClosed(t.Context(), event, 1, one(typ, 10)); err != nil {
		t.Fatal(err)
	}
	id := newLease()
	should := Lease{ID: id, Type: typ, Left: 7, Revision: 3, Moved: 7}
	if err := inv.MendLease(t.Context(), event, Lease{}, should); err != nil {
		t.Fatal(err)
	}
	if err := inv.MendLease(t.Context(), event, Lease{}, should); !errors.Is(err, errChanged) {
		t.Errorf("again: %v", err)
	}
	pool, err := inv.Pool(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	more := pool.Leases[0]
	more.Left = 11
	if err := inv.MendLease(t.Context(), event, pool.Leases[0], more); !errors.Is(err, ErrSoldOut) {
		t.Errorf("11 of 10: %v", err)
	}
	if err := inv.MendLease(t.Context(), event, Lease{}, Lease{ID: newLease(), Type: typ, Left: 4}); !errors.Is(err, ErrSoldOut) {
		t.Errorf("11 of 10: %v", err)
	}
	if err := inv.Reopen(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	poolIs(t, inv, event, 0, 0, 7, map[ids.Lease]int{id: 7})
	audited(t, n)
}
