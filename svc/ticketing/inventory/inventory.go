// Package inventory decides who gets a seat.
//
// The bucket "inventory" has one key for each event, pool.<event>. A message of it is a commit record: the counters
// capacity, held, sold and leased of each ticket type, the leases, and what the commit changed of the orders. It is
// published under compare-and-set of the key and names the record that it follows. So the records of an event are one
// chain, and at every one of them held and sold are the sums over the orders, leased is the sum over the leases, and
// held + sold + leased never exceeds capacity. Quotas, which types share, are sums of the same counters. A record also
// has the codes whose uses it changed: how many orders use each, and how many may.
//
// An instance replays the chain: it knows exactly what each order of an event had at one record. An operation is
// decided by that state, and the commit proves that the state was the newest. Operations that arrive while a commit
// of their event is on its way to the disk share the next. Instances need not know of each other; the one whose
// record was refused replays what came in between and decides again.
//
// Now and then the orders that have seats are written down as a checkpoint, and the chain before it is purged.
package inventory

import (
	"context"
	"crypto/rand"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// maxOperations is how many operations one commit takes. Its record is far smaller than a message may be.
const maxOperations = 1000

// groups is how many groups the events are spread over. The events of a group wait for each other's commits.
const groups = 16

// Ref names an order together with its event.
type Ref struct {
	Event ids.Event
	Order ids.Order
}

// The outcomes that are not success. ErrSoldOut and ErrBelow are answers to the buyer and the organizer; the others
// tell the ticketing service what to do next.
var (
	ErrSoldOut = fault.New(fault.SoldOut, "not enough tickets are left")
	ErrBelow   = fault.New(fault.Conflict, "more tickets are held, sold or leased than the new quantity")
	ErrNoPool  = fault.New(fault.NotFound, "the event is not on sale")
	ErrGone    = fault.New(fault.Expired, "the order holds no seats any more")
	ErrSold    = fault.New(fault.Conflict, "the order's seats are sold")
	ErrClosed  = fault.New(fault.Unavailable, "the seats of the event are being counted again").After(time.Second)
	ErrHas     = fault.New(fault.Conflict, "the order has seats already")
	ErrHeld    = fault.New(fault.Conflict, "seats of the event are held")

	// ErrBroken is a chain of records that has a gap or does not add up. Rebuilding from SQL mends it.
	ErrBroken = fault.New(fault.Unavailable,
		"what is known of the event's seats does not add up: starlight rebuild inventory mends it")

	errChanged = fault.New(fault.Conflict, "the order has just changed")
)

// Inventory is one instance's view of the bucket and its way to change it.
type Inventory struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	log    *slog.Logger
	now    func() time.Time
	id     string // of this instance, in the ids of its commits
	seed   maphash.Seed
	ops    [groups]*batch.Group[op, struct{}]
	limits limits

	publish func(context.Context, *commit) (seq uint64, err error) // a seam: tests break it on purpose

	background context.Context // of the checkpoints
	stop       context.CancelFunc
	saving     sync.WaitGroup

	mu       sync.Mutex
	states   map[ids.Event]*state
	loading  map[ids.Event]int     // how many replays are under way
	inFlight map[ids.Event]*commit // on their way to the disk
	commits  uint64                // how many were made
	held     int                   // orders that hold seats
	perUser  map[ids.User]int
	expiry   expiryHeap
	at       follower
	advanced chan struct{} // closed, and made anew, when a record has been followed
	metrics  metrics
}

type metrics struct {
	commits, changes, conflicts, unknown, checkpoints, followFailures *observe.Counter

	commit *observe.Histogram
}

func newMetrics(reg *observe.Registry) metrics {
	return metrics{
		commits: reg.Counter("starlight_inventory_commits_total", "Commits of the inventory: one message each."),
		changes: reg.Counter("starlight_inventory_changes_total", "Orders that the commits changed."),
		conflicts: reg.Counter("starlight_inventory_conflicts_total",
			"Commits refused because another instance was first."),
		commit:      reg.Histogram("starlight_inventory_commit_seconds", "How long one commit took to be on disk."),
		unknown:     reg.Counter("starlight_inventory_unknown_total", "Commits whose outcome had to be read back."),
		checkpoints: reg.Counter("starlight_inventory_checkpoints_total", "Checkpoints written."),

		followFailures: reg.Counter("starlight_inventory_follow_failures_total",
			"How often following the inventory ended, or could not begin, and was tried again."),
	}
}

// Open returns an Inventory on the stream, which must exist. Call Follow to keep it current.
func Open(
	ctx context.Context, js jetstream.JetStream, log *slog.Logger, reg *observe.Registry, now func() time.Time,
) (*Inventory, error) {
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		return nil, err
	}
	inv := &Inventory{
		js: js, stream: stream, log: log, now: now, id: rand.Text(), seed: maphash.MakeSeed(), limits: defaultLimits,
		states: map[ids.Event]*state{}, loading: map[ids.Event]int{}, inFlight: map[ids.Event]*commit{},
		perUser: map[ids.User]int{}, advanced: make(chan struct{}), metrics: newMetrics(reg),
	}
	inv.publish = inv.publishCommit
	inv.background, inv.stop = context.WithCancel(context.WithoutCancel(ctx))
	for i := range inv.ops {
		inv.ops[i] = batch.New(maxOperations, 8*maxOperations, inv.commitAll)
	}
	inv.at.created, inv.at.current = stream.CachedInfo().Created, now()
	reg.GaugeFunc("starlight_inventory_view_age_seconds",
		"How long ago this instance's view of the inventory was known to be current.",
		func() float64 { return inv.viewAge().Seconds() })
	reg.GaugeFunc("starlight_inventory_held_orders",
		"Orders that hold seats, as this instance sees it.", func() float64 {
			inv.mu.Lock()
			defer inv.mu.Unlock()
			return float64(inv.held)
		})
	return inv, nil
}

// Close finishes the operations under way and refuses new ones.
func (inv *Inventory) Close() {
	for _, group := range inv.ops {
		group.Close()
	}
	inv.stop()
	inv.saving.Wait()
}

// Hold takes seats for an order until expires. Doing it twice is fine; the hold then lasts until the later of the
// two. It returns ErrSoldOut when there is no room; that answer is decided by compare-and-set like every other and is
// never a guess from a cache.
func (inv *Inventory) Hold(ctx context.Context, ref Ref, user ids.User, lines []Line, expires time.Time) error {
	return inv.HoldAs(ctx, ref, user, lines, expires, shared(ref), nil)
}

// HoldAs is Hold for a call with a tag of its own, which may Undo it. An order that has seats already keeps them: a
// hold of another call lasts until expires now, if that is later, and is shared from then on, so that neither call
// can undo it.
//
// With terms the order uses a code, or is ErrUsedUp.
func (inv *Inventory) HoldAs(
	ctx context.Context, ref Ref, user ids.User, lines []Line, expires time.Time, tag string, terms *Terms,
) error {
	e := Entry{State: Held, Lines: lines, User: user, Expires: expires.UnixMilli(), Op: tag}
	return inv.do(ctx, op{kind: hold, Ref: ref, entry: e.using(terms), terms: terms})
}

func (e Entry) using(terms *Terms) Entry {
	if terms != nil {
		e.Code = terms.Code
	}
	return e
}

// Undo gives back what HoldAs took under the tag. Seats that were taken otherwise, shared since, or sold stay.
func (inv *Inventory) Undo(ctx context.Context, ref Ref, tag string) error {
	return inv.do(ctx, op{kind: undo, Ref: ref, entry: Entry{Op: tag}})
}

// shared is the mark of a hold that belongs to no single call.
func shared(ref Ref) string { return ref.Order.String() }

// Sell takes seats for good, in one step: for free orders, and for money that arrives when the hold is gone. tag makes
// the operation recognisable, so that doing it again changes nothing.
func (inv *Inventory) Sell(
	ctx context.Context, ref Ref, user ids.User, lines []Line, tag string, terms *Terms,
) error {
	e := Entry{State: Sold, Lines: lines, User: user, Op: tag}
	return inv.do(ctx, op{kind: hold, Ref: ref, entry: e.using(terms), terms: terms})
}

// Confirm turns held into sold. It returns ErrGone if nothing is held; doing it twice is fine.
func (inv *Inventory) Confirm(ctx context.Context, ref Ref) error {
	return inv.do(ctx, op{kind: confirm, Ref: ref})
}

// Extend lets a hold last until expires, if that is later. It returns ErrGone if nothing is held and ErrSold if the
// seats are sold.
func (inv *Inventory) Extend(ctx context.Context, ref Ref, expires time.Time) error {
	return inv.do(ctx, op{kind: extend, Ref: ref, entry: Entry{Expires: expires.UnixMilli()}})
}

// Release gives back what an order holds. An order that holds nothing is fine; one whose seats are sold is ErrSold.
func (inv *Inventory) Release(ctx context.Context, ref Ref) error {
	return inv.do(ctx, op{kind: release, Ref: ref})
}

// Return gives back what an order holds or has bought.
func (inv *Inventory) Return(ctx context.Context, ref Ref) error {
	return inv.do(ctx, op{kind: returnAll, Ref: ref})
}

// Reduce gives back what an order holds or has bought beyond the lines, all of it if there are none. It never takes
// more.
func (inv *Inventory) Reduce(ctx context.Context, ref Ref, lines []Line) error {
	return inv.do(ctx, op{kind: reduce, Ref: ref, entry: Entry{Lines: lines}})
}

// Resize sets the quantities and quotas of an event's pool. revision is the event's: an older one than the pool's
// changes nothing.
// ErrBelow if any type would have less than is held and sold; then nothing changes. ErrNoPool if there is none.
func (inv *Inventory) Resize(
	ctx context.Context, event ids.Event, revision int64, quantities []Line, quotas ...api.QuotaShare,
) error {
	return inv.do(ctx, op{kind: resize, Ref: Ref{Event: event}, revision: revision,
		entry: Entry{Lines: quantities}, quotas: quotas})
}

// OpenPool is Resize, and opens the pool of an event that has none. Seats that its orders may have had are not in it.
func (inv *Inventory) OpenPool(
	ctx context.Context, event ids.Event, revision int64, quantities []Line, quotas ...api.QuotaShare,
) error {
	return inv.do(ctx, op{kind: openPool, Ref: Ref{Event: event}, revision: revision, entry: Entry{Lines: quantities},
		quotas: quotas})
}

func (inv *Inventory) do(ctx context.Context, o op) error {
	group := maphash.String(inv.seed, o.Event.String()) % groups
	_, err := inv.ops[group].Do(ctx, o)
	return err
}

// Pool returns the state of an event's pool: the newest this instance has heard of. It returns ErrNoPool if there is
// none.
func (inv *Inventory) Pool(ctx context.Context, event ids.Event) (Pool, error) {
	p, known, exists := inv.knownPool(event)
	if !known {
		if err := inv.load(ctx, event); err != nil {
			return Pool{}, err
		}
		p, _, exists = inv.knownPool(event)
	}
	if !exists {
		return Pool{}, ErrNoPool
	}
	return p, nil
}

// currentTimeout is how long Current waits for the stream's leader.
const currentTimeout = 500 * time.Millisecond

// Current returns the state of an event's pool as of a moment after the call, whichever instance has changed it. While
// the stream's leader does not answer it is that of Pool.
func (inv *Inventory) Current(ctx context.Context, event ids.Event) (Pool, error) {
	asking, cancel := context.WithTimeout(ctx, currentTimeout)
	defer cancel()
	last, err := lastMessage(asking, inv.stream, event)
	if err != nil || last == nil {
		return inv.Pool(ctx, event)
	}
	inv.mu.Lock()
	if st := inv.states[event]; st != nil && st.seq >= last.Sequence {
		defer inv.mu.Unlock()
		if !st.exists {
			return Pool{}, ErrNoPool
		}
		return st.clone(), nil
	}
	inv.mu.Unlock()
	rec, err := recordOf(last)
	if err == nil && !rec.exists {
		err = ErrNoPool
	}
	return rec.Pool, err
}

func (inv *Inventory) knownPool(event ids.Event) (p Pool, known, exists bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	st := inv.states[event]
	if st == nil {
		return Pool{}, false, false
	}
	return st.clone(), true, st.exists
}

// HeldBy returns how many orders of a person hold seats, as this instance sees it.
func (inv *Inventory) HeldBy(user ids.User) int {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.perUser[user]
}
