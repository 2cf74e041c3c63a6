package rpc

import (
	"context"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// requestContext is the context of one request. It does what context.WithDeadline and two values would do, but the
// timer, the channel and the values are made when they are first needed: an answer from memory needs none.
type requestContext struct {
	base     context.Context // of the server
	deadline time.Time
	meta     Meta

	mu     sync.Mutex
	inner  context.Context // base with the deadline and the request for logs
	cancel context.CancelFunc
	ended  bool
}

// Deadline implements context.Context.
func (c *requestContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.full().Done() }

// Err implements context.Context.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inner != nil:
		return c.inner.Err()
	case c.ended:
		return context.Canceled
	case c.base.Err() != nil:
		return c.base.Err()
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (c *requestContext) Value(key any) any {
	switch key {
	case metaKey{}:
		return &c.meta
	case tracing.Key{}:
		return c.meta.Span
	}
	return c.full().Value(key)
}

func (c *requestContext) full() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		ctx := observe.ContextWithRequest(c.base, c.meta.RequestID, c.meta.TraceParent)
		c.inner, c.cancel = context.WithDeadline(ctx, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.inner
}

// end cancels the work that still goes on for the request.
func (c *requestContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
