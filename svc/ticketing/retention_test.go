package ticketing

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// Names and addresses of an event's attendees, and who scanned, are kept for as long as the settings say, and are then
// nowhere in the database, however late they came. Orders, tickets, scans and amounts stay.
func TestPersonalDataEndsAfterTheEvent(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		eraser := retention.Eraser{DB: h.db, Live: h.live, Log: h.log, Now: h.clock.Now}
		o, other := h.publish(20, 1000), h.publish(20, 0)
		const name, mail, device = "Zerlina", "zerlina@canary.example", "pas_zerlina"
		zerlina := api.Attendee{Name: name + " Q", Email: mail}

		buy := order(o, 2)
		buy.Attendees = []api.Attendee{zerlina}
		buyer := person()
		made := must(h.as(buyer), h, api.CreateOrder, buy)
		h.pay(buyer, &made.Order)
		h.becomes(buyer, made.ID, api.OrderPaid)
		tickets := must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items
		giver := person()
		free, _ := h.offered(giver, other, mail)

		e := h.edge(ownerOf(o))
		e.mustHello()
		lease := must(h.as(ownerOf(o)), h, api.CreateLease, api.NewLease{EventID: o.Event.ID, VenueID: e.session.VenueID,
			TicketTypeID: o.Event.TicketTypes[0].ID, Quantity: 4})
		h.handOver(e, o, line.PolicyShared)
		e.state(o.Event.ID)
		e.hold(o.Event.ID)
		if err := e.take(o.Event.ID); err != nil {
			t.Fatal(err)
		}
		x := &till{harness: h, s: s, o: o, lease: lease}
		named := func() line.Entry {
			entry := x.sale(1)
			entry.Sale.Buyer, entry.Sale.Tickets[0].Holder = &zerlina, zerlina
			return entry
		}
		sale, scan := named(), x.entry()
		scan.Scan = &line.Scan{ID: ids.New[ids.AdmissionKind](h.clock.Now()), Kind: line.ScanEntry, Result: api.InvalidCode, By: device}
		if n, err := e.send(sale, scan); err != nil || n != 2 {
			t.Fatalf("the journal is here up to %d, %v", n, err)
		}
		h.clock.Set(o.Event.StartsAt)
		h.scanned(o, tickets[1].Code, api.Admitted)

		left := func() []string {
			t.Helper()
			if err := eraser.Erase(t.Context()); err != nil {
				t.Fatal(err)
			}
			return testkit.Search(t, h.db, name, mail, device)
		}
		// Copies from before their end was a column of its own.
		err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE offers SET ends_at = NULL")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		h.clock.Set(o.Event.EndsAt.Add(api.ScanRetention.Default() - time.Hour))
		if err := eraser.Erase(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The offer of a ticket is older than offers are kept.
		if found := testkit.Search(t, h.db, mail); len(found) != 4 || strings.Contains(strings.Join(found, ""), "ticket_offers.") {
			t.Errorf("before its time %q", found)
		}
		if scans := h.admissions(o); scans[0].By == "" && scans[1].By == "" {
			t.Errorf("before their time: %+v", scans)
		}
		position := e.state(o.Event.ID).Position
		h.clock.Advance(2 * time.Hour)
		if found := left(); len(found) > 0 {
			t.Errorf("after its time: %q", found)
		}
		if e.state(o.Event.ID).Position <= position {
			t.Error("the venue does not learn of it")
		}
		if got := must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items; len(got) != 2 || got[0].Code != tickets[0].Code {
			t.Errorf("the tickets are %+v", got)
		}
		for _, scan := range h.admissions(o) {
			if scan.By != "" {
				t.Errorf("a scan is %+v", scan)
			}
		}

		// What comes late goes, too.
		if n, err := e.send(named()); err != nil || n != 3 {
			t.Fatalf("the journal is here up to %d, %v", n, err)
		}
		must(h.as(buyer), h, api.UpdateTicket, api.NewHolder{ID: tickets[0].ID, Holder: zerlina})
		h.people[mail] = api.Contact{ID: person(), Email: mail, Name: name, EmailVerified: true}
		must(h.as(giver), h, api.TransferTicket, api.Transfer{ID: free.ID, Email: mail})
		if found := testkit.Search(t, h.db, name, mail); len(found) < 4 {
			t.Errorf("what came late: %q", found)
		}
		if found := left(); len(found) > 0 {
			t.Errorf("what came late is left: %q", found)
		}
		h.audit()
	})
}
