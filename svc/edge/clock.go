package edge

import (
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// clock is the hub's clock, as the venue knows it. The venue's own clock may be wrong, and may be set while it runs:
// only its steps count from the start of the process on, and how much it is ahead is learned from what the hub says.
type clock struct {
	now   func() time.Time
	began time.Time // by the venue's clock, with its monotonic reading

	mu    sync.Mutex
	skew  time.Duration // the venue's clock less the hub's
	floor time.Time     // the hub's clock has been here
	heard bool          // the hub, since the start
	saved disk.Clock    // what is on the disk
}

// newClock goes on with what was last known. A computer without a battery for its clock may begin in the past; the
// hub's time cannot be before the last that was heard.
func newClock(db *disk.DB, now func() time.Time) (*clock, error) {
	c := &clock{now: now, began: now()}
	err := db.View(func(tx *disk.Tx) error {
		known, err := tx.Clock()
		c.skew, c.floor, c.saved = known.Skew, known.Hub, known
		return err
	})
	if behind := c.floor.Sub(c.local().Add(-c.skew)); behind > 0 {
		c.skew -= behind
	}
	return c, err
}

// local is the venue's clock as it was at the start, and the time that has passed since.
func (c *clock) local() time.Time { return c.began.Round(0).Add(c.now().Sub(c.began)) }

// Now returns the hub's time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local().Add(-c.skew).UTC()
}

// Skew returns how much the venue's clock is ahead of the hub's.
func (c *clock) Skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew
}

// slow is from when on an answer says little about the time.
const slow = 2 * time.Second

// hear takes over what the hub said of its time, in an answer to a request that was sent then. It returns what is worth
// to be written to the disk, or nil.
func (c *clock) hear(sent time.Time, hub time.Time) *disk.Clock {
	got := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	took := got.Sub(sent)
	if took < slow || !c.heard {
		c.skew = c.local().Add(-took / 2).Sub(hub)
		c.heard = true
	}
	if hub.After(c.floor) {
		c.floor = hub
	}
	if c.floor.Sub(c.saved.Hub) < time.Minute && (c.skew-c.saved.Skew).Abs() < time.Second {
		return nil
	}
	c.saved = disk.Clock{Hub: c.floor, Skew: c.skew}
	known := c.saved
	return &known
}
