package inventory

import (
	"fmt"
	"math"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Quota is a number of seats that ticket types share. How many of them are taken is the sum over those types, so there
// is nothing that could differ from it.
type Quota struct {
	ID       ids.Quota `json:"i"`
	Capacity int       `json:"c"`
	Types    []int     `json:"t"` // those that draw on it, by their place in the pool
}

// Reserve is a number of seats that are kept for the holders of a code: of a ticket type, or of a quota.
type Reserve struct {
	Code  ids.PromoCode  `json:"i"`
	Type  ids.TicketType `json:"t,omitempty"`
	Quota ids.Quota      `json:"q,omitempty"`
	N     int            `json:"n"`
	Taken int            `json:"u"` // seats of it that orders with the code have; they may have more than are kept
}

// left is how many seats of the reserve nobody has taken.
func (r Reserve) left() int { return max(r.N-r.Taken, 0) }

// MaxReserves bounds what every record of an event carries of its codes.
const MaxReserves = 64

// Unsold returns the pool of an event of which nothing was ever held.
func Unsold(quantities []Line, quotas []api.QuotaShare) (p Pool) {
	for _, l := range quantities {
		p.Types = append(p.Types, Counts{Type: l.Type, Capacity: l.N})
	}
	p.setQuotas(quotas)
	return p
}

// Free returns how many tickets of a type can be held by an order with the code, or by any other order if there is
// none: the least that the type and its quotas have left, without what is kept for other codes.
func (p *Pool) Free(typ ids.TicketType, code ids.PromoCode) int {
	i := p.index(typ)
	if i < 0 {
		return 0
	}
	return p.free(i, code)
}

func (p *Pool) free(i int, code ids.PromoCode) int {
	n := p.Types[i].Available()
	if len(p.Quotas) == 0 && len(p.Reserves) == 0 {
		return n
	}
	own := -1 // the reserve that the ticket would be taken from
	if k := p.reserve(code); code != "" && k >= 0 && p.covers(p.Reserves[k], i) {
		own = k
	}
	for k, r := range p.Reserves {
		if k != own && r.Type == p.Types[i].Type {
			n -= r.left()
		}
	}
	for _, q := range p.Quotas {
		if slices.Contains(q.Types, i) {
			n = min(n, p.quotaLeft(q, own))
		}
	}
	return n
}

// Reserved returns how many tickets of a type are kept for holders of other codes.
func (p *Pool) Reserved(typ ids.TicketType, code ids.PromoCode) int {
	i, n := p.index(typ), 0
	for _, r := range p.Reserves {
		if i >= 0 && r.Code != code && p.covers(r, i) {
			n += r.left()
		}
	}
	return n
}

// quotaLeft returns what a quota has left without what is kept in reserves, but for the one at own.
func (p *Pool) quotaLeft(q Quota, own int) int {
	n := q.Capacity
	for _, i := range q.Types {
		c := p.Types[i]
		n -= c.Held + c.Sold + c.Leased
	}
	for k, r := range p.Reserves {
		if k != own && (r.Quota == q.ID || r.Type != "" && slices.Contains(q.Types, p.index(r.Type))) {
			n -= r.left()
		}
	}
	return n
}

func (p *Pool) index(typ ids.TicketType) int {
	return slices.IndexFunc(p.Types, func(c Counts) bool { return c.Type == typ })
}

func (p *Pool) quota(id ids.Quota) int {
	return slices.IndexFunc(p.Quotas, func(q Quota) bool { return q.ID == id })
}

func (p *Pool) reserve(code ids.PromoCode) int {
	return slices.IndexFunc(p.Reserves, func(r Reserve) bool { return r.Code == code })
}

// covers reports whether tickets of type i are taken from the reserve.
func (p *Pool) covers(r Reserve, i int) bool {
	if r.Type != "" {
		return p.Types[i].Type == r.Type
	}
	at := p.quota(r.Quota)
	return at >= 0 && slices.Contains(p.Quotas[at].Types, i)
}

// takes counts seats of type i that an order with the code has more, or fewer, in the code's reserve.
func (p *Pool) takes(code ids.PromoCode, i, n int) {
	if at := p.reserve(code); at >= 0 && p.covers(p.Reserves[at], i) {
		p.Reserves[at].Taken += n
	}
}

// overdrawn returns in words where a quota, or a type with what is kept of it, has less than nothing left.
func (p *Pool) overdrawn() (wrong []string) {
	for _, q := range p.Quotas {
		if left := p.quotaLeft(q, -1); left < 0 {
			wrong = append(wrong, fmt.Sprintf("quota %s has %d seats left of %d", q.ID, left, q.Capacity))
		}
	}
	for i, c := range p.Types {
		kept := 0
		for _, r := range p.Reserves {
			if r.Type == c.Type {
				kept += r.left()
			}
		}
		if c.Available()-kept < 0 {
			wrong = append(wrong, fmt.Sprintf("type %s has %d seats left, and %d are kept for codes", p.Types[i].Type,
				c.Available(), kept))
		}
	}
	return wrong
}

// setQuotas takes over the quotas of an event, after its types. Reserves of what is gone are gone.
func (p *Pool) setQuotas(shares []api.QuotaShare) {
	p.Quotas = nil
	for _, s := range shares {
		q := Quota{ID: s.ID, Capacity: s.Capacity, Types: []int{}}
		for _, t := range s.Types {
			if i := p.index(t); i >= 0 {
				q.Types = append(q.Types, i)
			}
		}
		p.Quotas = append(p.Quotas, q)
	}
	p.Reserves = slices.DeleteFunc(slices.Clone(p.Reserves), func(r Reserve) bool {
		return r.Type != "" && p.index(r.Type) < 0 || r.Quota != "" && p.quota(r.Quota) < 0
	})
}

// recountReserves counts anew what orders have taken of the reserves: which types draw on a quota may have changed.
func (r *round) recountReserves() {
	if len(r.Reserves) == 0 {
		return
	}
	for i := range r.Reserves {
		r.Reserves[i].Taken = 0
	}
	count := func(e Entry) {
		for _, l := range e.Lines {
			if i := r.index(l.Type); i >= 0 && e.State != "" && e.Code != "" {
				r.takes(e.Code, i, l.N)
			}
		}
	}
	for id, e := range r.before.orders {
		if _, changed := r.after[id]; !changed {
			count(e)
		}
	}
	for _, e := range r.after {
		count(e)
	}
}

func (r *round) resize(o *op) error {
	if r.exists && o.revision < r.Revision {
		return nil
	}
	next := make([]Counts, 0, len(o.entry.Lines))
	for _, q := range o.entry.Lines {
		c := Counts{Type: q.Type, Capacity: q.N}
		if old := r.counts(q.Type); old != nil {
			c.Held, c.Sold, c.Leased = old.Held, old.Sold, old.Leased
		}
		if c.Available() < 0 {
			return ErrBelow
		}
		next = append(next, c)
	}
	for _, old := range r.Types {
		kept := false
		for _, c := range next {
			kept = kept || c.Type == old.Type
		}
		if !kept && old.Held+old.Sold+old.Leased > 0 {
			return ErrBelow
		}
	}
	after := Pool{Types: next, Reserves: r.Reserves}
	after.setQuotas(o.quotas)
	if len(after.Quotas)+len(after.Reserves) > 0 {
		before := r.Pool
		r.Types, r.Quotas, r.Reserves = after.Types, after.Quotas, after.Reserves
		r.recountReserves()
		if len(r.overdrawn()) > 0 {
			r.Pool = before
			return ErrBelow
		}
	}
	r.Types, r.Quotas, r.Reserves = after.Types, after.Quotas, after.Reserves
	r.Revision, r.exists = o.revision, true
	return nil
}

// Stage counts the tickets that orders have at the price of a stage. The pool has those of which any order has some.
type Stage struct {
	ID       ids.Stage `json:"i"`
	Limit    int       `json:"c,omitempty"` // the most tickets; 0 is without bound
	Held     int       `json:"h"`
	Sold     int       `json:"s"`
	Revision int64     `json:"r,omitempty"` // of the event whose limit this is
}

// ErrStage is the answer to an order at the price of a stage that does not have so many tickets left. It is an
// ErrSoldOut to whoever cannot have another price.
var ErrStage = fault.Wrap(ErrSoldOut, fault.SoldOut, "not enough tickets are left at this price")

// taken is how many tickets orders have at the price of the stage.
func (s Stage) taken() int { return s.Held + s.Sold }

// newest returns the stage with the limit of terms, if those are newer.
func (s Stage) newest(terms Stage) Stage {
	if s.ID == "" || terms.Revision > s.Revision {
		s.ID, s.Limit, s.Revision = terms.ID, terms.Limit, terms.Revision
	}
	return s
}

// StageLeft returns how many tickets a stage has left by the newest limit: that of the terms, or of the pool.
func (p *Pool) StageLeft(terms Stage) int {
	s := p.stage(terms.ID).newest(terms)
	if s.Limit == 0 {
		return math.MaxInt
	}
	return s.Limit - s.taken()
}

// StageLeft returns how many tickets a stage has left, as this instance sees it.
func (inv *Inventory) StageLeft(event ids.Event, terms Stage) int {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if st := inv.states[event]; st != nil {
		return st.StageLeft(terms)
	}
	return (&Pool{}).StageLeft(terms)
}

// StagesOf returns at which stages an order has its seats, as this instance sees it, and whether it has any.
func (inv *Inventory) StagesOf(ref Ref) (stages map[ids.TicketType]ids.Stage, any bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	st := inv.states[ref.Event]
	if st == nil || st.orders[ref.Order].State == "" {
		return nil, false
	}
	stages = map[ids.TicketType]ids.Stage{}
	for _, l := range st.orders[ref.Order].Lines {
		stages[l.Type] = l.Stage
	}
	return stages, true
}

func (p *Pool) stage(id ids.Stage) Stage {
	if i := p.stageIndex(id); i >= 0 {
		return p.Stages[i]
	}
	return Stage{}
}

func (p *Pool) stageIndex(id ids.Stage) int {
	return slices.IndexFunc(p.Stages, func(s Stage) bool { return s.ID == id })
}

// hasPlaces reports whether a line has room in its stage, whose newest limit it takes over then. What SQL says that an
// order has is beyond question.
func (r *round) hasPlaces(o *op, l Line) bool {
	s := r.stage(l.Stage)
	if o.terms != nil {
		if i := slices.IndexFunc(o.terms.Stages, func(s Stage) bool { return s.ID == l.Stage }); i >= 0 {
			s = s.newest(o.terms.Stages[i])
		}
	}
	s.ID = l.Stage
	if s.Limit != 0 && s.taken()+l.N > s.Limit && o.kind != mend {
		return false
	}
	if i := r.stageIndex(l.Stage); i >= 0 {
		r.Stages[i] = s
	} else {
		r.Stages = append(r.Stages, s)
	}
	return true
}

// moveStage counts tickets that orders have more, or fewer, at the price of a stage.
func (p *Pool) moveStage(id ids.Stage, held, sold int) {
	i := p.stageIndex(id)
	if i < 0 {
		i, p.Stages = len(p.Stages), append(p.Stages, Stage{ID: id})
	}
	p.Stages[i].Held += held
	p.Stages[i].Sold += sold
}

// mendedStages lets stages at whose prices an order is known to have seats have so many.
func (r *round) mendedStages(lines []Line) {
	for _, l := range lines {
		if i := r.stageIndex(l.Stage); i >= 0 && r.Stages[i].Limit != 0 {
			r.Stages[i].Limit = max(r.Stages[i].Limit, r.Stages[i].taken())
		}
	}
}

func (t *tally) addStage(id ids.Stage, held, sold int) {
	s := t.stages[id]
	s.Held += held
	s.Sold += sold
	if t.stages[id] = s; s == (Stage{}) {
		delete(t.stages, id)
	}
}

// checkStages returns in words where the counter of a stage is not the sum over the orders.
func (t *tally) checkStages(p *Pool) (wrong []string) {
	for _, s := range p.Stages {
		if sum := t.stages[s.ID]; sum.Held != s.Held || sum.Sold != s.Sold {
			wrong = append(wrong, fmt.Sprintf("stage %s: the pool says held %d sold %d, its orders say held %d sold %d",
				s.ID, s.Held, s.Sold, sum.Held, sum.Sold))
		}
	}
	for id, sum := range t.stages {
		if p.stageIndex(id) < 0 {
			wrong = append(wrong, fmt.Sprintf("stage %s: the pool does not know it, its orders say held %d sold %d", id,
				sum.Held, sum.Sold))
		}
	}
	return wrong
}

// outgrown returns in words which stages have more tickets than they may, and than they had before.
func (p *Pool) outgrown(before *Pool) (wrong []string) {
	for _, s := range p.Stages {
		if s.Limit != 0 && s.taken() > max(s.Limit, before.stage(s.ID).taken()) {
			wrong = append(wrong, fmt.Sprintf("stage %s: it has %d tickets, and may have %d", s.ID, s.taken(), s.Limit))
		}
	}
	return wrong
}
