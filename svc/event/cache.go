package event

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	cacheSize   = 4096            // events
	cacheTTL    = time.Second     // how old an answer may be when the domain event of a change is lost
	loadTimeout = 5 * time.Second // of a read that several callers wait for
	staleAfter  = time.Second     // how long a caller waits for whom there is an older answer
)

// view is an event as readers get it. It is shared and not changed.
type view struct {
	record  *record
	encoded rpc.Encoded
	shown   rpc.Encoded // for those who are not in the team, if something is hidden from them
	until   time.Time
	stale   bool // read again after its time, because the database was away
}

// cache keeps public events, encoded, for a moment; of concurrent reads of an event that it does not have, one goes to
// the database. While that is away, what was read before is still good for reading. Drafts are not kept: few people
// read them.
type cache struct {
	load  func(context.Context, ids.Event) (storedEvent, error)
	now   func() time.Time
	valid func() bool // whether this instance has its lease: see package coherence
	hits  *observe.Counter
	miss  *observe.Counter
	stale *observe.Counter

	mu      sync.RWMutex
	views   map[ids.Event]*view
	flights map[ids.Event]*flight
}

// flight is a read that is under way.
type flight struct {
	done chan struct{}
	view *view
	err  error
}

func newCache(
	load func(context.Context, ids.Event) (storedEvent, error), now func() time.Time, valid func() bool,
	metrics *observe.Registry,
) *cache {
	const name, help = "starlight_event_cache_reads_total", "Reads of a single event, by whether memory had it."
	return &cache{
		load: load, now: now, valid: valid,
		hits:    metrics.Counter(name, help, "result", "hit"),
		miss:    metrics.Counter(name, help, "result", "miss"),
		stale:   metrics.Counter(name, help, "result", "stale"),
		views:   make(map[ids.Event]*view),
		flights: make(map[ids.Event]*flight),
	}
}

// peek returns an event that is in memory.
func (c *cache) peek(id ids.Event) (*view, bool) {
	c.mu.RLock()
	v := c.views[id]
	c.mu.RUnlock()
	if !c.good(v) {
		return nil, false
	}
	c.hits.Inc()
	return v, true
}

// good reports whether a view can be served.
func (c *cache) good(v *view) bool {
	return v != nil && c.now().Before(v.until) && (v.stale || c.valid())
}

// get returns an event, drafts too: whether the caller may see it is the caller's question.
func (c *cache) get(ctx context.Context, id ids.Event) (*view, error) {
	if v, ok := c.peek(id); ok {
		return v, nil
	}
	c.mu.Lock()
	if v := c.views[id]; c.good(v) { // it was read while this caller was waiting for the lock
		c.mu.Unlock()
		c.hits.Inc()
		return v, nil
	}
	c.miss.Inc()
	older := c.views[id]
	f, underway := c.flights[id]
	if !underway {
		f = &flight{done: make(chan struct{})}
		c.flights[id] = f
	}
	c.mu.Unlock()
	if !underway {
		go c.fly(context.WithoutCancel(ctx), id, f) // others may wait longer than this caller
	}
	var enough <-chan time.Time
	if older != nil {
		timer := time.NewTimer(staleAfter)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
		return f.view, f.err
	case <-enough:
		c.stale.Inc()
		again := *older
		again.stale = true
		return &again, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly reads an event for all who wait, and keeps it unless it was dropped meanwhile.
func (c *cache) fly(ctx context.Context, id ids.Event, f *flight) {
	defer close(f.done)
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	f.view, f.err = c.read(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[id] != f {
		return
	}
	delete(c.flights, id)
	if older := c.views[id]; older != nil && f.err != nil && !fault.Is(f.err, fault.NotFound) {
		again := *older
		again.stale = true
		again.until = c.now().Add(cacheTTL) // until then no caller waits for the database
		c.views[id] = &again
		f.view, f.err = &again, nil
		c.stale.Inc()
		return
	}
	if f.err != nil || !f.view.record.public() {
		delete(c.views, id)
		return
	}
	if _, have := c.views[id]; !have && len(c.views) >= cacheSize {
		c.evict()
	}
	c.views[id] = f.view
}

func (c *cache) read(ctx context.Context, id ids.Event) (*view, error) {
	until := c.now().Add(cacheTTL) // counted from before the read: what it finds is at least that new
	k, err := c.load(ctx, id)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(k.Event)
	if err != nil {
		return nil, err
	}
	v := &view{record: k.record, encoded: rpc.Encoded{JSON: body, Tag: k.Event.ETag()}, until: until}
	if k.Event.Hides() {
		shown := k.Event.Shown()
		body, err = json.Marshal(shown)
		v.shown = rpc.Encoded{JSON: body, Tag: k.Event.ETag()}
	}
	return v, err
}

// evict makes room: everything that is over its time, or else some event.
func (c *cache) evict() {
	now := c.now()
	for id, v := range c.views {
		if !now.Before(v.until) {
			delete(c.views, id)
		}
	}
	for id := range c.views {
		if len(c.views) < cacheSize {
			return
		}
		delete(c.views, id)
	}
}

// clear removes all events: any of them may have changed.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.views)
	clear(c.flights)
}

// drop removes an event that has changed. A read that began before is not kept, and no new caller waits for it.
func (c *cache) drop(id ids.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.views, id)
	delete(c.flights, id)
}
