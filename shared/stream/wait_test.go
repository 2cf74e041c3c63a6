package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Messages wait far longer than AckWait while handlers are slow: for a handler, and in one. Each is handled once.
func TestMessagesThatWaitAreNotDeliveredAgain(t *testing.T) {
	const ackWait, count = time.Second, 12
	for _, c := range []stream.Consumer{{Concurrency: 1}, {Concurrency: 3}, {Concurrency: 8}} {
		t.Run(fmt.Sprint(c.Concurrency), func(t *testing.T) {
			n := bench(t)
			for i := range count {
				publish(t, n, "ev.a", fmt.Sprint(i), "")
			}
			var mu sync.Mutex
			runs := map[string]int{}
			slow := func(_ context.Context, m stream.Msg) error {
				mu.Lock()
				runs[m.ID]++
				mu.Unlock()
				<-time.After(ackWait * 3 / 2 * time.Duration(min(c.Concurrency, 2)) / 2)
				return nil
			}
			c.AckWait, c.HandlerTime = ackWait, time.Minute
			consume(t, n, c, slow)
			consume(t, n, c, slow) // another instance
			settled(t, n)
			mu.Lock()
			defer mu.Unlock()
			for id, n := range runs {
				if n != 1 {
					t.Errorf("message %s was handled %d times", id, n)
				}
			}
			if len(runs) != count {
				t.Errorf("%d messages of %d were handled", len(runs), count)
			}
		})
	}
}

// While what the handlers need is away, messages are tried again for as long as it takes, and all get through in the end.
// The log says so twice and not at each try.
func TestOutageLosesNoMessage(t *testing.T) {
	n := bench(t)
	const count = 60
	for i := range count {
		publish(t, n, "ev.a", fmt.Sprint(i), "")
	}
	var away atomic.Bool
	away.Store(true)
	var tries, runs atomic.Int64
	registry := observe.NewRegistry()
	consume(t, n, stream.Consumer{Concurrency: 4, AckWait: time.Second, MaxDeliver: 2, Registry: registry}, func(context.Context, stream.Msg) error {
		switch i := tries.Add(1); {
		case !away.Load():
			runs.Add(1)
			return nil
		case i%5 == 0:
			return fault.New(fault.Timeout, "no answer")
		case i%5 == 1: // as queries and clients return them
			return fmt.Errorf("read: %w", io.EOF)
		case i%5 == 2:
			return &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		case i%5 == 3:
			return nats.ErrNoResponders
		}
		return fault.Wrap(errors.New("connection refused"), fault.Unavailable, "the database is not available")
	})
	testkit.Eventually(t, long, func() error {
		if got := tries.Load(); got < 20*count {
			return fmt.Errorf("%d tries", got)
		}
		if got := metric(t, registry, `starlight_consumer_waiting{consumer="c"}`); got != fmt.Sprint(count) {
			return fmt.Errorf("%s messages wait, want %d", got, count)
		}
		return nil
	})
	away.Store(false)
	settled(t, n)
	if got := len(n.Messages("DEAD")); got != 0 || runs.Load() != count {
		t.Errorf("%d dead letters, %d messages handled, want none and %d", got, runs.Load(), count)
	}
	if got := metric(t, registry, `starlight_consumer_waiting{consumer="c"}`); got != "0" {
		t.Errorf("%s messages wait afterwards", got)
	}
}

// metric returns the value of a series.
func metric(t *testing.T, registry *observe.Registry, series string) string {
	t.Helper()
	var text strings.Builder
	if _, err := registry.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no series %s in\n%s", series, text.String())
	return ""
}

// Where an age is set, a message that fails for that long is a dead letter even if it is for want of something else.
func TestOldMessageIsGivenUp(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "1", "")
	consume(t, n, stream.Consumer{MaxAge: 200 * time.Millisecond}, func(context.Context, stream.Msg) error {
		return fault.New(fault.Unavailable, "always")
	})
	settled(t, n)
	if got := len(n.Messages("DEAD")); got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}
}

// An instance that stops gives back what waits, for a handler or for another try: the next one has it at once, not after
// AckWait.
func TestStopGivesBackWhatWaits(t *testing.T) {
	n := bench(t)
	const count = 8
	for i := range count {
		publish(t, n, "ev.a", fmt.Sprint(i), "")
	}
	running, release := make(chan struct{}, 1), make(chan struct{})
	var once sync.Once
	c := stream.Consumer{Concurrency: 4, BackOff: []time.Duration{time.Hour}}
	stop := consume(t, n, c, func(context.Context, stream.Msg) error {
		first := false
		once.Do(func() { first = true })
		if first {
			running <- struct{}{}
			<-release
			return nil
		}
		return fault.New(fault.Unavailable, "not here")
	})
	<-running
	testkit.Eventually(t, long, func() error { // all are in one hand
		info, err := n.JS.Consumer(context.Background(), "EVENTS", "c")
		if err == nil && info.CachedInfo().NumAckPending != count {
			err = fmt.Errorf("%d messages are taken", info.CachedInfo().NumAckPending)
		}
		return err
	})
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	var seen atomic.Int64
	consume(t, n, c, func(context.Context, stream.Msg) error { seen.Add(1); return nil })
	testkit.Eventually(t, 10*time.Second, func() error { // a third of the default AckWait
		if got := seen.Load(); got != count-1 {
			return fmt.Errorf("%d of %d messages were handed on", got, count-1)
		}
		return nil
	})
	close(release)
	<-stopped
	settled(t, n)
	if seen.Load() != count-1 {
		t.Errorf("%d messages were handled by the second instance, want %d", seen.Load(), count-1)
	}
}

// Stopping is bounded: a handler that takes too long is told to end, and can still write down what it has done.
func TestStopEndsHandlersAtItsDeadline(t *testing.T) {
	n := bench(t)
	publish(t, n, "ev.a", "1", "")
	started := make(chan struct{})
	var record atomic.Value
	stop := consume(t, n, stream.Consumer{StopTime: 50 * time.Millisecond, HandlerTime: time.Hour}, func(ctx context.Context, m stream.Msg) error {
		close(started)
		<-ctx.Done() // the mail server does not answer
		ctx, cancel := stream.Recording(ctx)
		defer cancel()
		_, err := n.JS.Stream(ctx, "EVENTS")
		record.Store(fmt.Sprint(err))
		return err
	})
	<-started
	stop()
	if got := record.Load(); got != "<nil>" {
		t.Errorf("what was done could not be written down: %v", got)
	}
	settled(t, n)
	var consumer jetstream.Consumer
	consumer, err := n.JS.Consumer(t.Context(), "EVENTS", "c")
	if err != nil || consumer.CachedInfo().NumAckPending != 0 {
		t.Errorf("%+v, %v", consumer, err)
	}
}
