package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// bench is a server with the streams EVENTS and DEAD.
func bench(t *testing.T) *testkit.NATSServer {
	t.Helper()
	n := testkit.NATS(t)
	n.Stream("EVENTS", "ev.>")
	n.Stream("DEAD", "dead.>")
	return n
}

// consume runs a consumer named c until the returned function is called, which returns once the consumer has.
func consume(t *testing.T, n *testkit.NATSServer, c stream.Consumer, handler func(context.Context, stream.Msg) error) (stop func()) {
	t.Helper()
	c.Stream, c.Durable, c.Log = "EVENTS", "c", testkit.Log(t)
	if c.BackOff == nil {
		c.BackOff = []time.Duration{10 * time.Millisecond}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stream.Consume(ctx, n.JS, c, handler) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func publish(t *testing.T, n *testkit.NATSServer, subject, id, data string) {
	t.Helper()
	msg := nats.NewMsg(subject)
	msg.Data = []byte(data)
	msg.Header.Set("Starlight-Request-Id", "req_"+id)
	if _, err := n.JS.PublishMsg(t.Context(), msg, jetstream.WithMsgID(id)); err != nil {
		t.Fatal(err)
	}
}

// settled waits until the consumer has dealt with everything that is in the stream.
func settled(t *testing.T, n *testkit.NATSServer) {
	t.Helper()
	events, err := n.JS.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	last := events.CachedInfo().State.LastSeq
	testkit.Eventually(t, long, func() error {
		consumer, err := events.Consumer(context.Background(), "c")
		if err != nil {
			return err
		}
		if floor := consumer.CachedInfo().AckFloor.Stream; floor < last {
			return fmt.Errorf("settled up to message %d of %d", floor, last)
		}
		return nil
	})
}

// Every message changes the database once, whatever happens to the handler on the way.
func TestHandlerAndOnceMakeExactlyOneChange(t *testing.T) {
	testkit.DB(t, "ticketing", nil, func(t *testing.T, db *store.DB) {
		n := bench(t)
		const count = 40
		for i := range count {
			publish(t, n, "ev.a", fmt.Sprint(i), fmt.Sprint(i))
		}
		var runs atomic.Int64
		handler := func(ctx context.Context, m stream.Msg) error {
			runs.Add(1)
			if m.Delivery == 1 && m.Sequence%4 == 0 {
				return errors.New("before the change")
			}
			err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				if first, err := stream.Once(ctx, tx, "c", m.ID); err != nil || !first {
					return err
				}
				return stream.Add(ctx, tx, "ev.out", m.ID)
			})
			if m.Delivery == 1 && m.Sequence%4 == 1 {
				return errors.New("after the change, as if the acknowledgement were lost")
			}
			if m.Delivery == 1 && m.Sequence%4 == 2 {
				panic("after the change")
			}
			return err
		}
		consume(t, n, stream.Consumer{Concurrency: 4}, handler)
		settled(t, n)
		var rows, distinct int
		err := db.Read().NewRaw("SELECT count(*), count(DISTINCT payload) FROM outbox").Scan(t.Context(), &rows, &distinct)
		if err != nil || rows != count || distinct != count {
			t.Errorf("%d changes for %d messages (%v), want %d", rows, distinct, err, count)
		}
		if runs.Load() != count+count*3/4 {
			t.Errorf("the handler ran %d times, want %d", runs.Load(), count+count*3/4)
		}
		if got := len(n.Messages("DEAD")); got != 0 {
			t.Errorf("%d dead letters", got)
		}
	})
}

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	n := bench(t)
	for i, data := range []string{"good", "invalid", "failing", "panicking", "good"} {
		publish(t, n, "ev."+data, fmt.Sprint(i), data)
	}
	var mu sync.Mutex
	runs := map[string]int{}
	consume(t, n, stream.Consumer{MaxDeliver: 3, DoubleAck: true}, func(_ context.Context, m stream.Msg) error {
		mu.Lock()
		runs[string(m.Data)]++
		mu.Unlock()
		switch string(m.Data) {
		case "invalid":
			var v struct{}
			return m.Decode(&v)
		case "failing":
			return fault.New(fault.Conflict, "two\r\nlines: x")
		case "panicking":
			panic("boom")
		}
		return nil
	})
	settled(t, n)
	if got, want := fmt.Sprint(runs), "map[failing:3 good:2 invalid:1 panicking:3]"; got != want {
		t.Errorf("runs %s, want %s", got, want)
	}
	letters := map[string]*jetstream.RawStreamMsg{}
	for _, m := range n.Messages("DEAD") {
		letters[string(m.Data)] = m
	}
	if len(letters) != 3 {
		t.Fatalf("%d dead letters, want 3", len(letters))
	}
	m := letters["failing"]
	for name, want := range map[string]string{
		"Starlight-Request-Id":      "req_2",
		stream.HeaderDeadSubject:    "ev.failing",
		stream.HeaderDeadStream:     "EVENTS",
		stream.HeaderDeadSequence:   "3",
		stream.HeaderDeadID:         "2",
		stream.HeaderDeadReason:     "conflict: two lines: x",
		jetstream.MsgIDHeader:       "c:2",
		"Nats-Expected-Last-Msg-Id": "",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if m.Subject != "dead.c" {
		t.Errorf("subject %s", m.Subject)
	}
	if reason := letters["panicking"].Header.Get(stream.HeaderDeadReason); !strings.Contains(reason, "boom") {
		t.Errorf("reason %q", reason)
	}
}

// A message that ends the processes that try it never reaches the end of a handler. It must not be tried for ever.
func TestMessageThatKillsItsHandlersIsGivenUp(t *testing.T) {
	n := bench(t)
	ctx := t.Context()
	consumer, err := n.JS.CreateConsumer(ctx, "EVENTS", jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, n, "ev.a", "1", "deadly")
	for range 3 { // three processes take it and are gone
		m, err := consumer.Next(jetstream.FetchMaxWait(long))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	var runs atomic.Int64
	consume(t, n, stream.Consumer{MaxDeliver: 3}, func(context.Context, stream.Msg) error {
		runs.Add(1)
		return nil
	})
	settled(t, n)
	if got := len(n.Messages("DEAD")); got != 1 || runs.Load() != 0 {
		t.Errorf("%d dead letters after %d more runs, want one after none", got, runs.Load())
	}
}

func TestDeadLetterIsNotLostWithoutItsStream(t *testing.T) {
	n := testkit.NATS(t)
	n.Stream("EVENTS", "ev.>")
	publish(t, n, "ev.a", "1", "bad")
	tried := make(chan struct{}, 100)
	consume(t, n, stream.Consumer{}, func(context.Context, stream.Msg) error {
		tried <- struct{}{}
		return fault.New(fault.Invalid, "bad")
	})
	<-tried
	<-tried // it came again, since it could not be buried
	n.Stream("DEAD", "dead.>")
	settled(t, n)
	if got := len(n.Messages("DEAD")); got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	n := bench(t)
	for i := range 30 {
		publish(t, n, "ev.a", fmt.Sprint(i), "")
	}
	const limit = 3
	var running, most atomic.Int64
	full := make(chan struct{}) // closed once limit handlers run together
	consume(t, n, stream.Consumer{Concurrency: limit}, func(context.Context, stream.Msg) error {
		now := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
		}
		if now == limit {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		<-full
		return nil
	})
	settled(t, n)
	if most.Load() != limit {
		t.Errorf("%d handlers at a time, want %d", most.Load(), limit)
	}
}

func TestShutdownFinishesWhatRuns(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "1", "")
	started, release := make(chan struct{}), make(chan struct{})
	var result atomic.Value
	stop := consume(t, n, stream.Consumer{}, func(ctx context.Context, m stream.Msg) error {
		close(started)
		<-release
		result.Store(fmt.Sprint(ctx.Err(), " ", rpc.From(ctx).RequestID, " ", rpc.From(ctx).TraceParent != ""))
		return nil
	})
	<-started
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("Consume returned while a handler ran")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-stopped
	if got := result.Load(); got != "<nil> req_1 true" {
		t.Errorf("the handler saw %v", got)
	}
	settled(t, n) // acknowledged, so nobody runs it again
}

// A handler that had no time left says nothing about its message.
func TestSlowHandlerIsToldToStop(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "1", "")
	var runs atomic.Int64
	consume(t, n, stream.Consumer{AckWait: time.Second, HandlerTime: 100 * time.Millisecond, MaxDeliver: 1}, func(ctx context.Context, _ stream.Msg) error {
		if runs.Add(1) > 3 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	settled(t, n)
	if got := len(n.Messages("DEAD")); got != 0 || runs.Load() != 4 {
		t.Errorf("%d dead letters after %d tries, want none after 4", got, runs.Load())
	}
}

// A handler that takes its time keeps its message: no other instance is given it meanwhile.
func TestSlowHandlerKeepsItsMessage(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "1", "")
	var calls atomic.Int32
	slow := func(context.Context, stream.Msg) error {
		calls.Add(1)
		<-time.After(time.Second) // five times AckWait
		return nil
	}
	for range 2 {
		consume(t, n, stream.Consumer{AckWait: 200 * time.Millisecond, HandlerTime: 30 * time.Second}, slow)
	}
	settled(t, n)
	if got := calls.Load(); got != 1 {
		t.Errorf("the message was handled %d times", got)
	}
}

func TestOrderedConsumerKeepsTheOrderOverFailures(t *testing.T) {
	n := bench(t)
	var mu sync.Mutex
	var got []string
	handler := func(_ context.Context, m stream.Msg) error {
		if m.Delivery == 1 && m.Sequence%3 == 0 {
			return errors.New("not yet")
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m.ID)
		return nil
	}
	consume(t, n, stream.Consumer{Ordered: true}, handler)
	consume(t, n, stream.Consumer{Ordered: true}, handler) // another instance
	var want []string
	for i := range 20 {
		publish(t, n, "ev.a", fmt.Sprint(i), "")
		want = append(want, fmt.Sprint(i))
	}
	settled(t, n)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("order %v", got)
	}
}

func TestConsumerSurvivesTheServer(t *testing.T) {
	n := bench(t)
	var runs atomic.Int64
	consume(t, n, stream.Consumer{Filters: []string{"ev.a", "ev.b"}}, func(context.Context, stream.Msg) error {
		runs.Add(1)
		return nil
	})
	publish(t, n, "ev.a", "1", "")
	settled(t, n)
	n.Stop()
	n.Start()
	testkit.Eventually(t, long, func() error {
		_, err := n.JS.Publish(t.Context(), "ev.b", nil, jetstream.WithMsgID("2"))
		return err
	})
	publish(t, n, "ev.other", "3", "")
	testkit.Eventually(t, long, func() error {
		if runs.Load() < 2 {
			return errors.New("the consumer is still away")
		}
		return nil
	})
	if err := n.JS.DeleteConsumer(t.Context(), "EVENTS", "c"); err != nil { // by mistake
		t.Fatal(err)
	}
	testkit.Eventually(t, long, func() error {
		_, err := n.JS.Consumer(t.Context(), "EVENTS", "c")
		return err
	})
}

func TestConsumerWaitsForItsStream(t *testing.T) {
	n := testkit.NATS(t)
	got := make(chan struct{})
	consume(t, n, stream.Consumer{}, func(context.Context, stream.Msg) error { close(got); return nil })
	n.Stream("EVENTS", "ev.>")
	publish(t, n, "ev.a", "1", "")
	<-got
}

func TestBadConsumerIsRefused(t *testing.T) {
	n := testkit.NATS(t)
	for _, c := range []stream.Consumer{{}, {Stream: "EVENTS"}, {Stream: "EVENTS", Durable: "a.b"}, {Stream: "EVENTS", Durable: "*"}} {
		if err := stream.Consume(t.Context(), n.JS, c, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v, want invalid", c, err)
		}
	}
}

// A dead letter that is replayed reaches the consumer that gave it up, as the message it was at first, and no other.
func TestReplay(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "one", "data")
	var mu sync.Mutex
	var seen []string
	var well atomic.Bool
	consume(t, n, stream.Consumer{MaxDeliver: 1}, func(_ context.Context, m stream.Msg) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, m.ID+" "+m.Subject+" "+string(m.Data))
		if well.Load() {
			return nil
		}
		return errors.New("not yet")
	})
	var letters []stream.Letter
	one := func(but uint64) {
		t.Helper()
		testkit.Eventually(t, long, func() (err error) {
			letters, err = stream.DeadLetters(context.Background(), n.JS, 0, 10)
			if err == nil && (len(letters) != 1 || letters[0].Sequence == but) {
				err = fmt.Errorf("letters %+v", letters)
			}
			return err
		})
	}
	one(0)
	first := letters[0]
	if first.Consumer != "c" || first.Stream != "EVENTS" || first.Subject != "ev.a" || first.ID != "one" {
		t.Errorf("letter %+v", first)
	}
	if err := stream.Replay(t.Context(), n.JS, first.Sequence, unnoted); err != nil {
		t.Fatal(err)
	}
	one(first.Sequence) // it failed again
	if again := letters[0]; again.Stream != "EVENTS" || again.Subject != "ev.a" || again.ID != "one" {
		t.Errorf("letter %+v", again)
	}
	well.Store(true)
	if err := stream.Replay(t.Context(), n.JS, letters[0].Sequence, unnoted); err != nil {
		t.Fatal(err)
	}
	if err := stream.Replay(t.Context(), n.JS, first.Sequence, unnoted); !fault.Is(err, fault.NotFound) {
		t.Errorf("a letter was replayed twice: %v", err)
	}
	testkit.Eventually(t, long, func() error {
		mu.Lock()
		defer mu.Unlock()
		if got, want := fmt.Sprint(seen), "[one ev.a data one ev.a data one ev.a data]"; got != want {
			return fmt.Errorf("handled %s, want %s", got, want)
		}
		return nil
	})
	if left, err := stream.DeadLetters(t.Context(), n.JS, 0, 10); err != nil || len(left) != 0 {
		t.Errorf("letters %+v, %v", left, err)
	}
}

// A dead letter of a consumer that takes no replays stays where it is, and who wants to replay it is told.
func TestReplayThatReachesNoConsumer(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "one", "data")
	st, err := n.JS.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := st.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Bury(t.Context(), n.JS, "readers", msg, errors.New("not readable")); err != nil {
		t.Fatal(err)
	}
	letters, err := stream.DeadLetters(t.Context(), n.JS, 0, 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("letters %+v, %v", letters, err)
	}
	if err := stream.Replay(t.Context(), n.JS, letters[0].Sequence, unnoted); !fault.Is(err, fault.Conflict) {
		t.Errorf("replayed: %v", err)
	}
	if left := n.Messages(stream.DeadStream); len(left) != 1 || left[0].Sequence != letters[0].Sequence {
		t.Errorf("%d letters are left", len(left))
	}
}

// unnoted lets a replay go ahead.
func unnoted(stream.Letter) error { return nil }
