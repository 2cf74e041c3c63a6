package doors_test

import (
	"slices"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// inquiry is doors of an event that asks: about food at checkout, and a coat, and its colour if there is one, at the
// door; of those who eat something else also whether the kitchen knows.
type inquiry struct {
	*harness
	tickets                      []line.Ticket
	food, coat, colour, kitchen  api.Question
	yes, something, red, unknown ids.Choice
}

func newInquiry(t *testing.T) *inquiry {
	h := newHarness(t)
	now := h.clock.Now()
	x := &inquiry{harness: h, yes: ids.New[ids.ChoiceKind](now), something: ids.New[ids.ChoiceKind](now),
		red: ids.New[ids.ChoiceKind](now), unknown: ids.New[ids.ChoiceKind](now)}
	question := func(label, kind, at string, choices ...ids.Choice) api.Question {
		q := api.Question{ID: ids.New[ids.QuestionKind](now), Label: label, Kind: kind, Per: api.AskedPerTicket, At: at}
		for _, c := range choices {
			q.Choices = append(q.Choices, api.QuestionChoice{ID: c, Label: "choice"})
		}
		return q
	}
	x.food = question("Food", api.AsksChoice, api.AskedAtCheckout, x.something)
	x.coat = question("Coat", api.AsksChoice, api.AskedAtDoor, x.yes)
	x.colour = question("Colour", api.AsksChoice, api.AskedAtDoor, x.red)
	x.colour.Condition = &api.QuestionCondition{QuestionID: x.coat.ID, Choices: []ids.Choice{x.yes}}
	x.kitchen = question("Does the kitchen know?", api.AsksText, api.AskedAtDoor)
	x.kitchen.Condition = &api.QuestionCondition{QuestionID: x.food.ID, Choices: []ids.Choice{x.something}}
	h.event.Offer.Event.Questions = []api.Question{x.food, x.coat, x.colour, x.kitchen}
	x.tickets = []line.Ticket{ticket("Ada", 1), ticket("Bob", 1)}
	x.tickets[0].Asked = &line.Asked{Position: 3, Met: []ids.Question{x.kitchen.ID}}
	x.tickets[1].Asked = &line.Asked{}
	h.take(x.tickets...)
	return x
}

func chosen(q api.Question, c ids.Choice) api.Answer {
	return api.Answer{QuestionID: q.ID, Choices: []ids.Choice{c}}
}

func (x *inquiry) answer(i int, in ...api.Answer) *doors.Asked {
	x.t.Helper()
	out, err := x.d.Answer(x.event.EventID, x.tickets[i].ID, in, "pas_x")
	if err != nil {
		x.t.Fatal(err)
	}
	return out
}

// change has the hub change a ticket, and reads that.
func (x *inquiry) change(i int, fn func(*line.Ticket)) {
	x.t.Helper()
	x.event.Position++
	fn(&x.tickets[i])
	x.tickets[i].Position = x.event.Position
	x.follow(x.event)
	ask, more := x.d.NextPage(x.event.EventID)
	if !more || ask.Since == 0 {
		x.t.Fatalf("asks for %+v %v", ask, more)
	}
	x.page(ask, &line.Page{Tickets: x.tickets[i : i+1], Position: x.event.Position})
}

// sees checks what a scan of a ticket asks, and what was answered to that.
func (x *inquiry) sees(i, answers int, asked ...api.Question) {
	x.t.Helper()
	v, err := x.d.Scan(x.t.Context(), doors.Shown{EventID: x.event.EventID, Code: x.code(x.tickets[i]), By: "pas_x"})
	if err != nil {
		x.t.Fatal(err)
	}
	labels := func(all []api.Question) (out []string) {
		for _, q := range all {
			out = append(out, q.Label)
		}
		return out
	}
	if !slices.Equal(labels(v.Questions), labels(asked)) || len(v.Answers) != answers {
		x.t.Errorf("ticket %d is asked %v, not %v, and has answers %+v", i, labels(v.Questions), labels(asked), v.Answers)
	}
}

// entries returns the answers of the journal.
func (x *inquiry) entries() (out []line.Entry) {
	x.t.Helper()
	entries, err := x.d.Journal(2000)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Answers != nil {
			out = append(out, e)
		}
	}
	return out
}

// A venue asks what its hub asks: by the conditions as far as it knows the answers, checked by the same rules, and what
// it was answered is there after a restart, each change once in the journal.
func TestAnswersAtTheVenue(t *testing.T) {
	x := newInquiry(t)
	x.sees(0, 0, x.coat, x.kitchen)
	x.sees(1, 0, x.coat)
	for name, in := range map[string]api.Answer{"the checkout": chosen(x.food, x.something), "no choice": chosen(x.coat, x.unknown),
		"no condition": chosen(x.colour, x.red)} {
		if _, err := x.d.Answer(x.event.EventID, x.tickets[0].ID, []api.Answer{in}, "pas_x"); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s is answered: %v", name, err)
		}
	}
	if _, err := x.d.Answer(x.event.EventID, x.tickets[1].ID, []api.Answer{{QuestionID: x.kitchen.ID, Value: "no"}}, "pas_x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("who eats all is asked: %v", err)
	}
	if len(x.entries()) != 0 {
		t.Errorf("the journal has %+v", x.entries())
	}
	got := x.answer(0, chosen(x.coat, x.yes), chosen(x.colour, x.red))
	if got.Position != 3 || len(got.Answers) != 2 || *got.Answers[0].Position != 3 {
		t.Errorf("answered is %+v", got)
	}
	x.answer(0, chosen(x.coat, x.yes), chosen(x.colour, x.red)) // the same again
	x.sees(0, 2, x.coat, x.colour, x.kitchen)
	x.again()
	x.sees(0, 2, x.coat, x.colour, x.kitchen)
	x.answer(0, chosen(x.coat, x.yes), api.Answer{QuestionID: x.kitchen.ID, Value: "yes"})
	entries := x.entries()
	if len(entries) != 2 || len(entries[0].Answers.Given) != 2 || len(entries[1].Answers.Given) != 1 ||
		!slices.Equal(entries[1].Answers.Cleared, []ids.Question{x.colour.ID}) || entries[0].Answers.Given[0].Position != nil {
		t.Fatalf("the journal has %+v", entries)
	}
	if _, err := x.d.Answer(x.event.EventID, ids.New[ids.TicketKind](x.clock.Now()), nil, "pas_x"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a ticket that is none: %v", err)
	}
	x.change(0, func(t *line.Ticket) { t.Status = api.TicketRevoked })
	if _, err := x.d.Answer(x.event.EventID, x.tickets[0].ID, nil, "pas_x"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a ticket that is revoked: %v", err)
	}
	if _, err := x.d.Give(x.event.EventID); err != nil {
		t.Fatal(err)
	}
	if _, err := x.d.Answer(x.event.EventID, x.tickets[1].ID, nil, "pas_x"); !fault.Is(err, fault.Conflict) {
		t.Errorf("doors that were given back: %v", err)
	}
}

// The list of the hub counts as soon as it was made with the answers of the venue, and not before.
func TestAnswersUntilTheHubHasThem(t *testing.T) {
	x := newInquiry(t)
	x.answer(0, chosen(x.coat, x.yes))
	last, _ := x.d.Journaled()
	x.change(0, func(t *line.Ticket) { t.Name = "Ada L." }) // read before the hub has heard of it
	x.sees(0, 1, x.coat, x.colour, x.kitchen)
	if err := x.d.Accept(last); err != nil {
		t.Fatal(err)
	}
	x.sees(0, 1, x.coat, x.colour, x.kitchen)
	x.change(0, func(t *line.Ticket) { t.Asked = &line.Asked{} }) // and the hub has refused it
	x.sees(0, 0, x.coat)
	x.answer(1, chosen(x.coat, x.yes))
	last, _ = x.d.Journaled()
	if err := x.d.Accept(last); err != nil {
		t.Fatal(err)
	}
	x.change(1, func(t *line.Ticket) {
		t.Asked = &line.Asked{Answers: []api.Answer{chosen(x.coat, x.yes), chosen(x.colour, x.red)}}
	})
	x.again()
	x.sees(1, 2, x.coat, x.colour)
}
