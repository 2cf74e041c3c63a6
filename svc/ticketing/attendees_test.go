package ticketing

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/uptrace/bun"
	"github.com/xuri/excelize/v2"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

func (h *harness) contacts(_ context.Context, req *api.GetContactsOf) (*api.List[api.Contact], error) {
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
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(100, 0)
		event, organizer := offer.Event.ID, h.as(ownerOf(offer))
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
		for q, want := range map[string]string{"zoe": "[Zoë Müller]", "MULLER": "[Zoë Müller]", "lucja": "[Łucja]",
			"p2@": "[Bo]", tickets[0].OrderID.String(): "[Zoë Müller]", "nobody": "[]"} {
			if got := fmt.Sprint(search(q, 1)); got != want {
				t.Errorf("search for %q: %s, want %s", q, got, want)
			}
		}
		for _, a := range must(organizer, h, api.ListAttendees,
			api.AttendeePage{EventPage: api.EventPage{EventID: event}, Query: "zoe"}).Items {
			if a.Email != "p1@example.org" || a.Status != api.TicketAdmitted || a.AdmittedAt == nil ||
				a.OrderID != tickets[0].OrderID || a.TicketTypeID == "" {
				t.Errorf("attendee %+v", a)
			}
		}
		for _, o := range must(organizer, h, api.ListEventOrders, api.OrderSearch{EventPage: api.EventPage{EventID: event}}).Items {
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
		of := api.EventExport{EventID: event}
		book := api.EventWorkbook{EventExport: of}
		rows := lines(must(organizer, h, api.GetAttendeesCSV, api.AttendeeExport{EventExport: of}).Data)
		defused := false
		for _, r := range rows {
			defused = defused || r[0] == "'=cmd()"
		}
		if len(rows) != 6 || !defused {
			t.Errorf("attendees.csv: %q", rows)
		}
		if rows := lines(must(organizer, h, api.GetOrdersCSV, of).Data); len(rows) != 5 || rows[2][4] != "2 × type 0" ||
			rows[2][3] != "p2@example.org" {
			t.Errorf("orders.csv: %q", rows)
		}
		for _, file := range [][]byte{must(organizer, h, api.GetAttendeesXLSX,
			api.AttendeeWorkbook{EventWorkbook: book}).Data, must(organizer, h, api.GetOrdersXLSX, book).Data} {
			if _, err := excelize.OpenReader(bytes.NewReader(file)); err != nil {
				t.Error(err)
			}
		}
		if _, err := do(organizer, h, api.GetOrdersXLSX, api.EventWorkbook{EventExport: of, Part: 2}); !fault.Is(err,
			fault.NotFound) {
			t.Errorf("a part that is not there: %v", err)
		}
		if rows := lines(must(organizer, h, api.GetAttendeesCSV,
			api.AttendeeExport{EventExport: of, Query: "MULLER"}).Data); len(rows) != 2 || rows[1][0] != "Zoë Müller" {
			t.Errorf("attendees.csv of a search: %q", rows)
		}
		found, err := excelize.OpenReader(bytes.NewReader(must(organizer, h, api.GetAttendeesXLSX,
			api.AttendeeWorkbook{EventWorkbook: book, Query: "MULLER"}).Data))
		if err != nil {
			t.Fatal(err)
		}
		if rows, err := found.GetRows(found.GetSheetName(0)); err != nil || len(rows) != 2 {
			t.Errorf("attendees.xlsx of a search: %q, %v", rows, err)
		}
		if _, err := do(h.as(buyers[0]), h, api.ListAttendees,
			api.AttendeePage{EventPage: api.EventPage{EventID: event}}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a buyer sees who comes: %v", err)
		}
		if _, err := do(h.as(buyers[0]), h, api.GetOrdersXLSX, book); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a buyer sees the orders: %v", err)
		}
	})
}

// A CSV has all rows, each once and in the order of the list; a workbook has parts.
func TestTablesOfAnyLength(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		const n = workbookRows + lookAt + 1
		offer := h.publish(10, 0)
		rows := make([]ticketRow, n)
		for i := range rows {
			at := store.Time(h.clock.Now().Add(time.Duration(i/3) * time.Second))
			rows[i] = ticketRow{ID: ids.New[ids.TicketKind](at), OrderID: ids.New[ids.OrderKind](at),
				EventID: offer.Event.ID, TicketTypeID: offer.Event.TicketTypes[0].ID,
				OwnerID: ownerOf(offer), HolderName: "Ada", Status: api.TicketValid, Revision: 1, IssuedAt: at}
		}
		rows[n-1].HolderName, rows[0].HolderName = "Lilou", "Lilou" // letters that no id has
		if err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for some := range slices.Chunk(rows, 500) {
				if _, err := tx.NewInsert().Model(&some).Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]int{"": n, "lilou": 2} {
			var file []byte
			ask := nats.Header{rpc.HeaderParams: {url.Values{"id": {offer.Event.ID.String()}, "q": {query}}.Encode()}}
			for parts := 1; ; parts++ {
				reply, err := h.caller(api.GetAttendeesCSV.Spec).Forward(h.as(ownerOf(offer)),
					api.GetAttendeesCSV.Spec, ask, nil)
				if err != nil || rpc.Fault(reply) != nil {
					t.Fatal(err, rpc.Fault(reply))
				}
				if parts == 1 && (reply.Header.Get(rpc.HeaderContentType) != "text/csv; charset=utf-8" ||
					reply.Header.Get(rpc.HeaderDisposition) != "attachment; filename=attendees.csv") {
					t.Errorf("the header is %v", reply.Header)
				}
				file = append(file, reply.Data...)
				next := reply.Header.Get(rpc.HeaderNext)
				if next == "" {
					break
				}
				ask[rpc.HeaderPart] = []string{next}
			}
			lines, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
			seen := map[string]bool{}
			for _, l := range lines {
				seen[l[7]] = true
			}
			if err != nil || len(lines) != want+1 || len(seen) != want+1 || lines[0][7] != "ticket_id" {
				t.Errorf("%q: %d lines, %d tickets, %v", query, len(lines), len(seen), err)
			}
		}
		for part, want := range map[int]int{1: workbookRows, 2: lookAt + 1} {
			blob := must(h.as(ownerOf(offer)), h, api.GetAttendeesXLSX,
				api.AttendeeWorkbook{EventWorkbook: api.EventWorkbook{
					EventExport: api.EventExport{EventID: offer.Event.ID}, Part: part}})
			f, err := excelize.OpenReader(bytes.NewReader(blob.Data))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.GetRows(f.GetSheetName(0)); err != nil || len(got) != want+1 {
				t.Errorf("part %d has %d rows, %v", part, len(got), err)
			}
		}
	})
}

func TestHolderIsSetLater(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		b := h.buy(offer, 2)
		holder := api.Attendee{Name: " Ada ", Email: "ada@example.org"}
		got := must(h.as(b.buyer), h, api.UpdateTicket, api.NewHolder{ID: b.tickets[0].ID, Holder: holder})
		if got.Holder.Name != "Ada" || got.Holder.Email != holder.Email || got.Code != b.tickets[0].Code {
			t.Errorf("ticket %+v", got)
		}
		if _, err := do(h.as(b.buyer), h, api.UpdateTicket,
			api.NewHolder{ID: b.tickets[0].ID, Holder: api.Attendee{Name: "a\nb"}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a name of two lines: %v", err)
		}
		for _, other := range []ids.User{person(), ownerOf(offer)} {
			if _, err := do(h.as(other), h, api.UpdateTicket,
				api.NewHolder{ID: b.tickets[0].ID, Holder: holder}); !fault.Is(err, fault.NotFound) {
				t.Errorf("another's ticket: %v", err)
			}
		}
		must(h.as(ownerOf(offer)), h, api.AdmitTicket, api.Admission{EventID: offer.Event.ID, Code: got.Code})
		if _, err := do(h.as(b.buyer), h, api.UpdateTicket,
			api.NewHolder{ID: b.tickets[0].ID, Holder: holder}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a used ticket: %v", err)
		}
	})
}
