package system_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Products on pages without scripts: the office makes them, the shop shows them beside the tickets, the checkout asks for
// them in a step of its own, the order shows their codes apart from the tickets, and the door hands them out once.
func TestProductPages(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	s.unlimited(s.login(adminEmail))
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password).must(t, 200)
	mina := s.login("mina@example.org")
	event := s.concert(mina, 20, 0)
	at, id := "/office/events/"+event.ID.String(), event.ID.String()
	add := func(more ...string) {
		t.Helper()
		b.send(at+"/ticket-types", append([]string{"kind", "product", "price", "0", "currency", "EUR", "quantity", "9"},
			more...)...).must(t, 200)
	}
	b.send(at+"/ticket-types", "kind", "product", "name", "Parking", "price", "x", "currency", "EUR", "quantity", "9").
		must(t, 400, "price")
	add("name", "Parking", "per", "order")
	add("name", "M", "group", "T-shirt", "per", "ticket", "required", "yes")
	add("name", "L", "group", "T-shirt", "per", "ticket", "required", "yes")
	e := call[api.Event](s, 200, "GET", "/v1/events/"+id, mina, nil)
	if len(e.TicketTypes) != 4 || e.TicketTypes[3].Group != "T-shirt" || !e.TicketTypes[3].Required ||
		e.TicketTypes[1].Per != api.PerOrder {
		t.Fatalf("%+v", e.TicketTypes)
	}
	parking, m, l := e.TicketTypes[1], e.TicketTypes[2], e.TicketTypes[3]
	typ := at + "/ticket-types/" + parking.ID.String()
	b.get(typ).must(t, 200, `name="per"`, "Parking")
	b.send(typ, "do", "whole", "name", "Parking space", "price", "0", "quantity", "9", "per", "order", "max_per_order",
		"1").must(t, 200)

	shown := b.get("/events/"+id).must(t, 200, "Parking space", "T-shirt, M")
	if strings.Contains(shown.text, `name="`+parking.ID.String()) {
		t.Error("a product is chosen among the tickets")
	}
	tickets := "/checkout?event=" + id + "&" + e.TicketTypes[0].ID.String() + "=2"
	b.get(tickets).must(t, 200, "Add-ons", `name="`+m.ID.String(), "2, one for each ticket")
	b.get(tickets+"&addons=yes&"+m.ID.String()+"=1").must(t, 400, "Add-ons", `role="alert"`)
	of := tickets + "&addons=yes&" + m.ID.String() + "=1&" + l.ID.String() + "=1&" + parking.ID.String() + "=1"
	checkout := b.get(of).must(t, 200, "1 × T-shirt, L", "1 × Parking space")
	ordered := b.send("/checkout", "event", id, e.TicketTypes[0].ID.String(), "2", m.ID.String(), "1", l.ID.String(), "1",
		parking.ID.String(), "1", "key", checkout.field(t, "key")).must(t, 200, "Add-ons", "T-shirt, L")
	list := call[api.List[api.Ticket]](s, 200, "GET", "/v1"+ordered.at+"/tickets", mina, nil).Items
	if len(list) != 5 || list[1].Kind != "" || list[2].Kind != api.KindProduct {
		t.Fatalf("%+v", list)
	}
	b.send("/door/"+id, "code", list[2].Code, "gate", "bar").must(t, 200, `data-good="true"`, "Hand it out")
	b.send("/door/"+id, "code", list[2].Code, "gate", "bar").must(t, 200, `data-good="false"`, "Handed out already")
	b.get(at+"/attendees").must(t, 200, "Products")
	b.get(at+"/attendees?kind=product").must(t, 200, "T-shirt, M", "Handed out")
	if file := b.get(at+"/files/attendees.csv?kind=product").must(t, 200, "Parking space"); strings.Count(file.text,
		"tkt_") != 3 {
		t.Errorf("the file of products:\n%s", file.text)
	}
}
