package venues_test

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
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The line to a venue is cut while its doors are open. No ticket is let in twice, wherever and whenever it is shown, and
// what the venue has decided is at the system in the end, each scan once, though its computer was killed meanwhile.
func TestDoorsOfAVenueWithoutALine(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("at the venue", h.AtVenue(t, tickets[0]), api.Admitted)
	expect("then at the hub", h.AtHub(t, tickets[0]), api.AlreadyAdmitted)
	expect("at the hub", h.AtHub(t, tickets[1]), api.Admitted)
	expect("then at the venue", h.AtVenue(t, tickets[1]), api.AlreadyAdmitted)

	mend := h.Line.Pause()
	defer mend()
	if got, err := h.Hub.Send("POST", h.At("/admissions"), h.Owner, api.Admission{Code: tickets[2].Code}); err != nil || got.Status < 503 {
		t.Errorf("a scan at the hub without a line: %d %s %v", got.Status, got.Body, err)
	}
	var gates sync.WaitGroup
	results := make([]string, 50)
	for i := range results {
		gates.Go(func() { results[i] = h.AtVenue(t, tickets[2]) })
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
	_, late := h.Hub.Join("late@example.org")
	expect("a ticket of which the venue has not heard", h.AtVenue(t, h.Buy(t, late, 1)[0]), api.InvalidCode)
	h.P.Kill()
	h.P.Again()
	expect("after the computer was killed", h.AtVenue(t, tickets[2]), api.AlreadyAdmitted)
	expect("without a line since its start", h.AtVenue(t, tickets[3]), api.Admitted)

	mend()
	testkit.Eventually(t, 60*time.Second, func() error {
		got := systemtest.Call[api.VenueStatus](h.Hub, 200, "GET", "/v1/venues/"+h.Venue.ID.String()+"/status", h.Owner, nil)
		if !got.Online || got.Waiting > 0 {
			return fmt.Errorf("the venue is %+v", got)
		}
		scans := systemtest.Call[api.List[api.Scan]](h.Hub, 200, "GET", h.At("/admissions?limit=200"), h.Owner, nil).Items
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
	mend = h.Line.Pause()
	defer mend()
	h.Hub.Refused("timeout", "POST", h.At("/admissions"), h.Owner, api.Admission{Code: tickets[5].Code})
	mend()
	expect("after it on the same line", h.AtHub(t, tickets[0]), api.AlreadyAdmitted)
	expect("what was shown at the hub without a line", h.AtVenue(t, tickets[5]), api.Admitted)

	systemtest.Call[api.Authority](h.Hub, 200, "DELETE", h.At("/authority"), h.Owner, nil)
	h.AwaitDoors(t, "hub")
	expect("back at the hub", h.AtHub(t, tickets[3]), api.AlreadyAdmitted)
	expect("back at the hub, a new one", h.AtHub(t, tickets[4]), api.Admitted)
	systemtest.MustAudit(t, h.Cfg, h.Connect)
	js, done, err := h.Connect(t.Context())
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
		if err == nil && !bytes.Contains(last.Data, []byte(h.Venue.ID)) {
			err = fmt.Errorf("the log has %s", last.Data)
		}
		return err
	})
	// A device at the venue works on, and the system decides: it alone knows of that ticket.
	expect("at the venue, back at the hub", h.AtVenue(t, tickets[4]), api.AlreadyAdmitted)
}

// A venue sells from its lease while the line is cut. Each of its sales is a paid order at the system after that, once,
// though the computer was killed; what was not sold goes back to the pool when the lease is closed.
func TestSalesOfAVenueWithoutALine(t *testing.T) {
	t.Parallel()
	h, _ := systemtest.OpenHall(t)
	seat := h.Event.TicketTypes[0].ID
	lease := systemtest.Call[api.Lease](h.Hub, 201, "POST", h.At("/leases"), h.Owner, api.NewLease{VenueID: h.Venue.ID, TicketTypeID: seat,
		Quantity: 10})
	testkit.Eventually(t, 20*time.Second, func() error {
		got := systemtest.Call[api.List[edge.Lease]](h.Edge, 200, "GET", h.At("/leases"), h.Pass, nil).Items
		if len(got) != 1 || got[0].Left != 10 {
			return fmt.Errorf("the venue's leases are %+v", got)
		}
		return nil
	})
	sell := func(n int) api.NewSale {
		sale := h.Sale(n)
		sale.Attendees = []api.Attendee{{Name: "Zoë"}}
		return sale
	}
	mend := h.Line.Pause()
	defer mend()
	var sales []api.Sale
	for _, n := range []int{1, 2, 4} {
		sales = append(sales, systemtest.Call[api.Sale](h.Edge, 201, "POST", api.CreateSale.Path, h.Pass, sell(n)))
	}
	h.P.Kill()
	h.P.Again()
	h.Edge.Refused("sold_out", "POST", api.CreateSale.Path, h.Pass, sell(4))
	code := api.Ticket{Code: sales[2].Tickets[3].Code}
	for _, want := range []string{api.Admitted, api.AlreadyAdmitted} {
		if got := h.AtVenue(t, code); got != want {
			t.Errorf("a ticket of the venue: %s, want %s", got, want)
		}
	}
	wrong := systemtest.Call[api.Sale](h.Edge, 201, "POST", api.CreateSale.Path, h.Pass, sell(3))
	back := "/v1/box-office/sales/" + wrong.OrderID.String() + "/reversal"
	systemtest.Call[api.SaleReversal](h.Edge, 200, "POST", back, h.Pass, nil)
	h.P.Kill()
	h.P.Again()
	systemtest.Call[api.SaleReversal](h.Edge, 200, "POST", back, h.Pass, nil)
	if got := h.AtVenue(t, api.Ticket{Code: wrong.Tickets[0].Code}); got != api.RevokedTicket {
		t.Errorf("a ticket of a sale that was taken back: %s", got)
	}
	systemtest.Call[api.Lease](h.Hub, 200, "DELETE", h.At("/leases/"+lease.ID.String()), h.Owner, nil)
	mend()
	testkit.Eventually(t, 60*time.Second, func() error {
		got := systemtest.Call[api.List[api.Lease]](h.Hub, 200, "GET", h.At("/leases"), h.Owner, nil).Items
		left := h.Hub.Left(h.Event)
		if len(got) != 1 || got[0].State != api.LeaseClosed || got[0].Sold != 7 || left.Sold != 13 || left.Available != 87 {
			return fmt.Errorf("the leases are %+v, and left is %+v", got, left)
		}
		return nil
	})
	for i, s := range sales {
		o := systemtest.Call[api.Order](h.Hub, 200, "GET", "/v1/orders/"+s.OrderID.String(), h.Owner, nil)
		if o.Status != api.OrderPaid || len(o.Items) != 1 || o.Items[0].Quantity != len(s.Tickets) || len(s.Tickets) != 1<<i {
			t.Errorf("order is %+v of %+v", o, s)
		}
	}
	h.Hub.Await(h.Owner, api.Order{ID: wrong.OrderID}, api.OrderCancelled) // it cost nothing
	if got := systemtest.Call[api.List[api.FlaggedSale]](h.Hub, 200, "GET", h.At("/flagged-sales"), h.Owner, nil).Items; len(got) != 0 {
		t.Errorf("flagged: %+v", got)
	}
	h.Edge.Refused("sold_out", "POST", api.CreateSale.Path, h.Pass, sell(1))
}
