package main

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fixed returns an operation factory whose operations take as long as took says.
func fixed(took func(n int64) time.Duration) func(int) Op {
	return func(int) Op {
		return func(_ context.Context, n int64) Outcome {
			time.Sleep(took(n))
			return Outcome{Status: 200, Good: true}
		}
	}
}

// A server that stalls once for half a second keeps fifty later arrivals waiting. A generator that waits with it and
// measures from the moment of sending would report a single slow request in a hundred.
func TestStallIsChargedToThoseWhoWaited(t *testing.T) {
	stall := func(n int64) time.Duration {
		if n == 10 {
			return 500 * time.Millisecond
		}
		return time.Millisecond
	}
	synctest.Test(t, func(t *testing.T) {
		load := Load{Rate: 100, Conns: 1, Duration: time.Second, Grace: time.Second, sleep: time.Sleep}
		open := Run(t.Context(), load, fixed(stall))
		if open.Sent != 100 || open.Unsent != 0 {
			t.Fatalf("sent %d, unsent %d; want all of 100", open.Sent, open.Unsent)
		}
		// The stalled one takes 500 ms, the k-th after it 500-9k ms, because the backlog shrinks by 9 ms with each.
		// That makes 56 slow ones of a hundred: the median is the sixth from their end.
		wantMs(t, "max", open.Latency.Max(), 500)
		wantMs(t, "p90", open.Latency.ValueAtQuantile(90), 410)
		wantMs(t, "p50", open.Latency.ValueAtQuantile(50), 50)

		closed := Run(t.Context(), Load{Conns: 1, Count: 100}, fixed(stall))
		wantMs(t, "p90 of the closed loop, which does not see it", closed.Latency.ValueAtQuantile(90), 1)
	})
}

func wantMs(t *testing.T, what string, gotMicros int64, want float64) {
	t.Helper()
	got := float64(gotMicros) / 1e3
	if math.Abs(got-want) > max(0.1*want, 0.5) {
		t.Errorf("%s = %.2f ms, want about %.2f", what, got, want)
	}
}

// More work than the target can do: latencies grow, and what never got sent is still in the histogram.
func TestOverloadIsNotHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load := Load{Rate: 1000, Conns: 2, Duration: time.Second, Grace: 500 * time.Millisecond, sleep: time.Sleep}
		r := Run(t.Context(), load, fixed(func(int64) time.Duration { return 10 * time.Millisecond }))
		if r.Sent+r.Unsent != 1000 {
			t.Errorf("sent %d and unsent %d do not make 1000", r.Sent, r.Unsent)
		}
		if r.Sent < 295 || r.Sent > 310 { // two connections, 10 ms each, for a second and a half
			t.Errorf("sent %d, want about 300", r.Sent)
		}
		if r.Latency.TotalCount() != 1000 {
			t.Errorf("the histogram has %d values, want 1000", r.Latency.TotalCount())
		}
		if p50 := r.Latency.ValueAtQuantile(50); p50 < 500_000 {
			t.Errorf("p50 = %d µs: the backlog is missing", p50)
		}
		if r.Lag.Max() < 1_000_000 {
			t.Errorf("largest lag = %d µs, want more than a second", r.Lag.Max())
		}
	})
}

func TestPlan(t *testing.T) {
	count := func(load Load) (n int, last time.Duration) {
		p := newPlan(load)
		for a, ok := p.next(); ok; a, ok = p.next() {
			if a.due < last {
				t.Fatalf("arrival %d goes back in time", a.n)
			}
			n, last = n+1, a.due
		}
		return n, last
	}
	if n, last := count(Load{Rate: 1000, Duration: 10 * time.Second}); n != 10_000 || last != 9999*time.Millisecond {
		t.Errorf("constant: %d arrivals, the last at %v", n, last)
	}
	// A Poisson process with mean 10,000 has standard deviation 100: five of them.
	if n, _ := count(Load{Rate: 1000, Duration: 10 * time.Second, Poisson: true, Seed: 7}); n < 9500 || n > 10_500 || n == 10_000 {
		t.Errorf("poisson: %d arrivals, want about, but not exactly, 10000", n)
	}
	if n, _ := count(Load{Rate: 1000, Duration: 10 * time.Second, Count: 5}); n != 5 {
		t.Errorf("bounded: %d arrivals, want 5", n)
	}
}

func TestBoundsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu            sync.Mutex
			running, most int
		)
		count := func(by int) {
			mu.Lock()
			defer mu.Unlock()
			running += by
			most = max(most, running)
		}
		newOp := func(int) Op {
			return func(_ context.Context, n int64) Outcome {
				count(1)
				defer count(-1)
				time.Sleep(time.Millisecond)
				switch n % 4 {
				case 0:
					return Outcome{}
				case 1:
					return Outcome{Status: 409}
				}
				return Outcome{Status: 201, Good: true}
			}
		}
		r := Run(t.Context(), Load{Conns: 8, Count: 400}, newOp)
		if r.Sent != 400 || r.Good != 200 || r.Failed != 100 || r.Status[409] != 100 || r.Status[201] != 200 {
			t.Errorf("sent %d good %d failed %d status %v", r.Sent, r.Good, r.Failed, r.Status)
		}
		if most != 8 {
			t.Errorf("%d in flight at the same time, want 8", most)
		}
		if got := r.Goodput(); math.Abs(got-4000) > 1 { // 8 connections, 1 ms, half of them good
			t.Errorf("goodput %.0f/s, want 4000", got)
		}
		r = Run(t.Context(), Load{Conns: 4, Duration: 100 * time.Millisecond}, newOp)
		if r.Sent != 400 || r.Elapsed != 100*time.Millisecond {
			t.Errorf("sent %d in %v, want 400 in 100ms", r.Sent, r.Elapsed)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		op := fixed(func(int64) time.Duration { return time.Millisecond })
		open := Run(ctx, Load{Rate: 1000, Conns: 4, Duration: time.Hour, sleep: time.Sleep}, op)
		if open.Elapsed > time.Second {
			t.Errorf("open loop went on for %v", open.Elapsed)
		}
		if closed := Run(ctx, Load{Conns: 4, Duration: time.Hour}, op); closed.Sent != 0 {
			t.Errorf("closed loop sent %d with a context that had ended", closed.Sent)
		}
	})
}
