package inventory

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// knows waits until the instance knows, by following, what the pool holds.
func knows(t *testing.T, inv *Inventory, ref Ref, held int) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, func() error {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		st := inv.states[ref.Event]
		if !st.isExact() || len(st.Types) != 1 || st.Types[0].Held != held || inv.held != held {
			return fmt.Errorf("the event is known as %+v, with %d holds", st, inv.held)
		}
		return nil
	})
}

// The server is away when an instance begins to follow. It follows once it can, and says meanwhile that it is not
// ready.
func TestFollowWithoutServer(t *testing.T) {
	n := newStream(t)
	js, err := jetstream.New(n.Connect())
	if err != nil {
		t.Fatal(err)
	}
	clock := testkit.NewClock(time.Now())
	inv, err := Open(t.Context(), js, testkit.Log(t), observe.NewRegistry(), clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inv.Close)
	n.Stop()
	follow(t, inv)
	testkit.Eventually(t, 20*time.Second, func() error {
		if inv.metrics.followFailures.Get() == 0 {
			return errors.New("it did not fail")
		}
		return nil
	})
	if err := inv.Ready(t.Context()); err != nil {
		t.Errorf("at first: %v", err)
	}
	clock.Advance(staleAfter + time.Second)
	if err := inv.Ready(t.Context()); err == nil {
		t.Error("it is ready without having followed for long")
	}
	n.Start()
	b := open(t, n)
	event, typ := newEvent()
	ref := newRef(event)
	if err := b.OpenPool(t.Context(), event, 1, one(typ, 5)); err != nil {
		t.Fatal(err)
	}
	if err := b.Hold(t.Context(), ref, anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	knows(t, inv, ref, 1)
	testkit.Eventually(t, 20*time.Second, func() error { return inv.Ready(t.Context()) })
}

// The stream is lost while instances follow it, and made again: they follow the new one, and believe nothing of the
// old.
func TestFollowStreamMadeAnew(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	for i := range 2 {
		if err := a.OpenPool(t.Context(), event, 1, one(typ, 5)); err != nil {
			t.Fatal(err)
		}
		for range 3 - i {
			if err := a.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		for _, inv := range []*Inventory{a, b} {
			knows(t, inv, Ref{Event: event}, 3-i)
		}
		if i == 1 {
			break
		}
		if err := n.JS.DeleteStream(t.Context(), Stream); err != nil {
			t.Fatal(err)
		}
		if err := natsconf.Ensure(t.Context(), n.JS, api.Streams(), 1); err != nil {
			t.Fatal(err)
		}
		for _, inv := range []*Inventory{a, b} {
			testkit.Eventually(t, 20*time.Second, func() error {
				if _, err := inv.Pool(t.Context(), event); !errors.Is(err, ErrNoPool) {
					return fmt.Errorf("the pool of the old stream: %w", err)
				}
				return nil
			})
		}
	}
}

// The newest messages are purged, so the follower never sees the last sequence. It notices, and goes on.
func TestFollowPastPurgedMessages(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, typ := newEvent()
	if err := inv.OpenPool(t.Context(), event, 1, one(typ, 5)); err != nil {
		t.Fatal(err)
	}
	s, err := n.JS.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := open(t, n)
	testkit.Eventually(t, 20*time.Second, func() error {
		late.mu.Lock()
		defer late.mu.Unlock()
		if late.at.caught != 1 {
			return fmt.Errorf("caught up to %d", late.at.caught)
		}
		return nil
	})
	if err := late.OpenPool(t.Context(), event, 1, one(typ, 5)); err != nil {
		t.Fatal(err)
	}
	if err := inv.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	knows(t, late, Ref{Event: event}, 1)
}

// The orders of an event that is idle leave the memory, unless they hold seats. Its counters stay, and it is replayed
// when it is needed: for an operation, or for a hold of another instance.
func TestIdleEventIsEvicted(t *testing.T) {
	n := newStream(t)
	js, err := jetstream.New(n.Connect())
	if err != nil {
		t.Fatal(err)
	}
	clock := testkit.NewClock(time.Now())
	a, err := Open(t.Context(), js, testkit.Log(t), observe.NewRegistry(), clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	follow(t, a)
	b := open(t, n)
	event, typ := newEvent()
	ctx, expires := t.Context(), time.Now().Add(time.Hour)
	if err := a.OpenPool(ctx, event, 1, one(typ, 5)); err != nil {
		t.Fatal(err)
	}
	evict := func() (evicted bool) {
		clock.Advance(idleAfter + time.Second)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.evict()
		return a.states[event].orders == nil
	}
	ref := newRef(event)
	if err := a.Hold(ctx, ref, anybody, one(typ, 1), expires); err != nil {
		t.Fatal(err)
	}
	if evict() {
		t.Error("an event with a hold was evicted")
	}
	for range 2 {
		if err := a.Confirm(ctx, ref); err != nil {
			t.Fatal(err)
		}
		if !evict() {
			t.Error("an idle event was not evicted")
		}
		if p, err := a.Pool(ctx, event); err != nil || p.Types[0].Sold != 1 {
			t.Errorf("the pool is %+v %v", p, err)
		}
	}
	if err := b.Hold(ctx, newRef(event), anybody, one(typ, 1), expires); err != nil {
		t.Fatal(err)
	}
	knows(t, a, Ref{Event: event}, 1)
	if err := a.Release(ctx, ref); !errors.Is(err, ErrSold) {
		t.Errorf("release of what is sold: %v", err)
	}
}
