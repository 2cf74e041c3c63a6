package batch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func double(_ context.Context, ins []int) []batch.Result[int] {
	out := make([]batch.Result[int], len(ins))
	for i, in := range ins {
		out[i].Out = 2 * in
	}
	return out
}

// TestEveryCallerGetsItsOwnResult draws a shape and a load, and checks the promises that hold for all of them.
func TestEveryCallerGetsItsOwnResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		parallel := rapid.IntRange(1, 3).Draw(t, "parallel")
		callers := rapid.IntRange(1, 100).Draw(t, "callers")
		bad := rapid.IntRange(2, 7).Draw(t, "bad")

		var applied, running, tooBig, tooMany atomic.Int64
		g := batch.New(limit, callers, func(_ context.Context, ins []int) []batch.Result[int] {
			if running.Add(1) > int64(parallel) {
				tooMany.Add(1)
			}
			defer running.Add(-1)
			if len(ins) > limit || len(ins) == 0 {
				tooBig.Add(1)
			}
			out := make([]batch.Result[int], len(ins))
			for i, in := range ins {
				applied.Add(1)
				out[i].Out = in * in
				if in%bad == 0 {
					out[i].Err = fmt.Errorf("refused %d", in)
				}
			}
			return out
		}, batch.Parallel(parallel))

		var wrong atomic.Int64
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				got, err := g.Do(context.Background(), i)
				if i%bad == 0 {
					if err == nil || err.Error() != fmt.Sprintf("refused %d", i) {
						wrong.Add(1)
					}
				} else if err != nil || got != i*i {
					wrong.Add(1)
				}
			})
		}
		wg.Wait()
		g.Close()
		if wrong.Load() != 0 || tooBig.Load() != 0 || tooMany.Load() != 0 || applied.Load() != int64(callers) {
			t.Fatalf("wrong=%d batches too big=%d too parallel=%d applied=%d of %d",
				wrong.Load(), tooBig.Load(), tooMany.Load(), applied.Load(), callers)
		}
	})
}

// gate is a commit function that waits to be let through and remembers its batches.
type gate struct {
	entered chan struct{}
	leave   chan struct{}
	batches [][]int
}

func newGate() *gate {
	return &gate{entered: make(chan struct{}, 100), leave: make(chan struct{}, 100)}
}

func (b *gate) commit(ctx context.Context, ins []int) []batch.Result[int] {
	b.batches = append(b.batches, append([]int(nil), ins...))
	b.entered <- struct{}{}
	<-b.leave
	return double(ctx, ins)
}

// fill starts a call for each in that only returns once the gate lets it, and waits until all are queued.
func fill(g *batch.Group[int, int], wg *sync.WaitGroup, ins ...int) {
	for _, in := range ins {
		before := g.Waiting()
		wg.Go(func() { g.Do(context.Background(), in) })
		for g.Waiting() == before {
			runtime.Gosched()
		}
	}
}

func TestWhatArrivesDuringACommitIsTheNextBatch(t *testing.T) {
	b := newGate()
	g := batch.New(3, 10, b.commit)
	var wg sync.WaitGroup
	wg.Go(func() { g.Do(context.Background(), 1) })
	<-b.entered
	fill(g, &wg, 2, 3, 4, 5)
	for range 3 {
		b.leave <- struct{}{}
	}
	wg.Wait()
	g.Close()
	if got, want := fmt.Sprint(b.batches), "[[1] [2 3 4] [5]]"; got != want {
		t.Errorf("batches %s, want %s", got, want)
	}
}

func TestFullQueueSheds(t *testing.T) {
	b := newGate()
	g := batch.New(10, 2, b.commit)
	var wg sync.WaitGroup
	wg.Go(func() { g.Do(context.Background(), 1) })
	<-b.entered
	fill(g, &wg, 2, 3)
	if _, err := g.Do(context.Background(), 4); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Do on a full queue: %v, want unavailable", err)
	}
	b.leave <- struct{}{}
	b.leave <- struct{}{}
	wg.Wait()
	g.Close()
}

func TestCallerWhoLeavesEarlyIsNotCommitted(t *testing.T) {
	b := newGate()
	g := batch.New(10, 10, b.commit)
	var wg sync.WaitGroup
	wg.Go(func() { g.Do(context.Background(), 1) })
	<-b.entered

	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	go func() {
		_, err := g.Do(ctx, 2)
		errs <- err
	}()
	for g.Waiting() == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) || !fault.Is(err, fault.Timeout) ||
		!errors.Is(err, batch.ErrAbandoned) {
		t.Errorf("Do with a cancelled context: %v", err)
	}
	if _, err := g.Do(ctx, 4); !errors.Is(err, context.Canceled) || !errors.Is(err, batch.ErrAbandoned) {
		t.Errorf("Do with a context that was cancelled before: %v", err)
	}
	fill(g, &wg, 3)
	b.leave <- struct{}{}
	b.leave <- struct{}{}
	wg.Wait()
	g.Close()
	if got, want := fmt.Sprint(b.batches), "[[1] [3]]"; got != want {
		t.Errorf("batches %s, want %s", got, want)
	}
}

func TestCallerWhoLeavesDuringTheCommitDoesNotBlockIt(t *testing.T) {
	b := newGate()
	g := batch.New(10, 10, b.commit)
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	go func() {
		_, err := g.Do(ctx, 1)
		errs <- err
	}()
	<-b.entered
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) || errors.Is(err, batch.ErrAbandoned) {
		t.Errorf("Do: %v, want canceled and not abandoned", err)
	}
	b.leave <- struct{}{}
	b.leave <- struct{}{}
	if got, err := g.Do(context.Background(), 21); got != 42 || err != nil {
		t.Errorf("the next Do: %d, %v", got, err)
	}
	g.Close()
}

func TestPanicFailsOnlyItsBatch(t *testing.T) {
	g := batch.New(10, 10, func(ctx context.Context, ins []int) []batch.Result[int] {
		if ins[0] == 13 {
			panic("thirteen")
		}
		return double(ctx, ins)
	})
	defer g.Close()
	if _, err := g.Do(context.Background(), 13); !fault.Is(err, fault.Internal) {
		t.Errorf("Do with a panic: %v, want internal", err)
	}
	if got, err := g.Do(context.Background(), 21); got != 42 || err != nil {
		t.Errorf("the next Do: %d, %v", got, err)
	}
}

func TestWrongNumberOfResultsIsInternal(t *testing.T) {
	g := batch.New(10, 10, func(context.Context, []int) []batch.Result[int] { return nil })
	defer g.Close()
	if _, err := g.Do(context.Background(), 1); !fault.Is(err, fault.Internal) {
		t.Errorf("Do: %v, want internal", err)
	}
}

func TestCloseCommitsWhatWaitsAndRefusesTheRest(t *testing.T) {
	b := newGate()
	g := batch.New(1, 10, b.commit)
	var wg sync.WaitGroup
	wg.Go(func() { g.Do(context.Background(), 1) })
	<-b.entered
	fill(g, &wg, 2, 3)
	for range 3 {
		b.leave <- struct{}{}
	}
	g.Close()
	g.Close() // harmless
	wg.Wait()
	if len(b.batches) != 3 {
		t.Errorf("%d batches after Close, want 3", len(b.batches))
	}
	if _, err := g.Do(context.Background(), 4); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Do after Close: %v, want unavailable", err)
	}
}

func TestCommitContextEnds(t *testing.T) {
	g := batch.New(10, 10, func(ctx context.Context, ins []int) []batch.Result[int] {
		<-ctx.Done()
		return batch.Fail[int](len(ins), ctx.Err())
	}, batch.Timeout(10*time.Millisecond))
	defer g.Close()
	if _, err := g.Do(context.Background(), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Do: %v, want deadline exceeded", err)
	}
}

func BenchmarkDo(b *testing.B) {
	g := batch.New(1000, 10000, double)
	defer g.Close()
	b.SetParallelism(100)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Do(context.Background(), 1); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// One by one is what comes when something behind the callers is slow; a group that lingers still makes batches of it.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		g := batch.New(100, 100, func(ctx context.Context, ins []int) []batch.Result[int] {
			sizes = append(sizes, len(ins))
			return double(ctx, ins)
		}, batch.Linger(50*time.Millisecond))
		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				if out, err := g.Do(t.Context(), i); out != 2*i || err != nil {
					t.Errorf("%d, %v", out, err)
				}
			})
			<-time.After(10 * time.Millisecond) // by the clock of the bubble
		}
		callers.Wait()
		g.Close()
		// the sixth may come in the very moment
		if !slices.Equal(sizes, []int{5, 5}) && !slices.Equal(sizes, []int{6, 4}) {
			t.Errorf("batches of %v", sizes)
		}
	})
}

// Ten callers are ready to run when the first of them brings its operation: it is not committed alone.
func TestThoseAboutToComeShareACommit(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var commits atomic.Int32
	g := batch.New(100, 100, func(ctx context.Context, ins []int) []batch.Result[int] {
		commits.Add(1)
		return double(ctx, ins)
	})
	defer g.Close()
	var callers sync.WaitGroup
	for i := range 10 {
		callers.Go(func() {
			if out, err := g.Do(t.Context(), i); out != 2*i || err != nil {
				t.Errorf("%d, %v", out, err)
			}
		})
	}
	callers.Wait()
	if n := commits.Load(); n > 3 {
		t.Errorf("%d commits for ten callers at once", n)
	}
}

// A lone operation does not wait. One that follows several does, unless there is enough without it.
func TestLingerInCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond // of the clock of the bubble
		begin := time.Now()
		var sizes []int
		var at []time.Duration
		g := batch.New(100, 100, func(ctx context.Context, ins []int) []batch.Result[int] {
			sizes, at = append(sizes, len(ins)), append(at, time.Since(begin))
			<-time.After(10 * ms)
			return double(ctx, ins)
		}, batch.LingerInCompany(50*ms))
		var callers sync.WaitGroup
		for _, come := range []struct {
			at time.Duration
			n  int
		}{{0, 1}, {5 * ms, 3}, {15 * ms, 1}, {30 * ms, 1}, {75 * ms, 20}, {200 * ms, 1}, {300 * ms, 1}} {
			for i := range come.n {
				callers.Go(func() {
					<-time.After(come.at)
					if out, err := g.Do(t.Context(), i); out != 2*i || err != nil {
						t.Errorf("%d, %v", out, err)
					}
				})
			}
		}
		callers.Wait()
		g.Close()
		want := []time.Duration{0, 10 * ms, 70 * ms, 80 * ms, 250 * ms, 300 * ms}
		if !slices.Equal(sizes, []int{1, 3, 2, 20, 1, 1}) || !slices.Equal(at, want) {
			t.Errorf("batches of %v at %v, want them at %v", sizes, at, want)
		}
	})
}
