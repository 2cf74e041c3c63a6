package doors

import (
	"cmp"
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// The most tickets of one sale while the hub has not said how many, and the most in minor units that one may cost.
const (
	someOfSale = 20
	mostTotal  = 1e13
)

// checkSale returns a fault of code Invalid if a sale does not fit its event, with the fields that do not.
func (d *event) checkSale(s *api.NewSale) error {
	e, limit := &d.Offer.Event, cmp.Or(d.MaxPerOrder, someOfSale)
	var check fault.Check
	check.Field(len(s.Items) > 0, "items", "must name at least one ticket type")
	check.Field(len(s.Items) <= len(e.TicketTypes), "items", "has more entries than the event has ticket types")
	if err := check.Err(); err != nil {
		return err
	}
	tickets, units, total := 0, 0, int64(0)
	named := map[ids.TicketType]bool{}
	for i, item := range s.Items {
		field := fmt.Sprintf("items[%d]", i)
		t := e.TicketType(item.TicketTypeID)
		if t == nil {
			check.Field(false, field+".ticket_type_id", "is no ticket type of this event")
			continue
		}
		check.Field(!named[t.ID], field+".ticket_type_id", "is named twice")
		named[t.ID] = true
		check.Field(len(t.Includes) == 0, field+".ticket_type_id", "includes products, which this till does not sell "+
			"with tickets")
		check.Field(item.UnitPrice == nil, field+".unit_price", "is not for the till of a venue")
		check.Field(item.Quantity >= 1, field+".quantity", "must be at least 1")
		check.Field(item.Quantity <= limit, field+".quantity", "must be at most %d", limit)
		if t.MaxPerOrder > 0 {
			check.Field(item.Quantity <= t.MaxPerOrder, field+".quantity", "must be at most %d for this ticket type",
				t.MaxPerOrder)
		}
		if item.Quantity < 1 || item.Quantity > limit {
			continue
		}
		if !t.IsProduct() {
			tickets += item.Quantity
		}
		units += item.Quantity
		total += t.Price.Amount * int64(item.Quantity)
	}
	check.Field(units-tickets <= limit, "items", "must be at most %d products together", limit)
	if most := e.OrderRules.MaxPerOrder; most > 0 {
		limit = min(limit, most)
	}
	check.Field(tickets <= limit, "items", "must be at most %d tickets together", limit)
	check.Field(total <= mostTotal, "items", "the total is too large")
	check.Field(len(s.Attendees) <= tickets, "attendees", "has more entries than there are tickets")
	for i, a := range s.Attendees {
		field := fmt.Sprintf("attendees[%d]", i)
		a.Check(&check, field)
	}
	if err := check.Err(); err != nil { // without it the total means nothing
		return err
	}
	return s.Payment.Check(total)
}

// totalOf is what items cost together, which are of the event.
func totalOf(e *api.Event, items []api.NewOrderItem) api.Money {
	total := api.Money{Currency: e.TicketType(items[0].TicketTypeID).Price.Currency}
	for _, item := range items {
		total.Amount += e.TicketType(item.TicketTypeID).Price.Amount * int64(item.Quantity)
	}
	return total
}
