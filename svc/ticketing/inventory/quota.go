package inventory

import (
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
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
