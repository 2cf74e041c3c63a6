package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// limits say how long a chain may be that has to be replayed, and how much of a checkpoint goes into one message.
type limits struct{ records, bytes, part int }

// The stream refuses commits of an event that has 65,535 records, so a chain is never cut short by that.
var defaultLimits = limits{records: 8192, bytes: 1 << 20, part: 256 << 10}

// exceeded reports whether a checkpoint of an event is due. Its size counts, so that an event with many orders is not
// written down again and again: what is written altogether is at most about twice what the commits write.
func (l limits) exceeded(st *state) bool {
	if st.saving || !st.isExact() || !st.exists {
		return false
	}
	return st.tail.records >= l.records || st.tail.bytes >= max(l.bytes, st.checkpoint.Bytes)
}

// goneFor is how long a checkpoint tells when an order lost its seats.
const goneFor = 5 * time.Minute

// checkpointWithin bounds the writing of one checkpoint.
const checkpointWithin = time.Minute

// saveCheckpoint writes down the orders of an event and purges the records before. When it fails, the chain stays as
// it is, and a later commit begins again.
func (inv *Inventory) saveCheckpoint(event ids.Event) {
	ctx, cancel := context.WithTimeout(inv.background, checkpointWithin)
	defer cancel()
	err := inv.checkpoint(ctx, event)
	inv.mu.Lock()
	if st := inv.states[event]; st != nil {
		if st.saving = false; err != nil {
			st.tail = tail{} // it is due again after as many records
		}
	}
	inv.mu.Unlock()
	switch {
	case err == nil:
		inv.metrics.checkpoints.Inc()
	case errors.Is(err, errChanged) || ctx.Err() != nil: // another instance has written one, or this one stops
	default:
		inv.log.InfoContext(ctx, "a checkpoint of the inventory was not written and will be tried again",
			"event", event, "error", err)
	}
}

// checkpoint publishes the parts, then names them in a commit, then purges what they replace. Parts that no record
// names mean nothing, so it may end at any point.
func (inv *Inventory) checkpoint(ctx context.Context, event ids.Event) error {
	cp, parts, err := inv.snapshot(event)
	if err != nil {
		return err
	}
	for i, data := range parts {
		// Only one instance may write a part: those of two need not go together.
		_, err := inv.js.Publish(ctx, cp.partSubject(event, strconv.Itoa(i)), data,
			jetstream.WithExpectLastSequencePerSubject(0))
		if err != nil && errors.Is(classify(err), errConflict) {
			return errChanged
		}
		if err != nil {
			return err
		}
	}
	if err := inv.do(ctx, op{kind: rebase, Ref: Ref{Event: event}, base: cp}); err != nil {
		return err
	}
	return inv.purgeBefore(ctx, event, cp)
}

// snapshot returns the orders of an event as the parts of a checkpoint.
func (inv *Inventory) snapshot(event ids.Event) (cp checkpoint, parts [][]byte, err error) {
	inv.mu.Lock()
	st := inv.states[event]
	if !st.isExact() || !st.exists {
		inv.mu.Unlock()
		return cp, nil, errChanged
	}
	cp.Seq = st.seq
	orders := make([]change, 0, len(st.orders))
	for id, e := range st.orders {
		orders = append(orders, change{id, e})
	}
	maps.DeleteFunc(st.gone, func(_ ids.Order, at int64) bool {
		return inv.now().
			Unix()-at > int64(goneFor/time.Second)
	})
	for id, at := range st.gone {
		orders = append(orders, change{id, Entry{Changed: at}})
	}
	codes := slices.Collect(maps.Values(st.codes))
	inv.mu.Unlock()
	for len(orders) > 0 {
		n, size := 0, 0
		for n < len(orders) && size < inv.limits.part {
			size += orders[n].size()
			n++
		}
		data, err := json.Marshal(part{Orders: orders[:n]})
		if err != nil {
			return cp, nil, fmt.Errorf("checkpoint of event %s: %w", event, err)
		}
		parts, orders = append(parts, data), orders[n:]
		cp.Parts++
		cp.Bytes += len(data)
	}
	for some := range slices.Chunk(codes, max(inv.limits.part/100, 1)) {
		data, err := json.Marshal(part{Orders: []change{}, Codes: some})
		if err != nil {
			return cp, nil, fmt.Errorf("checkpoint of event %s: %w", event, err)
		}
		parts = append(parts, data)
		cp.Parts++
		cp.Bytes += len(data)
	}
	return cp, parts, nil
}

// purgeBefore drops the records before a checkpoint and the checkpoints before it, whole or not. Those behind it may be
// under way at another instance.
func (inv *Inventory) purgeBefore(ctx context.Context, event ids.Event, cp checkpoint) error {
	err := inv.stream.Purge(ctx, jetstream.WithPurgeSubject(poolSubject(event)), jetstream.WithPurgeSequence(cp.Seq))
	if err != nil {
		return err
	}
	all := prefix + "checkpoint." + event.String() + "."
	info, err := streamInfo(ctx, inv.stream, jetstream.WithSubjectFilter(all+">"))
	if err != nil {
		return err
	}
	older := map[uint64]bool{}
	for subject := range info.State.Subjects {
		seq, _, _ := strings.Cut(strings.TrimPrefix(subject, all), ".")
		if n, err := strconv.ParseUint(seq, 10, 64); err == nil && n < cp.Seq {
			older[n] = true
		}
	}
	for seq := range older {
		parts := checkpoint{Seq: seq}.partSubject(event, "*")
		if err := inv.stream.Purge(ctx, jetstream.WithPurgeSubject(parts)); err != nil {
			return err
		}
	}
	return nil
}

// Retire forgets an event that is over: no order may have seats of it any more, and the bucket keeps nothing. It
// returns ErrHeld while seats are held. An event that has no pool is fine.
func (inv *Inventory) Retire(ctx context.Context, event ids.Event) error {
	switch err := inv.do(ctx, op{kind: closePool, Ref: Ref{Event: event}}); {
	case errors.Is(err, ErrNoPool):
		return nil
	case err != nil:
		return err
	}
	return inv.Drop(ctx, event)
}

// Drop deletes what the bucket keeps of an event. SQL knows what its orders should have: see Mend.
func (inv *Inventory) Drop(ctx context.Context, event ids.Event) error {
	for _, keys := range []string{"pool.%s", "checkpoint.%s.>", "order.%s.*"} { // the last are of an earlier edition
		if err := inv.stream.Purge(ctx, jetstream.WithPurgeSubject(prefix+fmt.Sprintf(keys, event))); err != nil {
			return unreachable(err)
		}
	}
	return inv.load(ctx, event)
}

// Events returns the events that have a pool, as this instance sees it.
func (inv *Inventory) Events() []ids.Event {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	out := make([]ids.Event, 0, len(inv.states))
	for event, st := range inv.states {
		if st.exists {
			out = append(out, event)
		}
	}
	return out
}
