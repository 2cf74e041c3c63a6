package inventory

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// seat is an operation of a history: n seats taken, or given back.
type seat struct {
	back bool
	n    int
}

// counter is the specification: a number of held seats that never exceeds the capacity. "Sold out" is only legal while
// there really is no room.
func counter(capacity int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			held, op, won := state.(int), input.(seat), output.(bool)
			switch {
			case op.back:
				return true, held - op.n
			case won:
				return held+op.n <= capacity, held + op.n
			}
			return held+op.n > capacity, held
		},
	}
}

// seatHistory lets clients take and give back seats of one hot pool through the instances, and records what they saw.
func seatHistory(t *testing.T, capacity int, instances ...*Inventory) []porcupine.Operation {
	t.Helper()
	event, typ := newEvent()
	if err := instances[0].OpenPool(t.Context(), event, 1, one(typ, capacity)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var (
		mu  sync.Mutex
		ops []porcupine.Operation
		wg  sync.WaitGroup
	)
	record := func(client int, op seat, call time.Duration, won bool) {
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, porcupine.Operation{ClientId: client, Input: op, Call: call.Nanoseconds(), Output: won, Return: time.Since(start).Nanoseconds()})
	}
	for client := range 9 {
		wg.Go(func() {
			inv := instances[client%len(instances)]
			rng := rand.New(rand.NewPCG(uint64(client), 7))
			for range 20 {
				op, ref := seat{n: 1 + rng.IntN(2)}, newRef(event)
				call := time.Since(start)
				err := inv.Hold(t.Context(), ref, anybody, one(typ, op.n), time.Now().Add(time.Hour))
				if err != nil && !errors.Is(err, ErrSoldOut) {
					t.Error(err)
					return
				}
				if record(client, op, call, err == nil); err != nil {
					continue
				}
				op.back, call = true, time.Since(start)
				if err := inv.Release(t.Context(), ref); err != nil {
					t.Error(err)
					return
				}
				record(client, op, call, true)
			}
		})
	}
	wg.Wait()
	return ops
}

func TestHotPoolIsLinearizable(t *testing.T) {
	n := newStream(t)
	a, b, c := open(t, n), open(t, n), open(t, n)
	const capacity = 5
	ops := seatHistory(t, capacity, a, b, c)
	soldOut := 0
	for _, op := range ops {
		if !op.Output.(bool) {
			soldOut++
		}
	}
	if soldOut == 0 {
		t.Error("nothing was ever sold out: the history proves little")
	}
	if got := porcupine.CheckOperationsTimeout(counter(capacity), ops, 20*time.Second); got != porcupine.Ok {
		t.Errorf("%d operations, %d of them sold out: %s", len(ops), soldOut, got)
	}
}

// guess is how a mutant publishes that answers from what it remembers wherever nothing would change.
func (inv *Inventory) guess(ctx context.Context, c *commit) (uint64, error) {
	if len(c.record.Orders) == 0 && c.record.After != 0 {
		return c.record.After, nil
	}
	return inv.publishCommit(ctx, c)
}

// An instance that has not heard that a seat came back still sells it: "sold out" is decided by the stream. The mutant
// that answers from what it remembers is wrong, so the test can tell.
func TestSoldOutIsNoGuess(t *testing.T) {
	n := newStream(t)
	a := open(t, n)
	for name, guess := range map[string]bool{"real": false, "mutant": true} {
		deaf, err := Open(t.Context(), n.JS, testkit.Log(t), observe.NewRegistry(), time.Now) // follows nobody
		if err != nil {
			t.Fatal(err)
		}
		if guess {
			deaf.publish = deaf.guess
		}
		event, typ := newEvent()
		if err := a.OpenPool(t.Context(), event, 1, one(typ, 1)); err != nil {
			t.Fatal(err)
		}
		ref := newRef(event)
		if err := deaf.Hold(t.Context(), ref, anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := a.Release(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		err = deaf.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour))
		if wrong := errors.Is(err, ErrSoldOut); wrong != guess || !guess && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		deaf.Close()
	}
}

// Any sequence of operations on a round leaves a pool that is the sum of its orders.
func TestRoundKeepsTheSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		event, typ := newEvent()
		st := &state{Pool: Pool{Types: []Counts{{Type: typ, Capacity: rapid.IntRange(0, 6).Draw(t, "capacity")}}}, exists: true, seq: 1, orders: map[ids.Order]Entry{}}
		orders := []ids.Order{newRef(event).Order, newRef(event).Order, newRef(event).Order}
		for range rapid.IntRange(1, 40).Draw(t, "rounds") {
			r := newRound(st)
			for range rapid.IntRange(1, 4).Draw(t, "operations") {
				order := rapid.SampledFrom(orders).Draw(t, "order")
				o := op{kind: opKind(rapid.IntRange(int(hold), int(mend)).Draw(t, "kind")), Ref: Ref{event, order}}
				switch o.kind {
				case reduce:
					o.entry.Lines = one(typ, rapid.IntRange(0, 4).Draw(t, "kept"))
				case mend:
					o.seen = rapid.SampledFrom([]Entry{{}, r.entry(order)}).Draw(t, "seen")
					o.entry = rapid.SampledFrom([]Entry{{}, {State: Held, Lines: one(typ, 2)}, {State: Sold, Lines: one(typ, 3)}}).Draw(t, "mended")
				case undo:
					o.entry.Op = "a"
				case hold:
					o.entry = Entry{State: rapid.SampledFrom([]string{Held, Sold}).Draw(t, "state"), Lines: one(typ, rapid.IntRange(-1, 4).Draw(t, "n")),
						Op: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "op")}
				}
				if rapid.IntRange(0, 9).Draw(t, "resize") == 0 {
					o = op{kind: openPool, Ref: Ref{Event: event}, entry: Entry{Lines: one(typ, rapid.IntRange(0, 6).Draw(t, "quantity"))}}
				}
				r.apply(&o)
			}
			rec := r.record()
			for _, c := range rec.Orders {
				st.set(c)
			}
			st.proceed(&stored{record: rec, seq: st.seq + 1})
			l := NewLedger()
			for id, e := range st.orders {
				l.set(event, change{id, e})
			}
			if l.apply(event, stored{record: rec, seq: st.seq}); len(l.Broken) > 0 {
				t.Fatalf("%v", l.Broken)
			}
		}
	})
}
