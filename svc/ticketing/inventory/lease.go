package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Lease is a number of seats of one type that were taken out of the pool for a venue to sell. Every record has all
// leases of its event: they are few.
type Lease struct {
	ID   ids.Lease      `json:"i"`
	Type ids.TicketType `json:"t"`
	Left int            `json:"n"` // seats that are not sold

	// Revision is that of the last move, and Moved what came of it. So a move is decided once: whoever asks for it
	// again is told the same.
	Revision int64 `json:"r"`
	Moved    int   `json:"m"`

	Closed  bool  `json:"x,omitempty"`
	Changed int64 `json:"a"` // Unix seconds, by the clock of the instance that changed it last
}

// Take is a number of seats of a lease.
type Take struct {
	Lease ids.Lease `json:"lease"`
	N     int       `json:"n"`
}

var (
	// ErrOverLease is a sale of more seats than a lease has, or from one that is not known or closed.
	ErrOverLease = fault.New(fault.Conflict, "the lease does not have so many seats")

	// ErrStale is a move at a revision before the last one: what was decided at it is not known any more.
	ErrStale = fault.New(fault.Conflict, "the lease has moved on: if it stays so, starlight rebuild inventory mends it")
)

// ErrTooMany is the answer to a lease of an event that has MaxLeases.
var ErrTooMany = fault.New(fault.Conflict, "the event has %d leases, with those that were closed in the last %d "+
	"minutes, which is the most", MaxLeases, ClosedFor/time.Minute)

const (
	// MaxLeases bounds what every record of an event carries beside its orders.
	MaxLeases = 64

	// ClosedFor is how long a lease without seats is remembered at least, so that what is late finds it.
	ClosedFor = 10 * time.Minute
)

// leaseOp is what an operation says of leases.
type leaseOp struct {
	move Lease // moveLease: ID, Type, Revision, Moved, Closed; mendLease: what is to be
	seen Lease // mendLease: what it replaces
	take []Take
	over string // sellLeased: the tag of a sale that was made beside the lease
	now  int64
}

// MoveLease moves n seats from the pool into a lease, or with a negative n unsold ones back. The first move makes the
// lease. With closed it is the last. Each needs a revision greater than those before; what was decided at a revision is
// answered again. ErrSoldOut if the pool does not have as many, ErrOverLease if the lease does not.
func (inv *Inventory) MoveLease(
	ctx context.Context, event ids.Event, id ids.Lease, typ ids.TicketType, revision int64, n int, closed bool,
) error {
	return inv.do(ctx, op{kind: moveLease, Ref: Ref{Event: event}, lease: &leaseOp{now: inv.now().Unix(),
		move: Lease{ID: id, Type: typ, Revision: revision, Moved: n, Closed: closed}}})
}

// SellLeased makes seats of leases those of an order, all or none. It returns ErrOverLease if the leases do not have
// them. Doing it twice is fine.
func (inv *Inventory) SellLeased(ctx context.Context, ref Ref, user ids.User, take []Take) error {
	return inv.do(ctx, op{kind: sellLeased, Ref: ref, entry: Entry{State: Sold, User: user, Op: shared(ref)},
		lease: &leaseOp{take: take, over: beside(ref), now: inv.now().Unix()}})
}

// SellBeside takes seats from the pool for an order whose leases did not have them. From then on SellLeased of the
// order is ErrOverLease.
func (inv *Inventory) SellBeside(ctx context.Context, ref Ref, user ids.User, lines []Line) error {
	return inv.Sell(ctx, ref, user, lines, beside(ref), nil)
}

// ReturnLeased gives back all that an order has: to the leases as much as is said, and the rest to the pool. What a
// lease that is closed should get goes to the pool, too. An order that has nothing is fine.
func (inv *Inventory) ReturnLeased(ctx context.Context, ref Ref, give []Take) error {
	return inv.do(ctx, op{kind: returnLeased, Ref: ref, lease: &leaseOp{take: give, now: inv.now().Unix()}})
}

// MendLease makes a lease what it should be, provided that it is still as known; a known lease without an id is none.
// It returns ErrSoldOut if there is no room for that.
func (inv *Inventory) MendLease(ctx context.Context, event ids.Event, known, should Lease) error {
	return inv.do(ctx, op{kind: mendLease, Ref: Ref{Event: event},
		lease: &leaseOp{move: should, seen: known, now: inv.now().Unix()}})
}

// beside is the tag of a sale beside the leases of its order.
func beside(ref Ref) string { return "beside " + ref.Order.String() }

func (p *Pool) clone() Pool {
	return Pool{Revision: p.Revision, Types: slices.Clone(p.Types), Closed: p.Closed, Leases: slices.Clone(p.Leases),
		Quotas: p.Quotas, Reserves: slices.Clone(p.Reserves), Stages: slices.Clone(p.Stages)}
}

func (p *Pool) lease(id ids.Lease) *Lease {
	for i := range p.Leases {
		if p.Leases[i].ID == id {
			return &p.Leases[i]
		}
	}
	return nil
}

// checkLeases returns in words where leased is not the sum over the leases.
func (p *Pool) checkLeases() []string {
	var wrong []string
	sums := make(map[ids.TicketType]int, len(p.Leases))
	for _, l := range p.Leases {
		sums[l.Type] += l.Left
		if l.Left < 0 || l.Closed && l.Left > 0 {
			wrong = append(wrong, fmt.Sprintf("lease %s: %d seats left, closed %v", l.ID, l.Left, l.Closed))
		}
	}
	for _, c := range p.Types {
		if c.Leased != sums[c.Type] {
			wrong = append(wrong, fmt.Sprintf("type %s: the pool says leased %d, its leases say %d", c.Type, c.Leased,
				sums[c.Type]))
		}
		delete(sums, c.Type)
	}
	for t, n := range sums {
		if n != 0 {
			wrong = append(wrong, fmt.Sprintf("type %s: %d seats are leased of a type that is not there", t, n))
		}
	}
	return wrong
}

func (r *round) moveLease(o *op) error {
	m := o.lease.move
	l := r.lease(m.ID)
	switch {
	case l != nil && m.Revision < l.Revision:
		return ErrStale
	case l != nil && m.Revision == l.Revision && l.Moved == m.Moved:
		return nil
	case l != nil && m.Revision == l.Revision && m.Moved > 0:
		return ErrSoldOut
	case l != nil && m.Revision == l.Revision:
		return ErrOverLease
	case r.Closed && m.Moved > 0:
		return ErrClosed
	case l == nil && m.Moved < 0:
		return ErrOverLease
	}
	made := l == nil
	if made {
		var err error
		if l, err = r.addLease(m, o.lease.now); err != nil {
			return err
		}
	}
	c := r.counts(l.Type)
	if l.Left+m.Moved < 0 {
		return ErrOverLease // undecided: what the lease lacks may be on its way
	}
	l.Revision, l.Changed, l.Moved = m.Revision, o.lease.now, 0
	if c == nil || r.Free(l.Type, "") < m.Moved || l.Closed && m.Moved > 0 {
		l.Closed = l.Closed || made // there will be no second move of it
		return ErrSoldOut
	}
	l.Moved = m.Moved
	l.Left += m.Moved
	c.Leased += m.Moved
	if m.Closed {
		c.Leased -= l.Left
		l.Left, l.Closed = 0, true
	}
	return nil
}

// addLease makes an empty lease. If there are too many, the oldest goes that has no seats any more.
func (r *round) addLease(l Lease, now int64) (*Lease, error) {
	if len(r.Leases) >= MaxLeases {
		over := slices.IndexFunc(r.Leases, func(l Lease) bool {
			return l.Closed && now-l.Changed > int64(ClosedFor/time.Second)
		})
		if over < 0 {
			return nil, ErrTooMany
		}
		r.Leases = slices.Delete(r.Leases, over, over+1)
	}
	r.Leases = append(r.Leases, Lease{ID: l.ID, Type: l.Type})
	return &r.Leases[len(r.Leases)-1], nil
}

func (r *round) sellLeased(o *op, e *roundEntry) error {
	switch {
	case e.before.State == Sold && e.before.Op == o.entry.Op:
		return nil
	case e.before.State == Sold && e.before.Op == o.lease.over:
		return ErrOverLease
	case e.before.State != "":
		return ErrHas
	case r.Closed:
		return ErrClosed
	}
	after := o.entry
	for i, t := range o.lease.take {
		l := r.lease(t.Lease)
		if l == nil || t.N <= 0 || l.Left < t.N || r.counts(l.Type) == nil {
			for _, back := range o.lease.take[:i] {
				r.giveLease(r.lease(back.Lease), back.N, o.lease.now)
			}
			return ErrOverLease
		}
		r.giveLease(l, -t.N, o.lease.now)
		after.Lines = addLine(after.Lines, Line{Type: l.Type, N: t.N})
	}
	r.add(after, after.Lines, 0, +1)
	e.becomes(after)
	return nil
}

func (r *round) returnLeased(o *op, e *roundEntry) {
	if e.before.State == "" {
		return
	}
	held, sold := e.before.signs()
	r.add(e.before, e.before.Lines, -held, -sold)
	left := slices.Clone(e.before.Lines)
	for _, t := range o.lease.take {
		l := r.lease(t.Lease)
		if l == nil || l.Closed {
			continue
		}
		for i := range left {
			if left[i].Type == l.Type {
				n := min(t.N, left[i].N)
				left[i].N -= n
				r.giveLease(l, n, o.lease.now)
			}
		}
	}
	e.becomes(Entry{})
}

// giveLease moves seats into a lease that are nowhere at this moment, or out of it.
func (r *round) giveLease(l *Lease, n int, now int64) {
	l.Left += n
	l.Changed = now
	r.counts(l.Type).Leased += n
}

func (r *round) mendLease(o *op) error {
	should := o.lease.move
	l := r.lease(should.ID)
	switch {
	case l == nil && o.lease.seen.ID != "", l != nil && *l != o.lease.seen:
		return errChanged
	case l == nil:
		var err error
		if l, err = r.addLease(should, o.lease.now); err != nil {
			return err
		}
	}
	c := r.counts(l.Type)
	if c == nil || should.Left-l.Left > r.Free(l.Type, "") {
		if o.lease.seen.ID == "" {
			r.Leases = r.Leases[:len(r.Leases)-1]
		}
		return ErrSoldOut
	}
	c.Leased += should.Left - l.Left
	*l = should
	l.Changed = o.lease.now
	return nil
}

// addLine adds seats to lines, of which each type has one.
func addLine(lines []Line, l Line) []Line {
	for i := range lines {
		if lines[i].Type == l.Type {
			lines[i].N += l.N
			return lines
		}
	}
	return append(lines, l)
}
