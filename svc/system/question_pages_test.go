package system_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

// What an event asks, on pages without scripts: the organizer writes it, buyers answer before they pay or get free
// tickets, change it, and those at the door see and write what is asked there.
func TestQuestionPages(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.unlimited(admin)
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password).must(t, 200)
	mina := s.login("mina@example.org")
	event := s.concert(mina, 20, 1500)
	free := s.concert(mina, 20, 0)
	at := "/office/events/" + event.ID.String() + "/questions"
	b.get(at).must(t, 200)
	put := func(at string, form ...string) page {
		return b.send(at, append([]string{"revision", b.get(at).field(t, "revision")}, form...)...)
	}
	put(at, "q.0.label", "Name for the list", "q.0.kind", "text").must(t, 400, "questions[0].purpose", `value="Name for the list"`)
	put(at, "q.0.label", "Food", "q.0.kind", "choice", "q.0.choices", "All", "q.0.days", "soon").must(t, 400, "q.0.days: must be a number", `value="soon"`)
	for _, at := range []string{at, "/office/events/" + free.ID.String() + "/questions"} {
		put(at, "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes", "q.0.choices", "All\nOther\n", "q.0.place", "1").must(t, 200, "Other")
	}
	q := call[api.EventQuestions](s, 200, "GET", "/v1/events/"+event.ID.String()+"/questions", "", nil).Questions[0]
	other := q.ID.String() + "/" + q.Choices[1].ID.String()
	put(at, "q.0.id", q.ID.String(), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes", "q.0.choices", "All\nOther",
		"q.0.place", "1", "q.1.label", "Coat", "q.1.kind", "number", "q.1.at", "door", "q.1.place", "3").must(t, 200, "Coat")
	coat := call[api.EventQuestions](s, 200, "GET", "/v1/events/"+event.ID.String()+"/questions", "", nil).Questions[1]
	put(at, "q.0.id", q.ID.String(), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes", "q.0.choices", "All\nOther",
		"q.0.place", "1", "q.1.id", coat.ID.String(), "q.1.label", "Coat", "q.1.kind", "number", "q.1.at", "door", "q.1.place", "3",
		"q.2.label", "What?", "q.2.kind", "text", "q.2.purpose", "the kitchen", "q.2.required", "yes", "q.2.place", "2", "q.2.if."+other, "yes").must(t, 200)
	all := call[api.EventQuestions](s, 200, "GET", "/v1/events/"+event.ID.String()+"/questions", "", nil).Questions
	if len(all) != 3 || all[1].Label != "What?" || all[1].Condition == nil || all[0].Choices[1].ID != q.Choices[1].ID || all[2].ID != coat.ID {
		t.Fatalf("asked is %+v", all)
	}
	b.send(at, "revision", "1").must(t, 412)

	// One that costs something holds its seats while its buyer answers.
	guest := s.browser()
	typ := event.TicketTypes[0].ID.String()
	key := guest.get("/checkout?event="+event.ID.String()+"&"+typ+"=1").field(t, "key")
	asked := guest.send("/checkout", "event", event.ID.String(), typ, "1", "key", key, "name", "Kim", "email", "kim@example.org").
		must(t, 200, "Food", "What?", "Used for: the kitchen", `data-is="`+q.Choices[1].ID.String()+`"`)
	order := strings.TrimSuffix(asked.at, "/answers")
	guest.get(order).must(t, 200, order+"/answers")
	food, what := "a."+q.ID.String()+".0", "a."+all[1].ID.String()+".0"
	guest.send(order+"/answers", food, q.Choices[1].ID.String()).must(t, 400, "must be answered for ticket 1")
	guest.send(order+"/answers", food, q.Choices[0].ID.String(), what, "not asked").must(t, 200, "Pay")
	guest.get(order+"/answers").must(t, 200, "selected>All")

	// One that costs nothing is asked before it is made.
	typ = free.TicketTypes[0].ID.String()
	fq := call[api.EventQuestions](s, 200, "GET", "/v1/events/"+free.ID.String()+"/questions", "", nil).Questions[0]
	form := []string{"event", free.ID.String(), typ, "1", "key", guest.get("/checkout?event="+free.ID.String()+"&"+typ+"=1").field(t, "key"),
		"name", "Kim", "email", "kim@example.org"}
	guest.send("/checkout", form...).must(t, 200, "Food", `name="asked"`, `value="kim@example.org"`)
	form = append(form, "asked", "yes")
	guest.send("/checkout", form...).must(t, 400, "must be answered for ticket 1")
	made := guest.send("/checkout", append(form, "a."+fq.ID.String()+".0", fq.Choices[0].ID.String())...).must(t, 200, "answers")
	b.get("/office/events/"+free.ID.String()+"/attendees").must(t, 200, "Food – All")
	b.get("/office/events/"+free.ID.String()+made.at).must(t, 200, "Ticket 1 · Food – All")
	b.get("/office/events/"+free.ID.String()+"/questions").must(t, 200, "1 answer", "All")

	// At the door.
	put("/office/events/"+free.ID.String()+"/questions", "q.0.id", fq.ID.String(), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes",
		"q.0.choices", "All\nOther", "q.0.place", "1", "q.1.label", "Coat", "q.1.kind", "number", "q.1.at", "door", "q.1.place", "2").must(t, 200)
	coat = call[api.EventQuestions](s, 200, "GET", "/v1/events/"+free.ID.String()+"/questions", "", nil).Questions[1]
	id := strings.TrimPrefix(made.at, "/orders/")
	ticket := call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+id+"/tickets", mina, nil).Items[0]
	code := call[api.Ticket](s, 200, "GET", "/v1/tickets/"+ticket.ID.String(), mina, nil).Code
	door := "/door/" + free.ID.String()
	b.send(door, "code", code).must(t, 200, "Coat", `value="`+ticket.ID.String()+`"`)
	b.send(door+"/answers", "ticket", ticket.ID.String(), "a."+coat.ID.String()+".0", "471").must(t, 200)
	b.send(door, "code", code).must(t, 200, `value="471"`)
	if got := call[api.AnswerSheet](s, 200, "GET", "/v1/tickets/"+ticket.ID.String()+"/answers", mina, nil).Answers; len(got) != 2 {
		t.Errorf("after the door the answers are %+v", got)
	}
}
