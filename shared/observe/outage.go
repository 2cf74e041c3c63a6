package observe

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// outageAfter is how long something fails before that is worth a line in the log.
const outageAfter = 5 * time.Second

// Outage logs a failure that lasts: one warning when it has lasted for five seconds, and one line at its end, however
// many attempts fail between the two. It is safe for concurrent use.
type Outage struct {
	log          *slog.Logger
	failing, end string // the two messages
	waiting      *Gauge // of what waits; nil for none

	mu     sync.Mutex
	count  int
	since  time.Time
	logged bool
}

// NewOutage returns an outage that has not begun. The messages are logged to log, while it lasts and at its end. A nil
// gauge is left out.
func NewOutage(log *slog.Logger, failing, end string, waiting *Gauge) *Outage {
	return &Outage{log: log, failing: failing, end: end, waiting: waiting}
}

// Report notes the outcome of an attempt of a loop: the outage lasts until an attempt ends without an error.
func (o *Outage) Report(ctx context.Context, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		o.failed(ctx, o.count == 0, err)
	case o.count > 0:
		o.over(ctx)
	}
}

// Failed notes that one thing of several waits, for the first time or still. Over has to follow once for each first
// time.
func (o *Outage) Failed(ctx context.Context, first bool, cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed(ctx, first, cause)
}

// Over notes that one thing waits no more.
func (o *Outage) Over(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over(ctx)
}

func (o *Outage) failed(ctx context.Context, first bool, cause error) {
	if first {
		if o.count++; o.count == 1 {
			o.since = time.Now()
		}
		o.gauge()
	}
	if o.logged || time.Since(o.since) < outageAfter {
		return
	}
	o.logged = true
	log := o.log
	if o.waiting != nil {
		log = log.With("waiting", o.count)
	}
	log.WarnContext(ctx, o.failing, "error", cause)
}

func (o *Outage) over(ctx context.Context) {
	o.count--
	o.gauge()
	if o.count > 0 || !o.logged {
		return
	}
	o.logged = false
	o.log.InfoContext(ctx, o.end, "after", time.Since(o.since).Round(time.Second))
}

func (o *Outage) gauge() {
	if o.waiting != nil {
		o.waiting.Set(float64(o.count))
	}
}
