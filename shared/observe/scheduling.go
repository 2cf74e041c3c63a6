package observe

import "runtime/metrics"

// Scheduling tells how long the goroutines of this process wait for a processor. What other processes of the machine do
// is seen by it alone. It is not safe for concurrent use.
type Scheduling struct {
	sample []metrics.Sample
	before []uint64
}

// NewScheduling begins to look.
func NewScheduling() *Scheduling {
	s := &Scheduling{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
	s.Waited(0)
	return s
}

// Waited returns which part of the goroutines that ran since it was called last had waited for so many seconds or more.
func (s *Scheduling) Waited(seconds float64) float64 {
	metrics.Read(s.sample)
	if s.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	h := s.sample[0].Value.Float64Histogram()
	return s.judge(h.Counts, h.Buckets, seconds)
}

// judge compares a histogram, with the lower bounds of its buckets, with the one before.
func (s *Scheduling) judge(counts []uint64, bounds []float64, least float64) float64 {
	if s.before == nil {
		s.before = make([]uint64, len(counts))
	}
	var all, long uint64
	for i, n := range counts {
		n -= s.before[i]
		all += n
		if bounds[i] >= least {
			long += n
		}
	}
	copy(s.before, counts)
	if all == 0 {
		return 0
	}
	return float64(long) / float64(all)
}
