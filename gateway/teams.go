package gateway

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// changesKept is for how long a gateway remembers who an event's team was when it changed last: longer than any
// service that answers live streams may be behind.
const changesKept = 10 * time.Second

// teams ends the live streams of people who leave the team of an event.
type teams struct {
	now func() time.Time

	mu      sync.Mutex
	recent  map[string]change // by event
	streams map[*teamStream]struct{}
}

type change struct {
	offer *api.Offer
	at    time.Time
}

// teamStream is a stream that follows a thing named in its path. Which event that is, if any, is in the name.
type teamStream struct {
	of    string
	who   rpc.Principal
	ended func()
}

func newTeams(cfg Config) (*teams, error) {
	t := &teams{now: cfg.Now, recent: map[string]change{}, streams: map[*teamStream]struct{}{}}
	_, err := cfg.NATS.Subscribe(api.EventChanges, t.changed)
	return t, err
}

// changed takes over what an event has become.
func (t *teams) changed(m *nats.Msg) {
	var offer api.Offer
	if json.Unmarshal(m.Data, &offer) != nil || offer.Event.ID == "" {
		return // the event service's own consumers report what cannot be read
	}
	event := string(offer.Event.ID)
	var leave []func()
	now := t.now()
	t.mu.Lock()
	for id, c := range t.recent {
		if now.Sub(c.at) > changesKept {
			delete(t.recent, id)
		}
	}
	if old, ok := t.recent[event]; !ok || offer.Event.Revision >= old.offer.Event.Revision {
		t.recent[event] = change{&offer, now}
		for s := range t.streams {
			if s.of == event && offer.RoleOf(s.who) < api.RoleManager {
				leave = append(leave, s.ended)
			}
		}
	}
	t.mu.Unlock()
	for _, end := range leave {
		end()
	}
}

// follow has ended called once the person is no manager of the event any more. A stream whose path names another thing
// is never touched. The returned function stops that.
func (t *teams) follow(of string, who rpc.Principal, ended func()) (stop func()) {
	s := &teamStream{of, who, ended}
	t.mu.Lock()
	t.streams[s] = struct{}{}
	c, changed := t.recent[of]
	t.mu.Unlock()
	if changed && t.now().Sub(c.at) <= changesKept && c.offer.RoleOf(who) < api.RoleManager {
		ended()
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.streams, s)
	}
}
