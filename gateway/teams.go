package gateway

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// changesKept is for how long a gateway remembers who an event's team was when it changed last: longer than any
// service that answers live streams may be behind.
const changesKept = 10 * time.Second

// teams ends the live streams of people who lose the right to the numbers of an event, which is what such streams are.
type teams struct {
	now func() time.Time

	mu      sync.Mutex
	recent  map[string]change      // by event
	lost    map[ids.User]time.Time // who may do less for some organizer since then
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
	t := &teams{now: cfg.Now, recent: map[string]change{}, lost: map[ids.User]time.Time{},
		streams: map[*teamStream]struct{}{}}
	if _, err := cfg.NATS.Subscribe(api.EventChanges, t.changed); err != nil {
		return nil, err
	}
	_, err := cfg.NATS.Subscribe(api.OrganizerChanges, t.organizerChanged)
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
			if s.of == event && !offer.Can(s.who, api.MayReadReports) {
				leave = append(leave, s.ended)
			}
		}
	}
	t.mu.Unlock()
	for _, end := range leave {
		end()
	}
}

// organizerChanged ends the streams about events of all who may do less now than before, for whatever organizer: those
// who may still follow come back.
func (t *teams) organizerChanged(m *nats.Msg) {
	var c api.OrganizerChange
	if json.Unmarshal(m.Data, &c) != nil || len(c.Lost) == 0 {
		return
	}
	var leave []func()
	now := t.now()
	t.mu.Lock()
	maps.DeleteFunc(t.lost, func(_ ids.User, at time.Time) bool { return now.Sub(at) > changesKept })
	for _, user := range c.Lost {
		t.lost[user] = now
	}
	for s := range t.streams {
		if isEvent(s.of) && slices.Contains(c.Lost, s.who.User) {
			leave = append(leave, s.ended)
		}
	}
	t.mu.Unlock()
	for _, end := range leave {
		end()
	}
}

func isEvent(id string) bool {
	_, err := ids.Parse[ids.EventKind](id)
	return err == nil
}

// follow has ended called once the person may not read the numbers of the event any more. A stream whose path names
// another thing is never touched. The returned function stops that.
func (t *teams) follow(of string, who rpc.Principal, ended func()) (stop func()) {
	s := &teamStream{of, who, ended}
	t.mu.Lock()
	t.streams[s] = struct{}{}
	c, changed := t.recent[of]
	lost, less := t.lost[who.User]
	t.mu.Unlock()
	if less && isEvent(of) && t.now().Sub(lost) <= changesKept {
		ended()
	}
	if changed && t.now().Sub(c.at) <= changesKept && !c.offer.Can(who, api.MayReadReports) {
		ended()
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.streams, s)
	}
}
