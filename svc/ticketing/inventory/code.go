package inventory

import (
	"context"
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// ErrUsedUp is the answer to an order with a code that may not be used once more.
var ErrUsedUp = fault.New(fault.SoldOut, "the promo code has been used as often as it may be")

// ErrTooManyReserves is the answer to a code of an event that keeps seats for MaxReserves of them.
var ErrTooManyReserves = fault.New(fault.Conflict, "the event keeps seats for %d codes, which is the most", MaxReserves)

// Code counts the orders that use a code: those that have seats. A record has those that it changed.
type Code struct {
	ID       ids.PromoCode `json:"i"`
	Limit    int           `json:"c"` // the most uses; 0 is without bound, NoUses is none
	Held     int           `json:"h"`
	Sold     int           `json:"s"`
	Revision int64         `json:"r"` // of the code whose limit this is
}

// NoUses is the limit of a code that may not be used any more.
const NoUses = -1

// Terms are what the use of a code, and the prices of stages, depend on.
type Terms struct {
	Code     ids.PromoCode
	Limit    int
	Revision int64 // of the code; older terms than those that are known do not count

	// Keep is for SetCode: seats that only holders of the code get. Without any there are none.
	Keep Reserve

	// Stages are those at whose prices the seats are: an order may have them without a code.
	Stages []Stage
}

// used is how many orders use the code.
func (c Code) used() int { return c.Held + c.Sold }

// full reports whether no further order may use the code.
func (c Code) full() bool { return c.Limit != 0 && c.used() >= c.Limit }

// SetCode tells the limit of a code, and how many seats are kept for its holders. A limit below what is used lets no
// further order use it. ErrSoldOut if there are not so many seats, ErrNoPool if the event has no pool.
func (inv *Inventory) SetCode(ctx context.Context, event ids.Event, terms Terms) error {
	return inv.do(ctx, op{kind: setCode, Ref: Ref{Event: event}, terms: &terms})
}

// Code returns how often a code is used, as this instance sees it.
func (inv *Inventory) Code(event ids.Event, code ids.PromoCode) Code {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if st := inv.states[event]; st != nil {
		return st.codes[code]
	}
	return Code{}
}

func (r *round) code(id ids.PromoCode) Code {
	if c, changed := r.codes[id]; changed {
		return c
	}
	return r.before.codes[id]
}

func (r *round) putCode(c Code) {
	if r.codes == nil {
		r.codes = map[ids.PromoCode]Code{}
	}
	if _, again := r.codes[c.ID]; !again {
		r.size += 120
	}
	r.codes[c.ID] = c
}

// know takes over terms that are newer than those that are known, and returns the code.
func (r *round) know(terms *Terms) Code {
	c := r.code(terms.Code)
	if c.ID == "" || terms.Revision > c.Revision {
		c.ID, c.Limit, c.Revision = terms.Code, terms.Limit, terms.Revision
	}
	return c
}

// uses counts what an order uses after a change, instead of what it used before.
func (r *round) uses(e *roundEntry) {
	if e.before.Code == "" && e.after.Code == "" {
		return
	}
	for sign, entry := range map[int]Entry{-1: e.before, +1: e.after} {
		held, sold := entry.signs()
		if entry.Code == "" || held+sold == 0 {
			continue
		}
		c := r.code(entry.Code)
		c.ID = entry.Code
		c.Held += sign * held
		c.Sold += sign * sold
		r.putCode(c)
	}
}

// mended lets a code that an order is known to have used have so many uses.
func (r *round) mended(code ids.PromoCode) {
	if c := r.code(code); code != "" && c.Limit != 0 && c.used() > c.Limit {
		c.Limit = c.used()
		r.putCode(c)
	}
}

// codeSet returns the code whose limit the operation sets, or "".
func (o *op) codeSet() ids.PromoCode {
	if o.kind == setCode {
		return o.terms.Code
	}
	return ""
}

func (r *round) setCode(o *op) error {
	t := o.terms
	if c := r.code(t.Code); c.ID != "" && t.Revision < c.Revision {
		return nil
	}
	if err := r.keep(t); err != nil {
		return err
	}
	c := r.know(t)
	c.Limit, c.Revision = t.Limit, t.Revision
	r.putCode(c)
	return nil
}

// keep makes the reserve of a code what the terms say, if there is room.
func (r *round) keep(t *Terms) error {
	before := slices.Clone(r.Reserves)
	if i := r.reserve(t.Code); i >= 0 {
		r.Reserves = slices.Delete(slices.Clone(r.Reserves), i, i+1)
	}
	if t.Keep.N <= 0 {
		return nil
	}
	keep := t.Keep
	keep.Code, keep.Taken = t.Code, 0
	known := keep.Type != "" && r.index(keep.Type) >= 0 || keep.Type == "" && r.quota(keep.Quota) >= 0
	r.Reserves = append(r.Reserves, keep)
	r.recountReserves()
	switch {
	case len(r.Reserves) > MaxReserves && len(r.Reserves) > len(before):
		r.Reserves = before
		return ErrTooManyReserves
	case !known || len(r.overdrawn()) > 0:
		r.Reserves = before
		return ErrSoldOut
	}
	return nil
}

// codeTally counts the orders of a code, and their seats.
type codeTally struct {
	held, sold int
	seats      map[ids.TicketType]int
}

func (t *tally) addCode(e Entry, sign int) {
	c := t.codes[e.Code]
	if c == nil {
		c = &codeTally{seats: map[ids.TicketType]int{}}
		t.codes[e.Code] = c
	}
	held, sold := e.signs()
	c.held += sign * held
	c.sold += sign * sold
	for _, l := range e.Lines {
		c.seats[l.Type] += sign * (held + sold) * l.N
	}
}

// checkCode returns in words where a code's counter is not the sum over the orders.
func (t *tally) checkCode(c Code) []string {
	sum := codeTally{}
	if s := t.codes[c.ID]; s != nil {
		sum = *s
	}
	if c.Held != sum.held || c.Sold != sum.sold {
		return []string{fmt.Sprintf("code %s: its counter says held %d sold %d, its orders say held %d sold %d", c.ID,
			c.Held, c.Sold, sum.held, sum.sold)}
	}
	return nil
}

// checkReserves returns in words where what is taken of a reserve is not the sum over the orders.
func (t *tally) checkReserves(p *Pool) (wrong []string) {
	for _, r := range p.Reserves {
		taken := 0
		if c := t.codes[r.Code]; c != nil {
			for typ, n := range c.seats {
				if i := p.index(typ); i >= 0 && p.covers(r, i) {
					taken += n
				}
			}
		}
		if taken != r.Taken || r.N < 0 {
			wrong = append(wrong, fmt.Sprintf("code %s: %d of the %d seats that are kept for it are taken, its orders "+
				"say %d", r.Code, r.Taken, r.N, taken))
		}
	}
	return wrong
}
