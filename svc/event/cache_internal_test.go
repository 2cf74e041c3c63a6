package event

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// While the database is away, or does not answer, what was read before is answered. What is gone is gone.
func TestCacheAnswersWhileTheDatabaseIsAway(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	id := ids.New[ids.EventKind](clock.Now())
	var failure atomic.Pointer[error]
	release := make(chan struct{})
	defer close(release)
	hanging := errors.New("hangs")
	c := newCache(func(ctx context.Context, id ids.Event) (storedEvent, error) {
		if err := failure.Load(); err != nil {
			if *err == hanging {
				<-release
			}
			return storedEvent{}, *err
		}
		return storedEvent{record: &record{Offer: api.Offer{Event: api.Event{ID: id, Name: "Concert",
			Status: api.EventPublished}}}}, nil
	}, clock.Now, func() bool { return true }, observe.NewRegistry())
	get := func(what string) {
		t.Helper()
		v, err := c.get(t.Context(), id)
		if err != nil || v.record.Event.ID != id {
			t.Fatalf("%s: %v, %v", what, v, err)
		}
	}
	set := func(err error) { failure.Store(&err) }
	get("first")
	set(fault.New(fault.Unavailable, "the database is not available"))
	for range 3 {
		clock.Advance(time.Hour)
		get("away")
	}
	if _, err := c.get(t.Context(), ids.New[ids.EventKind](clock.Now())); !fault.Is(err, fault.Unavailable) {
		t.Errorf("what was never read: %v", err)
	}
	clock.Advance(time.Hour)
	set(hanging)
	get("no answer")
	set(fault.New(fault.NotFound, "there is no such event"))
	c.drop(id) // the read that hangs is of no interest any more
	if _, err := c.get(t.Context(), id); !fault.Is(err, fault.NotFound) {
		t.Errorf("gone: %v", err)
	}
}
