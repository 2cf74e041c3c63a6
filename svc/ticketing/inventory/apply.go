package inventory

import (
	"maps"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

type opKind int

const (
	hold opKind = iota
	extend
	confirm
	release
	undo
	returnAll
	reduce
	mend
	sellLeased
	returnLeased
	moveLease
	mendLease
	setCode
	resize
	openPool
	openClosed
	reopen
	closePool
	rebase
)

// op is one change that a caller waits for.
type op struct {
	kind opKind
	Ref
	entry    Entry            // hold, mend: the entry to be; extend: Expires; reduce and those with a revision: Lines
	seen     Entry            // mend: the entry that it replaces
	revision int64            // resize, openPool, openClosed: of the event
	base     checkpoint       // rebase: the checkpoint that was written
	lease    *leaseOp         // those of leases
	terms    *Terms           // hold with a code, setCode
	quotas   []api.QuotaShare // those with quantities
}

// ofPool reports whether the operation is about a pool, and not about an order.
func (o *op) ofPool() bool { return o.kind >= moveLease }

// maxRecord is about how many bytes the changes of one commit may have.
const maxRecord = 256 << 10

// A round is the attempt to apply operations on an event in one commit: what was before, what will be, and what each
// operation will be told once the commit is accepted.
//
// The commit is written though nothing may have changed: when it is accepted, it proves that all answers, "sold out"
// among them, were true at that moment.
type round struct {
	Pool
	exists     bool
	before     *state
	checkpoint checkpoint
	after      map[ids.Order]Entry    // of the orders that were changed
	changed    []ids.Order            // in the order of change
	codes      map[ids.PromoCode]Code // that were changed
	size       int                    // of the changes, about
	in         []int                  // the indexes of the operations
	answers    []error                // one for each of them
}

func newRound(st *state) *round {
	return &round{Pool: st.clone(), exists: st.exists, before: st, checkpoint: st.checkpoint,
		after: map[ids.Order]Entry{}}
}

// roundEntry is an order that an operation is about.
type roundEntry struct {
	Ref
	before, after Entry
	changed       bool
}

// apply decides one operation. It reports false if the commit is full.
func (r *round) apply(o *op) bool {
	if r.size >= maxRecord {
		return false
	}
	if _, changed := r.codes[o.codeSet()]; changed {
		return false // a limit counts from a commit on, so that each record can be checked by itself
	}
	if o.ofPool() {
		r.answers = append(r.answers, r.adapt(o))
		return true
	}
	e := roundEntry{Ref: o.Ref, before: r.entry(o.Order)}
	r.answers = append(r.answers, r.change(o, &e))
	if e.changed {
		r.uses(&e)
		if o.kind == mend {
			r.mended(e.after.Code)
			r.mendedStages(e.after.Lines)
		}
		if _, again := r.after[o.Order]; !again {
			r.changed = append(r.changed, o.Order)
		}
		r.after[o.Order] = e.after
		r.size += e.after.size()
	}
	return true
}

func (r *round) entry(order ids.Order) Entry {
	if e, changed := r.after[order]; changed {
		return e
	}
	return r.before.orders[order]
}

// record returns what the commit writes.
func (r *round) record() record {
	r.Stages = slices.DeleteFunc(r.Stages, func(s Stage) bool { return s.taken() == 0 })
	rec := record{Pool: r.Pool, After: r.before.seq, Checkpoint: r.checkpoint, Orders: make([]change, len(r.changed))}
	for i, id := range r.changed {
		rec.Orders[i] = change{ID: id, Entry: r.after[id]}
		rec.Orders[i].Changed = 0
	}
	if len(r.codes) > 0 {
		for _, id := range slices.Sorted(maps.Keys(r.codes)) {
			rec.Codes = append(rec.Codes, r.codes[id])
		}
	}
	return rec
}

// change applies an operation on an order.
func (r *round) change(o *op, e *roundEntry) error {
	switch {
	case !r.exists:
		return ErrNoPool
	case r.Closed && (o.kind == returnAll || o.kind == reduce):
		return ErrClosed // the seats that it is about may be counted again in a moment
	}
	switch o.kind {
	case hold:
		return r.hold(o, e)
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
			r.add(e.before, e.before.Lines, -1, +1)
			after := e.before
			after.State, after.Expires = Sold, 0
			e.becomes(after)
			return nil
		}
		return ErrGone
	case release:
		switch e.before.State {
		case Sold:
			return ErrSold
		case Held:
			r.add(e.before, e.before.Lines, -1, 0)
			e.becomes(Entry{})
		}
		return nil
	case undo:
		if e.before.State == Held && e.before.Op == o.entry.Op {
			r.add(e.before, e.before.Lines, -1, 0)
			e.becomes(Entry{})
		}
		return nil
	case returnAll:
		switch e.before.State {
		case Sold:
			r.add(e.before, e.before.Lines, 0, -1)
			e.becomes(Entry{})
		case Held:
			r.add(e.before, e.before.Lines, -1, 0)
			e.becomes(Entry{})
		}
		return nil
	case reduce:
		r.reduce(o, e)
		return nil
	case mend:
		return r.mend(o, e)
	case sellLeased:
		return r.sellLeased(o, e)
	case returnLeased:
		r.returnLeased(o, e)
		return nil
	}
	return unknownOperation(o)
}

// reduce gives back what the order holds or has bought beyond the lines.
func (r *round) reduce(o *op, e *roundEntry) {
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
		r.add(e.before, []Line{{l.Type, l.N - kept, l.Stage}}, -held, -sold)
		if kept > 0 {
			after.Lines = append(after.Lines, Line{l.Type, kept, l.Stage})
		}
	}
	switch {
	case len(after.Lines) == 0:
		e.becomes(Entry{})
	case !slices.Equal(after.Lines, e.before.Lines):
		e.becomes(after)
	}
}

func (r *round) hold(o *op, e *roundEntry) error {
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
		return ErrHas
	}
	if r.Closed {
		return ErrClosed
	}
	return r.fill(o, e)
}

// fill gives an order that has nothing the seats of the operation, all or none.
func (r *round) fill(o *op, e *roundEntry) error {
	held, sold := o.entry.signs()
	if o.terms != nil && o.terms.Code != "" && o.kind == hold {
		c := r.know(o.terms)
		if c.full() {
			return ErrUsedUp
		}
		defer func() {
			if e.changed {
				r.putCode(c)
			}
		}()
	}
	for i, l := range o.entry.Lines {
		c := r.index(l.Type)
		if c < 0 || l.N <= 0 || r.free(c, o.entry.Code) < l.N {
			r.add(o.entry, o.entry.Lines[:i], -held, -sold)
			return ErrSoldOut
		}
		if l.Stage != "" && !r.hasPlaces(o, l) {
			r.add(o.entry, o.entry.Lines[:i], -held, -sold)
			return ErrStage
		}
		r.add(o.entry, o.entry.Lines[i:i+1], held, sold)
	}
	e.becomes(o.entry)
	return nil
}

// mend makes the entry of an order what it should be, if it is still the one that was seen.
func (r *round) mend(o *op, e *roundEntry) error {
	if !e.before.same(o.seen) {
		return errChanged
	}
	held, sold := e.before.signs()
	r.add(e.before, e.before.Lines, -held, -sold)
	if err := r.fill(o, e); err != nil {
		r.add(e.before, e.before.Lines, held, sold)
		return err
	}
	e.changed = e.before.State != "" || e.after.State != ""
	return nil
}

// add moves lines of an order into (+1) or out of (-1) the held and sold counts.
func (r *round) add(e Entry, lines []Line, held, sold int) {
	for _, l := range lines {
		i := r.index(l.Type)
		if i < 0 {
			continue
		}
		c := &r.Types[i]
		c.Held += held * l.N
		c.Sold += sold * l.N
		if l.Stage != "" {
			r.moveStage(l.Stage, held*l.N, sold*l.N)
		}
		if e.Code != "" {
			r.takes(e.Code, i, (held+sold)*l.N)
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

// same reports whether two entries are equal.
func (e Entry) same(other Entry) bool {
	return e.State == other.State && e.Expires == other.Expires && e.User == other.User && e.Op == other.Op &&
		e.Code == other.Code && slices.Equal(e.Lines, other.Lines)
}

// adapt applies an operation on the pool itself.
func (r *round) adapt(o *op) error {
	switch {
	case o.kind == openPool:
		return r.resize(o)
	case o.kind == openClosed && r.exists:
		return nil
	case o.kind == openClosed:
		r.Closed = true
		return r.resize(o)
	case !r.exists:
		return ErrNoPool
	}
	switch o.kind {
	case resize:
		return r.resize(o)
	case moveLease:
		return r.moveLease(o)
	case mendLease:
		return r.mendLease(o)
	case setCode:
		return r.setCode(o)
	case reopen:
		r.Closed = false
		return nil
	case closePool:
		if r.holds() {
			return ErrHeld
		}
		r.Closed = true
		return nil
	case rebase:
		if o.base.Seq <= r.checkpoint.Seq {
			return errChanged
		}
		r.checkpoint = o.base
		return nil
	}
	return unknownOperation(o)
}

func unknownOperation(o *op) error {
	return fault.New(fault.Internal, "unknown inventory operation %d", o.kind)
}
