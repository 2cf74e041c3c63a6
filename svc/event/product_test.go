package event

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Products stand beside the ticket types of an event: they take no room, are no tickets, and what holds for a variant
// holds for its group.
func TestProducts(t *testing.T) {
	w := start(t)
	n := draftOf("With products")
	euros := func(minor int64) api.Money {
		return api.Money{Amount: minor, Currency: n.TicketTypes[0].Price.Currency}
	}
	room := n.TicketTypes[0].Quantity
	n.TicketTypes = append(n.TicketTypes[:1:1],
		api.NewTicketType{Kind: api.KindProduct, Name: "Parking", Price: euros(500), Quantity: 1000, MaxPerOrder: 1},
		api.NewTicketType{Kind: api.KindProduct, Name: "M", Group: " T-shirt ", Price: euros(2000), Quantity: 50},
		api.NewTicketType{Kind: api.KindProduct, Name: "L", Group: "T-shirt", Price: euros(2000), Quantity: 50,
			Per: api.PerTicket, Required: false})
	n.Capacity = 0
	e := must(w, anna, api.CreateEvent, n)
	if e.Capacity != room {
		t.Errorf("room for %d, want that of the tickets, %d", e.Capacity, room)
	}
	parking, m, l := e.TicketTypes[1], e.TicketTypes[2], e.TicketTypes[3]
	if parking.Kind != api.KindProduct || parking.Per != api.PerOrder || m.Per != api.PerTicket ||
		m.Group != "T-shirt" || l.Title() != "T-shirt, L" || e.TicketTypes[0].Kind != "" {
		t.Fatalf("they were made as %+v", e.TicketTypes)
	}
	if p := e.Products(); len(p) != 2 || p[1].Name != "T-shirt" || len(p[1].Variants) != 2 || !p[1].Has(l.ID) {
		t.Errorf("products: %+v", p)
	}
	change := func(of api.TicketType, p api.PatchTicketType) (*api.Event, error) {
		p.EventID, p.ID = e.ID, of.ID
		return call(w, anna, api.UpdateTicketType, p)
	}
	yes, no, perOrder, name := true, false, api.PerOrder, "M"
	got, err := change(m, api.PatchTicketType{Required: &yes})
	if err != nil || !got.TicketTypes[2].Required || !got.TicketTypes[3].Required || got.TicketTypes[1].Required {
		t.Fatalf("a required variant: %v, %+v", err, got)
	}
	got, err = change(parking, api.PatchTicketType{Group: codec.To("T-shirt")})
	if err != nil || got.TicketTypes[1].Per != api.PerTicket || !got.TicketTypes[1].Required {
		t.Errorf("what comes to a group: %v, %+v", err, got)
	}
	got, err = change(parking, api.PatchTicketType{Group: codec.Clear[string](), Per: &perOrder, Required: &no})
	if err != nil || got.TicketTypes[1].Group != "" || got.TicketTypes[1].Required ||
		got.TicketTypes[2].Per != api.PerTicket {
		t.Errorf("what leaves a group: %v, %+v", err, got)
	}
	got = must(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: api.NewTicketType{
		Kind: api.KindProduct, Name: "S", Group: "T-shirt", Price: euros(1), Quantity: 1}})
	if s := got.TicketTypes[4]; !s.Required || s.Per != api.PerTicket {
		t.Errorf("one more variant: %+v", s)
	}
	copied := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: e.StartsAt.Add(7 * 24 * time.Hour)})
	if c := copied.TicketTypes[3]; c.Kind != api.KindProduct || c.Group != "T-shirt" || !c.Required {
		t.Errorf("the copy has %+v", c)
	}
	for field, try := range map[string]func() error{
		"name": func() error { _, err := change(l, api.PatchTicketType{Name: &name}); return err },
		"per":  func() error { _, err := change(e.TicketTypes[0], api.PatchTicketType{Per: &perOrder}); return err },
		"required": func() error {
			_, err := call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID,
				Required: &yes})
			return err
		},
		"group": func() error {
			_, err := call(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: api.NewTicketType{
				Name: "S", Group: "T-shirt", Price: euros(1), Quantity: 1}})
			return err
		},
		"kind": func() error {
			_, err := call(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: api.NewTicketType{
				Kind: "shirt", Name: "S", Price: euros(1), Quantity: 1}})
			return err
		},
		"hidden": func() error {
			if _, err := change(m, api.PatchTicketType{Hidden: &yes}); err != nil {
				return err // a variant is left that everybody sees
			}
			if _, err := change(got.TicketTypes[4], api.PatchTicketType{Hidden: &yes}); err != nil {
				return err
			}
			_, err := change(l, api.PatchTicketType{Hidden: &yes})
			return err
		},
	} {
		err := try()
		if f := fault.From(err); !fault.Is(err, fault.Invalid) || len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// An event that has nothing but products is not put on sale, and one on sale keeps a ticket type.
func TestProductsAlone(t *testing.T) {
	w := start(t)
	n := draftOf("Nothing but a programme")
	ticket := n.TicketTypes[0]
	n.TicketTypes = []api.NewTicketType{{Kind: api.KindProduct, Name: "Programme", Price: ticket.Price, Quantity: 9}}
	n.Capacity = 0
	e := must(w, anna, api.CreateEvent, n)
	if _, err := call(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID}); !fault.Is(err, fault.Conflict) {
		t.Fatalf("published without a ticket: %v", err)
	}
	e = must(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: ticket})
	must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
	del := func(i int) error {
		_, err := call(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: e.TicketTypes[i].ID})
		return err
	}
	if err := del(1); !fault.Is(err, fault.Conflict) {
		t.Errorf("the last ticket type of an event on sale: %v", err)
	}
	if err := del(0); err != nil {
		t.Errorf("a product of an event on sale: %v", err)
	}
}
