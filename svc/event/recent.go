package event

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Bounds of the answers that are kept for an outage of the database.
const (
	recentLists  = 256            // answers
	recentEvents = 4096           // in all of them
	recentAge    = 12 * time.Hour // longer than an outage should last
)

// recent keeps the latest answers to public lists and searches, the least recently read go first. They are used only
// while the database is away. An answer with an event that has changed is dropped; an event that was published since
// may be missing from one.
type recent struct {
	now   func() time.Time
	stale *observe.Counter

	mu      sync.Mutex
	order   *list.List // of *answered, the most recently read in front
	byKey   map[string]*list.Element
	events  int
	changes int // counts calls of drop
}

// answered is a page as it was answered. It is shared and not changed.
type answered struct {
	key  string
	page *api.List[api.Event]
	at   time.Time
}

func newRecent(now func() time.Time, metrics *observe.Registry) *recent {
	return &recent{
		now: now, order: list.New(), byKey: make(map[string]*list.Element),
		stale: metrics.Counter("starlight_event_stale_lists_total",
			"Lists and searches answered from memory because the database was away."),
	}
}

// listKey names the question of a filter. A list that begins at the present moment is one question at all times.
func listKey(f filter, fromNow bool) string {
	if fromNow {
		f.from = time.Time{}
	}
	return fmt.Sprintf("%q %q %q %q %q %t %d %d %d %q %d %q", f.category, f.cityKey, f.country, f.organizer,
		f.series, f.next,
		f.from.UnixMicro(), f.to.UnixMicro(), f.afterStart.UnixMicro(), f.after, f.limit, tsquery(f.terms))
}

// get returns what load returns, and keeps it. When the database is away, or does not answer a caller for whom there is
// an earlier answer, that one is returned, as stale.
func (r *recent) get(
	ctx context.Context, key string, load func(context.Context) (*api.List[api.Event], error),
) (page *api.List[api.Event], stale bool, err error) {
	earlier, changes := r.find(key)
	loading := ctx
	if earlier != nil {
		var cancel context.CancelFunc
		loading, cancel = context.WithTimeout(ctx, staleAfter)
		defer cancel()
	}
	page, err = load(loading)
	switch {
	case err == nil:
		r.keep(key, page, changes)
		return page, false, nil
	case earlier == nil || ctx.Err() != nil || !away(err):
		return nil, false, err
	}
	r.stale.Inc()
	return earlier, true, nil
}

// away reports whether err says that the database cannot be reached or does not answer.
func away(err error) bool {
	return store.Unavailable(err) || fault.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded)
}

// find returns the earlier answer, or nil, and how many changes there had been by then.
func (r *recent) find(key string) (*api.List[api.Event], int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byKey[key]
	if e == nil {
		return nil, r.changes
	}
	a := e.Value.(*answered)
	if r.now().Sub(a.at) > recentAge {
		r.remove(e)
		return nil, r.changes
	}
	r.order.MoveToFront(e)
	return a.page, r.changes
}

// keep remembers an answer, unless an event changed while it was being read.
func (r *recent) keep(key string, page *api.List[api.Event], changes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != changes {
		return
	}
	if e := r.byKey[key]; e != nil {
		r.remove(e)
	}
	r.byKey[key] = r.order.PushFront(&answered{key: key, page: page, at: r.now()})
	r.events += len(page.Items)
	for len(r.byKey) > recentLists || r.events > recentEvents {
		r.remove(r.order.Back())
	}
}

// drop removes every answer that has an event which has changed.
func (r *recent) drop(id ids.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	for e := r.order.Front(); e != nil; {
		next := e.Next()
		if slices.ContainsFunc(e.Value.(*answered).page.Items, func(event api.Event) bool { return event.ID == id }) {
			r.remove(e)
		}
		e = next
	}
}

// remove takes an answer out. The caller holds the lock.
func (r *recent) remove(e *list.Element) {
	a := r.order.Remove(e).(*answered)
	delete(r.byKey, a.key)
	r.events -= len(a.page.Items)
}
