package inventory

import (
	"context"
	"errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Entries returns what the inventory has for the orders of an event, and those that lost their seats of late.
func (inv *Inventory) Entries(ctx context.Context, event ids.Event) (map[ids.Order]Entry, error) {
	h, err := currentHistory(ctx, inv.stream, event)
	if errors.Is(err, ErrNoPool) {
		return map[ids.Order]Entry{}, nil
	}
	if err != nil {
		return nil, err
	}
	known := make(map[ids.Order]Entry, len(h.base))
	for _, c := range h.base {
		known[c.ID] = c.Entry
	}
	for _, rec := range h.records {
		for _, c := range rec.Orders {
			c.Changed = rec.at.Unix()
			known[c.ID] = c.Entry
		}
	}
	return known, nil
}

// Mend makes the entry of an order what it should be, provided that it is still as known. It returns ErrSoldOut if
// there is no room for that, and a conflict if the entry is another by now.
func (inv *Inventory) Mend(ctx context.Context, ref Ref, known, should Entry) error {
	return inv.do(ctx, op{kind: mend, Ref: ref, seen: known, entry: should})
}

// OpenClosed opens the pool of an event that has none. No order can have seats of it, except by Mend, until Reopen. A
// pool that exists stays as it is.
func (inv *Inventory) OpenClosed(
	ctx context.Context, event ids.Event, revision int64, quantities []Line, quotas ...api.QuotaShare,
) error {
	return inv.do(ctx, op{kind: openClosed, Ref: Ref{Event: event}, revision: revision,
		entry: Entry{Lines: quantities}, quotas: quotas})
}

// Reopen ends what OpenClosed began.
func (inv *Inventory) Reopen(ctx context.Context, event ids.Event) error {
	return inv.do(ctx, op{kind: reopen, Ref: Ref{Event: event}})
}
