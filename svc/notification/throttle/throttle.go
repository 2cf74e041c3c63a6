// Package throttle bounds work that can wait, such as writing mails, while the process has requests to serve.
package throttle

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// Throttle bounds how many things are done at a time. While the process is busy the bound falls, down to one. While
// requests wait for a processor, that one gives way to them: it has a share of the time of one processor.
type Throttle struct {
	most     int
	isBusy   func() bool  // whether the process was since the last call
	requests func() int64 // that wait or run in the process
	few      int64        // requests that wait for nothing

	mu       sync.Mutex
	limit    int
	used     int
	givesWay bool
	notYet   time.Time       // while it gives way, the next begins then
	next     *time.Timer     // which begins it
	waiting  []chan struct{} // closed when it is their turn
}

const (
	// adjustEvery is the time between two looks at the load.
	adjustEvery = 100 * time.Millisecond

	// pauses is how many times as long as what was done last the next waits while requests do.
	pauses = 10
)

// New returns a throttle that lets most things be done at a time. It asks requests how many of them wait or run in the
// process; nil means that there are none.
func New(most int, requests func() int64) *Throttle {
	if requests == nil {
		requests = func() int64 { return 0 }
	}
	return &Throttle{most: most, limit: most, isBusy: busyWhile(observe.NewScheduling()), requests: requests,
		few: int64(runtime.GOMAXPROCS(0))}
}

// Run adjusts the bound to the load until ctx ends.
func (t *Throttle) Run(ctx context.Context) error {
	tick := time.NewTicker(adjustEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.adjust(t.isBusy())
		}
	}
}

// adjust halves the bound while the process is busy, and raises it by one when it is not.
func (t *Throttle) adjust(busy bool) {
	givesWay := busy && t.requests() > t.few
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.givesWay = givesWay; {
	case givesWay:
		t.limit = 1
	case busy:
		t.limit = max(1, t.limit/2)
	default:
		t.limit = min(t.most, t.limit+1)
	}
	t.admit()
}

// Enter waits for a turn, in the order of arrival. Call leave afterwards.
func (t *Throttle) Enter(ctx context.Context) (leave func(), err error) {
	turn := make(chan struct{})
	t.mu.Lock()
	t.waiting = append(t.waiting, turn)
	t.admit()
	t.mu.Unlock()
	select {
	case <-turn:
		return t.turn(), nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, turn); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return nil, ctx.Err()
	}
	return t.turn(), nil // it came at the same moment
}

// turn begins now. It returns what ends it.
func (t *Throttle) turn() (leave func()) {
	began := time.Now()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.used--
		now := time.Now()
		t.notYet = now.Add(pauses * now.Sub(began))
		t.admit()
	}
}

// admit gives turns to those that wait, as far as the bound allows. The caller holds mu.
func (t *Throttle) admit() {
	for t.used < t.limit && len(t.waiting) > 0 {
		if wait := time.Until(t.notYet); t.givesWay && wait > 0 {
			if t.next == nil {
				t.next = time.AfterFunc(wait, t.again)
			}
			return
		}
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
		t.used++
	}
}

// again admits those that have waited long enough.
func (t *Throttle) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = nil
	t.admit()
}

// A process is busy when so many of its goroutines waited so long for a processor since the last look. Other processes
// of the machine are not seen.
const (
	longWait  = 0.001 // seconds
	busyShare = 0.1
)

// busyWhile returns whether goroutines waited long since it was asked last.
func busyWhile(s *observe.Scheduling) func() bool {
	return func() bool { return s.Waited(longWait) > busyShare }
}
