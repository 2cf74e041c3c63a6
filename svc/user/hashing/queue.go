package hashing

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Class is what a hash is for. While hashes of both classes wait, each class gets every second slot.
type Class int

// The classes.
const (
	Login    Class = iota // to check a password
	Password              // to store a new one
	classes
)

// How many of a class may wait. Those for each slot bound the time: 64 hashes are about two seconds of a processor.
const (
	mostPerSlot = 64
	most        = 192 // in any case: fewer than an endpoint has workers, which would be another queue, without turns
	freePerSlot = 16  // of those who have not solved a challenge
	mostFree    = 48  // of these in any case
	blockMost   = 64  // from one block of addresses
)

// A block from which no password was served for a while goes first, once. So blocks that ask all the time keep others
// waiting for hardly longer than a hash takes. It is the way of fq_codel (RFC 8290) with sparse flows.
const (
	quietFor     = 10 * time.Second
	freshInRow   = 3 // blocks that go first, before it is the turn of another one
	blocksMemory = 4096
)

// ErrBusy is the error of Enter for a caller who would get a place by having solved a challenge.
var ErrBusy = errors.New("hashing: so many wait that a challenge is to be solved first")

// queue gives slots to those who wait. Within a class the blocks of addresses take turns, so a request waits for one
// hash of each other block at most, however many come from there.
type queue struct {
	now        func() time.Time
	slots      int
	most, free int // of a class that wait, and of these without a challenge
	shed       *observe.Counter

	mu      sync.Mutex
	running int
	waiting [classes]backlog
	last    Class                // that got a slot
	served  map[string]time.Time // blocks, and when they last got one
}

// backlog is those who wait for hashes of one class.
type backlog struct {
	waiting, free int      // all of them, and those without a challenge
	turns         []*block // that have a request waiting, the next one first
	fresh         int      // the first ones of turns, which were quiet before
	inRow         int      // how many of these had their turns one after the other
}

// block is a block of addresses, with those who wait from there.
type block struct {
	name    string
	waiting []*waiter // the first one first
	free    int       // of them
}

// waiter is a request that waits, free if it has solved no challenge. What comes on the channel is nil once it has a
// slot, or why it gets none.
type waiter struct {
	turn chan error
	free bool
}

func newQueue(slots int, metrics *observe.Registry, now func() time.Time) *queue {
	q := &queue{now: now, served: map[string]time.Time{}, slots: slots, most: min(slots*mostPerSlot, most),
		free: min(slots*freePerSlot, mostFree)}
	q.shed = metrics.Counter("starlight_user_password_shed_total",
		"Requests refused because too many waited for a password hash.")
	metrics.GaugeFunc("starlight_user_password_busy", "Requests that wait for a password hash or compute one.",
		func() float64 { return float64(q.busy()) })
	return q
}

func (q *queue) busy() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.running
	for _, l := range q.waiting {
		n += l.waiting
	}
	return n
}

// Block returns what takes turns with others: a /24 of IPv4, a /48 of IPv6, which is what one site has. Addresses that
// are none are one block together.
func Block(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	bits := 48
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		bits = 24
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}

// Enter waits for a slot and returns the function that gives it back. There is less room for those who have not proven
// to have solved a challenge; without room, Enter returns ErrBusy to them, else Unavailable or, if it is all taken by
// the own block, RateLimited. The room is shared by blocks: one that has little of it takes the place of the one that
// has most, whose last request is refused.
func (h *Hasher) Enter(ctx context.Context, c Class, address string, proven bool) (leave func(), err error) {
	return h.queue.enter(ctx, c, Block(address), proven)
}

// Load returns how many of a class wait for each one that may without a challenge.
func (h *Hasher) Load(c Class) float64 {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	return float64(h.queue.waiting[c].waiting) / float64(h.queue.free)
}

func (q *queue) enter(ctx context.Context, to Class, from string, proven bool) (leave func(), err error) {
	w, err := q.join(to, from, proven)
	if err != nil {
		return nil, err
	}
	select {
	case err := <-w.turn:
		if err != nil {
			return nil, err
		}
		return q.leave, nil
	case <-ctx.Done():
		q.abandon(to, from, w)
		return nil, ctx.Err()
	}
}

// join puts a request at the end of its block, or gives it a slot.
func (q *queue) join(to Class, from string, proven bool) (*waiter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &waiter{turn: make(chan error, 1), free: !proven}
	if q.running < q.slots { // then no request waits
		q.running++
		q.serve(from, w)
		return w, nil
	}
	l, b := &q.waiting[to], &block{name: from}
	if i := l.index(from); i >= 0 {
		b = l.turns[i]
	}
	var err error
	switch {
	case w.free && l.free >= q.free && !l.evict(b.free, freeOnly, ErrBusy):
		return nil, ErrBusy
	case len(b.waiting) >= blockMost:
		err = fault.New(fault.RateLimited, "too many passwords are being checked for your network").After(time.Second)
	case l.waiting >= q.most && !l.evict(len(b.waiting), all, errCrowded()):
		err = errCrowded()
	}
	if err != nil {
		q.shed.Inc()
		return nil, err
	}
	l.add(b, w, q.now().Sub(q.served[from]) >= quietFor)
	return w, nil
}

// serve gives a slot to a request.
func (q *queue) serve(from string, w *waiter) {
	now := q.now()
	if len(q.served) >= blocksMemory {
		maps.DeleteFunc(q.served, func(_ string, at time.Time) bool { return now.Sub(at) >= quietFor })
	}
	if len(q.served) >= blocksMemory { // so many that none is told from another one for a moment
		clear(q.served)
	}
	q.served[from] = now
	w.turn <- nil
}

func errCrowded() error {
	return fault.New(fault.Unavailable, "too many people are logging in").After(time.Second)
}

func (l *backlog) index(name string) int {
	return slices.IndexFunc(l.turns, func(b *block) bool { return b.name == name })
}

// add puts a request at the end of its block. A block that is not there yet comes last, or if it was quiet, as the last
// one of these.
func (l *backlog) add(b *block, w *waiter, quiet bool) {
	switch {
	case len(b.waiting) > 0:
	case quiet:
		l.turns = slices.Insert(l.turns, l.fresh, b)
		l.fresh++
	default:
		l.turns = append(l.turns, b)
	}
	b.waiting = append(b.waiting, w)
	l.count(b, w, 1)
}

// remove takes out a request of the block at a place of the turns.
func (l *backlog) remove(turn, i int) {
	b := l.turns[turn]
	l.count(b, b.waiting[i], -1)
	b.waiting = slices.Delete(b.waiting, i, i+1)
	if len(b.waiting) == 0 {
		l.drop(turn)
	}
}

// drop takes a block out.
func (l *backlog) drop(turn int) {
	l.turns = slices.Delete(l.turns, turn, turn+1)
	if turn < l.fresh {
		l.fresh--
	}
}

func (l *backlog) count(b *block, w *waiter, n int) {
	l.waiting += n
	if w.free {
		l.free += n
		b.free += n
	}
}

// Which requests evict looks at.
func all(*waiter) bool        { return true }
func freeOnly(w *waiter) bool { return w.free }

// evict refuses the last request of a kind of the block that has most of them, unless that leaves it with fewer than
// another block has that gets one more than n.
func (l *backlog) evict(n int, kind func(*waiter) bool, why error) bool {
	size := func(b *block) (n int) {
		for _, w := range b.waiting {
			if kind(w) {
				n++
			}
		}
		return n
	}
	longest := 0
	for i, b := range l.turns {
		if size(b) > size(l.turns[longest]) {
			longest = i
		}
	}
	b := l.turns[longest]
	if size(b) < n+2 {
		return false
	}
	for i, w := range slices.Backward(b.waiting) {
		if kind(w) {
			w.turn <- why
			l.remove(longest, i)
			return true
		}
	}
	return false
}

// leave gives a slot to whoever is next: of the other class than the last time, if somebody waits there.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range classes {
		q.last = (q.last + 1) % classes
		if from, w := q.waiting[q.last].next(); w != nil {
			q.serve(from, w)
			return
		}
	}
	q.running--
}

// next takes out the first one of the block whose turn it is, or returns nil. The block goes to the end.
func (l *backlog) next() (from string, w *waiter) {
	if len(l.turns) == 0 {
		return "", nil
	}
	turn := 0
	if l.inRow >= freshInRow && l.fresh < len(l.turns) {
		turn = l.fresh
	}
	if l.inRow++; turn >= l.fresh {
		l.inRow = 0
	}
	b := l.turns[turn]
	w = b.waiting[0]
	l.remove(turn, 0)
	if len(b.waiting) > 0 {
		l.drop(turn)
		l.turns = append(l.turns, b)
	}
	return b.name, w
}

// abandon takes a request out whose caller has gone. It may have got a slot meanwhile.
func (q *queue) abandon(to Class, from string, w *waiter) {
	if q.takeOut(to, from, w) {
		return
	}
	if err := <-w.turn; err == nil {
		q.leave()
	}
}

func (q *queue) takeOut(to Class, from string, w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.waiting[to]
	turn := l.index(from)
	if turn < 0 {
		return false
	}
	i := slices.Index(l.turns[turn].waiting, w)
	if i < 0 {
		return false
	}
	l.remove(turn, i)
	return true
}
