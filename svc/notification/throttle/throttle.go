// Package throttle bounds work that can wait, such as writing mails, while the process has requests to serve.
package throttle

import (
	"context"
	"runtime/metrics"
	"slices"
	"sync"
	"time"
)

// Throttle bounds how many things are done at a time. While the process is busy the bound falls, down to one. A process
// that serves no requests sees its own load alone.
type Throttle struct {
	most   int
	isBusy func() bool // whether the process was since the last call

	mu      sync.Mutex
	limit   int
	used    int
	waiting []chan struct{} // closed when it is their turn
}

// adjustEvery is the time between two looks at the load.
const adjustEvery = 100 * time.Millisecond

// New returns a throttle that lets most things be done at a time.
func New(most int) *Throttle {
	return &Throttle{most: most, limit: most, isBusy: newScheduling().busy}
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
	t.mu.Lock()
	defer t.mu.Unlock()
	if busy {
		t.limit = max(1, t.limit/2)
	} else {
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
		return t.leave, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, turn); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return nil, ctx.Err()
	}
	return t.leave, nil // the turn came at the same moment
}

func (t *Throttle) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used--
	t.admit()
}

// admit gives turns to those that wait, as far as the bound allows. The caller holds mu.
func (t *Throttle) admit() {
	for t.used < t.limit && len(t.waiting) > 0 {
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
		t.used++
	}
}

// A process is busy when so many of its goroutines waited so long for a processor since the last look. Other processes
// of the machine are not seen.
const (
	longWait  = 0.001 // seconds
	busyShare = 0.1
)

// scheduling measures how long goroutines wait until they run. It is not safe for concurrent use.
type scheduling struct {
	sample []metrics.Sample
	before []uint64
}

func newScheduling() *scheduling {
	s := &scheduling{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
	s.busy()
	return s
}

// busy reports whether goroutines waited long since it was called last.
func (s *scheduling) busy() bool {
	metrics.Read(s.sample)
	if s.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return false
	}
	h := s.sample[0].Value.Float64Histogram()
	return s.judge(h.Counts, h.Buckets)
}

// judge compares a histogram, with the lower bounds of its buckets, with the one before.
func (s *scheduling) judge(counts []uint64, bounds []float64) bool {
	if s.before == nil {
		s.before = make([]uint64, len(counts))
	}
	var all, long uint64
	for i, n := range counts {
		n -= s.before[i]
		all += n
		if bounds[i] >= longWait {
			long += n
		}
	}
	copy(s.before, counts)
	return float64(long) > busyShare*float64(all)
}
