package doors

import (
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// mostOfSale bounds the tickets of one sale. The hub's own limit is a setting there, which the venue does not have.
const mostOfSale = 50

// checkSale returns a fault of code Invalid if a sale does not fit its event, with the fields that do not.
func checkSale(e *api.Event, s *api.NewSale) error {
	var check fault.Check
	check.Field(len(s.Items) > 0, "items", "must name at least one ticket type")
	check.Field(len(s.Items) <= len(e.TicketTypes), "items", "has more entries than the event has ticket types")
	if err := check.Err(); err != nil {
		return err
	}
	tickets := 0
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
		check.Field(item.Quantity >= 1, field+".quantity", "must be at least 1")
		most := mostOfSale
		if t.MaxPerOrder > 0 {
			most = min(most, t.MaxPerOrder)
		}
		check.Field(item.Quantity <= most, field+".quantity", "must be at most %d", most)
		tickets += max(0, min(item.Quantity, mostOfSale))
	}
	check.Field(tickets <= mostOfSale, "items", "must be at most %d tickets together", mostOfSale)
	check.Field(len(s.Attendees) <= tickets, "attendees", "has more entries than there are tickets")
	for i, a := range s.Attendees {
		field := fmt.Sprintf("attendees[%d]", i)
		a.Check(&check, field)
	}
	if err := check.Err(); err != nil { // without it the total means nothing
		return err
	}
	return s.Payment.Check(totalOf(e, s.Items).Amount)
}

// totalOf is what items cost together, which are of the event.
func totalOf(e *api.Event, items []api.NewOrderItem) api.Money {
	total := api.Money{Currency: e.TicketType(items[0].TicketTypeID).Price.Currency}
	for _, item := range items {
		total.Amount += e.TicketType(item.TicketTypeID).Price.Amount * int64(item.Quantity)
	}
	return total
}
