package system_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
)

// The line to a venue is cut while its doors are open. No ticket is let in twice, wherever and whenever it is shown, and
// what the venue has decided is at the system in the end, each scan once, though its computer was killed meanwhile.
func TestDoorsOfAVenueWithoutALine(t *testing.T) {
	t.Parallel()
	h, tickets := openHall(t)
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("at the venue", h.atVenue(t, tickets[0]), api.Admitted)
	expect("then at the hub", h.atHub(t, tickets[0]), api.AlreadyAdmitted)
	expect("at the hub", h.atHub(t, tickets[1]), api.Admitted)
	expect("then at the venue", h.atVenue(t, tickets[1]), api.AlreadyAdmitted)

	mend := h.line.Pause()
	defer mend()
	if got, err := h.hub.send("POST", h.at("/admissions"), h.owner, api.Admission{Code: tickets[2].Code}); err != nil || got.status < 503 {
		t.Errorf("a scan at the hub without a line: %d %s %v", got.status, got.body, err)
	}
	var gates sync.WaitGroup
	results := make([]string, 50)
	for i := range results {
		gates.Go(func() { results[i] = h.atVenue(t, tickets[2]) })
	}
	gates.Wait()
	admitted := 0
	for _, r := range results {
		if r == api.Admitted {
			admitted++
		} else if r != api.AlreadyAdmitted {
			t.Errorf("a gate says %s", r)
		}
	}
	if admitted != 1 {
		t.Errorf("%d gates admitted one ticket", admitted)
	}
	_, late := h.hub.join("late@example.org")
	expect("a ticket of which the venue has not heard", h.atVenue(t, h.buy(t, late, 1)[0]), api.InvalidCode)
	h.p.kill()
	h.p.again()
	expect("after the computer was killed", h.atVenue(t, tickets[2]), api.AlreadyAdmitted)
	expect("without a line since its start", h.atVenue(t, tickets[3]), api.Admitted)

	mend()
	testkit.Eventually(t, 60*time.Second, func() error {
		got := call[api.VenueStatus](h.hub, 200, "GET", "/v1/venues/"+h.venue.ID.String()+"/status", h.owner, nil)
		if !got.Online || got.Waiting > 0 {
			return fmt.Errorf("the venue is %+v", got)
		}
		scans := call[api.List[api.Scan]](h.hub, 200, "GET", h.at("/admissions?limit=200"), h.owner, nil).Items
		in, ids := map[string]int{}, map[string]bool{}
		for _, s := range scans {
			ids[s.ID.String()] = true
			if s.Result == api.Admitted {
				in[s.TicketID.String()]++
			}
		}
		// Two of each of the first tickets, fifty, the unknown one, and two after the kill.
		if len(scans) != 57 || len(ids) != 57 || len(in) != 4 {
			return fmt.Errorf("%d scans, %d of them different, %d admitted", len(scans), len(ids), len(in))
		}
		for _, n := range in {
			if n != 1 {
				return fmt.Errorf("admitted: %v", in)
			}
		}
		return nil
	})

	// A question gets there when nobody waits for its answer any more.
	mend = h.line.Pause()
	defer mend()
	h.hub.refused("timeout", "POST", h.at("/admissions"), h.owner, api.Admission{Code: tickets[5].Code})
	mend()
	expect("after it on the same line", h.atHub(t, tickets[0]), api.AlreadyAdmitted)
	expect("what was shown at the hub without a line", h.atVenue(t, tickets[5]), api.Admitted)

	call[api.Authority](h.hub, 200, "DELETE", h.at("/authority"), h.owner, nil)
	h.awaitDoors(t, "hub")
	expect("back at the hub", h.atHub(t, tickets[3]), api.AlreadyAdmitted)
	expect("back at the hub, a new one", h.atHub(t, tickets[4]), api.Admitted)
	mustAudit(t, h.cfg, h.connect)
	js, done, err := h.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	logs, err := js.Stream(t.Context(), observe.LogStream)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error { // its log is with all others
		last, err := logs.GetLastMsgForSubject(t.Context(), "logs.edge.info")
		if err == nil && !bytes.Contains(last.Data, []byte(h.venue.ID)) {
			err = fmt.Errorf("the log has %s", last.Data)
		}
		return err
	})
	// A device at the venue works on, and the system decides: it alone knows of that ticket.
	expect("at the venue, back at the hub", h.atVenue(t, tickets[4]), api.AlreadyAdmitted)
}

// A venue sells from its lease while the line is cut. Each of its sales is a paid order at the system after that, once,
// though the computer was killed; what was not sold goes back to the pool when the lease is closed.
func TestSalesOfAVenueWithoutALine(t *testing.T) {
	t.Parallel()
	h, _ := openHall(t)
	seat := h.event.TicketTypes[0].ID
	lease := call[api.Lease](h.hub, 201, "POST", h.at("/leases"), h.owner, api.NewLease{VenueID: h.venue.ID, TicketTypeID: seat,
		Quantity: 10})
	testkit.Eventually(t, 20*time.Second, func() error {
		got := call[api.List[edge.Lease]](h.edge, 200, "GET", h.at("/leases"), h.pass, nil).Items
		if len(got) != 1 || got[0].Left != 10 {
			return fmt.Errorf("the venue's leases are %+v", got)
		}
		return nil
	})
	sell := func(n int) api.NewSale {
		sale := h.sale(n)
		sale.Attendees = []api.Attendee{{Name: "Zoë"}}
		return sale
	}
	mend := h.line.Pause()
	defer mend()
	var sales []api.Sale
	for _, n := range []int{1, 2, 4} {
		sales = append(sales, call[api.Sale](h.edge, 201, "POST", api.CreateSale.Path, h.pass, sell(n)))
	}
	h.p.kill()
	h.p.again()
	h.edge.refused("sold_out", "POST", api.CreateSale.Path, h.pass, sell(4))
	code := api.Ticket{Code: sales[2].Tickets[3].Code}
	for _, want := range []string{api.Admitted, api.AlreadyAdmitted} {
		if got := h.atVenue(t, code); got != want {
			t.Errorf("a ticket of the venue: %s, want %s", got, want)
		}
	}
	wrong := call[api.Sale](h.edge, 201, "POST", api.CreateSale.Path, h.pass, sell(3))
	back := "/v1/box-office/sales/" + wrong.OrderID.String() + "/reversal"
	call[api.SaleReversal](h.edge, 200, "POST", back, h.pass, nil)
	h.p.kill()
	h.p.again()
	call[api.SaleReversal](h.edge, 200, "POST", back, h.pass, nil)
	if got := h.atVenue(t, api.Ticket{Code: wrong.Tickets[0].Code}); got != api.RevokedTicket {
		t.Errorf("a ticket of a sale that was taken back: %s", got)
	}
	call[api.Lease](h.hub, 200, "DELETE", h.at("/leases/"+lease.ID.String()), h.owner, nil)
	mend()
	testkit.Eventually(t, 60*time.Second, func() error {
		got := call[api.List[api.Lease]](h.hub, 200, "GET", h.at("/leases"), h.owner, nil).Items
		left := h.hub.left(h.event)
		if len(got) != 1 || got[0].State != api.LeaseClosed || got[0].Sold != 7 || left.Sold != 13 || left.Available != 87 {
			return fmt.Errorf("the leases are %+v, and left is %+v", got, left)
		}
		return nil
	})
	for i, s := range sales {
		o := call[api.Order](h.hub, 200, "GET", "/v1/orders/"+s.OrderID.String(), h.owner, nil)
		if o.Status != api.OrderPaid || len(o.Items) != 1 || o.Items[0].Quantity != len(s.Tickets) || len(s.Tickets) != 1<<i {
			t.Errorf("order is %+v of %+v", o, s)
		}
	}
	h.hub.await(h.owner, api.Order{ID: wrong.OrderID}, api.OrderCancelled) // it cost nothing
	if got := call[api.List[api.FlaggedSale]](h.hub, 200, "GET", h.at("/flagged-sales"), h.owner, nil).Items; len(got) != 0 {
		t.Errorf("flagged: %+v", got)
	}
	h.edge.refused("sold_out", "POST", api.CreateSale.Path, h.pass, sell(1))
}
