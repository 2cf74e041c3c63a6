package venues_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// atHallFor is how long the tests of venues go on, by STARLIGHT_EDGE=1h; 0 means their short versions.
func atHallFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("STARLIGHT_EDGE")
	if text == "" {
		return 0
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return long
}

// hallStep is something that system and venue do together, in several commits of each.
type hallStep struct {
	name    string
	act     func() error // as often as it takes
	outcome func() error
	doors   bool // who admits is another one then
}

// hallSteps are the ways that doors, seats, scans and sales of a venue go, one after the other, so that all is as before
// in the end. They have names of their own in each round.
type hallSteps struct {
	*systemtest.Hall
	t     *testing.T
	round int
	lease api.Lease
	sale  api.Sale
	wrong api.Sale // that is taken back
	sold  []api.Sale
	back  []api.Sale
	sales map[ids.Order]bool // of one ticket, at the system

	supervisor string // the token at the venue of a person who may take admissions back
}

// leaseAtVenue says how the venue has the lease if not so.
func (h *hallSteps) leaseAtVenue(quantity int, state string) error {
	var got api.List[edge.Lease]
	if err := systemtest.Did(h.Edge, "GET", h.At("/leases"), h.Pass, nil, &got, "", 200); err != nil {
		return err
	}
	for _, l := range got.Items {
		if l.ID == h.lease.ID && l.Quantity == quantity && l.State == state {
			return nil
		}
	}
	return fmt.Errorf("the venue's leases are %+v", got.Items)
}

// leaseAtHub says how the system has the lease if not so.
func (h *hallSteps) leaseAtHub(quantity int, state string) error {
	var got api.List[api.Lease]
	if err := systemtest.Did(h.Hub, "GET", h.At("/leases"), h.Owner, nil, &got, "", 200); err != nil {
		return err
	}
	for _, l := range got.Items {
		if l.ID == h.lease.ID && l.Quantity == quantity && l.State == state {
			return nil
		}
	}
	return fmt.Errorf("the system's leases are %+v", got.Items)
}

// both proves that a ticket is admitted once: whoever admits, the other says that it was.
func (h *hallSteps) both() {
	h.t.Helper()
	var ticket api.SaleTicket
	key := fmt.Sprintf("both-%d", rand.Uint64())
	testkit.Eventually(h.t, 30*time.Second, func() (err error) {
		ticket, err = h.desk(key)
		return err
	})
	var results []string
	ways := []func() error{
		func() error { return h.shown(h.Hub, h.Owner, ticket.Code, &results) },
		func() error { return h.shown(h.Edge, h.Pass, ticket.Code, &results) }}
	rand.Shuffle(len(ways), func(i, k int) { ways[i], ways[k] = ways[k], ways[i] })
	for _, way := range ways {
		testkit.Eventually(h.t, 30*time.Second, way)
	}
	first, second := results[0], results[1]
	if first == "" {
		first, second = second, first
	}
	if first != api.Admitted && first != api.AlreadyAdmitted || second == api.Admitted {
		h.t.Errorf("round %d: a ticket was shown on both sides: %q", h.round, results)
	}
}

// shown scans a ticket until there is an answer. "" stands for a side that has not the doors. An answer that was lost may
// have been an admission.
func (h *hallSteps) shown(s *systemtest.Site, token, code string, results *[]string) error {
	got, err := s.Send("POST", h.At("/admissions"), token, api.Admission{Code: code})
	if err != nil {
		return err
	}
	var result api.AdmissionResult
	switch got.Status {
	case 200:
		if err := got.Decode(&result); err != nil {
			return err
		}
		if result.Result == api.InvalidCode { // the venue has not heard of it yet
			return errors.New("it is not known yet")
		}
	case 401, 409: // the passes of an event that is not the venue's are not known there
	default:
		return fmt.Errorf("%d %s", got.Status, got.Body)
	}
	*results = append(*results, result.Result)
	return nil
}

// desk sells a ticket at the system, one under each key.
func (h *hallSteps) desk(key string) (api.SaleTicket, error) {
	var sold api.Sale
	if err := systemtest.Did(h.Hub, "POST", api.CreateSale.Path, h.Owner, h.Hall.Sale(1), &sold, key, 201); err != nil {
		return api.SaleTicket{}, err
	}
	h.sales[sold.OrderID] = true
	return sold.Tickets[0], nil
}

func (h *hallSteps) all() []hallStep {
	leases := h.At("/leases")
	var seat ids.TicketType
	for _, t := range h.Event.TicketTypes {
		seat = t.ID
	}
	one := func() string { return leases + "/" + h.lease.ID.String() }
	key := func(what string) string { return fmt.Sprintf("%s-%d", what, h.round) }
	ask := func(method string, path func() string, body any, into any, what string, want int) func() error {
		return func() error { return systemtest.Did(h.Hub, method, path(), h.Owner, body, into, key(what), want) }
	}
	var ticket api.SaleTicket
	var again ids.Admission // of that ticket, whose holder has gone out
	return []hallStep{
		{"a lease", ask("POST", func() string { return leases }, api.NewLease{VenueID: h.Venue.ID, TicketTypeID: seat, Quantity: 20}, &h.lease, "lease", 201), func() error { return h.leaseAtVenue(20, api.LeaseOpen) }, false},
		{"a larger lease", ask("PATCH", one, map[string]int{"quantity": 30}, nil, "", 200), func() error {
			return errors.Join(h.leaseAtVenue(30, api.LeaseOpen), h.leaseAtHub(30, api.LeaseOpen))
		}, false},
		{"a sale", func() error {
			return systemtest.Did(h.Edge, "POST", api.CreateSale.Path, h.Pass, h.Hall.Sale(2), &h.sale, key("sale"), 201)
		}, func() error { return h.booked(h.sale) }, false},
		{"a sale's reversal", func() error {
			err := systemtest.Did(h.Edge, "POST", api.CreateSale.Path, h.Pass, h.Hall.Sale(3), &h.wrong, key("wrong"), 201)
			if err != nil {
				return err
			}
			path := strings.ReplaceAll(api.ReverseSale.Path, "{id}", h.wrong.OrderID.String())
			return systemtest.Did(h.Edge, "POST", path, h.Pass, api.ReverseSaleRequest{Reason: "wrong slip"}, nil, "", 200)
		}, func() error {
			return errors.Join(h.takenBack(h.wrong), h.leaseAtHub(30, api.LeaseOpen), h.soldFromLease(2))
		}, false},
		{"a scan", func() error {
			var results []string
			var err error
			if ticket, err = h.desk(key("desk")); err != nil {
				return err
			}
			return h.shown(h.Edge, h.Pass, ticket.Code, &results)
		}, func() error {
			return systemtest.Did(h.Edge, "GET", "/v1/status", "", nil, nil, "", 200)
		}, false},
		{"an exit", func() error {
			var left api.ExitResult
			err := systemtest.Did(h.Edge, "POST", h.At("/exits"), h.Pass, api.Admission{Code: ticket.Code}, &left, "", 200)
			if err == nil && left.Result != api.Exited && left.Result != api.NotInside { // the latter if an answer was lost
				err = fmt.Errorf("it says %s", left.Result)
			}
			return err
		}, func() error { return h.oneAtHub(ticket.ID, line.ScanExit, api.Exited, api.TicketAdmitted) }, false},
		{"an undo", func() error {
			if again == "" {
				var in api.List[api.Scan]
				if err := errors.Join(systemtest.Did(h.Edge, "POST", h.At("/admissions"), h.Pass, api.Admission{Code: ticket.Code}, nil, "", 200),
					systemtest.Did(h.Edge, "GET", h.At("/admissions?limit=50"), h.supervisor, nil, &in, "", 200)); err != nil {
					return err
				}
				for _, s := range slices.Backward(in.Items) { // the newest is the first
					if s.TicketID == ticket.ID && s.Result == api.Admitted {
						again = s.ID
					}
				}
			}
			return systemtest.Did(h.Edge, "DELETE", h.At("/admissions/"+again.String()), h.supervisor, nil, nil, "", 200)
		}, func() error { return h.oneAtHub(ticket.ID, line.ScanUndo, "", api.TicketValid) }, false},
		{"a smaller lease", ask("PATCH", one, map[string]int{"quantity": 25}, nil, "", 200), func() error {
			return errors.Join(h.leaseAtVenue(25, api.LeaseOpen), h.leaseAtHub(25, api.LeaseOpen))
		}, false},
		{"a lease's end", ask("DELETE", one, nil, nil, "", 200), func() error { return h.leaseAtHub(2, api.LeaseClosed) }, false},
		{"the return of the doors", ask("DELETE", func() string { return h.At("/authority") }, nil, nil, "", 200),
			func() error { return h.DoorsAre("hub") }, true},
		{"a hand-over", ask("PUT", func() string { return h.At("/authority") }, api.NewAuthority{VenueID: h.Venue.ID}, nil, "", 200),
			func() error { return h.DoorsAre("venue") }, true},
	}
}

// oneAtHub says how the system has a ticket if it does not have one scan of the kind, which was answered so, and the
// ticket as it has to be after that.
func (h *hallSteps) oneAtHub(id ids.Ticket, kind, result, status string) error {
	var scans api.List[api.Scan]
	var ticket api.Ticket
	if err := errors.Join(systemtest.Did(h.Hub, "GET", h.At("/admissions?limit=200"), h.Owner, nil, &scans, "", 200),
		systemtest.Did(h.Hub, "GET", "/v1/tickets/"+id.String(), h.Owner, nil, &ticket, "", 200)); err != nil {
		return err
	}
	n := 0
	for _, s := range scans.Items {
		if s.TicketID == id && s.Kind == kind && s.Result == result {
			n++
		}
	}
	if n != 1 || ticket.Status != status {
		return fmt.Errorf("%d scans %s %s, and the ticket is %+v", n, kind, result, ticket)
	}
	return nil
}

// booked says why a sale of the venue is not an order at the system with its tickets.
func (h *hallSteps) booked(sale api.Sale) error {
	var o api.Order
	var tickets api.List[api.Ticket]
	at := "/v1/orders/" + sale.OrderID.String()
	if err := errors.Join(systemtest.Did(h.Hub, "GET", at, h.Owner, nil, &o, "", 200),
		systemtest.Did(h.Hub, "GET", at+"/tickets", h.Owner, nil, &tickets, "", 200)); err != nil {
		return err
	}
	if o.Status != api.OrderPaid || len(tickets.Items) != len(sale.Tickets) {
		return fmt.Errorf("order is %+v with %d tickets", o, len(tickets.Items))
	}
	return nil
}

// soldFromLease says how many seats of the lease the system has as sold, if not so many.
func (h *hallSteps) soldFromLease(n int) error {
	var got api.List[api.Lease]
	if err := systemtest.Did(h.Hub, "GET", h.At("/leases"), h.Owner, nil, &got, "", 200); err != nil {
		return err
	}
	for _, l := range got.Items {
		if l.ID == h.lease.ID && l.Sold != n {
			return fmt.Errorf("the lease is %+v", l)
		}
	}
	return nil
}

// takenBack says why a sale of the venue is not an order that was paid and refunded in full, with tickets that are worth
// nothing at the doors.
func (h *hallSteps) takenBack(sale api.Sale) error {
	var o api.Order
	var tickets api.List[api.Ticket]
	at := "/v1/orders/" + sale.OrderID.String()
	if err := errors.Join(systemtest.Did(h.Hub, "GET", at, h.Owner, nil, &o, "", 200),
		systemtest.Did(h.Hub, "GET", at+"/tickets", h.Owner, nil, &tickets, "", 200)); err != nil {
		return err
	}
	var p api.Payment
	if err := systemtest.Did(h.Hub, "GET", "/v1/payments/"+o.PaymentID.String(), h.Owner, nil, &p, "", 200); err != nil {
		return err
	}
	if o.Status != api.OrderRefunded || p.Amount != sale.Total || p.Refunded != sale.Total {
		return fmt.Errorf("order is %+v, and its payment %+v", o, p)
	}
	for _, t := range tickets.Items {
		if t.Status != api.TicketRevoked {
			return fmt.Errorf("ticket is %+v", t)
		}
	}
	return nil
}

// The way of doors, leases, sales and scans between system and venue, with the venue's computer or the system killed
// before and after their commits: whatever the moment, in the end each step has been taken once, no ticket was admitted
// by both sides, every seat is somewhere, and each scan and sale counts once. With STARLIGHT_EDGE it is at every commit,
// otherwise at some.
func TestKillAtEveryStepOfAVenue(t *testing.T) {
	t.Parallel()
	if atHallFor(t) == 0 {
		killed(t, func(h *hallSteps, kill func(step, victim, point int) bool) {
			for i, step := range h.all() {
				victim := i % len(victims)
				if step.name == "an exit" || step.name == "an undo" {
					victim = 0 // which decides on them
				}
				kill(i, victim, []int{-1, 1, -2}[rand.IntN(3)])
			}
		})
		return
	}
	for i, step := range (&hallSteps{Hall: &systemtest.Hall{}}).all() {
		t.Run(step.name, func(t *testing.T) {
			killed(t, func(_ *hallSteps, kill func(step, victim, point int) bool) {
				for victim := range victims {
					const farthest = 5 // commits: what is beyond belongs to what comes all the time, such as news of the line
					for point, alive := 1, 0; alive < 2 && point <= farthest; point++ {
						for _, side := range []int{-point, point} {
							if alive++; kill(i, victim, side) {
								alive = 0
							}
						}
					}
				}
			})
		})
	}
}

// victims are whose commits are counted: the venue's computer, and services of the system.
var victims = []string{"edge", "venue", "ticketing", "payment"}

// killed has a test kill one of the victims at points of a step, and then looks at what is left.
func killed(t *testing.T, test func(h *hallSteps, kill func(step, victim, point int) bool)) {
	hall, hub, venue := systemtest.OpenMortalHall(t, 20_000, 1500)
	h := &hallSteps{Hall: hall, t: t, sales: map[ids.Order]bool{}}
	deaths := map[string]int{}
	testkit.Eventually(t, 30*time.Second, func() error {
		var got edge.Token
		err := systemtest.Did(h.Edge, "POST", "/v1/sessions", "", api.Login{Email: systemtest.AdminEmail, Password: systemtest.Password}, &got, "", 201)
		h.supervisor = got.AccessToken
		return err
	})
	// All steps are taken in each round, so that the next one finds what it needs.
	test(h, func(deadly, victim, point int) (died bool) {
		name, v := victims[victim], hub
		if name == "edge" {
			v = venue
		}
		h.round++
		for i, step := range h.all() {
			if i == deadly {
				died = v.Survive(name, point, step.act, step.outcome)
			} else {
				testkit.Eventually(t, 60*time.Second, step.act)
				testkit.Eventually(t, 60*time.Second, step.outcome)
			}
			if i == deadly || step.doors {
				h.both()
			}
		}
		h.sold, h.back = append(h.sold, h.sale), append(h.back, h.wrong)
		if died {
			deaths[name]++
		}
		return died
	})
	t.Logf("deaths: %v, in %d rounds", deaths, h.round)
	if n := deaths["edge"] + deaths["ticketing"] + deaths["venue"] + deaths["payment"]; n < 3 {
		t.Errorf("%d deaths prove nothing", n)
	}
	for _, sale := range h.sold {
		if err := h.booked(sale); err != nil {
			t.Error(err)
		}
	}
	for _, sale := range h.back {
		if err := h.takenBack(sale); err != nil {
			t.Error(err)
		}
	}
	judge(t, h.Hall)
	if flagged := h.Flagged(); len(flagged) > 0 {
		t.Errorf("flagged sales: %+v", flagged)
	}
	testkit.Eventually(t, 60*time.Second, func() error { // the pool gets the seats of a closed lease after a crash, too
		if got := hall.Hub.Left(h.Event); got.Leased != 0 || got.Sold != 2*h.round+len(h.sales) {
			return fmt.Errorf("after %d rounds the seats are %+v", h.round, got)
		}
		return nil
	})
}
