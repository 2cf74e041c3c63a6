package doors_test

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
)

// The event says whether people who went out may come in again; the first admission is the one that counts. Both
// outlive a restart.
func TestReentry(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	h.take(ada)
	first := h.scan(h.code(ada), "north")
	for range 2 {
		h.exit(ada, api.Exited)
		h.clock.Advance(time.Minute)
		again := h.scan(h.code(ada), "south")
		if again.Result != api.Admitted || again.Gate != "north" || !again.At.Equal(first.At) {
			t.Errorf("in again: %+v after %+v", again, first)
		}
		h.again()
		if v := h.scan(h.code(ada), "south"); v.Result != api.AlreadyAdmitted || v.Gate != "north" || !v.At.Equal(first.At) {
			t.Errorf("after a restart: %+v", v)
		}
	}
	h.exit(ada, api.Exited)
	offer := *h.event.Offer
	offer.Event.Reentry = api.ReentryNone
	h.event.Offer = &offer
	h.follow(h.event)
	h.again()
	if v := h.scan(h.code(ada), "south"); v.Result != api.NoReentry || v.Gate != "north" || !v.At.Equal(first.At) {
		t.Errorf("not in again: %+v", v)
	}
	h.exit(ada, api.NotInside)
	scans, _, err := h.d.Scans(h.event.EventID, 0, 2)
	if err != nil || scans[0].Scan.Kind != line.ScanExit || scans[0].Scan.Result != api.NotInside || scans[1].Scan.Result != api.NoReentry {
		t.Errorf("scans %+v, %v", scans, err)
	}
}

// The manifest does not make a person who was not inside by the venue's knowledge one who went out.
func TestExitOfOneWhoWasNotInside(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	h.take(ada)
	h.exit(ada, api.NotInside)
	at := h.clock.Now()
	ada.Status, ada.Admitted, ada.Gate, ada.Position = api.TicketAdmitted, &at, "hub", 2
	h.event.Position = 2
	h.follow(h.event)
	ask, _ := h.d.NextPage(h.event.EventID)
	h.page(ask, &line.Page{Tickets: []line.Ticket{ada}, Position: 2})
	h.want(h.code(ada), "", api.AlreadyAdmitted)
	h.again()
	h.want(h.code(ada), "", api.AlreadyAdmitted)
}
