package inventory

import (
	"encoding/json"
	"slices"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

type opKind int

const (
	take opKind = iota
	extend
	confirm
	release
	undo
	giveBack
	keep
	mend
	resize
	reopen
)

// op is one change that somebody asked for and waits for.
type op struct {
	kind opKind
	Ref
	entry    Entry    // take, mend: the entry to be; extend: Expires; keep, resize: Lines
	seen     uint64   // mend: the sequence of the entry that it replaces
	first    bool     // resize: only if there is no pool, which is closed then
	revision int64    // resize: of the event
	look     bool     // read the entry from the leader, whatever the cache says
	loaded   *entryAt // the entry as the leader had it
	loadedAt uint64   // the sequence of the pool before that
	asked    bool     // the leader was asked for the pool
	lost     int      // how often it was part of a batch that was refused
	lostAt   uint64   // the sequence of the pool in the last of them
}

// reread makes the next round read the operation's entry from the leader.
func (o *op) reread() {
	if !o.ofPool() {
		o.look, o.loaded, o.lost = true, nil, 0
	}
}

// ofPool reports whether the operation is about a pool, and not about an order.
func (o *op) ofPool() bool { return o.kind >= resize }

// view is what an instance believes of the pool and the entry that an operation is about.
type view struct {
	pool  poolAt
	entry entryAt

	// sure: if the pool is still at its sequence, the entry is what the leader has. Otherwise the entry may be old. An
	// operation that changes an old entry is refused with its batch; one that changes nothing would not be, and is not
	// decided by it.
	sure bool
}

// write is one message of a batch. The batch is accepted if the last message of every key has the expected sequence; 0
// means that there is none.
type write struct {
	key    string
	data   []byte
	delete bool
	expect uint64
}

func poolKey(e ids.Event) string { return "pool." + e.String() }
func orderKey(r Ref) string      { return "order." + r.Event.String() + "." + r.Order.String() }

// A round is the attempt to apply a list of operations in one batch: what is known before, what will be written, and
// what each operation will be told once the batch is accepted.
//
// Every pool that an operation looked at is written, changed or not: an accepted batch proves that all of its answers,
// "sold out" among them, were true at the moment of its commit.
type round struct {
	pools   map[ids.Event]*roundPool
	order   []ids.Event // pools in order of first use
	entries map[ids.Order]*roundEntry
	answers []error // one for each operation that is in the round
	size    int     // messages so far
}

type roundPool struct {
	Pool
	exists bool
	before poolAt        // what the round began with
	orders []*roundEntry // in the order of change
}

type roundEntry struct {
	Ref
	before  Entry
	seq     uint64 // 0: there is no entry
	after   Entry  // State "" means none
	changed bool
}

func newRound() *round {
	return &round{pools: map[ids.Event]*roundPool{}, entries: map[ids.Order]*roundEntry{}}
}

// apply decides one operation against the round's state. It reports false if the operation does not fit: the batch is
// full, or the order was changed by an earlier operation of it (a key is written at most once in a batch), or it would
// change nothing because of an entry that may be old.
func (r *round) apply(o op, v view) bool {
	p, seen := r.pools[o.Event]
	need := 1
	if !seen {
		need++
	}
	if _, again := r.entries[o.Order]; (again && !o.ofPool()) || r.size+need > maxBatch {
		return false
	}
	if !seen {
		p = &roundPool{Pool: Pool{Revision: v.pool.Revision, Types: slices.Clone(v.pool.Types), Closed: v.pool.Closed}, before: v.pool, exists: v.pool.exists}
	}
	var err error
	e := &roundEntry{Ref: o.Ref, before: v.entry.Entry, seq: v.entry.seq}
	if o.ofPool() {
		err = p.adapt(o)
	} else {
		err = p.change(o, e)
		if p.exists && !v.sure && !e.changed {
			return false
		}
	}
	if !seen {
		r.pools[o.Event] = p
		r.order = append(r.order, o.Event)
		r.size++
	}
	if e.changed {
		r.entries[o.Order] = e
		p.orders = append(p.orders, e)
		r.size++
	}
	r.answers = append(r.answers, err)
	return true
}

// change applies an operation on an order.
func (p *roundPool) change(o op, e *roundEntry) error {
	if !p.exists {
		return ErrNoPool
	}
	switch o.kind {
	case take:
		return p.take(o, e)
	case extend:
		switch e.before.State {
		case Sold:
			return ErrSold
		case Held:
			e.lasts(o.entry.Expires, e.before.Op)
			return nil
		}
		return ErrGone
	case confirm:
		switch e.before.State {
		case Sold:
			return nil
		case Held:
			p.add(e.before.Lines, -1, +1)
			e.becomes(Entry{State: Sold, Lines: e.before.Lines, User: e.before.User, Op: e.before.Op})
			return nil
		}
		return ErrGone
	case release:
		switch e.before.State {
		case Sold:
			return ErrSold
		case Held:
			p.add(e.before.Lines, -1, 0)
			e.becomes(Entry{})
		}
		return nil
	case undo:
		if e.before.State == Held && e.before.Op == o.entry.Op {
			p.add(e.before.Lines, -1, 0)
			e.becomes(Entry{})
		}
		return nil
	case giveBack:
		switch e.before.State {
		case Sold:
			p.add(e.before.Lines, 0, -1)
			e.becomes(Entry{})
		case Held:
			p.add(e.before.Lines, -1, 0)
			e.becomes(Entry{})
		}
		return nil
	case keep:
		p.keep(o, e)
		return nil
	case mend:
		return p.mend(o, e)
	}
	return fault.New(fault.Internal, "unknown inventory operation %d", o.kind)
}

// keep gives back what the order holds or has bought beyond the lines.
func (p *roundPool) keep(o op, e *roundEntry) {
	if e.before.State == "" {
		return
	}
	held, sold := e.before.signs()
	after := e.before
	after.Lines = nil
	for _, l := range e.before.Lines {
		kept := 0
		for _, k := range o.entry.Lines {
			if k.Type == l.Type {
				kept = min(k.N, l.N)
			}
		}
		p.add([]Line{{l.Type, l.N - kept}}, -held, -sold)
		if kept > 0 {
			after.Lines = append(after.Lines, Line{l.Type, kept})
		}
	}
	switch {
	case len(after.Lines) == 0:
		e.becomes(Entry{})
	case !slices.Equal(after.Lines, e.before.Lines):
		e.becomes(after)
	}
}

func (p *roundPool) take(o op, e *roundEntry) error {
	switch {
	case e.before.State == "":
	case e.before.Op == o.entry.Op: // it is done already: an earlier attempt whose answer was lost
		if e.before.State == Held && o.entry.State == Held {
			e.lasts(o.entry.Expires, e.before.Op)
		}
		return nil
	case o.entry.State == Held && slices.Equal(e.before.Lines, o.entry.Lines):
		if e.before.State == Held {
			e.lasts(o.entry.Expires, shared(e.Ref)) // it is of more than one call now: none of them may undo it
		}
		return nil
	default:
		return fault.New(fault.Conflict, "the order has seats already")
	}
	if p.Closed {
		return ErrClosed
	}
	return p.fill(o, e)
}

// fill gives an order that has nothing the seats of the operation, all or none.
func (p *roundPool) fill(o op, e *roundEntry) error {
	held, sold := o.entry.signs()
	for i, l := range o.entry.Lines {
		c := p.counts(l.Type)
		if c == nil || l.N <= 0 || c.Available() < l.N {
			p.add(o.entry.Lines[:i], -held, -sold)
			return ErrSoldOut
		}
		p.add(o.entry.Lines[i:i+1], held, sold)
	}
	e.becomes(o.entry)
	return nil
}

// mend makes the entry of an order what it should be, if it is still the one that was seen.
func (p *roundPool) mend(o op, e *roundEntry) error {
	if e.seq != o.seen {
		return errMoved
	}
	held, sold := e.before.signs()
	p.add(e.before.Lines, -held, -sold)
	if err := p.fill(o, e); err != nil {
		p.add(e.before.Lines, held, sold)
		return err
	}
	e.changed = e.before.State != "" || e.after.State != ""
	return nil
}

// signs are 1 for what the entry's lines count as, held or sold, and 0 otherwise.
func (e Entry) signs() (held, sold int) {
	switch e.State {
	case Held:
		return 1, 0
	case Sold:
		return 0, 1
	}
	return 0, 0
}

// add moves the lines into (+1) or out of (-1) the held and sold counts.
func (p *roundPool) add(lines []Line, held, sold int) {
	for _, l := range lines {
		if c := p.counts(l.Type); c != nil {
			c.Held += held * l.N
			c.Sold += sold * l.N
		}
	}
}

// lasts makes a hold last until expires, if that is later, with the mark op.
func (e *roundEntry) lasts(expires int64, op string) {
	after := e.before
	after.Expires, after.Op = max(after.Expires, expires), op
	if after.Expires != e.before.Expires || after.Op != e.before.Op {
		e.becomes(after)
	}
}

func (e *roundEntry) becomes(after Entry) { e.after, e.changed = after, true }

// adapt applies an operation on the pool itself.
func (p *roundPool) adapt(o op) error {
	switch {
	case o.kind == reopen:
		if !p.exists {
			return ErrNoPool
		}
		p.Closed = false
		return nil
	case o.first && p.exists:
		return nil
	case o.first:
		p.Closed = true
	}
	return p.resize(o)
}

func (p *roundPool) resize(o op) error {
	if p.exists && o.revision < p.Revision {
		return nil
	}
	next := make([]Counts, 0, len(o.entry.Lines))
	for _, q := range o.entry.Lines {
		c := Counts{Type: q.Type, Capacity: q.N}
		if old := p.counts(q.Type); old != nil {
			c.Held, c.Sold = old.Held, old.Sold
		}
		if c.Available() < 0 {
			return ErrBelow
		}
		next = append(next, c)
	}
	for _, old := range p.Types {
		kept := false
		for _, c := range next {
			kept = kept || c.Type == old.Type
		}
		if !kept && old.Held+old.Sold > 0 {
			return ErrBelow
		}
	}
	p.Types, p.Revision, p.exists = next, o.revision, true
	return nil
}

// writes returns the messages of the round. The orders of an event stand before its pool: a reader who has seen a pool
// message has seen all that it counts.
func (r *round) writes() ([]write, error) {
	out := make([]write, 0, r.size)
	for _, event := range r.order {
		p := r.pools[event]
		for _, e := range p.orders {
			w := write{key: orderKey(e.Ref), expect: e.seq, delete: e.after.State == ""}
			if !w.delete {
				data, err := json.Marshal(e.after)
				if err != nil {
					return nil, err
				}
				w.data = data
			}
			out = append(out, w)
		}
		if !p.exists {
			continue
		}
		data, err := json.Marshal(p.Pool)
		if err != nil {
			return nil, err
		}
		out = append(out, write{key: poolKey(event), data: data, expect: p.before.seq})
	}
	return out, nil
}
