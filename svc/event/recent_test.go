package event

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Public lists and searches that were answered before are answered while PostgreSQL is away. What was not asked before,
// and what only some may see, is not.
func TestListsWhileTheDatabaseIsAway(t *testing.T) {
	outage := testkit.NewOutage(t, testkit.Postgres(t))
	w := startOn(t, testkit.NATS(t), outage.URL)
	concert := w.published("Concert")
	later := draftOf("Opera")
	later.StartsAt, later.EndsAt = later.StartsAt.Add(48*time.Hour), later.EndsAt.Add(48*time.Hour)
	opera := must(w, anna, api.PublishEvent, api.EventToPublish{ID: must(w, anna, api.CreateEvent, later).ID})
	w.draft("Draft")
	w.clock.Advance(concert.EndsAt.Sub(w.clock.Now()) - time.Hour)
	w.evicted(5 + 2)
	queries := []api.EventQuery{{}, {Q: "philharmonie conc"}, {City: "berlin", Page: api.Page{Limit: 1}}}
	var before [][]string
	for _, q := range queries {
		before = append(before, names(must(w, nob, api.ListEvents, q)))
	}
	must(w, anna, api.ListEvents, api.EventQuery{Status: api.EventDraft})

	outage.Begin()
	for i, q := range queries {
		if got := names(must(w, nob, api.ListEvents, q)); !slices.Equal(got, before[i]) {
			t.Errorf("%+v: %v, before %v", q, got, before[i])
		}
	}
	for _, q := range []api.EventQuery{{Q: "opera"}, {City: "Hamburg"}} {
		_, err := call(w, nob, api.ListEvents, q)
		wantCode(t, err, fault.Unavailable)
	}
	_, err := call(w, anna, api.ListEvents, api.EventQuery{Status: api.EventDraft})
	wantCode(t, err, fault.Unavailable)
	w.clock.Advance(2 * time.Hour)
	if got := names(must(w, nob, api.ListEvents, api.EventQuery{})); !slices.Equal(got, []string{"Opera"}) {
		t.Errorf("after the concert: %v", got)
	}

	outage.End()
	testkit.Eventually(t, 10*time.Second, func() error {
		_, err := call(w, anna, api.CancelEvent, api.CancelEventRequest{ID: opera.ID})
		return err
	})
	testkit.Eventually(t, 10*time.Second, func() error { // a connection from before the outage may end with this question
		page, err := call(w, nob, api.ListEvents, api.EventQuery{})
		if err == nil && len(names(page)) != 0 {
			t.Errorf("the database is back: %v", names(page))
		}
		return err
	})
}

// evicted waits for evictions: one for each domain event, and one for each edit that the service made itself.
func (w *harness) evicted(n int) {
	w.t.Helper()
	testkit.Eventually(w.t, 10*time.Second, func() error {
		w.service.recent.mu.Lock()
		defer w.service.recent.mu.Unlock()
		if got := w.service.recent.changes; got != n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

// A database that takes questions and does not answer is away, too.
func TestListsWhileTheDatabaseHangs(t *testing.T) {
	u, err := url.Parse(testkit.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := testkit.NewProxy(t, u.Host)
	u.Host = proxy.Addr
	w := startOn(t, testkit.NATS(t), u.String())
	w.published("Concert")
	w.evicted(2 + 1)
	want := names(must(w, nob, api.ListEvents, api.EventQuery{}))
	defer proxy.Pause()()
	if got := names(must(w, nob, api.ListEvents, api.EventQuery{})); !slices.Equal(got, want) {
		t.Errorf("%v, before %v", got, want)
	}
}

// What is kept is bounded in answers, events and age; what was read last stays; a change evicts what shows it.
func TestRecentIsBounded(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	r := newRecent(clock.Now, observe.NewRegistry())
	down := fault.New(fault.Unavailable, "the database is not available")
	page := func(n int) *api.List[api.Event] {
		l := &api.List[api.Event]{}
		for range n {
			l.Items = append(l.Items, api.Event{ID: ids.New[ids.EventKind](clock.Now())})
		}
		return l
	}
	ask := func(key string, l *api.List[api.Event], err error) error {
		_, _, got := r.get(t.Context(), key, func(context.Context) (*api.List[api.Event], error) { return l, err })
		return got
	}
	keep := func(key string, n int) *api.List[api.Event] {
		l := page(n)
		if err := ask(key, l, nil); err != nil {
			t.Fatal(err)
		}
		return l
	}
	front := keep("front", 50)
	for i := range 10 * recentLists {
		keep(fmt.Sprint(i), i%3)
		if err := ask("front", nil, down); err != nil {
			t.Fatalf("the front page is gone after %d others: %v", i, err)
		}
	}
	if n := len(r.byKey); n != recentLists || r.order.Len() != n {
		t.Errorf("%d answers, %d in order", n, r.order.Len())
	}
	for i := range 100 {
		keep(fmt.Sprint("large", i), 200)
	}
	if r.events > recentEvents {
		t.Errorf("%d events", r.events)
	}
	front = keep("front", 50)
	if _, _, err := r.get(t.Context(), "front", func(context.Context) (*api.List[api.Event], error) {
		r.drop(front.Items[7].ID) // while the answer is being read
		return front, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := ask("front", nil, down); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an answer with an event that has changed: %v", err)
	}
	keep("old", 1)
	clock.Advance(recentAge + time.Second)
	if err := ask("old", nil, down); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an answer that is too old: %v", err)
	}
	keep("front", 1)
	if err := ask("front", nil, fault.New(fault.Internal, "a mistake")); !fault.Is(err, fault.Internal) {
		t.Errorf("a fault that is no outage: %v", err)
	}
	for r.order.Len() > 0 {
		r.remove(r.order.Front())
	}
	if r.events != 0 || len(r.byKey) != 0 {
		t.Errorf("empty: %d events, %d keys", r.events, len(r.byKey))
	}
}
