package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// leaseRow is what an audit reads of a lease.
type leaseRow struct {
	ID             ids.Lease
	EventID        ids.Event
	TicketTypeID   ids.TicketType
	Quantity, Sold int
	Moving         int
	Due            bool
	UpdatedAt      time.Time
}

func (r *records) readLeases(ctx context.Context, tx bun.Tx) error {
	var sales []struct{ Sale line.Sale }
	if err := tx.NewRaw("SELECT sale FROM venue_sales WHERE state = 'leased'").Scan(ctx, &sales); err != nil {
		return err
	}
	r.leaseSales = map[ids.Lease]int{}
	for _, s := range sales {
		for _, l := range s.Sale.Lines {
			r.leaseSales[l.LeaseID] += l.Quantity
		}
	}
	return tx.NewRaw(`SELECT id, event_id, ticket_type_id, quantity, sold, moving, due, updated_at
		FROM leases`).Scan(ctx, &r.leases)
}

// auditLeases compares the leases with the stock and with the inventory.
func (r *records) auditLeases(ledger *inventory.Ledger) Finding {
	f := Finding{Check: "leases: what is sold of them is the sum of their sales, and what is unsold is what the " +
		"stock and the inventory count as leased"}
	left := map[ids.TicketType]int{}
	kept := map[ids.Lease]inventory.Lease{}
	for _, row := range r.stock {
		for _, l := range ledger.Leases(row.EventID) {
			kept[l.ID] = l
		}
	}
	for _, row := range r.leases {
		left[row.TicketTypeID] += row.Quantity - row.Sold
		if row.Sold != r.leaseSales[row.ID] {
			f.Broken = append(f.Broken, fmt.Sprintf("lease %s has sold %d, and the sales from it are %d", row.ID,
				row.Sold, r.leaseSales[row.ID]))
		}
		delete(r.leaseSales, row.ID)
		have := kept[row.ID]
		delete(kept, row.ID)
		if r.retired[row.EventID] {
			continue
		}
		f.Compared++
		if have.Left == row.Quantity-row.Sold && !row.Due {
			continue
		}
		text := fmt.Sprintf("lease %s has %d of %d seats left, with a move of %d due: %v; the inventory says %d",
			row.ID, row.Quantity-row.Sold, row.Quantity, row.Moving, row.Due, have.Left)
		changed := time.Unix(have.Changed, 0)
		if row.UpdatedAt.After(changed) {
			changed = row.UpdatedAt
		}
		if ledger.ReadAt.Sub(changed) > OnItsWay {
			f.Broken = append(f.Broken, text)
		} else {
			f.Pending = append(f.Pending, text)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.leaseSales)) {
		f.Broken = append(f.Broken, fmt.Sprintf("%d seats were sold from lease %s, which does not exist",
			r.leaseSales[id], id))
	}
	for _, row := range r.stock {
		if row.Leased != left[row.TicketTypeID] {
			f.Broken = append(f.Broken, fmt.Sprintf("ticket type %s: the stock says %d leased, its leases have %d left",
				row.TicketTypeID, row.Leased, left[row.TicketTypeID]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		if kept[id].Left != 0 {
			f.Broken = append(f.Broken, fmt.Sprintf("lease %s has %d seats and does not exist", id, kept[id].Left))
		}
	}
	return f
}
