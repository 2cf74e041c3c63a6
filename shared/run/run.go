// Package run supervises what a service does in the background.
//
// A Group runs parts side by side and ends them together: when its context ends or one of them fails. What must outlive
// the others, such as the relay of what they write, goes into Last.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// Group is the background work of one service. Its parts are added first, then Run starts all of them.
type Group struct {
	Stage
	Last Stage // ends when every other part has ended
}

// NewGroup returns a group without parts. Loops log their outages to log.
func NewGroup(log *slog.Logger) *Group {
	return &Group{Stage: Stage{log: log}, Last: Stage{log: log}}
}

// Stage is a set of parts that end together.
type Stage struct {
	log   *slog.Logger
	parts []part
}

type part struct {
	name string
	run  func(context.Context) error
}

// Go adds a part. It works until its context ends: a part that returns before ends the group, and so does a panic. The
// name stands in the error.
func (s *Stage) Go(name string, fn func(context.Context) error) {
	s.parts = append(s.parts, part{name, fn})
}

// Loop is work that is done again and again.
type Loop struct {
	Name     string
	Interval time.Duration   // the pause between two passes
	Jitter   time.Duration   // up to this is added to each pause, so that instances do not work in step
	Wake     <-chan struct{} // ends a pause early; nil: nothing does
	Do       func(context.Context) error
}

// After a pass that failed, the pause is not longer than retryFirst. It doubles with each further failure up to
// retryLast.
const (
	retryFirst = time.Second
	retryLast  = time.Minute
)

// Every adds a part that makes a pass at once, after each interval and when it is woken. A pass that fails is made
// again, after a pause of at most a second at first and a minute later. While passes keep failing there is one warning,
// and one line at the end.
func (s *Stage) Every(l Loop) {
	s.Go(l.Name, func(ctx context.Context) error { return l.Run(ctx, s.log) })
}

// Run makes passes until ctx ends, and returns nil: Every, for a part that does more.
func (l Loop) Run(ctx context.Context, log *slog.Logger) error {
	outage := observe.NewOutage(log.With("work", l.Name), "background work fails",
		"background work succeeds again", nil)
	retry := Backoff{First: retryFirst, Last: retryLast}
	for ctx.Err() == nil {
		err := l.Do(ctx)
		if ctx.Err() != nil {
			break
		}
		outage.Report(ctx, err)
		pause := l.Interval
		if l.Jitter > 0 {
			pause += rand.N(l.Jitter)
		}
		if err == nil {
			retry.Reset()
		} else {
			pause = min(pause, retry.Next())
		}
		l.wait(ctx, pause)
	}
	return nil
}

func (l Loop) wait(ctx context.Context, pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.Wake:
	case <-ctx.Done():
	}
}

// Run starts all parts and returns when all have ended: those of Last after the others. The error joins what parts
// failed with. It is nil if all of them ended because ctx did.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lasting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var (
		working, last sync.WaitGroup
		mu            sync.Mutex
		failed        error
	)
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	start := func(ctx context.Context, s *Stage, wg *sync.WaitGroup) {
		for _, p := range s.parts {
			wg.Go(func() {
				defer cancel()
				p.supervised(ctx, fail)
			})
		}
	}
	start(lasting, &g.Last, &last)
	start(ctx, &g.Stage, &working)
	<-ctx.Done()
	working.Wait()
	stop()
	last.Wait()
	return failed
}

// supervised runs the part and reports its failure. An end because ctx has ended is none, an end before is one.
func (p part) supervised(ctx context.Context, fail func(error)) {
	err := errors.New("ended its goroutine")
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if err != nil {
			fail(fmt.Errorf("%s: %w", p.name, err))
		}
	}()
	err = p.run(ctx)
	switch {
	case ctx.Err() == nil && err == nil:
		err = errors.New("ended before it was stopped")
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = nil
	}
}
