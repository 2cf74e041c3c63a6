package ticketing

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// exits scans a code on the way out.
func (h *harness) exits(o *api.Offer, code, want string) {
	h.t.Helper()
	got, err := do(h.as(ownerOf(o)), h, api.ExitTicket, api.Admission{EventID: o.Event.ID, Code: code, Gate: "out"})
	if err != nil || got.Result != want {
		h.t.Errorf("on the way out: %+v, %v; want %s", got, err, want)
	}
}

// People go out, and come in again if the event lets them. The first admission is the one that counts.
func TestExitAndReentry(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, other := h.publish(10, 0), h.publish(10, 0)
		code := h.buy(offer, 1).tickets[0].Code
		h.exits(offer, code, api.NotInside)
		h.exits(offer, "nonsense", api.InvalidCode)
		h.exits(other, code, api.WrongEvent)
		first, err := h.scan(offer, code)
		if err != nil || first.Result != api.Admitted || first.FirstGate != "hub" {
			t.Fatalf("%+v %v", first, err)
		}
		h.exits(offer, code, api.Exited)
		h.exits(offer, code, api.NotInside)
		again, err := do(h.as(ownerOf(offer)), h, api.AdmitTicket, api.Admission{EventID: offer.Event.ID, Code: code, Gate: "south"})
		if err != nil || again.Result != api.Admitted || again.FirstGate != "hub" || !again.FirstAdmittedAt.Equal(*first.FirstAdmittedAt) {
			t.Errorf("in again: %+v %v", again, err)
		}
		h.scanned(offer, code, api.AlreadyAdmitted)
		once := h.publish(10, 0)
		once.Event.Reentry = api.ReentryNone
		left := h.buy(once, 1).tickets[0].Code
		h.scanned(once, left, api.Admitted)
		h.exits(once, left, api.Exited)
		for range 2 {
			h.scanned(once, left, api.NoReentry)
		}
		h.exits(once, left, api.NotInside)
		kinds := map[string]int{}
		for _, s := range h.admissions(offer) {
			kinds[s.Kind+" "+s.Result]++
		}
		for what, n := range map[string]int{"exit " + api.NotInside: 2, "exit " + api.Exited: 1, "entry " + api.Admitted: 2,
			"entry " + api.AlreadyAdmitted: 1, "entry " + api.InvalidCode: 1} {
			if kinds[what] != n {
				t.Errorf("%d scans are %s, want %d", kinds[what], what, n)
			}
		}
		h.audit()
	})
}

// Of the gates that scan one ticket of a person who went out, one lets the person in.
func TestReentryRace(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		code := h.buy(offer, 1).tickets[0].Code
		h.scanned(offer, code, api.Admitted)
		for range 5 {
			h.exits(offer, code, api.Exited)
			var gates sync.WaitGroup
			var admitted atomic.Int32
			for range 20 {
				gates.Go(func() {
					got, err := h.scan(offer, code)
					if err != nil {
						t.Error(err)
					} else if got.Result == api.Admitted {
						admitted.Add(1)
					}
				})
			}
			gates.Wait()
			if n := admitted.Load(); n != 1 {
				t.Errorf("%d gates admitted", n)
			}
		}
	})
}

// While a venue admits it decides on exits, too. What it has let out may come in again here when the doors are back.
func TestExitAtAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		event := offer.Event.ID
		tickets := h.buy(offer, 2).tickets
		e := h.edge(ownerOf(offer))
		a := h.handOver(e, offer, "")
		e.mustHello()
		e.hold(event)
		if err := e.take(event); err != nil {
			t.Fatal(err)
		}
		h.there = func(_ context.Context, req *line.There) (*api.AdmissionResult, error) {
			if !req.Exit || req.Code != tickets[0].Code {
				t.Errorf("the venue is asked %+v", req)
			}
			return &api.AdmissionResult{Result: api.Exited}, nil
		}
		h.exits(offer, tickets[0].Code, api.Exited)
		h.there = func(context.Context, *line.There) (*api.AdmissionResult, error) {
			return nil, fault.New(fault.Unavailable, "no line")
		}
		if _, err := do(h.as(ownerOf(offer)), h, api.ExitTicket, api.Admission{EventID: event, Code: tickets[0].Code}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("an exit without a line: %v", err)
		}
		note := func(i int, kind, result string) {
			e.note(event, a.Epoch, line.Scan{TicketID: tickets[i].ID, Revision: 1, Kind: kind, Result: result, Gate: "north", By: "pas_1"})
		}
		note(0, line.ScanEntry, api.Admitted)
		note(0, line.ScanExit, api.Exited)
		note(0, line.ScanEntry, api.NoReentry)
		note(1, line.ScanEntry, api.Admitted)
		note(1, line.ScanExit, api.NotInside) // which changes nothing
		note(1, line.ScanExit, api.Admitted)  // which is nonsense, and does not stop the journal
		if n, err := e.send(e.entries...); n != 6 || err != nil {
			t.Fatalf("the journal is at %d, %v", n, err)
		}
		must(h.as(ownerOf(offer)), h, api.EndAuthority, api.AuthorityEnd{EventID: event})
		if err := e.giveBack(event, a.Epoch); err != nil {
			t.Fatal(err)
		}
		got, err := h.scan(offer, tickets[0].Code)
		if err != nil || got.Result != api.Admitted || got.FirstGate != "north" {
			t.Errorf("in again: %+v %v", got, err)
		}
		h.scanned(offer, tickets[1].Code, api.AlreadyAdmitted)
		h.audit()
	})
}

// Codes that are scanned at the same moment are verified together; those that nobody has signed are still found one by
// one, and let no one else wait outside.
func TestScansOfAMoment(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(100, 0)
		tickets := h.buy(o, 10).tickets
		var work sync.WaitGroup
		for i := range 4 * len(tickets) {
			ticket := tickets[i/4]
			shown, want := ticket.Code, ""
			if i%4 == 3 { // the signature of another ticket
				other := tickets[(i/4+1)%len(tickets)].Code
				shown = ticket.Code[:strings.LastIndexByte(ticket.Code, '.')] + other[strings.LastIndexByte(other, '.'):]
				want = api.InvalidCode
			}
			work.Go(func() {
				got, err := h.scan(o, shown)
				switch {
				case err != nil:
					t.Error(err)
				case want != "" && got.Result != want:
					t.Errorf("a forged code: %s", got.Result)
				case want == "" && got.Result != api.Admitted && got.Result != api.AlreadyAdmitted:
					t.Errorf("a good code: %s", got.Result)
				}
			})
		}
		work.Wait()
		admitted := 0
		for _, a := range h.admissions(o) {
			if a.Result == api.Admitted {
				admitted++
			}
		}
		if admitted != len(tickets) {
			t.Errorf("%d tickets were admitted, want %d", admitted, len(tickets))
		}
	})
}
