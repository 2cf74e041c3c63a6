package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Known is what the inventory has for an order: an entry, or a mark that one was deleted, and when that was written.
type Known struct {
	Entry
	At time.Time

	seq uint64
}

// Entries returns what the inventory has for the orders of an event. An order of which nothing is known is not in it.
func (inv *Inventory) Entries(ctx context.Context, event ids.Event) (map[ids.Order]Known, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out := map[ids.Order]Known{}
	cons, err := inv.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: prefix + "order." + event.String() + ".*"})
	if err != nil {
		return nil, unreachable(err)
	}
	if cons.CachedInfo().NumPending == 0 {
		return out, nil
	}
	messages, err := cons.Messages(jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return nil, unreachable(err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for next := uint64(1); ; next++ {
		msg, err := messages.Next()
		if err != nil {
			return nil, unreachable(errors.Join(err, ctx.Err()))
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		if meta.Sequence.Consumer != next {
			return nil, unreachable(fmt.Errorf("message %d of the entries came as %d", next, meta.Sequence.Consumer))
		}
		k := Known{At: meta.Timestamp, seq: meta.Sequence.Stream}
		if msg.Headers().Get(operationHeader) == "" {
			if err := json.Unmarshal(msg.Data(), &k.Entry); err != nil {
				return nil, fmt.Errorf("key %s: %w", msg.Subject(), err)
			}
		}
		out[ids.Order(msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:])] = k
		if meta.NumPending == 0 {
			return out, nil
		}
	}
}

// Mend makes the entry of an order what it should be, provided that it is still as known. It returns ErrSoldOut if there
// is no room for that, and a conflict if the entry is another by now.
func (inv *Inventory) Mend(ctx context.Context, ref Ref, known Known, should Entry) error {
	return inv.do(ctx, op{kind: mend, Ref: ref, look: true, seen: known.seq, entry: should})
}

// OpenClosed opens the pool of an event that has none. Nobody can have seats of it, except by Mend, until Reopen. A pool
// that exists stays as it is.
func (inv *Inventory) OpenClosed(ctx context.Context, event ids.Event, revision int64, quantities []Line) error {
	return inv.do(ctx, op{kind: resize, Ref: Ref{Event: event}, first: true, revision: revision, entry: Entry{Lines: quantities}})
}

// Reopen ends what OpenClosed began.
func (inv *Inventory) Reopen(ctx context.Context, event ids.Event) error {
	return inv.do(ctx, op{kind: reopen, Ref: Ref{Event: event}})
}
