// Package testkit gives tests the real things to run against: PostgreSQL, SQLite, NATS, and a clock that they set.
//
// Everything is started on demand, on free ports and in temporary folders, and is gone when the test is.
package testkit

import (
	"flag"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Eventually calls check until it returns nil, and fails the test with its last error once timeout has passed. It looks
// often at first, so that a quick success costs little.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	timeout = Within(timeout)
	deadline := time.Now().Add(timeout)
	wait := time.Millisecond
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", timeout, err)
			return
		}
		pause := time.NewTimer(wait)
		<-pause.C
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// Within returns how long to wait for what takes at most d: longer if the race detector is on. A test that passes never
// waits so long.
func Within(d time.Duration) time.Duration { return d * slower }

// AtOnce lets n parallel tests run for each processor, for a package whose tests wait most of the time. It is called
// before they run; -parallel has precedence, and with the race detector there is one for each as always: then they
// compute most of the time.
func AtOnce(n int) {
	flag.Parse()
	given := slower > 1
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n*runtime.GOMAXPROCS(0))); err != nil {
		panic(err) // cannot happen: every test binary has the flag, and it is a number
	}
}

// Missing skips a test for which the machine lacks something, and says what. If CI=true the test fails.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Clock is a clock that stands still until it is told to move. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows start, or a fixed afternoon in 2030 if start is zero.
func NewClock(start time.Time) *Clock {
	if start.IsZero() {
		start = time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	}
	return &Clock{now: start}
}

// Now returns what the clock shows. Pass this method wherever a now function is asked for.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock on by d.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Set moves the clock to t.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// Log returns a logger that writes into the output of the test, and nowhere once the test is over. It leaves out what
// is said for debugging: the many refusals of a busy test would bury what failed.
func Log(t testing.TB) *slog.Logger {
	w := &output{to: t.Output()}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, nil))
}

// output guards the output of a test, which must not be written to after the test.
type output struct {
	mu sync.Mutex
	to io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = io.Discard
}
