package ticketing

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// answered writes answers to the journal of a venue, and sends it from there on.
func (e *edge) answered(q inquiry, ticket ids.Ticket, cleared []ids.Question, given ...api.Answer) {
	e.h.t.Helper()
	for i := range given {
		given[i].Position = nil
	}
	e.entries = append(e.entries, line.Entry{Number: int64(len(e.entries)) + 1, EventID: q.Event.ID,
		Epoch: e.holds[q.Event.ID].Epoch, At: e.h.clock.Now(),
		Answers: &line.Answers{TicketID: ticket, Given: given, Cleared: cleared, By: "pas_x"}})
	for range 2 { // as after a cut: it is applied once
		if n, err := e.send(e.entries...); err != nil || n != int64(len(e.entries)) {
			e.h.t.Fatalf("the journal is kept up to %d, %v", n, err)
		}
	}
}

// A venue learns what it has to ask about its tickets, and no answer that it does not ask for; what it is answered is at
// the hub once, also if the hub was answered something else meanwhile, and what cannot be kept is set aside.
func TestAnswersOfAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		q := h.asking(0)
		kitchen := api.Question{ID: ids.New[ids.QuestionKind](h.clock.Now()), Label: "Kitchen", Kind: api.AsksText,
			Per: api.AskedPerTicket, At: api.AskedAtDoor, Condition: &api.QuestionCondition{QuestionID: q.food.ID,
				Choices: []ids.Choice{q.food.Choices[2].ID}}}
		h.change(q.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { o.Event.Questions = append(o.Event.Questions, kitchen) })
		_, ada := h.pays(q, q.eats(0, 2), says(q.what, 0, "canary"))
		_, bob := h.pays(q, q.eats(0, 0))
		asks := func(want bool) { // ticketing has heard of the change
			t.Helper()
			testkit.Eventually(t, 10*time.Second, func() error {
				sheet := must(h.as(ownerOf(q.Offer)), h, api.GetTicketAnswers, api.TicketRef{ID: ada.ID})
				if slices.ContainsFunc(sheet.Questions, func(o api.Question) bool { return o.ID == kitchen.ID && !o.Hidden }) != want {
					return fmt.Errorf("asked are %+v", sheet.Questions)
				}
				return nil
			})
		}
		asks(true)
		e := h.edge(ownerOf(q.Offer))
		e.mustHello()
		h.handOver(e, q.Offer, "")
		e.hold(q.Event.ID)
		if err := e.take(q.Event.ID); err != nil {
			t.Fatal(err)
		}
		asked := func(id ids.Ticket) line.Asked {
			t.Helper()
			if err := e.read(q.Event.ID, 1); err != nil {
				t.Fatal(err)
			}
			if e.tickets[id].Asked == nil {
				return line.Asked{Position: -1}
			}
			return *e.tickets[id].Asked
		}
		if a, b := asked(ada.ID), asked(bob.ID); !slices.Equal(a.Met, []ids.Question{kitchen.ID}) || len(b.Met) != 0 ||
			len(a.Answers) != 0 || len(b.Answers) != 0 {
			t.Errorf("the venue is told %+v and %+v", a, b)
		}
		sheet := func(id ids.Ticket) map[ids.Question]string {
			t.Helper()
			out := map[ids.Question]string{}
			for _, a := range must(h.as(ownerOf(q.Offer)), h, api.GetTicketAnswers, api.TicketRef{ID: id}).Answers {
				out[a.QuestionID] = a.Value
			}
			return out
		}
		e.answered(q, ada.ID, nil, says(q.coat, 0, "471"), says(&kitchen, 0, "yes"))
		if got := sheet(ada.ID); len(got) != 4 || got[q.coat.ID] != "471" || got[kitchen.ID] != "yes" || got[q.what.ID] != "canary" {
			t.Errorf("at the hub are %+v", got)
		}
		if got := asked(ada.ID).Answers; len(got) != 2 || got[0].Position != nil {
			t.Errorf("the venue is told the answers %+v", got)
		}

		// The hub answers something else, and the venue changes only what it was asked.
		must(t.Context(), h, line.VenueAnswers, line.AnswersAtHub{EventID: q.Event.ID, PassID: ids.New[ids.PassKind](h.clock.Now()),
			TicketID: ada.ID, Answers: []api.Answer{says(q.coat, 0, "472"), says(&kitchen, 0, "no")}})
		e.answered(q, ada.ID, []ids.Question{kitchen.ID})
		if got := sheet(ada.ID); len(got) != 3 || got[q.coat.ID] != "472" {
			t.Errorf("at the hub are %+v", got)
		}

		// What a condition hangs on changes at the hub.
		must(h.as(ownerOf(q.Offer)), h, api.PutTicketAnswers, api.TicketAnswers{ID: bob.ID, Answers: []api.Answer{q.eats(0, 2)}})
		if got := asked(bob.ID).Met; len(got) != 1 {
			t.Errorf("the venue is told %+v", got)
		}
		refused := func(n int, reason string) {
			t.Helper()
			list := must(h.as(ownerOf(q.Offer)), h, api.ListRefusedAnswers, api.EventPage{EventID: q.Event.ID, Page: api.Page{Limit: 1}})
			all := list.Items
			for list.NextCursor != "" {
				list = must(h.as(ownerOf(q.Offer)), h, api.ListRefusedAnswers,
					api.EventPage{EventID: q.Event.ID, Page: api.Page{Limit: 1, Cursor: list.NextCursor}})
				all = append(all, list.Items...)
			}
			if len(all) != n || !strings.Contains(all[0].Reason, reason) || all[0].By != "pas_x" || all[0].Answer.Value == "" {
				t.Errorf("refused are %+v", all)
			}
		}
		if _, err := do(h.as(person()), h, api.ListRefusedAnswers, api.EventPage{EventID: q.Event.ID}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger lists them: %v", err)
		}

		// A question is hidden while the line is cut: that answer is set aside, and the other one kept.
		generation := e.state(q.Event.ID).Generation
		h.change(q.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { o.Event.Questions[len(o.Event.Questions)-1].Hidden = true })
		asks(false)
		h.clock.Advance(1)
		e.answered(q, bob.ID, nil, says(&kitchen, 0, "secret"), says(q.coat, 0, "8"))
		refused(1, "asked no more")
		if got := sheet(bob.ID); got[q.coat.ID] != "8" || len(got) != 2 {
			t.Errorf("at the hub are %+v", got)
		}
		if got := asked(bob.ID); len(got.Met) != 0 || e.generation == generation {
			t.Errorf("the venue does not read anew what it asks: %+v", got)
		}
		h.clock.Advance(1)
		e.answered(q, ids.New[ids.TicketKind](h.clock.Now()), nil, says(q.coat, 0, "9"))
		refused(2, "no such ticket")
		e.note(q.Event.ID, e.holds[q.Event.ID].Epoch, line.Scan{TicketID: bob.ID, Revision: 1, Result: api.Admitted})
		if n, err := e.send(e.entries...); err != nil || n != int64(len(e.entries)) {
			t.Errorf("the journal stops at %d, %v", n, err)
		}
		if found := testkit.Search(t, h.db, "secret"); len(found) != 1 {
			t.Errorf("it is written to %q", found)
		}
		h.clock.Set(q.Event.EndsAt.Add(api.AnswerRetention.Default() + time.Hour))
		if err := (retention.Eraser{DB: h.db, Live: h.live, Log: h.log, Now: h.clock.Now}).Erase(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found := testkit.Search(t, h.db, "secret"); len(found) != 0 {
			t.Errorf("it is left in %q", found)
		}
		if got := asked(ada.ID).Answers; len(got) != 0 {
			t.Errorf("the venue is told %+v", got)
		}
	})
}
