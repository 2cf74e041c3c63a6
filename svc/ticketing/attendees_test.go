package ticketing

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func (h *house) contacts(_ context.Context, req *api.GetContactsOf) (*api.List[api.Contact], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out api.List[api.Contact]
	for _, id := range req.IDs {
		for _, c := range h.people {
			if c.ID == id {
				out.Items = append(out.Items, c)
			}
		}
	}
	return &out, nil
}

func TestAttendees(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.start()
		offer := h.publish(100, 0)
		event, organizer := offer.Event.ID, h.as(offer.Event.Organizer)
		var buyers []ids.User
		for i, name := range []string{"=cmd()", "Zoë Müller", "Bo"} {
			id, address := person(), fmt.Sprintf("p%d@example.org", i)
			h.people[address] = api.Contact{ID: id, Email: address, Name: name}
			buyers = append(buyers, id)
			req := order(offer, 1)
			if i == 2 {
				req.Items[0].Quantity, req.Attendees = 2, []api.Attendee{{Name: "Łucja", Email: "lucja@example.org"}}
			}
			must(h.as(id), h, api.CreateOrder, req)
			h.clock.Advance(time.Second) // lists are sorted by time
		}
		must(h.as(person()), h, api.CreateOrder, order(offer, 1)) // whose account is gone
		tickets := must(h.as(buyers[1]), h, api.ListMyTickets, api.Page{}).Items
		must(organizer, h, api.AdmitTicket, api.Admission{EventID: event, Code: tickets[0].Code})

		search := func(q string, limit int) (names []string) {
			t.Helper()
			page := api.AttendeePage{EventPage: api.EventPage{EventID: event, Page: api.Page{Limit: limit}}, Query: q}
			for {
				got := must(organizer, h, api.ListAttendees, page)
				for _, a := range got.Items {
					names = append(names, a.Name)
				}
				if page.Cursor = got.NextCursor; page.Cursor == "" {
					return names
				}
			}
		}
		for _, limit := range []int{1, 2, 50} {
			if got := search("", limit); len(got) != 5 {
				t.Errorf("attendees by %d: %q", limit, got)
			}
		}
		for q, want := range map[string]string{"zoe": "[Zoë Müller]", "MULLER": "[Zoë Müller]", "lucja": "[Łucja]", "p2@": "[Bo]", tickets[0].OrderID.String(): "[Zoë Müller]", "nobody": "[]"} {
			if got := fmt.Sprint(search(q, 1)); got != want {
				t.Errorf("search for %q: %s, want %s", q, got, want)
			}
		}
		for _, a := range must(organizer, h, api.ListAttendees, api.AttendeePage{EventPage: api.EventPage{EventID: event}, Query: "zoe"}).Items {
			if a.Email != "p1@example.org" || a.Status != api.TicketAdmitted || a.AdmittedAt == nil || a.OrderID != tickets[0].OrderID || a.TicketTypeID == "" {
				t.Errorf("attendee %+v", a)
			}
		}
		for _, o := range must(organizer, h, api.ListEventOrders, api.EventPage{EventID: event}).Items {
			if o.UserID == buyers[2] && (o.Buyer == nil || o.Buyer.Name != "Bo") {
				t.Errorf("the buyer is %+v", o.Buyer)
			}
		}

		lines := func(blob []byte) [][]string {
			t.Helper()
			rows, err := csv.NewReader(bytes.NewReader(blob)).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			return rows
		}
		rows := lines(must(organizer, h, api.GetAttendeesCSV, api.EventExport{EventID: event}).Data)
		defused := false
		for _, r := range rows {
			defused = defused || r[0] == "'=cmd()"
		}
		if len(rows) != 6 || !defused {
			t.Errorf("attendees.csv: %q", rows)
		}
		if rows := lines(must(organizer, h, api.GetOrdersCSV, api.EventExport{EventID: event}).Data); len(rows) != 5 || rows[2][4] != "2 × type 0" || rows[2][3] != "p2@example.org" {
			t.Errorf("orders.csv: %q", rows)
		}
		for _, book := range [][]byte{must(organizer, h, api.GetAttendeesXLSX, api.EventExport{EventID: event}).Data, must(organizer, h, api.GetOrdersXLSX, api.EventExport{EventID: event}).Data} {
			if _, err := excelize.OpenReader(bytes.NewReader(book)); err != nil {
				t.Error(err)
			}
		}
		if _, err := do(organizer, h, api.GetAttendeesCSV, api.EventExport{EventID: event, Part: 2}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a part that is not there: %v", err)
		}
		if _, err := do(h.as(buyers[0]), h, api.ListAttendees, api.AttendeePage{EventPage: api.EventPage{EventID: event}}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a buyer sees who comes: %v", err)
		}
		if _, err := do(h.as(buyers[0]), h, api.GetOrdersXLSX, api.EventExport{EventID: event}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a buyer sees the orders: %v", err)
		}
	})
}

func TestHolderIsSetLater(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		h.start()
		offer := h.publish(10, 0)
		b := h.buy(offer, 2)
		holder := api.Attendee{Name: " Ada ", Email: "ada@example.org"}
		got := must(h.as(b.buyer), h, api.UpdateTicket, api.NewHolder{ID: b.tickets[0].ID, Holder: holder})
		if got.Holder.Name != "Ada" || got.Holder.Email != holder.Email || got.Code != b.tickets[0].Code {
			t.Errorf("ticket %+v", got)
		}
		if _, err := do(h.as(b.buyer), h, api.UpdateTicket, api.NewHolder{ID: b.tickets[0].ID, Holder: api.Attendee{Name: "a\nb"}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a name of two lines: %v", err)
		}
		for _, other := range []ids.User{person(), offer.Event.Organizer} {
			if _, err := do(h.as(other), h, api.UpdateTicket, api.NewHolder{ID: b.tickets[0].ID, Holder: holder}); !fault.Is(err, fault.NotFound) {
				t.Errorf("another's ticket: %v", err)
			}
		}
		must(h.as(offer.Event.Organizer), h, api.AdmitTicket, api.Admission{EventID: offer.Event.ID, Code: got.Code})
		if _, err := do(h.as(b.buyer), h, api.UpdateTicket, api.NewHolder{ID: b.tickets[0].ID, Holder: holder}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a used ticket: %v", err)
		}
	})
}
