package gate

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// narrow returns a gate for one request at a time, in a process that has time to spare or not.
func narrow(most int) (g *Gate, busy *atomic.Bool) {
	g, busy = New(most, time.Now, observe.NewRegistry()), new(atomic.Bool)
	g.limit = 1
	g.waited = func(float64) float64 {
		if busy.Load() {
			return 1
		}
		return 0
	}
	return g, busy
}

// While one is under way, urgent requests go beside it, and of the others the usual ones first, but for one in eight.
func TestWhoGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := narrow(100)
		if err := g.Enter(rpc.Usual); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []rpc.Priority
		var all sync.WaitGroup
		for i := range 40 {
			p := rpc.Usual
			if i < 20 {
				p = rpc.Browsing
			}
			all.Go(func() {
				if err := g.Enter(p); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, p)
				mu.Unlock()
				g.Leave()
			})
		}
		synctest.Wait()
		if err := g.Enter(rpc.Urgent); err != nil || len(order) != 0 {
			t.Fatalf("an urgent request: %v; %d others", err, len(order))
		}
		g.Leave() // there is still the first one
		synctest.Wait()
		if len(order) != 0 {
			t.Fatalf("%d of those that wait came in beside another", len(order))
		}
		g.Leave()
		all.Wait()
		browsing := 0
		for _, p := range order[:20] {
			if p == rpc.Browsing {
				browsing++
			}
		}
		if browsing != 2 || !slices.Contains(order[20:], rpc.Browsing) {
			t.Errorf("%d of the first twenty were for readers: %v", browsing, order)
		}
		if g.used != 0 || g.ahead(rpc.Browsing) != 0 {
			t.Errorf("%d under way, %d wait", g.used, g.ahead(rpc.Browsing))
		}
	})
}

// A request waits no longer than it is patient, and not at all when it is known that its turn will not come by then.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, busy := narrow(100)
		busy.Store(true) // or it would grow
		if err := g.Enter(rpc.Usual); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := g.Enter(rpc.Browsing); !fault.Is(err, fault.Unavailable) || time.Since(began) != patience {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		g.rate, g.looked = 2, time.Now() // a second: four within the patience
		var waiting sync.WaitGroup
		for range 4 {
			waiting.Go(func() { _ = g.Enter(rpc.Usual) })
		}
		synctest.Wait()
		began = time.Now()
		err := g.Enter(rpc.Usual)
		if f := fault.From(err); f.Code != fault.Unavailable || f.RetryAfter != 2*time.Second || time.Since(began) != 0 {
			t.Errorf("the fifth, after %v: %v, come again after %v", time.Since(began), err, f.RetryAfter)
		}
		waiting.Wait()
		if g.used != 1 || g.ahead(rpc.Browsing) != 0 {
			t.Errorf("%d under way, %d wait", g.used, g.ahead(rpc.Browsing))
		}
	})
}

// What is slow elsewhere keeps nobody out: the gate opens wider while processors are free. It closes while they are not,
// though never so far that a crowd could not share commits, and holds no more than it may.
func TestTheGateFollowsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1000
		g, busy := narrow(most)
		g.limit = atLeast
		var crowd sync.WaitGroup
		var inside atomic.Int64
		leave := make(chan struct{})
		for range most {
			crowd.Go(func() {
				if err := g.Enter(rpc.Usual); err != nil {
					t.Error(err)
					return
				}
				inside.Add(1)
				<-leave
				g.Leave()
			})
		}
		synctest.Wait()
		if n := inside.Load(); n != atLeast {
			t.Fatalf("%d at first", n)
		}
		if err := g.Enter(rpc.Usual); !fault.Is(err, fault.Unavailable) {
			t.Errorf("beyond the most: %v", err)
		}
		for range 2 {
			<-time.After(lookEvery)
			if g.Enter(rpc.Urgent) == nil { // whoever comes makes it look
				g.Leave()
			}
		}
		synctest.Wait()
		if n := inside.Load(); n != most {
			t.Errorf("%d are inside, though processors are free", n)
		}
		busy.Store(true)
		for range 20 {
			<-time.After(lookEvery)
			if g.Enter(rpc.Urgent) == nil {
				g.Leave()
			}
		}
		if g.limit != atLeast {
			t.Errorf("%d at a time while processors are short", g.limit)
		}
		close(leave)
		crowd.Wait()
	})
}
