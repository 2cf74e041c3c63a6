package edge_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
)

// An answer that is on its way when the line is cut does not come. What was asked is asked again as soon as the line is
// up, and not when nobody would wait for the answer any more.
func TestLineChangesDuringAQuestion(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	hang := make(chan struct{})
	defer close(hang)
	x.do(func() { x.hang = hang })
	x.scan(x.tickets[0])
	x.eventually("it is being handed up", func() bool { return x.hung == 1 })
	x.do(func() { x.line = edge.Line{Since: time.Now()} })
	began := time.Now()
	x.do(func() { x.hang, x.line = nil, edge.Line{Up: true, Since: time.Now()} })
	x.eventually("the scan is at the hub", func() bool { return len(x.journal) == 1 })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A hub that is reached and answers nothing, as one whose process hangs, counts as one without a line, until it answers.
func TestSilentHub(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	x.silence = 300 * time.Millisecond
	x.again()
	isUp := func(want bool) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			if l := x.s.Status().Line; l.Up != want || want == (l.Reason != "") {
				return fmt.Errorf("the line is %+v", l)
			}
			return nil
		})
	}
	isUp(true)
	mute := make(chan struct{})
	x.do(func() { x.mute = mute })
	isUp(false)
	if status, body, _ := x.send("POST", "/v1/sessions", "", map[string]string{"email": "dora@example.org", "password": "correct horse"}); status != 503 {
		t.Errorf("a sign-in: %d %s", status, body)
	}
	x.scan(x.tickets[0])
	x.do(func() { x.mute = nil })
	close(mute)
	isUp(true)
}

// The doors of an event go back while people come in at another one, and the journal is never handed up to its end.
func TestDoorsGoBackWhilePeopleComeInElsewhere(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	other := x.event
	offer := *other.Offer
	other.EventID, other.State, other.Offer = ids.New[ids.EventKind](time.Now()), line.DoorsHandingOver, &offer
	offer.Event.ID = other.EventID
	x.do(func() { x.other, x.far = &other, 200*time.Millisecond })
	x.eventually("the venue has both", func() bool { return x.other.State == line.DoorsVenue })
	stranger := code.Sign(code.Payload{Event: other.EventID, Ticket: ids.New[ids.TicketKind](time.Now()), Revision: 1}, "k1", x.key)
	over := make(chan struct{})
	var people sync.WaitGroup
	defer people.Wait()
	defer close(over)
	for range 4 {
		people.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					x.send("POST", "/v1/events/"+other.EventID.String()+"/admissions", passSecret, map[string]string{"code": stranger})
				}
			}
		})
	}
	x.eventually("people come in", func() bool { return len(x.journal) > 20 })
	x.do(func() { x.event.State = line.DoorsReturning })
	x.eventually("the doors are back", func() bool { return x.event.State == line.DoorsHub })
}

// Doors go back also while the list of tickets cannot be read.
func TestDoorsGoBackWithoutTheList(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	x.scan(x.tickets[0])
	x.do(func() {
		x.noList = true
		x.event.Position++
		x.event.State = line.DoorsReturning
	})
	x.eventually("the doors are back", func() bool { return x.event.State == line.DoorsHub && len(x.journal) == 1 })
}

// A hub that is so slow that it takes a few entries of the journal in the time of a request gets them a few at a time, not
// the same many for ever.
func TestSlowHubTakesTheJournal(t *testing.T) {
	x := newSite(t, 20)
	x.admits()
	hang := make(chan struct{})
	x.do(func() { x.hang = hang })
	for _, ticket := range x.tickets {
		x.scan(ticket)
	}
	x.do(func() { x.hang, x.takes = nil, 3 })
	close(hang)
	x.eventually("all scans are at the hub", func() bool { return len(x.journal) == 20 })
}
