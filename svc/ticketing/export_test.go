package ticketing

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// fill writes n paid orders of one ticket each, as quickly as the database allows, for a person or for many.
func (h *harness) fill(s *Service, offer *api.Offer, n int, buyer func() ids.User) []ids.Order {
	h.t.Helper()
	now := store.Time(h.clock.Now())
	if err := s.setQuantities(h.t.Context(), offer.Event.ID, offer.Event.Revision, stockOf(offer), ""); err != nil {
		h.t.Fatal(err)
	}
	made := make([]ids.Order, 0, n)
	for len(made) < n {
		var in []creation
		for range min(batchSize, n-len(made)) {
			req := order(offer, 1)
			row, _, err := s.draftOrder(&req, offer, buyer(), now)
			if err != nil {
				h.t.Fatal(err)
			}
			made = append(made, row.ID)
			in = append(in, creation{row: row, free: true, eventName: offer.Event.Name})
		}
		if _, err := s.db.create(h.t.Context(), in, now); err != nil {
			h.t.Fatal(err)
		}
	}
	return made
}

// A person with more records than a message can carry gets all of them, each once.
func TestExportOfAPersonWithMuch(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer, buyer := h.publish(10_000, 1000), person()
		want := h.fill(s, offer, 2500, func() ids.User { return buyer })
		orders, tickets := map[ids.Order]bool{}, map[ids.Ticket]bool{}
		begin := time.Now()
		pages := 0
		for page := (api.PersonRef{UserID: buyer}); ; pages++ {
			got := must(t.Context(), h, api.ExportPerson, page)
			for _, o := range got.Orders {
				orders[o.ID] = true
			}
			for _, ticket := range got.Tickets {
				tickets[ticket.ID] = true
			}
			if page.Cursor = got.NextCursor; page.Cursor == "" {
				break
			}
		}
		t.Logf("%d pages in %v", pages, time.Since(begin))
		if len(orders) != len(want) || len(tickets) != len(want) {
			t.Errorf("%d orders and %d tickets, want %d of each", len(orders), len(tickets), len(want))
		}
		if got := must(t.Context(), h, api.ExportPerson, api.PersonRef{UserID: person()}); len(got.Orders) != 0 ||
			got.NextCursor == "" {
			t.Errorf("of a person without records: %+v", got)
		}
	})
}
