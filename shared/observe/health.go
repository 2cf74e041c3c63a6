package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// checkTimeout is how long one check may take, checkFresh how long a report is given out again. Together they keep
	// a public /readyz from becoming a way to make the system write.
	checkTimeout = 2 * time.Second
	checkFresh   = time.Second

	// slowFor is how long after its last success a check that does not answer in time still passes. A machine that has
	// too much to do is slow and not broken: to send its requests to the others would be the end of those, too.
	slowFor = 10 * time.Second
)

// Check is one question whose answer decides whether the process is ready. A check that probes a store writes to it,
// because a full disk reads well. It must return when its context ends.
type Check struct {
	Name string
	Run  func(context.Context) error
}

// Result is the outcome of one check.
type Result struct {
	Name      string  `json:"name"`
	OK        bool    `json:"ok"`
	LatencyMS float64 `json:"latency_ms"`
	Error     string  `json:"error,omitempty"`
}

// Report is the outcome of all checks.
type Report struct {
	Ready  bool      `json:"ready"`
	Reason string    `json:"reason,omitempty"` // why not ready, apart from the checks
	At     time.Time `json:"at"`
	Checks []Result  `json:"checks"`
}

// Health runs the checks of a process. It is not ready until [Health.Start] and no longer after [Health.Drain].
type Health struct {
	now   func() time.Time
	state atomic.Int32

	mu     sync.Mutex // held while checks run, so that callers share one run
	checks []*probe
	last   Report
}

// The states of a Health, in the order in which they follow each other.
const (
	stateStarting int32 = iota
	stateServing
	stateDraining
)

// probe is a check that never runs twice at once, even if it ignores its context.
type probe struct {
	Check
	running atomic.Bool
	passed  time.Time // last; used by one run of the checks at a time
}

// NewHealth returns a Health with the given checks. now is the clock that ages reports; nil means time.Now.
func NewHealth(now func() time.Time, checks ...Check) *Health {
	if now == nil {
		now = time.Now
	}
	h := &Health{now: now}
	for _, c := range checks {
		h.Add(c)
	}
	return h
}

// Add adds a check.
func (h *Health) Add(c Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &probe{Check: c})
	h.last = Report{}
}

// Start says that the process serves: from now on the checks decide.
func (h *Health) Start() { h.state.CompareAndSwap(stateStarting, stateServing) }

// Drain says that the process is about to stop. It stays so.
func (h *Health) Drain() { h.state.Store(stateDraining) }

// Ready tells whether the process serves and all checks pass, without saying which do not: the public /readyz.
func (h *Health) Ready(ctx context.Context) bool { return h.Report(ctx).Ready }

// Report runs all checks at the same time, or gives out the latest report again if that is less than a second old.
func (h *Health) Report(ctx context.Context) Report {
	h.mu.Lock()
	if h.last.At.IsZero() || h.now().Sub(h.last.At) >= checkFresh {
		// The report outlives the caller: a caller who hangs up early must not make the others see a failure.
		h.last = h.run(context.WithoutCancel(ctx))
	}
	r := h.last
	h.mu.Unlock()

	switch h.state.Load() {
	case stateStarting:
		r.Ready, r.Reason = false, "starting"
	case stateDraining:
		r.Ready, r.Reason = false, "draining"
	}
	return r
}

// Watch runs the checks every interval until ctx ends, and logs when the process stops being ready and when it is
// again.
func (h *Health) Watch(ctx context.Context, log *slog.Logger, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	ready := true
	for {
		r := h.Report(ctx)
		if h.state.Load() == stateServing && r.Ready != ready {
			ready = r.Ready
			if ready {
				log.Info("ready again")
			}
			for _, c := range r.Checks {
				if !c.OK {
					log.Warn("not ready", "check", c.Name, "error", c.Error)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h *Health) run(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r := Report{Ready: true, Checks: make([]Result, len(h.checks))}
	var wg sync.WaitGroup
	for i, p := range h.checks {
		wg.Go(func() { r.Checks[i] = p.run(ctx, h.now) })
	}
	wg.Wait()
	for _, c := range r.Checks {
		r.Ready = r.Ready && c.OK
	}
	r.At = h.now()
	return r
}

// errNoAnswer is of a check that has not answered in time.
var errNoAnswer = errors.New("no answer in " + checkTimeout.String())

// run asks, and notes when it passes. One that is late passes for a while, with the reason in its result.
func (p *probe) run(ctx context.Context, now func() time.Time) Result {
	start := time.Now()
	err := p.ask(ctx)
	res := Result{Name: p.Name, OK: err == nil, LatencyMS: float64(time.Since(start).Microseconds()) / 1000}
	if err == nil {
		p.passed = now()
		return res
	}
	res.Error = scrub(err.Error())
	late := errors.Is(err, errNoAnswer) || errors.Is(err, context.DeadlineExceeded)
	res.OK = late && !p.passed.IsZero() && now().Sub(p.passed) < slowFor
	return res
}

func (p *probe) ask(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: the previous run has not come back", errNoAnswer)
	}
	done := make(chan error, 1)
	go func() {
		err := p.guarded(ctx)
		p.running.Store(false)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errNoAnswer
	}
}

// guarded turns a panic of a check into a failure: a health question must not end the process.
func (p *probe) guarded(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return p.Run(ctx)
}
