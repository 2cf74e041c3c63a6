package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// operationHeader marks a deletion in a KV stream.
const operationHeader = "KV-Operation"

// loadPool reads a pool from the stream's leader.
func (inv *Inventory) loadPool(ctx context.Context, event ids.Event) (poolAt, error) {
	var p Pool
	found, err := inv.read(ctx, poolKey(event), &p)
	if err != nil {
		return poolAt{}, err
	}
	at := found.seq
	if at == 0 {
		// A sequence is needed at which there was none, lest it be believed over a pool that was opened meanwhile.
		if at, err = inv.lastSequence(ctx); err != nil {
			return poolAt{}, err
		}
		if found, err = inv.read(ctx, poolKey(event), &p); err != nil {
			return poolAt{}, err
		}
		at = max(at, found.seq)
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.setPool(event, poolAt{Pool: p, exists: found.exists, seq: found.seq, at: at, gap: at})
	return inv.pools[event], nil
}

// loadEntry reads an order's entry from the leader. One that was deleted comes back without a State, with the sequence
// of its delete marker.
func (inv *Inventory) loadEntry(ctx context.Context, ref Ref) (entryAt, error) {
	var e Entry
	found, err := inv.read(ctx, orderKey(ref), &e)
	return entryAt{Entry: e, event: ref.Event, seq: found.seq}, err
}

// message is the last one of a key: none (sequence 0), a delete marker, or a value.
type message struct {
	seq    uint64
	exists bool
}

// read fetches the last message of a key into v.
func (inv *Inventory) read(ctx context.Context, key string, v any) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg, err := inv.stream.GetLastMsgForSubject(ctx, prefix+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return message{}, nil
	}
	if err != nil {
		return message{}, unreachable(err)
	}
	if msg.Header.Get(operationHeader) != "" {
		return message{seq: msg.Sequence}, nil
	}
	if err := json.Unmarshal(msg.Data, v); err != nil {
		return message{}, fault.Wrap(fmt.Errorf("key %s: %w", key, err), fault.Internal, "the inventory holds something unreadable")
	}
	return message{seq: msg.Sequence, exists: true}, nil
}

// lastSequence returns the sequence of the stream's last message, from its leader.
func (inv *Inventory) lastSequence(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	info, err := inv.stream.Info(ctx)
	if err != nil {
		return 0, unreachable(err)
	}
	return info.State.LastSeq, nil
}

func unreachable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the inventory cannot be reached").After(time.Second)
}
