package inventory

import (
	"container/heap"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Follow keeps this instance's view current with what all instances write, until ctx ends.
func (inv *Inventory) Follow(ctx context.Context) error {
	cons, err := inv.js.OrderedConsumer(ctx, Stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy})
	if err != nil {
		return err
	}
	sub, err := cons.Consume(inv.observe, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		inv.log.WarnContext(ctx, "inventory follower", "error", err)
	}))
	if err != nil {
		return err
	}
	<-ctx.Done()
	sub.Stop()
	<-sub.Closed()
	return nil
}

// observe takes over one message of the stream, unless something newer is known.
func (inv *Inventory) observe(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		return
	}
	seq := meta.Sequence.Stream
	key := strings.Split(strings.TrimPrefix(msg.Subject(), prefix), ".")
	deleted := msg.Headers().Get(operationHeader) != ""
	switch {
	case key[0] == "pool" && len(key) == 2:
		var p Pool
		if !deleted && json.Unmarshal(msg.Data(), &p) != nil {
			inv.log.Error("unreadable inventory message", "subject", msg.Subject(), "sequence", seq)
			return
		}
		inv.mu.Lock()
		inv.closeGap(ids.Event(key[1]), seq)
		inv.setPool(ids.Event(key[1]), poolAt{Pool: p, exists: !deleted, seq: seq, at: seq})
		close(inv.news)
		inv.news = make(chan struct{})
		inv.mu.Unlock()
	case key[0] == "order" && len(key) == 3:
		var e Entry
		if !deleted && json.Unmarshal(msg.Data(), &e) != nil {
			inv.log.Error("unreadable inventory message", "subject", msg.Subject(), "sequence", seq)
			return
		}
		inv.mu.Lock()
		inv.setEntry(Ref{ids.Event(key[1]), ids.Order(key[2])}, e, seq)
		inv.mu.Unlock()
	}
}

// closeGap takes note that all of an event was heard of up to a sequence. inv.mu must be held.
func (inv *Inventory) closeGap(event ids.Event, seq uint64) {
	if p := inv.pools[event]; p.gap != 0 && p.gap <= seq {
		p.gap = 0
		inv.pools[event] = p
	}
}

// setPool remembers a pool unless a newer state of it is known. inv.mu must be held.
func (inv *Inventory) setPool(event ids.Event, p poolAt) {
	old, ok := inv.pools[event]
	if ok && (p.at < old.at || p.at == old.at && p.seq == old.seq) {
		return
	}
	inv.pools[event] = p
}

// setEntry remembers a hold, or forgets it when the entry is not one any more. inv.mu must be held.
func (inv *Inventory) setEntry(ref Ref, e Entry, seq uint64) {
	if p := inv.pools[ref.Event]; p.gap == 0 && seq <= p.at {
		return // all holds of that time are known, and this one may have ended since
	}
	if old, ok := inv.held[ref.Order]; ok && old.seq >= seq {
		return
	}
	inv.drop(ref.Order)
	if e.State != Held {
		return
	}
	inv.held[ref.Order] = entryAt{Entry: e, event: ref.Event, seq: seq}
	inv.perUser[e.User]++
	heap.Push(&inv.expiry, expiring{at: e.Expires, expires: e.Expires, Ref: ref})
}

// drop forgets a hold. inv.mu must be held.
func (inv *Inventory) drop(order ids.Order) {
	old, ok := inv.held[order]
	if !ok {
		return
	}
	delete(inv.held, order)
	if inv.perUser[old.User]--; inv.perUser[old.User] <= 0 {
		delete(inv.perUser, old.User)
	}
}

// Expired removes from the queue, and returns, at most limit orders whose hold has ended by now. Who takes them must
// release them or, failing that, give them back with Requeue.
func (inv *Inventory) Expired(now time.Time, limit int) []Ref {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	var out []Ref
	for len(inv.expiry) > 0 && len(out) < limit && inv.expiry[0].at <= now.UnixMilli() {
		x := heap.Pop(&inv.expiry).(expiring)
		if e, ok := inv.held[x.Order]; ok && e.Expires == x.expires {
			out = append(out, x.Ref)
		}
	}
	return out
}

// Requeue puts an order back that could not be released, to be found again at that time.
func (inv *Inventory) Requeue(ref Ref, at time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if e, ok := inv.held[ref.Order]; ok {
		heap.Push(&inv.expiry, expiring{at: at.UnixMilli(), expires: e.Expires, Ref: ref})
	}
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
