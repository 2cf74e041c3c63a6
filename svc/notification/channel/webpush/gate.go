package webpush

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// Anyone may subscribe with an endpoint that accepts connections and says nothing. How many messages are on their way
// at a time is therefore bounded for each person and each host, and for all hosts together that have not answered yet.
// Among these last are new ones that will answer: so that they are heard, those that have been silent for some time
// make room as soon as others wait.
const (
	perHost      = 32 // that answers
	perPerson    = 8
	unproven     = 512                    // to all hosts that have not answered yet: connections cost little
	unprovenEach = 2                      // of these, to one person
	unprovenHost = 4                      // and to one host
	hearing      = 250 * time.Millisecond // that each of them has, however many wait

	failuresLeft = 5                // in a row, after which a host is left alone; one is enough if it is not proven
	firstRest    = 10 * time.Second // for which it is; twice as long after each failure more
	longestRest  = 5 * time.Minute
	provenFor    = 24 * time.Hour // after an answer
	noRoomPause  = time.Second
	maxHosts     = 10_000 // that are remembered
)

// wellKnown returns the push services of the browsers, which count as proven until they fail.
func wellKnown() []string {
	return []string{"fcm.googleapis.com", "push.services.mozilla.com", "push.apple.com", "notify.windows.com"}
}

// gate lets messages through. It is safe for concurrent use.
type gate struct {
	now func() time.Time

	mu      sync.Mutex
	hosts   map[string]*host
	people  map[string]int // messages on their way, by person
	trying  []*turn        // those to hosts that are not proven, the oldest first
	waiting []*turn        // for a place among these
	next    *time.Timer    // when the oldest of them has been heard
}

// host is what is known of a push service.
type host struct {
	slots    chan struct{}
	answered time.Time // last; zero: never
	failures int       // since
	rests    time.Time // until when it is left alone
	busy     int       // messages on their way or waiting
	unproven int       // of these, to devices that may never answer
}

func newGate(now func() time.Time) *gate {
	return &gate{now: now, hosts: map[string]*host{}, people: map[string]int{}}
}

// turn is a message on its way.
type turn struct {
	gate   *gate
	host   *host
	person string
	proven bool

	ctx    context.Context // of the message
	cancel context.CancelFunc
	begun  chan struct{} // closed when it begins
	began  time.Time
	cut    bool // others wait, and its host was silent
}

// enter gives a message its turn. One to a device that is failing counts as one to a host that is not proven. Where
// there are too many at the moment it waits; the error is a *channel.Busy. Call leave afterwards.
func (g *gate) enter(ctx context.Context, name, person string, failing bool) (*turn, error) {
	t, err := g.admit(ctx, name, person, failing)
	if err != nil {
		return nil, err
	}
	var slots chan struct{} // none can be had, and none is needed, by who waits for a place among the unproven
	if t.proven {
		slots = t.host.slots
	}
	select {
	case slots <- struct{}{}:
		return t, nil
	case <-t.begun:
		return t, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		t.done()
		return nil, &channel.Busy{Reason: "the message had no turn in time", After: noRoomPause}
	}
}

func (g *gate) admit(ctx context.Context, name, person string, failing bool) (*turn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	h := g.host(name, now)
	proven, most := !failing && now.Sub(h.answered) < provenFor, perPerson
	if !proven {
		most = unprovenEach
	}
	switch {
	case now.Before(h.rests):
		return nil, &channel.Busy{Reason: "the push service has failed", After: h.rests.Sub(now)}
	case !h.rests.IsZero() && h.busy > 0: // one message finds out whether it is well again
		return nil, &channel.Busy{Reason: "the push service has failed", After: firstRest}
	case g.people[person] >= most || !proven && h.unproven >= unprovenHost:
		return nil, &channel.Busy{Reason: "too many messages are on their way", After: noRoomPause}
	}
	h.busy++
	g.people[person]++
	t := &turn{gate: g, host: h, person: person, proven: proven, begun: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(ctx)
	if !proven {
		h.unproven++
		g.waiting = append(g.waiting, t)
		g.begin()
	}
	return t, nil
}

// begin gives turns to those that wait, as far as there are places. For the others those make room that have been
// silent longest. The gate is locked.
func (g *gate) begin() {
	for len(g.waiting) > 0 && len(g.trying) < unproven {
		t := g.waiting[0]
		g.waiting = g.waiting[1:]
		t.began = time.Now()
		g.trying = append(g.trying, t)
		close(t.begun)
	}
	if g.next != nil {
		return
	}
	for _, t := range g.trying[:min(len(g.waiting), len(g.trying))] {
		if wait := hearing - time.Since(t.began); wait > 0 {
			g.next = time.AfterFunc(wait, g.again)
			return
		}
		t.cut = true
		t.cancel()
	}
}

// again looks for those that have been heard long enough.
func (g *gate) again() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next = nil
	g.begin()
}

// host returns what is known of a host. When too many are remembered, those are forgotten that nothing is sent to.
func (g *gate) host(name string, now time.Time) *host {
	if h := g.hosts[name]; h != nil {
		return h
	}
	if len(g.hosts) >= maxHosts {
		for other, h := range g.hosts {
			if h.busy == 0 && !now.Before(h.rests) {
				delete(g.hosts, other)
			}
		}
	}
	h := &host{slots: make(chan struct{}, perHost)}
	for _, known := range wellKnown() {
		if name == known || strings.HasSuffix(name, "."+known) {
			h.answered = now
		}
	}
	g.hosts[name] = h
	return h
}

// leave ends a turn. It reports whether a failure was one of the device: that of a host which has answered lately, and
// now fails for all, is not, nor that of one which had no time to answer.
func (t *turn) leave(ctx context.Context, answered bool) (device bool) {
	if t.proven {
		<-t.host.slots
	}
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.done()
	h, now := t.host, t.gate.now()
	if answered {
		h.answered, h.failures, h.rests = now, 0, time.Time{}
		return true
	}
	silent := now.Sub(h.answered) >= provenFor
	if ctx.Err() != nil || t.cut && !silent { // the caller's time was over, not the host's
		return false
	}
	h.failures++
	left := failuresLeft
	if silent {
		left = 1
	}
	if over := h.failures - left; over >= 0 {
		rest := min(firstRest<<min(over, 8), longestRest)
		h.rests = now.Add(rest)
	}
	return !t.cut && (left == 1 || h.failures < failuresLeft)
}

// done gives back what admit took. The gate is locked.
func (t *turn) done() {
	t.cancel()
	t.host.busy--
	if !t.proven {
		t.host.unproven--
	}
	if t.gate.people[t.person]--; t.gate.people[t.person] == 0 {
		delete(t.gate.people, t.person)
	}
	same := func(other *turn) bool { return other == t }
	t.gate.trying = slices.DeleteFunc(t.gate.trying, same)
	t.gate.waiting = slices.DeleteFunc(t.gate.waiting, same)
	t.gate.begin()
}
