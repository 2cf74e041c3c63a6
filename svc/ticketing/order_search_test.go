package ticketing

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// An organizer finds orders by what people say of them, and those of nobody else.
func TestOrdersAreFound(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, other := h.publish(100, 0), h.publish(100, 0)
		organizer := h.as(ownerOf(offer))
		var made []*api.Order
		for i, name := range []string{"Ada Ğ", "Bo", "Zoë Müller"} {
			id, address := person(), fmt.Sprintf("p%d@example.org", i)
			h.people[address] = api.Contact{ID: id, Email: address, Name: name}
			req := order(offer, 1)
			if i == 1 {
				req.Attendees = []api.Attendee{{Name: "Łucja", Email: "lucja@example.org"}}
			}
			made = append(made, &must(h.as(id), h, api.CreateOrder, req).Order)
			must(h.as(id), h, api.CreateOrder, order(other, 1))
			h.clock.Advance(time.Second)
		}
		guest := order(offer, 1)
		guest.Email, guest.Name = "Guest@Example.org", "Gil"
		made = append(made, &must(h.as(""), h, api.CreateOrder, guest).Order)
		search := func(event ids.Event, q string, limit int) (found []int) {
			t.Helper()
			req := api.OrderSearch{Query: q, EventPage: api.EventPage{EventID: event, Page: api.Page{Limit: limit}}}
			for {
				got := must(organizer, h, api.ListEventOrders, req)
				for _, o := range got.Items {
					if o.Buyer == nil {
						t.Errorf("%q: nobody bought %s", q, o.ID)
					}
					found = append(found, slices.IndexFunc(made, func(m *api.Order) bool { return m.ID == o.ID }))
				}
				if req.Cursor = got.NextCursor; req.Cursor == "" {
					return found
				}
			}
		}
		event := offer.Event.ID
		for q, want := range map[string]string{
			"":                       "[3 2 1 0]",
			made[2].Number:           "[2]",
			made[0].ID.String():      "[0]",
			"P1@Example.org":         "[1]", // the whole address of an account
			"guest@example.org":      "[3]", // and of somebody without one
			"lucja@example.org":      "[1]", // who comes, not who bought
			"MULLER":                 "[2]",
			"example.org":            "[3 2 1 0]",
			"gil":                    "[3]",
			"lucja":                  "[1]",
			"nobody@example.org":     "[]",
			"nothing":                "[]",
			"%":                      "[]",
			" " + made[3].Number:     "[3]",
			made[1].Number[:4]:       "[1]",
			"ord_" + "nothinglikeit": "[]",
		} {
			for _, limit := range []int{1, 50} {
				if got := fmt.Sprint(search(event, q, limit)); got != want {
					t.Errorf("%q by %d: %s, want %s", q, limit, got, want)
				}
			}
		}
		if _, err := do(h.as(person()), h, api.ListEventOrders, api.OrderSearch{Query: "ada", EventPage: api.EventPage{EventID: event}}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger searches: %v", err)
		}
	})
}
