package inventory

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// probeSubject is written to see whether the stream takes writes. It says nothing of any seat.
const probeSubject = prefix + "probe"

// Probe returns an error while the stream takes no writes. A server whose disk was full goes on refusing them for a
// stream until it is started again, while other streams work.
func (inv *Inventory) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg := &nats.Msg{Subject: probeSubject, Data: []byte(inv.now().UTC().Format(time.RFC3339)),
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}} // the one before it goes
	if _, err := inv.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("the inventory takes no writes: %w", err)
	}
	return nil
}
