package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load says how a run of the generator offers work.
type Load struct {
	// arrivals per second; 0 is the closed loop: every connection sends as soon as it has its answer
	Rate     float64
	Poisson  bool          // exponential gaps with the mean 1/Rate, instead of equal ones
	Seed     uint64        // of the gaps
	Conns    int           // operations in flight at the same time, at most
	Duration time.Duration // arrivals are planned for this long
	Count    int64         // at most this many operations; 0: no bound
	Grace    time.Duration // how long after Duration a backlog is still worked off; what is left then counts as unsent

	// sleep waits for about d. The plan is kept to by the clock, not by counting sleeps. Nil means preciseSleep.
	sleep func(d time.Duration)
}

// Outcome is how one operation ended.
type Outcome struct {
	Status int  // HTTP status; 0 when there was no answer
	Good   bool // it did what the scenario wants, so that it counts as goodput
}

// Op does operation n and returns when its answer is there.
type Op func(ctx context.Context, n int64) Outcome

// Result is what a run saw. Histograms are in microseconds.
type Result struct {
	Planned float64       // arrivals per second that were asked for; 0 in the closed loop
	Elapsed time.Duration // first planned arrival to last answer
	Sent    int64
	Good    int64
	Failed  int64         // without an answer
	Unsent  int64         // planned, but never sent: the backlog did not end in time
	Status  map[int]int64 // answers by HTTP status

	// Latency runs from the moment in which the plan wanted the operation to be sent, whether or not a connection was
	// free then. A server that stalls is thus charged for everybody who would have come in the meantime.
	Latency *hdrhistogram.Histogram
	// Lag is how late operations were sent: because all connections were busy, or because the generator had no
	// processor.
	Lag *hdrhistogram.Histogram

	GeneratorCPU time.Duration
	TargetCPU    time.Duration
}

// Goodput returns the good operations per second.
func (r Result) Goodput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Good) / r.Elapsed.Seconds()
}

// whole is a run that is measured by its end alone.
func whole(n int64, took, cpu time.Duration) Result {
	return Result{Elapsed: took, Sent: n, Good: n, Latency: newHistogram(), Lag: newHistogram(),
		Status: map[int]int64{}, TargetCPU: cpu}
}

// poll calls done until it is true, and reports whether it was.
func poll(ctx context.Context, every, patience time.Duration, done func() bool) bool {
	tick := time.NewTicker(every)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// longest is the largest latency that a histogram tells apart; longer ones count as this long.
const longest = 2 * time.Minute

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

// Run offers the load to the operations and returns when the last answer is there. newOp is called once for each of
// the load's connections and may keep state for it, such as buffers. Run ends early when ctx does.
func Run(ctx context.Context, load Load, newOp func(conn int) Op) Result {
	if load.Conns < 1 {
		load.Conns = 1
	}
	rec := &recorder{latency: newHistogram(), lag: newHistogram(), status: make(map[int]int64)}
	cpu := ownCPU()
	start := time.Now()
	if load.Rate > 0 {
		runOpen(ctx, load, start, newOp, rec)
	} else {
		runClosed(ctx, load, start, newOp, rec)
	}
	return Result{Planned: load.Rate, Elapsed: time.Since(start), Sent: rec.sent, Good: rec.good,
		Failed: rec.failed, Unsent: rec.unsent, Status: rec.status, Latency: rec.latency, Lag: rec.lag,
		GeneratorCPU: ownCPU() - cpu}
}

// arrival is one planned operation.
type arrival struct {
	n   int64
	due time.Duration // after the start of the run
}

// runOpen hands each arrival, at its time, to a free connection. When none is free the plan goes on all the same: later
// arrivals keep the time they were planned for.
func runOpen(ctx context.Context, load Load, start time.Time, newOp func(int) Op, rec *recorder) {
	sleep := load.sleep
	if sleep == nil {
		// The pacer sits in a system call most of the time and keeps one of the scheduler's slots while it does.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 1))
		sleep = preciseSleep
	}
	arrivals := make(chan arrival)
	var workers sync.WaitGroup
	for conn := range load.Conns {
		op := newOp(conn)
		workers.Go(func() {
			for a := range arrivals {
				sent := time.Since(start)
				out := op(ctx, a.n)
				rec.add(out, time.Since(start)-a.due, sent-a.due)
			}
		})
	}
	plan := newPlan(load)
	for a, ok := plan.next(); ok && ctx.Err() == nil; a, ok = plan.next() {
		if wait := a.due - time.Since(start); wait > 0 {
			sleep(wait)
		}
		late := time.Since(start) - load.Duration
		if late > load.Grace {
			rec.skip(time.Since(start) - a.due)
			continue
		}
		arrivals <- a
	}
	close(arrivals)
	workers.Wait()
}

// runClosed keeps every connection busy.
func runClosed(ctx context.Context, load Load, start time.Time, newOp func(int) Op, rec *recorder) {
	var (
		mu   sync.Mutex
		next int64
	)
	take := func() (int64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if load.Count > 0 && next >= load.Count {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var workers sync.WaitGroup
	for conn := range load.Conns {
		op := newOp(conn)
		workers.Go(func() {
			for ctx.Err() == nil {
				sent := time.Since(start)
				if load.Duration > 0 && sent >= load.Duration {
					return
				}
				n, ok := take()
				if !ok {
					return
				}
				out := op(ctx, n)
				rec.add(out, time.Since(start)-sent, 0)
			}
		})
	}
	workers.Wait()
}

// plan is the sequence of arrivals of an open loop.
type plan struct {
	load Load
	n    int64
	at   float64 // seconds
	rng  *rand.Rand
}

func newPlan(load Load) *plan {
	return &plan{load: load, rng: rand.New(rand.NewPCG(load.Seed, 0x5747))}
}

// next returns the next arrival, or false when the plan is at its end.
func (p *plan) next() (arrival, bool) {
	due := time.Duration(p.at * float64(time.Second))
	if due >= p.load.Duration || (p.load.Count > 0 && p.n >= p.load.Count) {
		return arrival{}, false
	}
	a := arrival{n: p.n, due: due}
	p.n++
	if p.load.Poisson {
		p.at += p.rng.ExpFloat64() / p.load.Rate
	} else {
		p.at = float64(p.n) / p.load.Rate // not a sum, which would drift
	}
	return a, true
}

// recorder collects what the connections see.
type recorder struct {
	mu                         sync.Mutex
	latency, lag               *hdrhistogram.Histogram
	status                     map[int]int64
	sent, good, failed, unsent int64
}

func (r *recorder) add(out Outcome, latency, lag time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent++
	if out.Good {
		r.good++
	}
	if out.Status == 0 {
		r.failed++
	} else {
		r.status[out.Status]++
	}
	record(r.latency, latency)
	record(r.lag, lag)
}

// skip counts an arrival that was never sent. It waited at least this long, and leaving it out would flatter the
// target.
func (r *recorder) skip(waited time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsent++
	record(r.latency, waited)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	// The bounds make the value representable, so that there is no error to look at.
	_ = h.RecordValue(min(max(d, 0), longest).Microseconds())
}
