// Package batch commits concurrent operations together.
//
// A path that waits for a disk is paid for by the commit, not by the operation: a hundred operations in one commit cost
// little more than one. A Group collects what arrives while a commit runs and hands all of it to the next commit. A
// batch of few lets those goroutines run first that are ready to: some are about to bring an operation. Otherwise a
// Group does not wait for company unless told to, so a lone operation is committed at once, and batches grow only as
// load does.
package batch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// ErrAbandoned is within the error of a call whose context ended before a commit took the operation: nothing has
// happened, and nothing will.
var ErrAbandoned = errors.New("batch: the caller left before its operation was taken")

// Result is the outcome of one operation of a batch.
type Result[Out any] struct {
	Out Out
	Err error
}

// Commit applies a batch and returns one result for each input, in order. It must not keep ins after it returns. The
// context ends after the group's commit timeout; it is not that of any caller.
type Commit[In, Out any] func(ctx context.Context, ins []In) []Result[Out]

// Option changes how a Group works.
type Option func(*options)

type options struct {
	parallel int
	timeout  time.Duration
	linger   time.Duration
	company  time.Duration
}

// Parallel lets n commits run at the same time. The default is 1, which also keeps operations in the order of arrival.
func Parallel(n int) Option { return func(o *options) { o.parallel = max(n, 1) } }

// Timeout bounds one commit. The default is 10 seconds.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// Linger makes each batch wait d for company: for operations that no caller waits for, and that come one by one because
// something behind them is slow. The default is 0.
func Linger(d time.Duration) Option { return func(o *options) { o.linger = max(d, 0) } }

// LingerInCompany makes a batch of few wait d for company if the one before had some: where several callers come,
// waiting costs less than one more commit. The default is 0.
func LingerInCompany(d time.Duration) Option { return func(o *options) { o.company = max(d, 0) } }

// Group collects operations into batches. It is safe for concurrent use.
type Group[In, Out any] struct {
	commit  Commit[In, Out]
	max     int
	timeout time.Duration
	linger  time.Duration
	company time.Duration
	queue   chan *waiter[In, Out]
	pool    sync.Pool
	workers sync.WaitGroup
	took    atomic.Int64 // how long a commit lately took, in nanoseconds

	mu     sync.RWMutex // held for reading while sending to queue, for writing while closing it
	closed bool
}

// waiter is one operation on its way. The side that moves state on from waiting decides what becomes of it.
type waiter[In, Out any] struct {
	in    In
	state atomic.Int32
	since time.Time
	until time.Time        // when its caller stops waiting; zero: never
	done  chan Result[Out] // room for one, so that a committer never waits for a caller
}

const (
	waiting   int32 = iota
	taken           // a committer has it: it will happen
	abandoned       // its caller left first: it will not happen
)

// New starts a group whose batches hold up to limit operations and in which up to queue operations may wait. It panics
// if limit or queue is not positive or commit is nil.
func New[In, Out any](limit, queue int, commit Commit[In, Out], opts ...Option) *Group[In, Out] {
	if limit < 1 || queue < 1 || commit == nil {
		panic("batch: New needs a positive limit, a positive queue and a commit function")
	}
	o := options{parallel: 1, timeout: 10 * time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	g := &Group[In, Out]{commit: commit, max: limit, timeout: o.timeout, linger: o.linger,
		company: o.company, queue: make(chan *waiter[In, Out], queue)}
	g.pool.New = func() any { return &waiter[In, Out]{done: make(chan Result[Out], 1)} }
	g.workers.Add(o.parallel)
	for range o.parallel {
		go g.run()
	}
	return g
}

// Do hands in to the next batch and waits for its result.
//
// A full queue and a closed group are faults of code Unavailable, and nothing has happened; so is a turn that comes
// when there is no time left for a commit before ctx ends. If ctx ends first, Do returns a fault of code Timeout that
// wraps ctx.Err(). It wraps ErrAbandoned, too, unless the operation was already part of a commit: then it may still
// take effect.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var none Out
	if err := ctx.Err(); err != nil {
		return none, gone(fmt.Errorf("%w: %w", ErrAbandoned, err))
	}
	if span := tracing.From(ctx).Child("wait for a batch", tracing.Internal); span != nil {
		defer span.End(nil)
	}
	w := g.pool.Get().(*waiter[In, Out])
	w.in, w.since = in, time.Now()
	w.until, _ = ctx.Deadline()
	w.state.Store(waiting)
	if err := g.enqueue(w); err != nil {
		g.release(w)
		return none, err
	}
	select {
	case r := <-w.done:
		g.release(w)
		return r.Out, r.Err
	case <-ctx.Done():
		if w.state.CompareAndSwap(waiting, abandoned) {
			return none, gone(fmt.Errorf("%w: %w", ErrAbandoned, ctx.Err()))
		}
		// The commit has it. If the result is there already, it is worth more than the deadline. Otherwise w is left to
		// the committer's late send and to the garbage collector.
		select {
		case r := <-w.done:
			g.release(w)
			return r.Out, r.Err
		default:
		}
		return none, gone(ctx.Err())
	}
}

func gone(err error) error {
	return fault.Wrap(err, fault.Timeout, "the request took too long")
}

func (g *Group[In, Out]) enqueue(w *waiter[In, Out]) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return fault.New(fault.Unavailable, "the service is stopping")
	}
	select {
	case g.queue <- w:
		return nil
	default:
		return overloaded()
	}
}

func overloaded() error {
	return fault.New(fault.Unavailable, "the service is overloaded").After(time.Second)
}

func (g *Group[In, Out]) release(w *waiter[In, Out]) {
	var none In
	w.in = none
	g.pool.Put(w)
}

// Waiting returns how many operations wait for a commit: a gauge for metrics.
func (g *Group[In, Out]) Waiting() int { return len(g.queue) }

// Close refuses further operations, commits those that wait, and returns when the last commit has.
func (g *Group[In, Out]) Close() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.queue)
	}
	g.mu.Unlock()
	g.workers.Wait()
}

func (g *Group[In, Out]) run() {
	defer g.workers.Done()
	var ins []In
	var waiters []*waiter[In, Out]
	for first := range g.queue {
		g.wait(len(ins))
		ins, waiters = g.take(first, ins[:0], waiters[:0])
		if len(ins) > 0 {
			g.settle(ins, waiters)
		}
		clear(ins)
		clear(waiters)
	}
}

// enough operations share a commit well: it costs about as much as some of them.
const enough = 8

// wait lets those come who are about to. The batch before had so many operations.
func (g *Group[In, Out]) wait(before int) {
	if g.linger > 0 {
		<-time.After(g.linger)
		return
	}
	if len(g.queue) < enough {
		runtime.Gosched()
	}
	if len(g.queue) < enough && g.company > 0 && before > 1 {
		<-time.After(g.company)
	}
}

// take collects first and whatever else waits right now.
func (g *Group[In, Out]) take(w *waiter[In, Out], ins []In, waiters []*waiter[In, Out]) ([]In, []*waiter[In, Out]) {
	for {
		switch {
		case !w.state.CompareAndSwap(waiting, taken):
			g.release(w) // its caller is gone
		case g.late(w):
			w.done <- Result[Out]{Err: overloaded()}
		default:
			ins = append(ins, w.in)
			waiters = append(waiters, w)
		}
		if len(ins) == g.max {
			return ins, waiters
		}
		select {
		case next, ok := <-g.queue:
			if !ok {
				return ins, waiters
			}
			w = next
		default:
			return ins, waiters
		}
	}
}

// late reports whether a commit, as long as they lately took, would come too late for an operation. One that has most
// of its time left is never late: should one commit have taken very long, others follow.
func (g *Group[In, Out]) late(w *waiter[In, Out]) bool {
	if w.until.IsZero() {
		return false
	}
	const most = 4 // th part of what the operation had when it came
	need := min(time.Duration(g.took.Load()), w.until.Sub(w.since)/most)
	return time.Until(w.until) < need
}

func (g *Group[In, Out]) settle(ins []In, waiters []*waiter[In, Out]) {
	results, err := g.protected(ins)
	if err == nil && len(results) != len(waiters) {
		err = fault.Wrap(fmt.Errorf("batch: %d results for %d operations", len(results), len(waiters)),
			fault.Internal, "something went wrong on our side")
	}
	for i, w := range waiters {
		if err != nil {
			w.done <- Result[Out]{Err: err}
			continue
		}
		w.done <- results[i]
	}
}

// protected runs the commit. A panic in it fails the batch, not the process.
func (g *Group[In, Out]) protected(ins []In) (results []Result[Out], err error) {
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	returned := false
	defer func() {
		if returned {
			return
		}
		cause := errors.New("batch: commit ended its goroutine")
		if r := recover(); r != nil {
			cause = fmt.Errorf("batch: panic in commit: %v\n%s", r, debug.Stack())
		}
		err = fault.Wrap(cause, fault.Internal, "something went wrong on our side")
	}()
	start := time.Now()
	results = g.commit(ctx, ins)
	returned = true
	const part = 4 // of the newest in the mean
	took := time.Duration(g.took.Load())
	g.took.Store(int64(took + (time.Since(start)-took)/part))
	return results, nil
}

// Fail returns n results that all carry err: what a Commit returns when the batch failed as a whole.
func Fail[Out any](n int, err error) []Result[Out] {
	results := make([]Result[Out], n)
	for i := range results {
		results[i].Err = err
	}
	return results
}
