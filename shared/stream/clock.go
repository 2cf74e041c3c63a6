package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
)

const (
	clockEvery   = 5 * time.Second
	clockTimeout = 2 * time.Second
	clockFirst   = 20 * time.Second // for the first reading
	clockAgain   = 50 * time.Millisecond

	// clockError is the greatest error of a reading that replaces another: half of the time that its answer took.
	clockError = 250 * time.Millisecond

	// clockWarning is the difference between the clocks of a machine and of the server that is worth a log line.
	clockWarning = time.Second
)

// Clock tells the time of the server that leads a stream. All instances of a system agree on it within a fraction of a
// second, whatever the clocks of their machines show: a moment that one of them writes down means the same to all.
//
// Between two readings it runs on the monotonic clock, so a machine's clock that is set does not move it. It is safe
// for concurrent use.
type Clock struct {
	js     jetstream.JetStream
	stream string
	local  func() time.Time
	log    *slog.Logger
	last   atomic.Pointer[reading]
}

// reading is one moment as both clocks have it.
type reading struct{ local, server time.Time }

// NewClock returns a clock that has been read once. local is the machine's: time.Now, if it is to survive being set.
func NewClock(ctx context.Context, js jetstream.JetStream, stream string, local func() time.Time, log *slog.Logger,
	reg *observe.Registry) (*Clock, error) {
	c := &Clock{js: js, stream: stream, local: local, log: log}
	if err := c.first(ctx); err != nil {
		return nil, err
	}
	reg.GaugeFunc("starlight_clock_offset_seconds",
		"How far the machine's clock is ahead of the NATS server's, by which the system goes.",
		func() float64 { return c.offset().Seconds() })
	return c, nil
}

// first reads the time until that succeeds. A server of a cluster hears of a stream later than the one that made it,
// and a stream whose servers choose a leader does not answer.
func (c *Clock) first(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clockFirst)
	defer cancel()
	for {
		err := c.Read(ctx)
		if err == nil {
			return nil
		}
		if !run.Pause(ctx, clockAgain) {
			return err
		}
	}
}

// Now returns the server's time.
func (c *Clock) Now() time.Time {
	r := c.last.Load()
	return r.server.Add(c.local().Sub(r.local))
}

// offset is how far the machine's clock is ahead.
func (c *Clock) offset() time.Duration { return c.local().Round(0).Sub(c.Now()) }

// Read asks the server for its time. An answer that took too long to be exact is left aside, unless it is the first.
func (c *Clock) Read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	asked := c.local()
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return fmt.Errorf("the time of stream %s: %w", c.stream, err)
	}
	half := c.local().Sub(asked) / 2
	before := c.last.Load()
	if before != nil && half > clockError {
		return nil
	}
	c.last.Store(&reading{local: asked.Add(half), server: s.CachedInfo().TimeStamp})
	if off := c.offset(); off.Abs() > clockWarning && (before == nil ||
		before.server.Sub(before.local.Round(0)).Abs() <= clockWarning) {
		c.log.WarnContext(ctx, "this machine's clock differs from the NATS server's, which the system goes by",
			"ahead", off.Round(time.Millisecond))
	}
	return nil
}

// Run reads the server's time every few seconds until ctx ends. While the server is away the clock runs on.
func (c *Clock) Run(ctx context.Context) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.Read(ctx); err != nil && ctx.Err() == nil {
				c.log.DebugContext(ctx, "the clock was not read", "error", err)
			}
		}
	}
}
