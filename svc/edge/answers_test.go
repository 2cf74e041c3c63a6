package edge_test

import (
	"encoding/json"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge"
)

// What is asked at the door is asked at the venue: by devices and people who work there, and for nobody else.
func TestAnswersAtTheDoor(t *testing.T) {
	x := newSite(t, 2)
	coat := api.Question{ID: ids.New[ids.QuestionKind](x.now()), Label: "Coat", Kind: api.AsksNumber, Per: api.AskedPerTicket,
		At: api.AskedAtDoor}
	food := coat
	food.ID, food.Label, food.At = ids.New[ids.QuestionKind](x.now()), "Food", api.AskedAtCheckout
	x.do(func() {
		x.event.Offer.Event.Questions, x.event.Offer.Event.Revision = []api.Question{food, coat}, 2
	})
	x.admits()
	at := "/v1/tickets/" + x.tickets[0].ID.String() + "/answers"
	if got := x.scan(x.tickets[0]); len(got.Questions) != 1 || got.Questions[0].Label != "Coat" || len(got.Answers) != 0 {
		t.Fatalf("the door hears %+v", got)
	}
	send := func(method, token string, want int, in any) (out api.AnswerSheet) {
		t.Helper()
		status, body, _ := x.send(method, at, token, in)
		_ = json.Unmarshal(body, &out)
		if status != want {
			t.Errorf("%s: %d %s, want %d", method, status, body, want)
		}
		return out
	}
	answer := func(q api.Question, value string) api.TicketAnswers {
		return api.TicketAnswers{Answers: []api.Answer{{QuestionID: q.ID, Value: value}}}
	}
	signIn := func(who string) string {
		t.Helper()
		status, body, _ := x.send("POST", "/v1/sessions", "", api.Login{Email: who + "@example.org", Password: "correct horse"})
		var token edge.Token
		if err := json.Unmarshal(body, &token); err != nil || status != 201 {
			t.Fatalf("%d %s", status, body)
		}
		return token.AccessToken
	}
	send("GET", "", 401, nil)
	send("PUT", "nonsense", 401, answer(coat, "1"))
	send("PUT", passSecret, 400, answer(coat, "many"))
	send("PUT", passSecret, 400, answer(food, "1"))
	send("PUT", passSecret, 400, map[string]any{})
	if got := send("PUT", passSecret, 200, answer(coat, "471")); len(got.Answers) != 1 || got.Answers[0].Value != "471" || !got.Open ||
		len(got.Questions) != 1 || got.Tickets[0].Name != "Zoë 000" {
		t.Errorf("the device hears %+v", got)
	}
	dora, staff := signIn("dora"), map[string]string{"max": signIn("max"), "owner": signIn("owner")}
	eve := signIn("eve")
	x.again()
	x.admits()
	staff["dora"] = dora
	for who, token := range staff {
		if got := send("GET", token, 200, nil); len(got.Answers) != 1 || got.Answers[0].Value != "471" {
			t.Errorf("%s sees %+v", who, got)
		}
	}
	send("GET", eve, 404, nil) // who is not in the event's team
	send("PUT", eve, 404, answer(coat, "1"))
	if got := x.scan(x.tickets[0]); len(got.Answers) != 1 {
		t.Errorf("the door hears %+v", got)
	}
	send("PUT", dora, 200, api.TicketAnswers{Answers: []api.Answer{}})
	x.eventually("all is at the hub", func() bool { return len(x.journal) == 4 })
	x.do(func() {
		var all []line.Answers
		for _, e := range x.journal {
			if e.Answers != nil {
				all = append(all, *e.Answers)
			}
		}
		if len(all) != 2 || all[0].Given[0].Value != "471" || all[0].By != string(x.event.Passes[0].ID) || len(all[1].Cleared) != 1 ||
			all[1].By != string(userOf("dora")) {
			t.Errorf("the journal has %+v", all)
		}
	})
	x.do(func() { // of another event, which the hub has
		at = "/v1/tickets/" + ids.New[ids.TicketKind](x.now()).String() + "/answers"
	})
	send("PUT", passSecret, 404, answer(coat, "1"))
	if got := send("PUT", deviceSecret, 200, answer(coat, "7")); len(got.Answers) != 1 || got.Answers[0].Value != "7" {
		t.Errorf("the hub answers %+v", got)
	}
	if got := send("GET", deviceSecret, 200, nil); got.Answers != nil {
		t.Errorf("the hub answers %+v", got)
	}
	x.do(func() { x.line.Up = false })
	send("PUT", deviceSecret, 503, answer(coat, "7"))
}
