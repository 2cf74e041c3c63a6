package testkit_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// recorder is a test that notes its end instead of ending.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatalf(string, ...any) { r.failed = true }

func TestEventually(t *testing.T) {
	calls := 0
	r := &recorder{TB: t}
	testkit.Eventually(r, time.Minute, func() error {
		if calls++; calls < 5 {
			return errors.New("not yet")
		}
		return nil
	})
	if r.failed || calls != 5 {
		t.Errorf("failed=%t after %d calls", r.failed, calls)
	}
	testkit.Eventually(r, 10*time.Millisecond, func() error { return errors.New("never") })
	if !r.failed {
		t.Error("a condition that never holds went through")
	}
}

func TestClock(t *testing.T) {
	c := testkit.NewClock(time.Time{})
	start := c.Now()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { c.Advance(time.Second) })
	}
	wg.Wait()
	if got := c.Now().Sub(start); got != 10*time.Second {
		t.Errorf("the clock moved %s", got)
	}
	c.Set(start)
	if !c.Now().Equal(start) {
		t.Errorf("the clock shows %s", c.Now())
	}
}

func TestNATSKeepsItsDataOverARestart(t *testing.T) {
	n := testkit.NATS(t)
	n.Stream("S", "s.>")
	if _, err := n.JS.Publish(t.Context(), "s.a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	url := n.URL
	n.Stop()
	n.Start()
	if n.URL != url {
		t.Errorf("the server moved from %s to %s", url, n.URL)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		_, err := n.JS.Publish(t.Context(), "s.a", []byte("y"), jetstream.WithMsgID("y"))
		return err
	})
	if msgs := n.Messages("S"); len(msgs) != 2 || string(msgs[0].Data) != "x" {
		t.Errorf("messages after the restart: %v", msgs)
	}
}
