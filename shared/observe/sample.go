package observe

import (
	"sync"
	"time"
)

// Sampler lets one line of each kind through a second, for what strangers can cause as often as they like. The others
// are counted in starlight_log_lines_sampled_total.
type Sampler struct {
	registry *Registry
	now      func() time.Time

	mu    sync.Mutex
	kinds map[string]*sampled
}

type sampled struct {
	last    time.Time // of a line
	since   int       // that were left out after it
	counter *Counter
}

// NewSampler returns a sampler.
func NewSampler(registry *Registry, now func() time.Time) *Sampler {
	return &Sampler{registry: registry, now: now, kinds: map[string]*sampled{}}
}

// Take reports whether a line of a kind is written now, and how many were left out since the one before. Kinds are few,
// and nothing that a stranger has made up.
func (s *Sampler) Take(kind string) (left int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, k := s.now(), s.kinds[kind]
	if k == nil {
		k = &sampled{counter: s.registry.Counter("starlight_log_lines_sampled_total",
			"Lines of the log that were left out because others like them came in the same second.", "kind", kind)}
		s.kinds[kind] = k
	}
	if passed := now.Sub(k.last); passed >= 0 && passed < time.Second {
		k.since++
		k.counter.Inc()
		return 0, false
	}
	left, k.since, k.last = k.since, 0, now
	return left, true
}
