package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// lastWords is kept of the time for a stop, after everything else was cut off: logs are shipped and stores are closed.
const lastWords = 3 * time.Second

// parts are goroutines with names, so that a stop can tell which of them does not end.
type parts struct {
	mu    sync.Mutex
	names map[string]int
	ended chan struct{} // closed when the last one ends; nil while there is none
}

// run runs fn.
func (p *parts) run(name string, fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names == nil {
		p.names = map[string]int{}
	}
	if len(p.names) == 0 {
		p.ended = make(chan struct{})
	}
	p.names[name]++
	go func() {
		defer p.leave(name)
		fn()
	}()
}

func (p *parts) leave(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names[name]--; p.names[name] == 0 {
		delete(p.names, name)
	}
	if len(p.names) == 0 {
		close(p.ended)
	}
}

// wait waits for all of them, or until ctx ends; then it returns which are left.
func (p *parts) wait(ctx context.Context) error {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) == 0 {
		return nil
	}
	return fmt.Errorf("cut off in the middle of their work: %s: %w",
		strings.Join(slices.Sorted(maps.Keys(p.names)), ", "), ctx.Err())
}

// background runs a part until the system closes. Its failure is the system's, and so is an end that was not asked for:
// a process that works by halves looks healthy from outside.
func (s *System) background(ctx context.Context, name string, fn func(context.Context) error) {
	s.running.run(name, func() {
		err := fn(ctx)
		if err == nil && ctx.Err() == nil && !s.closing.Load() {
			err = errors.New("it ended without being told to")
		}
		if err == nil {
			return
		}
		s.log.Error("a part has failed", "part", name, "error", err)
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// Close stops taking requests, finishes those under way and what they set off, and closes everything. ctx bounds how
// long that may take: what is not finished a few seconds before its deadline is cut off and named in the error. It
// comes again by itself after the next start.
func (s *System) Close(ctx context.Context) error {
	s.closing.Store(true)
	s.health.Drain()
	working, cancel := beforeDeadline(ctx, lastWords)
	defer cancel()
	var errs []error
	if s.unlist != nil {
		errs = append(errs, s.unlist())
	}
	switch {
	case s.gateway != nil:
		errs = append(errs, s.gateway.Shutdown(working))
		s.listener.Close() // closed by now, unless the start failed before Serve began: then Serve would never end
	case s.listener != nil:
		errs = append(errs, s.listener.Close())
	}
	if s.silence != nil {
		s.silence() // so that nobody calls by name who is about to go
	}
	for _, m := range slices.Backward(s.members) {
		if m.server != nil && m.server.Ready() {
			errs = append(errs, m.server.Drain(working))
		}
	}
	s.stop()
	errs = append(errs, s.running.wait(working))
	errs = append(errs, within(ctx, "databases and connections", s.closeMembers))
	for _, err := range errs {
		if err != nil {
			s.log.Warn("the stop was not clean", "error", err)
		}
	}
	s.lastTraces(ctx)
	s.quiet()
	errs = append(errs, within(ctx, "log shipper", func() error {
		s.shipped.Wait()
		for _, nc := range []*nats.Conn{s.gateConn, s.node} {
			if nc != nil {
				nc.Close() // sends what it still has
			}
		}
		return nil
	}))
	if s.embedded != nil {
		errs = append(errs, s.embedded.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// lastTraces sends the traces that still wait. A collector that is away does not hold up the end.
func (s *System) lastTraces(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords/2)
	defer cancel()
	if err := s.traces.Close(ctx); err != nil {
		s.log.Warn("the last traces were not sent", "error", err)
	}
}

// beforeDeadline returns a context that ends some time before ctx does.
func beforeDeadline(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	if left := time.Until(deadline); left < 3*by {
		by = left / 3
	}
	return context.WithDeadline(ctx, deadline.Add(-by))
}

// within runs fn and waits for it, at most until ctx ends.
func within(ctx context.Context, what string, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: not closed in time: %w", what, ctx.Err())
	}
}

func (s *System) closeMembers() error {
	var errs []error
	for _, m := range slices.Backward(s.members) {
		if c, ok := m.service.(interface{ Close() }); ok {
			c.Close()
		}
		if m.db != nil {
			errs = append(errs, m.db.Close())
		}
		if m.nc != nil {
			m.nc.Close()
		}
	}
	if s.live != nil {
		s.live.Close()
	}
	return errors.Join(errs...)
}
