package ticketing

import (
	"context"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
)

// billingOf returns whom the invoices of paid orders are made out to.
func billingOf(ctx context.Context, tx tx, in []receipt) (map[ids.Order]*api.Billing, error) {
	var orders []ids.Order
	for _, r := range in {
		if r.offer != nil && r.offer.Organizer.Selling.Invoices {
			orders = append(orders, r.order)
		}
	}
	return invoices.Billing(ctx, tx, orders)
}

// addCredit adds the credit notes of what goes back of orders that have invoices.
func addCredit(ctx context.Context, tx tx, decisions []decision, notes *invoices.Batch, now time.Time) error {
	var orders []ids.Order
	for _, d := range decisions {
		if d.due.Amount.Amount > 0 {
			orders = append(orders, d.row.ID)
		}
	}
	issued, err := notes.Newest(ctx, tx, orders)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		if of, ok := issued[d.row.ID]; ok && d.due.Amount.Amount > 0 {
			notes.Refund(of, d.due, d.returned(), now)
		}
	}
	return nil
}

// returned is the tickets that a decision revokes, as a credit note has them.
func (d *decision) returned() (list []invoices.Returned) {
	for _, t := range d.revoked {
		r := invoices.Returned{Name: t.TypeName, Quantity: 1}
		if line, _, ok := d.row.lineAt(t.Position); ok && d.row.Items[line].Tax != nil {
			r.Rate = d.row.Items[line].Tax.Rate
		}
		i := slices.IndexFunc(list, func(o invoices.Returned) bool { return o.Name == r.Name && o.Rate == r.Rate })
		if i >= 0 {
			list[i].Quantity++
			continue
		}
		list = append(list, r)
	}
	return list
}
