package venues_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// mishap is something that happens to a venue while people come.
type mishap struct {
	name   string
	calm   bool // the venue answers each scan meanwhile
	strike func()
}

// evening is a venue to which things happen.
type evening struct {
	*systemtest.Hall
	x     *crowd
	steps *hallSteps
	venue *systemtest.Fuse
	hubs  *systemtest.Fuse
	t     *testing.T
	lease api.Lease
}

// lineUp waits until the venue is told what is new.
func (e *evening) lineUp() {
	e.t.Helper()
	testkit.Eventually(e.t, 90*time.Second, func() error {
		var got edge.Status
		if err := systemtest.Did(e.Edge, "GET", "/v1/status", "", nil, &got, "", 200); err != nil {
			return err
		}
		if !got.Line.Up || got.ManifestAge > 5 || got.Trouble != "" {
			return fmt.Errorf("the venue is %+v", got)
		}
		return nil
	})
}

// waiting is how many entries of the venue's journal the system does not have. The venue may write more than a system
// without processors to spare can take, and doors that go back wait for all of them.
func (e *evening) waiting() int64 {
	e.t.Helper()
	return systemtest.Call[edge.Status](e.Edge, 200, "GET", "/v1/status", "", nil).Waiting
}

// noHolds says what is held if something is: what was not paid has to expire.
func (e *evening) noHolds() error {
	if got := e.Hub.Left(e.Event); got.Held != 0 {
		return fmt.Errorf("the seats are %+v", got)
	}
	return nil
}

// leaseSeats leases more seats to the venue than its tills can sell, however slow all else is.
func (e *evening) leaseSeats() {
	e.t.Helper()
	key := fmt.Sprintf("lease-%d", rand.Uint64())
	testkit.Eventually(e.t, 60*time.Second, func() error {
		return systemtest.Did(e.Hub, "POST", e.At("/leases"), e.Owner, api.NewLease{VenueID: e.Hall.Venue.ID,
			TicketTypeID: e.Event.TicketTypes[0].ID, Quantity: 3000}, &e.lease, key, 201)
	})
	e.steps.lease = e.lease
}

func (e *evening) resize(quantity int) {
	e.t.Helper()
	testkit.Eventually(e.t, 60*time.Second, func() error {
		return systemtest.Did(e.Hub, "PATCH", e.At("/leases/"+e.lease.ID.String()), e.Owner, map[string]int{"quantity": quantity}, nil, "", 200)
	})
}

// reentry changes whether people who went out may come in again.
func (e *evening) reentry(rule string) {
	e.t.Helper()
	testkit.Eventually(e.t, 60*time.Second, func() error {
		return systemtest.Did(e.Hub, "PATCH", e.At(""), e.Owner, map[string]string{"reentry": rule}, nil, "", 200)
	})
}

// hearing waits until a door has given an answer once more.
func (e *evening) hearing(answer string) {
	e.t.Helper()
	before := e.x.answered(answer)
	testkit.Eventually(e.t, 60*time.Second, func() error {
		if e.x.answered(answer) == before {
			return fmt.Errorf("no door answers %s", answer)
		}
		return nil
	})
}

// clock starts the venue's computer anew with a clock that is wrong.
func (e *evening) clock(wrong string) {
	e.P.Kill()
	e.P.Args[len(e.P.Args)-1] = wrong
	e.P.Again()
}

func (e *evening) mishaps() []mishap {
	x, some := e.x, int64(60)
	wait := func(d time.Duration) { <-time.After(d) } // so long the network is so
	return []mishap{
		{"the line is cut", true, func() {
			mend := e.Line.Pause()
			defer mend()
			x.through(some, 5, 10)
		}},
		{"the line is lost without a word", true, func() {
			e.Line.Drop()
			x.through(some, 5, 10)
		}},
		{"the line flaps", true, func() {
			for range 6 {
				e.Line.Drop()
				wait(rand.N(800 * time.Millisecond))
				e.Line.Cut()
				wait(rand.N(time.Second))
			}
			x.through(some, 5, 10)
		}},
		{"the line is slow and loses connections", true, func() {
			e.Line.Delay(500 * time.Millisecond)
			defer e.Line.Delay(0)
			for range 2 {
				x.through(some, 2, 5)
				e.Line.Drop()
			}
			e.Line.Cut()
			e.lineUp()
		}},
		{"the system is killed", true, func() {
			e.hubs.P.Kill()
			x.through(some, 5, 0)
			e.hubs.P.Again()
			x.through(some, 0, 10)
		}},
		{"the venue's computer is killed", false, func() {
			e.P.Kill()
			e.P.Again()
			x.through(some, 5, 10)
		}},
		{"the venue's computer is killed without a line", false, func() {
			mend := e.Line.Pause()
			defer mend()
			x.through(some, 5, 10)
			e.P.Kill()
			e.P.Again()
			x.through(some, 5, 10)
		}},
		{"the venue's clock is ten minutes ahead", false, func() { e.clock("10m"); x.through(some, 5, 10) }},
		{"the venue's clock is ten minutes behind", false, func() { e.clock("-10m"); x.through(some, 5, 10) }},
		{"a second computer is started", true, e.second},
		{"the organizer lets nobody back in", true, func() {
			e.reentry(api.ReentryNone)
			e.hearing(api.NoReentry)
			e.reentry(api.ReentryAny)
		}},
		{"the lease grows and shrinks", true, func() {
			e.resize(6000)
			x.through(some, 5, 10)
			var now api.List[api.Lease]
			testkit.Eventually(e.t, 30*time.Second, func() error { return systemtest.Did(e.Hub, "GET", e.At("/leases"), e.Owner, nil, &now, "", 200) })
			for _, l := range now.Items {
				if l.ID == e.lease.ID {
					e.resize(l.Sold + 2500)
				}
			}
			x.through(some, 5, 10)
		}},
		{"the doors go back and come again", false, func() {
			e.lineUp()
			authority := e.At("/authority")
			testkit.Eventually(e.t, 30*time.Second, func() error { return systemtest.Did(e.Hub, "DELETE", authority, e.Owner, nil, nil, "", 200) })
			e.AwaitDoors(e.t, "hub")
			x.through(5, 0, 5) // at the desk
			testkit.Eventually(e.t, 30*time.Second, func() error {
				return systemtest.Did(e.Hub, "PUT", authority, e.Owner, api.NewAuthority{VenueID: e.Hall.Venue.ID}, nil, "", 200)
			})
			e.AwaitDoors(e.t, "venue")
			e.leaseSeats()
			x.through(some, 5, 10)
		}},
	}
}

// second starts another computer with the venue's credentials, which admits nobody.
func (e *evening) second() {
	at := testkit.FreeAddress(e.t)
	p := systemtest.Spawn(e.t, "venue", nil, filepath.Join(e.t.TempDir(), "edge"), e.Hall.Venue.ID.String(), e.Line.Addr, e.Creds, at, "0s")
	other := &systemtest.Site{T: e.t, URL: "http://" + at, Timeout: 5 * time.Second}
	testkit.Eventually(e.t, 30*time.Second, func() error {
		var got edge.Status
		if err := systemtest.Did(other, "GET", "/v1/status", "", nil, &got, "", 200); err != nil {
			return err
		}
		if got.Trouble == "" {
			return fmt.Errorf("the second computer is %+v", got)
		}
		return nil
	})
	ticket, _ := e.x.any()
	if got, err := other.Send("POST", e.At("/admissions"), e.Pass, api.Admission{Code: ticket.Code}); err != nil || got.Status == 200 {
		e.t.Errorf("a second computer answers %d %s %v", got.Status, got.Body, err)
	}
	p.Kill()
}

// An hour at the doors of a venue: fifty gates and two tills, people who go out and come in again, sales that are taken
// back, while the system sells, has orders expire, refunds and transfers, and while line, computers and clock fail, one
// thing after the other. All doors together are like one, each scan and sale counts once, each seat is somewhere, and the
// organizer's numbers are right. STARLIGHT_EDGE=1h is a whole hour; otherwise each thing happens once.
func TestHourOfAVenue(t *testing.T) {
	t.Parallel()
	long := atHallFor(t)
	hall, hub, venue := systemtest.OpenMortalHall(t, 100_000, 1500)
	pace := testkit.Within(200 * time.Millisecond) // not more than the system can take, or doors that go back wait for it
	if long > 10*time.Minute {
		pace = time.Second
	}
	e := &evening{Hall: hall, venue: venue, hubs: hub, t: t, x: newCrowd(hall, pace), steps: &hallSteps{Hall: hall, t: t}}
	hall.Hub.Join(friendEmail)
	hall.Hub.Confirm(hall.Cfg, friendEmail)
	e.x.signIn()
	hall.Hub.Set(hall.Owner, "ticketing.hold_ttl", "5s")
	e.leaseSeats()
	e.x.open(50, 2)
	start := time.Now()
	e.x.through(50, 5, 10)
	for round := 0; round == 0 || time.Since(start) < long; round++ {
		all := e.mishaps()
		rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		for _, m := range all {
			e.x.signIn()
			e.lineUp()
			before, struck := e.x.failures(), time.Now()
			m.strike()
			if failed := e.x.failures() - before; m.calm && failed > 0 {
				t.Errorf("%s, and %d scans at the venue were not answered: %s", m.name, failed, e.x.lastFailure())
			}
			t.Logf("%6.1f s: %s; for %.1f s; then %d entries are not at the system", struck.Sub(start).Seconds(), m.name,
				time.Since(struck).Seconds(), e.waiting())
		}
	}
	e.lineUp()
	e.x.end()
	e.x.signIn()
	testkit.Eventually(t, 60*time.Second, e.noHolds)
	judge(t, hall)
	if flagged := hall.Flagged(); len(flagged) > 0 {
		t.Errorf("flagged sales: %+v", flagged)
	}
	e.x.check(e.steps)
	e.x.numbers()
}

// The system is restored from a backup while the line to the venue is cut. The venue goes on, and the system then learns
// of all that it has scanned and sold, that of which it had heard before included, each once. A sale from seats that were
// leased after the backup is booked beside the lease, and flagged.
func TestRestoreWhileAVenueIsCutOff(t *testing.T) {
	t.Parallel()
	h, hub, venue := systemtest.OpenMortalHall(t, 1000, 0)
	e := &evening{Hall: h, venue: venue, hubs: hub, t: t, x: newCrowd(h, 0), steps: &hallSteps{Hall: h, t: t, sales: map[ids.Order]bool{}}}
	h.Hub.Join(friendEmail)
	h.Hub.Confirm(h.Cfg, friendEmail)
	e.x.signIn()
	e.lease = systemtest.Call[api.Lease](h.Hub, 201, "POST", h.At("/leases"), h.Owner, api.NewLease{VenueID: h.Venue.ID,
		TicketTypeID: h.Event.TicketTypes[0].ID, Quantity: 10})
	e.steps.lease = e.lease
	leased := func(quantity int) {
		t.Helper()
		testkit.Eventually(t, 30*time.Second, func() error { return e.steps.leaseAtVenue(quantity, api.LeaseOpen) })
	}
	leased(10)
	var sold []api.Sale
	var admitted []api.SaleTicket
	// each sells two tickets at the venue and one at the system, and lets one of them and that one in
	each := func() {
		t.Helper()
		sale := systemtest.Call[api.Sale](h.Edge, 201, "POST", api.CreateSale.Path, h.Pass, h.Sale(2))
		sold, admitted = append(sold, sale), append(admitted, sale.Tickets[0])
		e.scanAs(sale.Tickets[0], api.Admitted)
	}
	desk := func() api.SaleTicket {
		t.Helper()
		sale := systemtest.Call[api.Sale](h.Hub, 201, "POST", api.CreateSale.Path, h.Owner, h.Sale(1))
		testkit.Eventually(t, 30*time.Second, func() error { // the venue hears of it
			var results []string
			return e.steps.shown(h.Edge, h.Pass, sale.Tickets[0].Code, &results)
		})
		admitted = append(admitted, sale.Tickets[0])
		return sale.Tickets[0]
	}
	each()
	desk()
	e.allUp()
	hub.P.Terminate()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(h.Cfg.Data)); err != nil {
		t.Fatal(err)
	}
	hub.P.Again()
	e.x.signIn()
	e.lineUp()
	each()
	lost := desk() // the backup does not have it
	e.resize(20)
	leased(20)
	each()
	e.allUp()

	mend := h.Line.Pause()
	defer mend()
	each()
	for range 4 { // beyond the ten seats of the backup
		each()
	}
	hub.P.Kill()
	if err := os.RemoveAll(h.Cfg.Data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(h.Cfg.Data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	hub.P.Again()
	each()
	mend()
	e.x.signIn()
	e.lineUp()
	e.allUp()
	for _, ticket := range admitted {
		e.scanAs(ticket, api.AlreadyAdmitted)
	}
	judge(t, h)
	for _, sale := range sold {
		if err := e.steps.booked(sale); err != nil {
			t.Error(err)
		}
	}
	flagged := h.Flagged()
	for _, f := range flagged {
		if f.State != "beside" {
			t.Errorf("flagged: %+v", f)
		}
	}
	if len(flagged) != len(sold)-5 {
		t.Errorf("%d of %d sales are beside the lease", len(flagged), len(sold))
	}
	if got := h.Hub.Left(h.Event); got.Sold != 2*len(sold)+1 {
		t.Errorf("the seats are %+v, and %s is lost", got, lost.ID)
	}
}

// scanAs scans a ticket at the venue, which must answer so.
func (e *evening) scanAs(ticket api.SaleTicket, want string) {
	e.t.Helper()
	if got := e.AtVenue(e.t, api.Ticket{Code: ticket.Code}); got != want {
		e.t.Errorf("ticket %s: %s, want %s", ticket.ID, got, want)
	}
}

// allUp waits until the system has all that the venue has decided.
func (e *evening) allUp() {
	e.t.Helper()
	testkit.Eventually(e.t, 60*time.Second, func() error {
		var got edge.Status
		if err := systemtest.Did(e.Edge, "GET", "/v1/status", "", nil, &got, "", 200); err != nil {
			return err
		}
		if got.Waiting > 0 {
			return fmt.Errorf("%d entries wait", got.Waiting)
		}
		return nil
	})
}
