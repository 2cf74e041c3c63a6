package inventory

import (
	"context"
	"fmt"
	"time"
)

// probeKey is written to see whether the stream takes writes. It says nothing of any seat.
const probeKey = "probe"

// Probe returns an error while the stream takes no writes. A server whose disk was full goes on refusing them for a stream
// until it is started again, while other streams work.
func (inv *Inventory) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := inv.js.Publish(ctx, prefix+probeKey, []byte(inv.now().UTC().Format(time.RFC3339))); err != nil {
		return fmt.Errorf("the inventory takes no writes: %w", err)
	}
	return nil
}
