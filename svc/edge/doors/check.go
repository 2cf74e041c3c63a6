package doors

import (
	"fmt"
	"net/mail"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
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
		t := typeOf(e, item.TicketTypeID)
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
		text.CheckLine(&check, field+".name", a.Name, 0, 200)
		parsed, err := mail.ParseAddress(a.Email)
		check.Field(a.Email == "" || err == nil && parsed.Address == a.Email && len(a.Email) <= 254, field+".email",
			"is not an email address")
	}
	if err := check.Err(); err != nil { // without it the total means nothing
		return err
	}
	total := totalOf(e, s.Items).Amount
	switch s.Payment.Method {
	case api.PaidInCash, api.PaidByCard:
		check.Field(total > 0, "payment.method", "must be free: the tickets cost nothing")
	case api.PaidNot:
		check.Field(total == 0, "payment.method", "must be cash or card: the tickets cost something")
	default:
		check.Field(false, "payment.method", "must be cash, card or free")
	}
	text.CheckLine(&check, "payment.reference", s.Payment.Reference, 0, 100)
	return check.Err()
}

// totalOf is what items cost together, which are of the event.
func totalOf(e *api.Event, items []api.NewOrderItem) api.Money {
	total := api.Money{Currency: typeOf(e, items[0].TicketTypeID).Price.Currency}
	for _, item := range items {
		total.Amount += typeOf(e, item.TicketTypeID).Price.Amount * int64(item.Quantity)
	}
	return total
}

func typeOf(e *api.Event, id ids.TicketType) *api.TicketType {
	for i := range e.TicketTypes {
		if e.TicketTypes[i].ID == id {
			return &e.TicketTypes[i]
		}
	}
	return nil
}
