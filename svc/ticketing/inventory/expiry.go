package inventory

import (
	"container/heap"
	"time"
)

// Expired removes from the queue, and returns, at most limit orders whose hold has ended by now. The caller must
// release them or, failing that, give them back with Requeue.
func (inv *Inventory) Expired(now time.Time, limit int) []Ref {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	var out []Ref
	for len(inv.expiry) > 0 && len(out) < limit && inv.expiry[0].at <= now.UnixMilli() {
		x := heap.Pop(&inv.expiry).(expiring)
		if e := inv.entry(x.Ref); e.State == Held && e.Expires == x.expires {
			out = append(out, x.Ref)
		}
	}
	return out
}

// Requeue puts an order back that could not be released, to be found again at that time.
func (inv *Inventory) Requeue(ref Ref, at time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if e := inv.entry(ref); e.State == Held {
		heap.Push(&inv.expiry, expiring{at: at.UnixMilli(), expires: e.Expires, Ref: ref})
	}
}

// entry returns what an order has, as far as is known. inv.mu must be held.
func (inv *Inventory) entry(ref Ref) Entry {
	if st := inv.states[ref.Event]; st != nil {
		return st.orders[ref.Order]
	}
	return Entry{}
}

// expiring is a hold in the queue of those that will end. Holds that ended otherwise are skipped when their turn comes.
type expiring struct {
	at      int64 // when to look at it, Unix milliseconds
	expires int64 // of the hold that is meant
	Ref
}

type expiryHeap []expiring

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiring)) }
func (h *expiryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
