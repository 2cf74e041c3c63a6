package analytics

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// What an instance knew when it ended is old: after a restart it says nothing before it has read on.
func TestNothingOldAfterARestart(t *testing.T) {
	w := newHarness(t)
	dir := t.TempDir()
	s, stop := w.run(dir)
	w.publish(publish(api.EventCreated.Subject, testOffer("UTC")))
	w.publish(paid(0))
	w.sold(s, 1)
	stop()
	const orders = 500
	for i := range orders {
		w.publish(paid(i))
	}
	asleep := w.open(dir)
	for name, err := range map[string]error{
		"summary":  second(asleep.summary(admin(), &api.EventRef{ID: testEvent})),
		"overview": second(asleep.overview(admin(), nil)),
		"buyers":   second(asleep.demographics(admin(), &api.EventRef{ID: testEvent})),
	} {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s before anything is read: %v", name, err)
		}
	}
	asleep.Close()
	again, _ := w.run(dir)
	if sum := w.first(again); sum.OrdersPaid != orders {
		t.Errorf("the first answer counts %d orders of %d", sum.OrdersPaid, orders)
	}
}

func second[T any](_ T, err error) error { return err }

// An instance that gets nothing from the streams any more says so.
func TestNothingOldWithoutTheStreams(t *testing.T) {
	clock := testkit.NewClock(testStart)
	w := newHarness(t)
	w.now = clock.Now
	s, _ := w.run(t.TempDir())
	w.publish(publish(api.EventCreated.Subject, testOffer("UTC")))
	w.publish(paid(0))
	w.sold(s, 1)
	w.nats.Stop()
	clock.Advance(oldAfter)
	if _, err := s.summary(admin(), &api.EventRef{ID: testEvent}); err != nil {
		t.Errorf("numbers of %v ago: %v", oldAfter, err)
	}
	clock.Advance(time.Second)
	if _, err := s.summary(admin(), &api.EventRef{ID: testEvent}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("numbers that are too old: %v", err)
	}
	w.nats.Start()
	if sum := w.first(s); sum.OrdersPaid != 1 {
		t.Errorf("afterwards %+v", sum)
	}
}

// Facts that were gone from the stream before they were folded are missed by the events that may have had them, not by
// those that were created later.
func TestHole(t *testing.T) {
	for name, drop := range map[string]func(st jetstream.Stream) error{
		"aged out": func(st jetstream.Stream) error { return st.Purge(t.Context(), jetstream.WithPurgeSequence(8)) },
		"in the middle": func(st jetstream.Stream) error {
			return st.DeleteMsg(t.Context(), 6)
		},
		"the newest": func(st jetstream.Stream) error {
			for seq := uint64(10); seq <= 12; seq++ {
				if err := st.DeleteMsg(t.Context(), seq); err != nil {
					return err
				}
			}
			return nil
		},
		"all": func(st jetstream.Stream) error { return st.Purge(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newHarness(t)
			dir := t.TempDir()
			s, stop := w.run(dir)
			w.publish(publish(api.EventCreated.Subject, testOffer("UTC")))
			w.publish(paid(1))
			w.sold(s, 1)
			stop()
			for i := range 10 {
				w.publish(paid(2 + i))
			}
			st, err := w.nats.JS.Stream(t.Context(), api.EventsStream)
			if err != nil {
				t.Fatal(err)
			}
			if err := drop(st); err != nil {
				t.Fatal(err)
			}
			s, _ = w.run(dir)
			w.current(s)
			if sum, err := s.summary(admin(), &api.EventRef{ID: testEvent}); !fault.Is(err, fault.Unavailable) {
				t.Fatalf("of 11 orders %+v, %v", sum, err)
			}

			later := testOffer("UTC")
			later.Event.ID = otherEvent
			w.publish(publish(api.EventCreated.Subject, later))
			w.publish(paid(20))
			w.folded(s)
			w.current(s)
			if _, err := s.summary(admin(), &api.EventRef{ID: otherEvent}); err != nil {
				t.Errorf("an event that was created afterwards: %v", err)
			}
			if _, err := s.compare(admin(),
				&api.CompareQuery{Events: []ids.Event{testEvent, otherEvent}}); !fault.Is(err, fault.Unavailable) {
				t.Errorf("a comparison: %v", err)
			}
			ov, err := s.overview(rpc.WithPrincipal(context.Background(), rpc.Principal{User: person("usr_org")}), nil)
			if err != nil || len(ov.Items) != 1 || !slices.Equal(ov.Incomplete, []ids.Event{testEvent}) {
				t.Errorf("the overview %+v, %v", ov, err)
			}

			if _, whole, err := Recount(t.Context(), w.nats.JS, t.TempDir()); whole || err != nil {
				t.Errorf("a recount of what is left: whole %v, %v", whole, err)
			}
			if err := w.live.Change(api.AnalyticsIncomplete.Is(true)); err != nil {
				t.Fatal(err)
			}
			if sum, err := s.summary(admin(), &api.EventRef{ID: testEvent}); err != nil || sum.OrdersPaid >= 12 {
				t.Errorf("what is left: %+v, %v", sum, err)
			}
		})
	}
}

// current waits until an instance says that it has current numbers.
func (w *harness) current(s *Service) {
	w.t.Helper()
	testkit.Eventually(w.t, 20*time.Second, s.current)
}

// An event whose creation was gone lacks facts, too.
func TestHoleAtTheBeginning(t *testing.T) {
	w := newHarness(t)
	w.publish(publish(api.EventCreated.Subject, testOffer("UTC")))
	w.publish(paid(1))
	st, err := w.nats.JS.Stream(t.Context(), api.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	newer := testOffer("UTC")
	newer.Event.Revision++
	w.publish(publish(api.EventUpdated.Subject, newer))
	s, _ := w.run(t.TempDir())
	w.folded(s)
	w.current(s)
	if sum, err := s.summary(admin(), &api.EventRef{ID: testEvent}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("summary %+v, %v", sum, err)
	}
}

// A recount ends also when the newest messages of the stream are gone.
func TestRecountWithoutTheNewest(t *testing.T) {
	w := newHarness(t)
	for i := range 3 {
		w.publish(paid(i))
	}
	st, err := w.nats.JS.Stream(t.Context(), api.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sums, whole, err := Recount(ctx, w.nats.JS, t.TempDir())
	if err != nil || !whole || sums[testEvent].Orders != 3 {
		t.Fatalf("%+v, whole %v, %v", sums, whole, err)
	}
	if err := st.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if _, whole, err := Recount(ctx, w.nats.JS, t.TempDir()); whole || err != nil {
		t.Errorf("without the newest: whole %v, %v", whole, err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, whole, err := Recount(ctx, w.nats.JS, t.TempDir()); whole || err != nil {
		t.Errorf("of an emptied stream: whole %v, %v", whole, err)
	}
}

// Views are not counted twice when their stream has lost its end; events are, by their ids, at most once.
func TestWhereReadingBegins(t *testing.T) {
	s, err := bare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.log = testkit.Log(t)
	made := testStart
	for _, step := range []struct {
		stream         string
		made           time.Time
		first, last    uint64
		before, wanted uint64
	}{
		{api.AnalyticsStream, made, 1, 10, 0, 0},
		{api.AnalyticsStream, made, 1, 10, 10, 10},
		{api.AnalyticsStream, made, 1, 8, 10, 8}, // its end is lost
		{api.AnalyticsStream, made.Add(time.Hour), 1, 20, 10, 0},
		{api.EventsStream, made, 1, 10, 10, 10},
		{api.EventsStream, made, 4, 8, 10, 3},
		{api.EventsStream, made.Add(time.Hour), 1, 20, 10, 0},
	} {
		group := []message{{seq: step.before}}
		at, err := s.foldedSequence(step.stream)
		if err != nil {
			t.Fatal(err)
		}
		if step.before > at {
			if err := s.commit(follower{stream: step.stream}, at, group); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.position(follower{stream: step.stream},
			&jetstream.StreamInfo{Created: step.made,
				State: jetstream.StreamState{FirstSeq: step.first, LastSeq: step.last}})
		if err != nil || got != step.wanted {
			t.Errorf("%+v: reading begins after %d, %v", step, got, err)
		}
	}
}

// However many instances there are, each change of an event is published once; when the one that publishes is
// gone, another one does.
func TestOneInstanceTells(t *testing.T) {
	w := newHarness(t)
	changes, err := w.nats.Conn.SubscribeSync(live.Subject("analytics", string(testEvent)))
	if err != nil {
		t.Fatal(err)
	}
	one, stop := w.run(t.TempDir())
	two, _ := w.run(t.TempDir())
	three, _ := w.run(t.TempDir())
	w.publish(publish(api.EventCreated.Subject, testOffer("UTC")))
	for _, s := range []*Service{one, two, three} {
		w.sold(s, 0)
	}
	published := []int64{}
	next := func() {
		t.Helper()
		msg, err := changes.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatalf("after %v: %v", published, err)
		}
		var sum api.EventSummary
		if err := json.Unmarshal(msg.Data, &sum); err != nil {
			t.Fatal(err)
		}
		published = append(published, sum.OrdersPaid)
	}
	until := func(n int64) {
		t.Helper()
		w.publish(paid(int(n)))
		for len(published) == 0 || published[len(published)-1] != n {
			next()
		}
	}
	until(1)
	before := len(published)
	for n := int64(2); n <= 6; n++ {
		until(n)
	}
	if want := []int64{2, 3, 4, 5, 6}; !slices.Equal(published[before:], want) {
		t.Errorf("published %v, want %v", published[before:], want)
	}
	stop()
	until(7) // the last that the other one has published may come again
	before = len(published)
	for n := int64(8); n <= 9; n++ {
		until(n)
	}
	if want := []int64{8, 9}; !slices.Equal(published[before:], want) {
		t.Errorf("by another one %v, want %v", published[before:], want)
	}
}

// No instance takes the consumer of another, and there are as many names as instances may run.
func TestConsumersHaveNamesOfTheirOwn(t *testing.T) {
	w := newHarness(t)
	s := w.open(t.TempDir())
	defer s.Close()
	seen := map[string]bool{}
	var free func()
	for range Consumers(api.AnalyticsStream) {
		c, done, err := s.consumer(t.Context(), api.AnalyticsStream, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen[c.CachedInfo().Name] = true
		free = done
	}
	if len(seen) != len(Consumers(api.AnalyticsStream)) {
		t.Errorf("consumers %v", seen)
	}
	if _, _, err := s.consumer(t.Context(), api.AnalyticsStream, 0); err == nil {
		t.Error("one more has a name")
	}
	free()
	if _, _, err := s.consumer(t.Context(), api.AnalyticsStream, 0); err != nil {
		t.Errorf("a name that is free again: %v", err)
	}
	if n := fmt.Sprint(len(Consumers(api.EventsStream))); n != "20" {
		t.Errorf("%s names for events", n)
	}
}
