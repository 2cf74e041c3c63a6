package observe

import "testing"

// The share of long waits is that since the last look.
func TestScheduling(t *testing.T) {
	s := NewScheduling()
	if s.before == nil {
		t.Fatal("the runtime has no such metric")
	}
	for _, c := range []struct {
		short, long uint64
		want        float64
	}{{0, 0, 0}, {100, 0, 0}, {91, 9, 0.09}, {80, 20, 0.2}, {100, 0, 0}} {
		counts := make([]uint64, len(s.before))
		copy(counts, s.before)
		counts[0] += c.short
		counts[len(counts)-1] += c.long
		if got := s.judge(counts, s.sample[0].Value.Float64Histogram().Buckets, 0.001); got != c.want {
			t.Errorf("%d short and %d long waits: %v, want %v", c.short, c.long, got, c.want)
		}
	}
}
