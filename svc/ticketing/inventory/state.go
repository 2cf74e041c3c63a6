package inventory

import (
	"container/heap"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// state is what this instance knows of an event: exactly what a record left behind.
type state struct {
	Pool
	exists     bool
	seq        uint64 // of the record, or of the marker that deleted the pool; 0 if there is none
	at         uint64 // it was so at this sequence, which is seq unless there is no message
	newest     uint64 // the newest record that was delivered; above seq, there are some to replay
	checkpoint checkpoint
	orders     map[ids.Order]Entry // those that have seats; nil if they were not replayed
	gone       map[ids.Order]int64 // those without any since the checkpoint or soon before, in Unix seconds
	codes      map[ids.PromoCode]Code
	tail       tail
	ahead      []stored  // delivered before their turn
	saving     bool      // a checkpoint is being written
	used       time.Time // when it moved last
}

// tail measures the records since the checkpoint.
type tail struct{ records, bytes int }

// isExact reports whether operations can be decided by the state.
func (st *state) isExact() bool { return st != nil && st.orders != nil && st.newest <= st.seq }

// idleAfter is how long the orders of an event that has no holds stay in memory.
const idleAfter = 10 * time.Minute

// advance moves a state on by the next record. inv.mu must be held.
func (inv *Inventory) advance(event ids.Event, st *state, rec *stored) {
	for _, c := range rec.Orders {
		c.Changed = rec.at.Unix()
		inv.setEntry(Ref{event, c.ID}, st, c.Entry)
		st.note(c)
	}
	st.proceed(rec)
	st.used = inv.now()
}

// note remembers that an order has lost its seats.
func (st *state) note(c change) {
	switch {
	case c.State != "":
		delete(st.gone, c.ID)
	case st.gone == nil:
		st.gone = map[ids.Order]int64{c.ID: c.Changed}
	default:
		st.gone[c.ID] = c.Changed
	}
}

// proceed takes over all of a record but its orders.
func (st *state) proceed(rec *stored) {
	if rec.Checkpoint != st.checkpoint {
		st.checkpoint, st.tail = rec.Checkpoint, tail{}
	}
	st.tail.records++
	st.tail.bytes += rec.size
	for _, c := range rec.Codes {
		st.setCode(c)
	}
	st.Pool, st.exists, st.seq, st.at = rec.Pool, true, rec.seq, rec.seq
}

func (st *state) setCode(c Code) {
	if st.codes == nil {
		st.codes = map[ids.PromoCode]Code{}
	}
	st.codes[c.ID] = c
}

// maxAhead bounds what is kept of records that came before their turn.
const maxAhead = 1000

// pursue applies the records that came before their turn, as far as that is now. inv.mu must be held.
func (inv *Inventory) pursue(event ids.Event, st *state) {
	for i := range st.ahead {
		if rec := &st.ahead[i]; rec.After == st.seq {
			inv.advance(event, st, rec)
		}
	}
	st.ahead = slices.DeleteFunc(st.ahead, func(rec stored) bool { return rec.seq <= st.seq })
}

// replace makes a state what was replayed, unless more is known. inv.mu must be held.
func (inv *Inventory) replace(event ids.Event, next *state) {
	st := inv.states[event]
	if st == nil {
		st = &state{}
		inv.states[event] = st
	}
	if st.orders == nil && st.exists && next.exists { // the counters alone are known, and may be newer
		st.newest = max(st.newest, st.seq)
	} else if next.at < st.at || next.at == st.at && next.seq == st.seq && st.orders != nil {
		return
	}
	for order := range st.orders {
		if _, kept := next.orders[order]; !kept {
			inv.setEntry(Ref{event, order}, st, Entry{})
		}
	}
	if st.orders == nil {
		st.orders = make(map[ids.Order]Entry, len(next.orders))
	}
	for order, e := range next.orders {
		inv.setEntry(Ref{event, order}, st, e)
	}
	st.Pool, st.exists, st.seq, st.at = next.Pool, next.exists, next.seq, next.at
	st.checkpoint, st.tail, st.gone, st.codes = next.checkpoint, next.tail, next.gone, next.codes
	st.used = inv.now()
	if !st.exists {
		st.newest, st.ahead = 0, nil
	}
	inv.pursue(event, st)
}

// applyRecord takes over a record that is newer than the state. If it is not the next one, or the orders before it
// are not known, it takes over the counters, or notes that there is more to replay. inv.mu must be held.
func (inv *Inventory) applyRecord(event ids.Event, st *state, rec stored) {
	switch {
	case st.orders != nil && rec.After == st.seq:
		inv.advance(event, st, &rec)
		inv.pursue(event, st)
		return
	case st.orders == nil:
		st.Pool, st.exists, st.seq, st.at = rec.Pool, true, rec.seq, rec.seq
		if inv.loading[event] == 0 {
			return
		}
	default:
		st.newest = rec.seq
	}
	if len(st.ahead) < maxAhead {
		st.ahead = append(st.ahead, rec)
	}
}

// setEntry remembers what an order has. inv.mu must be held.
func (inv *Inventory) setEntry(ref Ref, st *state, e Entry) {
	old := st.orders[ref.Order]
	if old.State == Held {
		inv.held--
		if inv.perUser[old.User]--; inv.perUser[old.User] <= 0 {
			delete(inv.perUser, old.User)
		}
	}
	if e.State == "" {
		delete(st.orders, ref.Order)
		return
	}
	st.orders[ref.Order] = e
	if e.State != Held {
		return
	}
	inv.held++
	inv.perUser[e.User]++
	if old.State != Held || old.Expires != e.Expires {
		heap.Push(&inv.expiry, expiring{at: e.Expires, expires: e.Expires, Ref: ref})
	}
}

// evict drops the orders of events that have not been used for long. Those that hold seats stay. inv.mu must be held.
func (inv *Inventory) evict() {
	for _, st := range inv.states {
		if st.exists && st.orders != nil && !st.saving && !st.holds() && inv.now().Sub(st.used) > idleAfter {
			st.orders, st.gone, st.codes = nil, nil, nil
		}
	}
}

// reset makes this instance know nothing. inv.mu must be held.
func (inv *Inventory) reset() {
	clear(inv.states)
	clear(inv.perUser)
	inv.held, inv.expiry = 0, nil
}
