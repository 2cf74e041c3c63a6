package browsing_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// Products on pages without scripts: the office makes them, the shop shows them beside the tickets, the checkout asks for
// them in a step of its own, the order shows their codes apart from the tickets, and the door hands them out once.
func TestProductPages(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	s.Unlimited(s.Login(systemtest.AdminEmail))
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	event := s.Concert(mina, 20, 0)
	at, id := "/office/events/"+event.ID.String(), event.ID.String()
	add := func(more ...string) {
		t.Helper()
		b.Send(at+"/ticket-types", append([]string{"kind", "product", "price", "0", "currency", "EUR", "quantity", "9"},
			more...)...).Must(t, 200)
	}
	b.Send(at+"/ticket-types", "kind", "product", "name", "Parking", "price", "x", "currency", "EUR", "quantity", "9").
		Must(t, 400, "price")
	add("name", "Parking", "per", "order")
	add("name", "M", "group", "T-shirt", "per", "ticket", "required", "yes")
	add("name", "L", "group", "T-shirt", "per", "ticket", "required", "yes")
	e := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+id, mina, nil)
	if len(e.TicketTypes) != 4 || e.TicketTypes[3].Group != "T-shirt" || !e.TicketTypes[3].Required ||
		e.TicketTypes[1].Per != api.PerOrder {
		t.Fatalf("%+v", e.TicketTypes)
	}
	parking, m, l := e.TicketTypes[1], e.TicketTypes[2], e.TicketTypes[3]
	typ := at + "/ticket-types/" + parking.ID.String()
	b.Get(typ).Must(t, 200, `name="per"`, "Parking")
	b.Send(typ, "do", "whole", "name", "Parking space", "price", "0", "quantity", "9", "per", "order", "max_per_order",
		"1").Must(t, 200)

	shown := b.Get("/events/"+id).Must(t, 200, "Parking space", "T-shirt, M")
	if strings.Contains(shown.Text, `name="`+parking.ID.String()) {
		t.Error("a product is chosen among the tickets")
	}
	tickets := "/checkout?event=" + id + "&" + e.TicketTypes[0].ID.String() + "=2"
	b.Get(tickets).Must(t, 200, "Add-ons", `name="`+m.ID.String(), "2, one for each ticket")
	b.Get(tickets+"&addons=yes&"+m.ID.String()+"=1").Must(t, 400, "Add-ons", `role="alert"`)
	of := tickets + "&addons=yes&" + m.ID.String() + "=1&" + l.ID.String() + "=1&" + parking.ID.String() + "=1"
	checkout := b.Get(of).Must(t, 200, "1 × T-shirt, L", "1 × Parking space")
	ordered := b.Send("/checkout", "event", id, e.TicketTypes[0].ID.String(), "2", m.ID.String(), "1", l.ID.String(), "1",
		parking.ID.String(), "1", "key", checkout.Field(t, "key")).Must(t, 200, "Add-ons", "T-shirt, L")
	list := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1"+ordered.At+"/tickets", mina, nil).Items
	if len(list) != 5 || list[1].Kind != "" || list[2].Kind != api.KindProduct {
		t.Fatalf("%+v", list)
	}
	b.Send("/door/"+id, "code", list[2].Code, "gate", "bar").Must(t, 200, `data-good="true"`, "Hand it out")
	b.Send("/door/"+id, "code", list[2].Code, "gate", "bar").Must(t, 200, `data-good="false"`, "Handed out already")
	b.Get(at+"/attendees").Must(t, 200, "Products")
	b.Get(at+"/attendees?kind=product").Must(t, 200, "T-shirt, M", "Handed out")
	if file := b.Get(at+"/files/attendees.csv?kind=product").Must(t, 200, "Parking space"); strings.Count(file.Text,
		"tkt_") != 3 {
		t.Errorf("the file of products:\n%s", file.Text)
	}

	// A ticket comes with a product, which then has a part of its price.
	ticket := at + "/ticket-types/" + e.TicketTypes[0].ID.String()
	b.Get(ticket).Must(t, 200, "Comes with", `name="with.`+parking.ID.String()+`"`)
	with := []string{"do", "whole", "name", "Seat", "price", "20", "quantity", "20", "with." + parking.ID.String(), "2",
		"with." + parking.ID.String() + ".price"}
	b.Send(ticket, append(with, "11")...).Must(t, 400, `role="alert"`)
	b.Send(ticket, append(with, "3.50")...).Must(t, 200)
	if p := b.Get(ticket).Must(t, 200); p.Field(t, "with."+parking.ID.String()) != "2" ||
		p.Field(t, "with."+parking.ID.String()+".price") != "3.50" {
		t.Error("the form has not what was saved")
	}
	b.Get("/events/"+id).Must(t, 200, "Comes with 2 × Parking space")
}
