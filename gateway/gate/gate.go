// Package gate decides whose turn it is while there is more to do than can be done.
//
// A gateway works on a bounded number of requests at a time. The others wait in front, where a request costs next to
// nothing: before its token is checked, before a message is sent. What is urgent never waits. So a crowd of buyers does
// not slow the door down, and readers do not slow buyers down.
package gate

import (
	"container/list"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	atLeast   = 256                    // requests at a time: enough to share the commits of a crowd
	lookEvery = 100 * time.Millisecond // at the load
	memory    = 2 * time.Second        // how far back the rate counts
	patience  = 2 * time.Second        // how long a request waits for its turn at most
	longHint  = 30 * time.Second

	// The process has too much to do at a time if more than this part of its goroutines waited so long for a processor.
	longWait  = 0.01 // seconds
	busyShare = 0.01

	// Of so many turns one goes to who would have it last, so that those who look at what there is are not shut out.
	lastOf = 8
)

// Gate lets requests through. How many are under way at a time falls while the process is short of processors, and
// grows while it is not and others wait: what is slow elsewhere, such as a payment provider, keeps nobody out.
type Gate struct {
	most    int
	now     func() time.Time
	waited  func(seconds float64) float64 // see observe.Scheduling
	refused [rpc.Priorities]*observe.Counter

	mu      sync.Mutex
	limit   int
	used    int
	waiting [rpc.Priorities]list.List // of *turn, oldest first
	turns   int                       // given to those who waited

	looked time.Time
	served int     // since then
	rate   float64 // served a second, lately; 0: not known
}

// turn is a request that waits.
type turn struct {
	given bool
	ready chan struct{} // closed when it is given
}

// New returns a gate for at most so many requests under way or waiting, but for urgent ones.
func New(most int, now func() time.Time, r *observe.Registry) *Gate {
	g := &Gate{most: most, now: now, waited: observe.NewScheduling().Waited, limit: min(atLeast, most), looked: now()}
	for p := range g.refused {
		g.refused[p] = r.Counter("starlight_http_turned_away_total",
			"Requests refused because others went first and their turn did not come, by priority.", "priority",
			rpc.Priority(p).String())
	}
	r.GaugeFunc("starlight_http_turns", "Requests that may be under way at a time; others wait.", func() float64 {
		g.mu.Lock()
		defer g.mu.Unlock()
		return float64(g.limit)
	})
	r.GaugeFunc("starlight_http_queue", "Requests that wait for their turn.", func() float64 {
		g.mu.Lock()
		defer g.mu.Unlock()
		return float64(g.ahead(rpc.Browsing))
	})
	return g
}

// Enter waits for the turn of a request. Leave follows, unless there is a fault: Unavailable, and nothing was done.
func (g *Gate) Enter(p rpc.Priority) error {
	g.mu.Lock()
	g.look()
	ahead := g.ahead(p)
	if p == rpc.Urgent || g.used < g.limit && ahead == 0 {
		g.used++
		g.mu.Unlock()
		return nil
	}
	if g.used+g.ahead(rpc.Browsing) >= g.most || g.rate > 0 && float64(ahead) >= g.rate*patience.Seconds() {
		defer g.mu.Unlock()
		return g.refuse(p)
	}
	t := &turn{ready: make(chan struct{})}
	at := g.waiting[p].PushBack(t)
	g.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-t.ready:
		return nil
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.given {
		return nil
	}
	g.waiting[p].Remove(at)
	return g.refuse(p)
}

// refuse returns the fault of a request whose turn does not come in time. mu is held.
func (g *Gate) refuse(p rpc.Priority) error {
	g.refused[p].Inc()
	hint := time.Second
	if g.rate > 0 {
		hint = max(hint, time.Duration(float64(g.ahead(p))/g.rate*float64(time.Second)))
	}
	return fault.New(fault.Unavailable, "there is more to do than can be done in time").After(min(hint, longHint))
}

// ahead returns how many wait that have their turn before a new one of a priority. mu is held.
func (g *Gate) ahead(p rpc.Priority) (n int) {
	for q := rpc.Urgent; q <= p; q++ {
		n += g.waiting[q].Len()
	}
	return n
}

// Leave ends a turn.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used--
	g.served++
	g.look()
	g.admit()
}

// admit gives turns to those that wait. mu is held.
func (g *Gate) admit() {
	for g.used < g.limit {
		t := g.next()
		if t == nil {
			return
		}
		t.given = true
		close(t.ready)
		g.used++
	}
}

// next takes the one whose turn it is from those that wait. mu is held.
func (g *Gate) next() *turn {
	g.turns++
	for i := range g.waiting {
		p := i
		if g.turns%lastOf == 0 {
			p = len(g.waiting) - 1 - i
		}
		if first := g.waiting[p].Front(); first != nil {
			return g.waiting[p].Remove(first).(*turn)
		}
	}
	return nil
}

// look adjusts the gate to the load, every now and then. mu is held.
func (g *Gate) look() {
	now := g.now()
	passed := now.Sub(g.looked)
	if passed < lookEvery {
		return
	}
	part := min(passed.Seconds()/memory.Seconds(), 1)
	g.rate += (float64(g.served)/passed.Seconds() - g.rate) * part
	g.looked, g.served = now, 0
	switch {
	case g.waited(longWait) > busyShare, g.used < g.limit/2:
		g.limit = max(min(atLeast, g.most), g.limit/2)
	case g.ahead(rpc.Browsing) > 0:
		g.limit = min(g.most, g.limit*2)
		g.admit()
	}
}
