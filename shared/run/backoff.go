package run

import (
	"context"
	"time"
)

// Backoff is the pauses of something that is tried until it succeeds: First, then twice as long each time, at most
// Last. It is not safe for concurrent use.
type Backoff struct {
	First, Last time.Duration
	last        time.Duration // the pause before; 0 at first
}

// Next returns the next pause.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(2*b.last, b.First), b.Last)
	return b.last
}

// Reset begins again with First.
func (b *Backoff) Reset() { b.last = 0 }

// Wait waits for the next pause, and reports whether it passed before ctx ended.
func (b *Backoff) Wait(ctx context.Context) bool { return Pause(ctx, b.Next()) }

// Pause waits for d, and reports whether that passed before ctx ended.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
