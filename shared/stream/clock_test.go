package stream_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// near is how exact a reading must be here: the server is on the same machine, which may be busy.
const near = time.Second

func TestClockGoesByTheServer(t *testing.T) {
	n := testkit.NATS(t)
	n.Stream("TIME", "time")
	for _, off := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		c, err := stream.NewClock(t.Context(), n.JS, "TIME", func() time.Time { return time.Now().Add(off) }, testkit.Log(t), observe.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(c.Now()); got.Abs() > near {
			t.Errorf("a machine whose clock is off by %v: the clock is off by %v", off, got)
		}
	}
}

// A clock that runs wrong is put right by the next reading, and runs on while the server is away.
// A process may start before its server has heard of the stream.
func TestClockWaitsForItsStream(t *testing.T) {
	n := testkit.NATS(t)
	looked, err := n.Conn.SubscribeSync("$JS.API.STREAM.INFO.TIME")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() {
		_, err := stream.NewClock(t.Context(), n.JS, "TIME", time.Now, testkit.Log(t), observe.NewRegistry())
		started <- err
	}()
	for range 2 { // the second look shows that the first found nothing
		if _, err := looked.NextMsg(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	n.Stream("TIME", "time")
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

func TestClockIsReadAgain(t *testing.T) {
	n := testkit.NATS(t)
	n.Stream("TIME", "time")
	var drift atomic.Int64
	local := func() time.Time { return time.Now().Add(time.Duration(drift.Load())) }
	c, err := stream.NewClock(t.Context(), n.JS, "TIME", local, testkit.Log(t), observe.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	drift.Store(int64(10 * time.Minute))
	if err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := time.Until(c.Now()); got.Abs() > near {
		t.Errorf("after a reading the clock is off by %v", got)
	}
	n.Stop()
	if err := c.Read(t.Context()); err == nil {
		t.Error("a server that is away was read")
	}
	if got := time.Until(c.Now()); got.Abs() > near {
		t.Errorf("without its server the clock is off by %v", got)
	}
}
