// Package inventory decides who gets a seat.
//
// The bucket "inventory" holds two kinds of keys. pool.<event> counts, for each ticket type, capacity, held and sold.
// order.<event>.<order> says what one order holds or has bought. Every change is one atomic JetStream batch that moves
// both, under compare-and-set of the pool's revision. So at every revision of the stream, and for every ticket type,
// held and sold of the pool are the sums over its orders, and held + sold never exceeds capacity.
//
// The operations that arrive at an instance while a batch is on its way to the disk become the next batch: the price of
// one fsync is shared by all who wait. Instances need not know of each other; the one whose revision is old applies its
// operations again to the newer pool.
package inventory

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Stream is the JetStream stream behind the bucket, and Prefix what its subjects begin with.
const (
	Stream = api.InventoryStream
	prefix = api.InventoryPrefix
)

// maxBatch is the server's limit on the messages of an atomic batch.
const maxBatch = 1000

// Line is a number of tickets of one type.
type Line struct {
	Type ids.TicketType `json:"t"`
	N    int            `json:"n"`
}

// Counts is the state of one ticket type.
type Counts struct {
	Type     ids.TicketType `json:"t"`
	Capacity int            `json:"c"`
	Held     int            `json:"h"`
	Sold     int            `json:"s"`
}

// Available is what can still be held.
func (c Counts) Available() int { return c.Capacity - c.Held - c.Sold }

// Pool is the value of a pool key: the ticket types of an event, in the event's order.
type Pool struct {
	Revision int64    `json:"r"` // of the event whose quantities these are
	Types    []Counts `json:"types"`
	Closed   bool     `json:"x,omitempty"` // its orders are being filled in again, so no other may have seats
}

func (p *Pool) counts(t ids.TicketType) *Counts {
	for i := range p.Types {
		if p.Types[i].Type == t {
			return &p.Types[i]
		}
	}
	return nil
}

// The states of an Entry.
const (
	Held = "held"
	Sold = "sold"
)

// Entry is the value of an order key.
type Entry struct {
	State   string   `json:"s"`
	Lines   []Line   `json:"l"`
	Expires int64    `json:"e,omitempty"` // Unix milliseconds, while held
	User    ids.User `json:"u,omitempty"`
	Op      string   `json:"o"` // the operation that took the seats; settles an unknown outcome
}

// Ref names an order together with its event, as its key does.
type Ref struct {
	Event ids.Event
	Order ids.Order
}

// The outcomes that are not success. ErrSoldOut and ErrBelow are answers to the buyer and the organizer; the others
// tell the ticketing service what to do next.
var (
	ErrSoldOut = fault.New(fault.SoldOut, "not enough tickets are left")
	ErrBelow   = fault.New(fault.Conflict, "more tickets are held or sold than the new quantity")
	ErrNoPool  = fault.New(fault.NotFound, "the event is not on sale")
	ErrGone    = fault.New(fault.Expired, "the order holds no seats any more")
	ErrSold    = fault.New(fault.Conflict, "the order's seats are sold")
	ErrClosed  = fault.New(fault.Unavailable, "the seats of the event are being counted again").After(time.Second)

	errMoved = fault.New(fault.Conflict, "the order has just changed")
)

// Inventory is one instance's view of the bucket and its way to change it.
type Inventory struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	log    *slog.Logger
	now    func() time.Time
	ops    *batch.Group[op, struct{}]

	publish func(context.Context, []write) (last uint64, err error) // these two are seams: tests break them on purpose
	believe func(*op) view

	mu      sync.Mutex
	pools   map[ids.Event]poolAt
	held    map[ids.Order]entryAt
	expiry  expiryHeap
	perUser map[ids.User]int
	at      follower
	news    chan struct{} // closed, and made anew, when a pool has been heard of
	metrics metrics
}

// poolAt is a pool, or the absence of one, as of a sequence of the stream.
type poolAt struct {
	Pool
	exists bool
	seq    uint64 // of the message that wrote it, or deleted it; 0 if there is none
	at     uint64 // it was so at this sequence, which is seq unless there is no message
	gap    uint64 // holds that were written up to this sequence may be missing from the cache; 0 if none is
}

// entryAt is an entry with the sequence of the message that wrote it.
type entryAt struct {
	Entry
	event ids.Event
	seq   uint64
}

type metrics struct {
	batches, messages, conflicts, unknown, followFailures *observe.Counter

	commit *observe.Histogram
}

// Open returns an Inventory on the stream, which must exist. Call Follow to keep it current.
func Open(ctx context.Context, js jetstream.JetStream, log *slog.Logger, reg *observe.Registry, now func() time.Time) (*Inventory, error) {
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		return nil, err
	}
	inv := &Inventory{js: js, stream: stream, log: log, now: now,
		pools: map[ids.Event]poolAt{}, held: map[ids.Order]entryAt{}, perUser: map[ids.User]int{}, news: make(chan struct{}),
		metrics: metrics{
			batches:   reg.Counter("starlight_inventory_batches_total", "Atomic batches committed to the inventory."),
			messages:  reg.Counter("starlight_inventory_messages_total", "Messages in the committed batches."),
			conflicts: reg.Counter("starlight_inventory_conflicts_total", "Batches refused because another instance was first."),
			commit:    reg.Histogram("starlight_inventory_commit_seconds", "How long one atomic batch took to be on disk."),
			unknown:   reg.Counter("starlight_inventory_unknown_total", "Batches whose outcome had to be read back."),

			followFailures: reg.Counter("starlight_inventory_follow_failures_total", "How often following the inventory ended, or could not begin, and was tried again."),
		}}
	inv.publish, inv.believe = inv.publishBatch, inv.view
	inv.ops = batch.New(maxBatch, 8*maxBatch, inv.commit)
	inv.at.created, inv.at.current = stream.CachedInfo().Created, now()
	reg.GaugeFunc("starlight_inventory_view_age_seconds", "How long ago this instance's view of the inventory was known to be current.",
		func() float64 { return inv.viewAge().Seconds() })
	reg.GaugeFunc("starlight_inventory_held_orders", "Orders that hold seats, as this instance sees it.", func() float64 {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		return float64(len(inv.held))
	})
	return inv, nil
}

// Close finishes the operations under way and refuses new ones.
func (inv *Inventory) Close() { inv.ops.Close() }

// Hold takes seats for an order until expires. Doing it twice is fine; the hold then lasts until the later of the two. It
// returns ErrSoldOut when there is no room; that answer is decided by compare-and-set like every other and is never a
// guess from a cache. Only an order whose seats are sold, and are the last, may be told so too.
func (inv *Inventory) Hold(ctx context.Context, ref Ref, user ids.User, lines []Line, expires time.Time) error {
	return inv.HoldAs(ctx, ref, user, lines, expires, shared(ref))
}

// HoldAs is Hold for a call with a tag of its own, which may Undo it. An order that has seats already keeps them: a hold
// of another call lasts until expires now, if that is later, and is shared from then on, so that neither call can undo it.
func (inv *Inventory) HoldAs(ctx context.Context, ref Ref, user ids.User, lines []Line, expires time.Time, tag string) error {
	return inv.do(ctx, op{kind: take, Ref: ref, entry: Entry{State: Held, Lines: lines, User: user, Expires: expires.UnixMilli(), Op: tag}})
}

// Undo gives back what HoldAs took under the tag. Seats that were taken otherwise, shared since, or sold stay.
func (inv *Inventory) Undo(ctx context.Context, ref Ref, tag string) error {
	return inv.do(ctx, op{kind: undo, Ref: ref, entry: Entry{Op: tag}})
}

// shared is the mark of a hold that belongs to no single call.
func shared(ref Ref) string { return ref.Order.String() }

// Sell takes seats for good, in one step: for free orders, and for money that arrives when the hold is gone. tag makes
// the operation recognisable, so that doing it again changes nothing.
func (inv *Inventory) Sell(ctx context.Context, ref Ref, user ids.User, lines []Line, tag string) error {
	return inv.do(ctx, op{kind: take, Ref: ref, look: true, entry: Entry{State: Sold, Lines: lines, User: user, Op: tag}})
}

// Confirm turns held into sold. It returns ErrGone if nothing is held; doing it twice is fine.
func (inv *Inventory) Confirm(ctx context.Context, ref Ref) error {
	return inv.do(ctx, op{kind: confirm, Ref: ref})
}

// Extend lets a hold last until expires, if that is later. It returns ErrGone if nothing is held and ErrSold if the seats
// are sold.
func (inv *Inventory) Extend(ctx context.Context, ref Ref, expires time.Time) error {
	return inv.do(ctx, op{kind: extend, Ref: ref, entry: Entry{Expires: expires.UnixMilli()}})
}

// Release gives back what an order holds. An order that holds nothing is fine; one whose seats are sold is ErrSold.
func (inv *Inventory) Release(ctx context.Context, ref Ref) error {
	return inv.do(ctx, op{kind: release, Ref: ref})
}

// Return gives back what an order holds or has bought.
func (inv *Inventory) Return(ctx context.Context, ref Ref) error {
	return inv.do(ctx, op{kind: giveBack, Ref: ref})
}

// Keep gives back what an order holds or has bought beyond the lines, all of it if there are none. It never takes more.
func (inv *Inventory) Keep(ctx context.Context, ref Ref, lines []Line) error {
	return inv.do(ctx, op{kind: keep, Ref: ref, entry: Entry{Lines: lines}})
}

// Resize sets the quantities of an event, opening its pool if need be. revision is the event's: an older one than the
// pool's changes nothing. ErrBelow if any type would have less than is held and sold; then nothing changes.
func (inv *Inventory) Resize(ctx context.Context, event ids.Event, revision int64, quantities []Line) error {
	return inv.do(ctx, op{kind: resize, Ref: Ref{Event: event}, revision: revision, entry: Entry{Lines: quantities}})
}

func (inv *Inventory) do(ctx context.Context, o op) error {
	_, err := inv.ops.Do(ctx, o)
	return err
}

// Pool returns the state of an event's pool: the newest this instance has heard of. It returns ErrNoPool if there is none.
func (inv *Inventory) Pool(ctx context.Context, event ids.Event) (Pool, error) {
	p, ok := inv.cachedPool(event)
	if !ok {
		var err error
		if p, err = inv.loadPool(ctx, event); err != nil {
			return Pool{}, err
		}
	}
	if !p.exists {
		return Pool{}, ErrNoPool
	}
	return Pool{Revision: p.Revision, Types: slices.Clone(p.Types), Closed: p.Closed}, nil
}

// HeldBy returns how many orders of a person hold seats, as this instance sees it.
func (inv *Inventory) HeldBy(user ids.User) int {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.perUser[user]
}

func (inv *Inventory) cachedPool(event ids.Event) (poolAt, bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	p, ok := inv.pools[event]
	return p, ok
}
