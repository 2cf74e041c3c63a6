package webpush

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// Anyone may subscribe with an endpoint that accepts connections and says nothing. How many messages are on their way
// at a time is therefore bounded for each person and each host, and for all hosts together that have not answered yet.
const (
	perHost      = 32 // that answers
	perPerson    = 8
	unproven     = 16 // to all hosts that have not answered yet
	unprovenEach = 2  // of these, to one person

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

	mu       sync.Mutex
	hosts    map[string]*host
	people   map[string]int // messages on their way, by person
	unproven int            // messages on their way to hosts that are not proven
}

// host is what is known of a push service.
type host struct {
	slots    chan struct{}
	answered time.Time // last; zero: never
	failures int       // since
	rests    time.Time // until when it is left alone
	busy     int       // messages on their way or waiting
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
}

// enter gives a message its turn. One to a device that is failing counts as one to a host that is not proven. Where a
// proven host has too many at the moment it waits; otherwise the error is a *channel.Busy. Call leave afterwards.
func (g *gate) enter(ctx context.Context, name, person string, failing bool) (*turn, error) {
	t, err := g.admit(name, person, failing)
	if err != nil || !t.proven {
		return t, err
	}
	select {
	case t.host.slots <- struct{}{}:
		return t, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		t.done()
		return nil, &channel.Busy{Reason: "the message had no turn in time", After: noRoomPause}
	}
}

func (g *gate) admit(name, person string, failing bool) (*turn, error) {
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
	case g.people[person] >= most || !proven && g.unproven >= unproven:
		return nil, &channel.Busy{Reason: "too many messages are on their way", After: noRoomPause}
	}
	h.busy++
	g.people[person]++
	if !proven {
		g.unproven++
	}
	return &turn{gate: g, host: h, person: person, proven: proven}, nil
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
// now fails for all, is not.
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
	if ctx.Err() != nil { // the caller's time was over, not the host's
		return false
	}
	h.failures++
	left := failuresLeft
	if now.Sub(h.answered) >= provenFor {
		left = 1
	}
	if over := h.failures - left; over >= 0 {
		rest := min(firstRest<<min(over, 8), longestRest)
		h.rests = now.Add(rest)
	}
	return left == 1 || h.failures < failuresLeft
}

// done gives back what admit took. The gate is locked.
func (t *turn) done() {
	t.host.busy--
	if t.gate.people[t.person]--; t.gate.people[t.person] == 0 {
		delete(t.gate.people, t.person)
	}
	if !t.proven {
		t.gate.unproven--
	}
}
