package browsing_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// What an event asks, on pages without scripts: the organizer writes it, buyers answer before they pay or get free
// tickets, change it, and those at the door see and write what is asked there.
func TestQuestionPages(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	event := s.Concert(mina, 20, 1500)
	free := s.Concert(mina, 20, 0)
	at := "/office/events/" + event.ID.String() + "/questions"
	b.Get(at).Must(t, 200)
	put := func(at string, form ...string) systemtest.Page {
		return b.Send(at, append([]string{"revision", b.Get(at).Field(t, "revision")}, form...)...)
	}
	put(at, "q.0.label", "Name for the list", "q.0.kind", "text").Must(t, 400, "questions[0].purpose", `value="Name for the list"`)
	put(at, "q.0.label", "Food", "q.0.kind", "choice", "q.0.choices", "All", "q.0.days", "soon").Must(t, 400, "q.0.days: must be a number", `value="soon"`)
	for _, at := range []string{at, "/office/events/" + free.ID.String() + "/questions"} {
		put(at, "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes", "q.0.choices", "All\nOther\n", "q.0.place", "1").Must(t, 200, "Other")
	}
	q := systemtest.Call[api.EventQuestions](s, 200, "GET", "/v1/events/"+event.ID.String()+"/questions", "", nil).Questions[0]
	other := q.ID.String() + "/" + q.Choices[1].ID.String()
	put(at, "q.0.id", q.ID.String(), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes", "q.0.choices", "All\nOther",
		"q.0.place", "1", "q.1.label", "Coat", "q.1.kind", "number", "q.1.at", "door", "q.1.place", "3").Must(t, 200, "Coat")
	coat := systemtest.Call[api.EventQuestions](s, 200, "GET", "/v1/events/"+event.ID.String()+"/questions", "", nil).Questions[1]
	put(at, "q.0.id", q.ID.String(), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes", "q.0.choices", "All\nOther",
		"q.0.place", "1", "q.1.id", coat.ID.String(), "q.1.label", "Coat", "q.1.kind", "number", "q.1.at", "door", "q.1.place", "3",
		"q.2.label", "What?", "q.2.kind", "text", "q.2.purpose", "the kitchen", "q.2.required", "yes", "q.2.place", "2", "q.2.if."+other, "yes").Must(t, 200)
	all := systemtest.Call[api.EventQuestions](s, 200, "GET", "/v1/events/"+event.ID.String()+"/questions", "", nil).Questions
	if len(all) != 3 || all[1].Label != "What?" || all[1].Condition == nil || all[0].Choices[1].ID != q.Choices[1].ID || all[2].ID != coat.ID {
		t.Fatalf("asked is %+v", all)
	}
	b.Send(at, "revision", "1").Must(t, 412)

	// One that costs something holds its seats while its buyer answers.
	guest := s.Browser()
	typ := event.TicketTypes[0].ID.String()
	key := guest.Get("/checkout?event="+event.ID.String()+"&"+typ+"=1").Field(t, "key")
	asked := guest.Send("/checkout", "event", event.ID.String(), typ, "1", "key", key, "name", "Kim", "email", "kim@example.org").
		Must(t, 200, "Food", "What?", "Used for: the kitchen", `data-is="`+q.Choices[1].ID.String()+`"`)
	order := strings.TrimSuffix(asked.At, "/answers")
	guest.Get(order).Must(t, 200, order+"/answers")
	food, what := "a."+q.ID.String()+".0", "a."+all[1].ID.String()+".0"
	guest.Send(order+"/answers", food, q.Choices[1].ID.String()).Must(t, 400, "must be answered for ticket 1")
	guest.Send(order+"/answers", food, q.Choices[0].ID.String(), what, "not asked").Must(t, 200, "Pay")
	guest.Get(order+"/answers").Must(t, 200, "selected>All")

	// One that costs nothing is asked before it is made.
	typ = free.TicketTypes[0].ID.String()
	fq := systemtest.Call[api.EventQuestions](s, 200, "GET", "/v1/events/"+free.ID.String()+"/questions", "", nil).Questions[0]
	form := []string{"event", free.ID.String(), typ, "1", "key", guest.Get("/checkout?event="+free.ID.String()+"&"+typ+"=1").Field(t, "key"),
		"name", "Kim", "email", "kim@example.org"}
	guest.Send("/checkout", form...).Must(t, 200, "Food", `name="asked"`, `value="kim@example.org"`)
	form = append(form, "asked", "yes")
	guest.Send("/checkout", form...).Must(t, 400, "must be answered for ticket 1")
	made := guest.Send("/checkout", append(form, "a."+fq.ID.String()+".0", fq.Choices[0].ID.String())...).Must(t, 200, "answers")
	b.Get("/office/events/"+free.ID.String()+"/attendees").Must(t, 200, "Food – All")
	b.Get("/office/events/"+free.ID.String()+made.At).Must(t, 200, "Ticket 1 · Food – All")
	b.Get("/office/events/"+free.ID.String()+"/questions").Must(t, 200, "1 answer", "All")

	// At the door.
	put("/office/events/"+free.ID.String()+"/questions", "q.0.id", fq.ID.String(), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes",
		"q.0.choices", "All\nOther", "q.0.place", "1", "q.1.label", "Coat", "q.1.kind", "number", "q.1.at", "door", "q.1.place", "2").Must(t, 200)
	coat = systemtest.Call[api.EventQuestions](s, 200, "GET", "/v1/events/"+free.ID.String()+"/questions", "", nil).Questions[1]
	id := strings.TrimPrefix(made.At, "/orders/")
	ticket := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+id+"/tickets", mina, nil).Items[0]
	code := systemtest.Call[api.Ticket](s, 200, "GET", "/v1/tickets/"+ticket.ID.String(), mina, nil).Code
	door := "/door/" + free.ID.String()
	b.Send(door, "code", code).Must(t, 200, "Coat", `value="`+ticket.ID.String()+`"`)
	b.Send(door+"/answers", "ticket", ticket.ID.String(), "a."+coat.ID.String()+".0", "few").Must(t, 400, "Not noted", `value="few"`)
	b.Send(door+"/answers", "ticket", ticket.ID.String(), "a."+coat.ID.String()+".0", "471").Must(t, 200)
	b.Send(door, "code", code).Must(t, 200, `value="471"`)
	if got := systemtest.Call[api.AnswerSheet](s, 200, "GET", "/v1/tickets/"+ticket.ID.String()+"/answers", mina, nil).Answers; len(got) != 2 {
		t.Errorf("after the door the answers are %+v", got)
	}

	// A telephone that was paired asks the same, without an account.
	pass := systemtest.Call[api.NewPassSecret](s, 201, "POST", "/v1/events/"+free.ID.String()+"/passes", mina, map[string]string{"name": "Phone"})
	phone := s.Browser()
	phone.Send("/pair", "code", pass.Pairing.Code).Must(t, 200, free.Name)
	p := phone.Send(door, "code", code).Must(t, 200, "Coat", `value="471"`)
	if strings.Contains(p.Text, "Food") {
		t.Errorf("the telephone is shown what was asked at checkout: %s", p.Text)
	}
	phone.Send(door+"/answers", "ticket", ticket.ID.String(), "shown", coat.ID.String(), "a."+coat.ID.String()+".0", "many").Must(t, 400, "Not noted", `value="many"`, `name="shown" value="`+coat.ID.String())
	phone.Send(door+"/answers", "ticket", ticket.ID.String(), "shown", coat.ID.String(), "a."+coat.ID.String()+".0", "472").Must(t, 200)
	phone.Send(door, "code", code).Must(t, 200, `value="472"`)
	phone.Send(door+"/answers", "ticket", ticket.ID.String(), "shown", coat.ID.String(), "a."+coat.ID.String()+".0", "").Must(t, 200)
	if got := systemtest.Call[api.AnswerSheet](s, 200, "GET", "/v1/tickets/"+ticket.ID.String()+"/answers", mina, nil).Answers; len(got) != 1 {
		t.Errorf("after the answer was taken away the answers are %+v", got)
	}
	systemtest.Call[any](s, 204, "DELETE", "/v1/events/"+free.ID.String()+"/passes/"+pass.ID.String(), mina, nil)
	if p := phone.Send(door+"/answers", "ticket", ticket.ID.String(), "a."+coat.ID.String()+".0", "473"); p.At != "/pair" {
		t.Errorf("a device whose pass is over is at %s", p.At)
	}
}
