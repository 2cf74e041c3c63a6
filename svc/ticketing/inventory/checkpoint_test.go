package inventory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// subjects returns the keys of the bucket and how many messages each has.
func subjects(t testing.TB, n *testkit.NATSServer) map[string]uint64 {
	t.Helper()
	s, err := n.JS.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects
}

// checkpointed waits until an instance has written so many checkpoints and has nothing under way.
func checkpointed(t testing.TB, inv *Inventory, event ids.Event, times int) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, func() error {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		if got := int(inv.metrics.checkpoints.Get()); got < times || inv.states[event].saving {
			return fmt.Errorf("%d checkpoints of %d", got, times)
		}
		return nil
	})
}

func audited(t testing.TB, n *testkit.NATSServer) *Ledger {
	t.Helper()
	l, err := Audit(t.Context(), n.JS)
	if err != nil || len(l.Broken) > 0 {
		t.Fatalf("%v, broken: %v", err, l.Broken)
	}
	return l
}

// The records before a checkpoint are gone. What they said of any order is answered as before, by the instance that
// wrote it and by one that begins with it.
func TestOrdersBeforeTheCheckpoint(t *testing.T) {
	n := newStream(t)
	a := open(t, n)
	a.limits = limits{records: 12, bytes: 1 << 20, part: 500}
	event, typ := newEvent()
	ctx, expires := t.Context(), time.Now().Add(time.Hour)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(a.OpenPool(ctx, event, 1, one(typ, 100)))
	held, sold, gone, late := newRef(event), newRef(event), newRef(event), newRef(event)
	for _, ref := range []Ref{held, sold, gone, late} {
		do(a.Hold(ctx, ref, anybody, one(typ, 1), expires))
	}
	do(a.Confirm(ctx, sold))
	do(a.Release(ctx, gone))
	do(a.Release(ctx, late))
	do(a.Sell(ctx, late, anybody, one(typ, 1), "payment", nil))
	for i := range 2 {
		for range 12 {
			do(a.Hold(ctx, held, anybody, one(typ, 1), expires))
		}
		checkpointed(t, a, event, i+1)
	}
	keys := subjects(t, n)
	if got := keys[poolSubject(event)]; got > 24 {
		t.Errorf("%d records are kept", got)
	}
	parts := 0
	for key := range keys {
		if strings.HasPrefix(key, prefix+"checkpoint.") {
			parts++
		}
	}
	if last, _, err := lastRecord(ctx, a.stream, event); err != nil || last.Checkpoint.Parts < 2 || parts != last.Checkpoint.Parts {
		t.Errorf("%d parts are kept of checkpoint %+v, %v", parts, last.Checkpoint, err)
	}
	for name, inv := range map[string]*Inventory{"old": a, "new": open(t, n)} {
		for what, c := range map[string]struct{ got, want error }{
			"hold again":            {inv.Hold(ctx, held, anybody, one(typ, 1), expires), nil},
			"confirm again":         {inv.Confirm(ctx, sold), nil},
			"release what is sold":  {inv.Release(ctx, sold), ErrSold},
			"confirm what is gone":  {inv.Confirm(ctx, gone), ErrGone},
			"release again":         {inv.Release(ctx, gone), nil},
			"undo what is not ours": {inv.Undo(ctx, held, "other"), nil},
			"sell again":            {inv.Sell(ctx, late, anybody, one(typ, 1), "payment", nil), nil},
			"extend what is sold":   {inv.Extend(ctx, late, expires), ErrSold},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%s: %s: %v, want %v", name, what, c.got, c.want)
			}
		}
		if err := inv.Sell(ctx, late, anybody, one(typ, 1), "another payment", nil); err == nil {
			t.Errorf("%s: sold twice", name)
		}
	}
	l := audited(t, n)
	if c := l.events[event].Types[0]; c.Held != 1 || c.Sold != 2 {
		t.Errorf("the pool is %+v", c)
	}
	if at := l.Changed(gone.Order); time.Since(at) > time.Minute {
		t.Errorf("the order that is gone changed at %v", at)
	}
}

// A checkpoint of many orders is several messages that are far smaller than a message may be, and is replayed at once.
func TestCheckpointOfManyOrders(t *testing.T) {
	const orders = 20_000
	n := newStream(t)
	a := open(t, n)
	event, typ := newEvent()
	if err := a.OpenPool(t.Context(), event, 1, one(typ, orders)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for range orders / 200 {
				if err := a.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	a.saving.Wait()
	if err := a.checkpoint(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	s, err := n.JS.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	for key, messages := range subjects(t, n) {
		msg, err := s.GetLastMsgForSubject(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(key, prefix+"checkpoint.") {
			parts++
		}
		if len(msg.Data) > 512<<10 || messages > 2 {
			t.Errorf("key %s has %d messages, the last of %d bytes", key, messages, len(msg.Data))
		}
	}
	b, _ := openDeaf(t, n)
	if err := b.load(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if b.HeldBy(anybody) != orders || parts < 2 {
		t.Errorf("%d orders are known from %d parts", b.HeldBy(anybody), parts)
	}
	audited(t, n)
}

// Instances that write checkpoints all the time, and one that never hears of them, still answer as one.
func TestOrdersAreLinearizableOverCheckpoints(t *testing.T) {
	got := orderHistory(t, func(inv *Inventory) { inv.limits = limits{records: 3, bytes: 1 << 20, part: 300} })
	if got != porcupine.Ok {
		t.Errorf("the history is %s", got)
	}
}

// A process ends anywhere in a checkpoint: what it has written of it means nothing, and goes with the next.
func TestCheckpointThatWasInterrupted(t *testing.T) {
	n := newStream(t)
	a := open(t, n)
	a.limits.part = 300
	event, typ := newEvent()
	ctx := t.Context()
	if err := a.OpenPool(ctx, event, 1, one(typ, 100)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := a.Hold(ctx, newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	cp, parts, err := a.snapshot(event)
	if err != nil || len(parts) < 2 {
		t.Fatal(len(parts), err)
	}
	if _, err := n.JS.Publish(ctx, cp.partSubject(event, "0"), parts[0]); err != nil {
		t.Fatal(err)
	}
	audited(t, n)
	if err := a.checkpoint(ctx, event); !errors.Is(err, errChanged) { // of the same record: its parts are another's
		t.Errorf("a checkpoint over another's parts: %v", err)
	}
	if err := a.Hold(ctx, newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := a.checkpoint(ctx, event); err != nil {
		t.Fatal(err)
	}
	if got := subjects(t, n)[cp.partSubject(event, "0")]; got != 0 {
		t.Error("the parts of the interrupted checkpoint are there")
	}
	b, _ := openDeaf(t, n)
	if err := b.load(ctx, event); err != nil || b.HeldBy(anybody) != 6 {
		t.Errorf("%d orders are known, %v", b.HeldBy(anybody), err)
	}
	audited(t, n)
}

// A record is lost in the middle. That is noticed, nothing is decided by what is left, and the event can be made anew.
func TestChainWithAGap(t *testing.T) {
	n := newStream(t)
	a := open(t, n)
	event, typ := newEvent()
	ctx, expires := t.Context(), time.Now().Add(time.Hour)
	if err := a.OpenPool(ctx, event, 1, one(typ, 10)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := a.Hold(ctx, newRef(event), anybody, one(typ, 1), expires); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.stream.Purge(ctx, jetstream.WithPurgeSubject(poolSubject(event)), jetstream.WithPurgeSequence(3)); err != nil {
		t.Fatal(err)
	}
	b := open(t, n)
	if err := b.Hold(ctx, newRef(event), anybody, one(typ, 1), expires); !errors.Is(err, ErrBroken) {
		t.Errorf("a hold: %v", err)
	}
	if l, err := Audit(ctx, n.JS); err != nil || len(l.Broken) != 1 {
		t.Errorf("%v, broken: %v", err, l.Broken)
	}
	if err := b.OpenClosed(ctx, event, 1, one(typ, 10)); !errors.Is(err, ErrBroken) {
		t.Errorf("opened: %v", err)
	}
	if err := b.Drop(ctx, event); err != nil {
		t.Fatal(err)
	}
	if err := b.OpenClosed(ctx, event, 1, one(typ, 10)); err != nil {
		t.Fatal(err)
	}
	if err := a.Hold(ctx, newRef(event), anybody, one(typ, 1), expires); !errors.Is(err, ErrClosed) {
		t.Errorf("a hold at the instance that knew the old chain: %v", err)
	}
	audited(t, n)
}

// An operation whose commit was stored though its answer was lost is not done again: another has taken the seats since.
func TestUnknownOutcomeIsNotDoneAgain(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	ctx, expires := t.Context(), time.Now().Add(time.Hour)
	if err := a.OpenPool(ctx, event, 1, one(typ, 1)); err != nil {
		t.Fatal(err)
	}
	ref := newRef(event)
	if err := a.Hold(ctx, ref, anybody, one(typ, 1), expires); err != nil {
		t.Fatal(err)
	}
	a.publish = func(ctx context.Context, c *commit) (uint64, error) {
		a.publish = a.publishCommit
		if _, err := a.publishCommit(ctx, c); err != nil {
			return 0, err
		}
		if err := b.Hold(ctx, ref, anybody, one(typ, 1), expires); err != nil { // after the release
			t.Error(err)
		}
		return 0, errUnknown
	}
	if err := a.Release(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if _, e := leader(t, b, ref); e.State != Held {
		t.Errorf("the later hold is %+v", e)
	}
}

// What is kept of an event that is over goes, when no seat of it is held. An order that is given back afterwards
// hears that there is no pool.
func TestRetire(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	ctx := t.Context()
	if err := a.OpenPool(ctx, event, 1, one(typ, 10)); err != nil {
		t.Fatal(err)
	}
	ref := newRef(event)
	if err := a.Hold(ctx, ref, anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := b.Retire(ctx, event); !errors.Is(err, ErrHeld) {
		t.Errorf("with a hold: %v", err)
	}
	if err := a.Confirm(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if err := a.checkpoint(ctx, event); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Retire(ctx, event); err != nil {
			t.Fatal(err)
		}
	}
	if keys := subjects(t, n); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
	for _, inv := range []*Inventory{a, b} {
		if err := inv.Return(ctx, ref); !errors.Is(err, ErrNoPool) {
			t.Errorf("a late refund: %v", err)
		}
	}
	if err := a.OpenPool(ctx, event, 2, one(typ, 5)); err != nil {
		t.Errorf("the event is on sale again: %v", err)
	}
	audited(t, n)
}
