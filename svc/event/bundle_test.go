package event

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Tickets come with products of their event, which are a part of each of their prices. A copy has them under its ids.
func TestTicketsIncludeProducts(t *testing.T) {
	w := start(t)
	n := draftOf("With a dinner")
	currency := n.TicketTypes[0].Price.Currency
	euros := func(minor int64) api.Money { return api.Money{Amount: minor, Currency: currency} }
	n.TicketTypes = append(n.TicketTypes[:1:1], api.NewTicketType{Kind: api.KindProduct, Name: "Dinner", Price: euros(4000),
		Quantity: 50})
	n.TicketTypes[0].Price = euros(12000)
	n.TicketTypes[0].Includes = []api.IncludeProduct{{TicketTypeID: "Dinner", Price: euros(3000)}}
	e := must(w, anna, api.CreateEvent, n)
	ticket, dinner := e.TicketTypes[0], e.TicketTypes[1]
	if i := ticket.Includes; len(i) != 1 || i[0].TicketTypeID != dinner.ID || i[0].Quantity != 1 || i[0].Price != euros(3000) {
		t.Fatalf("it includes %+v", i)
	}
	with := func(list ...api.IncludeProduct) api.PatchTicketType {
		return api.PatchTicketType{EventID: e.ID, ID: ticket.ID, Includes: codec.To(list)}
	}
	one := func(product string, n int, price api.Money) api.IncludeProduct {
		return api.IncludeProduct{TicketTypeID: product, Quantity: n, Price: price}
	}
	less, id := euros(2999), dinner.ID.String()
	early := api.PatchTicketType{EventID: e.ID, ID: ticket.ID, Stages: codec.To([]api.Stage{{Name: "Early", Price: less,
		Quantity: 5}})}
	first := api.PatchTicketType{EventID: e.ID, ID: dinner.ID, Stages: codec.To([]api.Stage{{Name: "First", Price: less,
		Quantity: 5}})}
	for field, req := range map[string]api.PatchTicketType{
		"includes[0].ticket_type_id": with(one(ticket.ID.String(), 1, less)),
		"includes[1].ticket_type_id": with(one(id, 1, less), one("Dinner", 1, less)),
		"includes[0].quantity":       with(one(id, 21, euros(1))),
		"includes[0].price.amount":   with(one(id, 1, euros(-1))),
		"includes[0].price.currency": with(one(id, 1, api.Money{Amount: 1, Currency: "XAF"})),
		"includes":                   with(one(id, 5, less)),
		"stages[0].price.amount":     early,
		"stages[0].quantity":         first,
	} {
		_, err := call(w, anna, api.UpdateTicketType, req)
		if f := fault.From(err); !fault.Is(err, fault.Invalid) || len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: ticket.ID, Price: &less}); !fault.Is(
		err, fault.Invalid) {
		t.Errorf("a price of less than the dinner: %v", err)
	}
	ref := api.TicketTypeRef{EventID: e.ID, ID: dinner.ID}
	if _, err := call(w, anna, api.DeleteTicketType, ref); !fault.Is(err, fault.Conflict) {
		t.Errorf("a product that a ticket includes was deleted: %v", err)
	}
	c := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: e.StartsAt.AddDate(0, 0, 7)})
	if i := c.TicketTypes[0].Includes; len(i) != 1 || i[0].TicketTypeID != c.TicketTypes[1].ID {
		t.Errorf("the copy includes %+v", i)
	}
	if again := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); again.TicketTypes[0].Includes[0].TicketTypeID != dinner.ID {
		t.Errorf("the copy has changed the event: %+v", again.TicketTypes[0])
	}
	if got := must(w, anna, api.UpdateTicketType, with()); len(got.TicketTypes[0].Includes) != 0 {
		t.Errorf("it includes %+v", got.TicketTypes[0].Includes)
	}
	must(w, anna, api.DeleteTicketType, ref)
}
