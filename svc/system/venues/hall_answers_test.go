package venues_test

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A venue asks at its door what the event asks there, on the same page as the system and by what the buyers have
// answered, while the line is cut and its computer is killed again and again. When there is a line, the system has each
// answer once, and lists the one whose question is not there any more.
func TestAnswersAtTheDoorOfAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	asked := asks(h, api.NewQuestion{Label: "Food", Kind: api.AsksChoice, Choices: []api.NewChoice{{Label: "All"}, {Label: "Other"}}},
		api.NewQuestion{Label: "Coat number", Kind: api.AsksNumber, At: api.AskedAtDoor},
		api.NewQuestion{Label: "Does the kitchen know?", Kind: api.AsksText, At: api.AskedAtDoor, Purpose: "The kitchen cooks for you",
			Condition: &api.NewCondition{Question: "Food", Choices: []string{"Other"}}})
	food, coat, kitchen := asked[0], asked[1], asked[2]
	position := new(int)
	systemtest.Call[api.AnswerSheet](h.Hub, 200, "PUT", answersOf(tickets[0]), h.Owner, api.TicketAnswers{Answers: []api.Answer{
		{QuestionID: food.ID, Position: position, Choices: []ids.Choice{food.Choices[1].ID}}}})
	testkit.Eventually(t, 30*time.Second, func() error { // what is asked comes with the list of tickets
		for i, want := range []int{2, 1} {
			var got api.AnswerSheet
			if err := systemtest.Did(h.Edge, "GET", answersOf(tickets[i]), h.Pass, nil, &got, "", 200); err != nil {
				return err
			}
			if len(got.Questions) != want || len(got.Answers) != 0 {
				return fmt.Errorf("of ticket %d the venue asks %+v", i, got)
			}
		}
		return nil
	})
	lineIsUp(t, h)
	b, door := h.Edge.Browser(), "/door/"+h.Event.ID.String()
	b.Send("/pair", "code", pairing(t, h, "Telephone").Code).Must(t, 200, h.Event.Name)

	mend := h.Line.Pause()
	defer mend()
	changes := 0
	again := func() {
		t.Helper()
		h.P.Kill()
		h.P.Again()
	}
	b.Send(door, "code", tickets[0].Code).Must(t, 200, "Welcome", coat.Label, kitchen.Label)
	if p := b.Send(door, "code", tickets[1].Code).Must(t, 200, "Welcome", coat.Label); strings.Contains(p.Text, kitchen.Label) {
		t.Errorf("who eats all is asked: %s", p.Text)
	}
	form := url.Values{"ticket": {tickets[0].ID.String()}, "shown": {coat.ID.String(), kitchen.ID.String()},
		"a." + coat.ID.String() + ".0": {"471"}, "a." + kitchen.ID.String() + ".0": {"yes"}}
	b.Send(door+"/answers", "ticket", tickets[0].ID.String(), "shown", coat.ID.String(), "a."+coat.ID.String()+".0", "many").
		Must(t, 400, "Not noted", coat.Label, `value="many"`)
	for range 2 { // the button is pressed twice
		if p := b.Do("POST", door+"/answers", form).Must(t, 200); p.At != door {
			t.Errorf("it leads to %s", p.At)
		}
	}
	changes++
	again()
	b.Send(door, "code", tickets[0].Code).Must(t, 200, "Used already", `value="471"`, `value="yes"`)
	answer := func(i int, value string) {
		t.Helper()
		in := api.TicketAnswers{Answers: []api.Answer{{QuestionID: coat.ID, Value: value}}}
		if got := systemtest.Call[api.AnswerSheet](h.Edge, 200, "PUT", answersOf(tickets[i]), h.Pass, in); len(got.Answers) != 1 {
			t.Errorf("ticket %d has %+v", i, got.Answers)
		}
		changes++
	}
	for i := range tickets[1:] {
		answer(i+1, fmt.Sprint(i))
		again()
		answer(i+1, fmt.Sprint(100+i))
	}
	// Meanwhile the system asks something no more.
	asks(h, api.NewQuestion{ID: food.ID, Label: "Food", Kind: api.AsksChoice, Choices: []api.NewChoice{
		{ID: food.Choices[0].ID, Label: "All"}, {ID: food.Choices[1].ID, Label: "Other"}}},
		api.NewQuestion{ID: coat.ID, Label: "Coat number", Kind: api.AsksNumber, At: api.AskedAtDoor})
	testkit.Eventually(t, 20*time.Second, func() error {
		got, err := h.Hub.Send("GET", answersOf(tickets[0]), h.Owner, nil)
		if err == nil && strings.Contains(string(got.Body), kitchen.Label) {
			err = errors.New("ticketing has not heard of it")
		}
		return err
	})
	mend()
	for range 3 { // at any moment of the way up
		again()
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		got, err := h.Edge.Send("GET", "/v1/status", "", nil)
		return errors.Join(err, got.Is(200, `"waiting":0,`), got.Is(200, `"line":{"up":true`))
	})
	for i, ticket := range tickets {
		want := fmt.Sprint(99 + i)
		if i == 0 {
			want = "471"
		}
		got := systemtest.Call[api.AnswerSheet](h.Hub, 200, "GET", answersOf(ticket), h.Owner, nil).Answers
		if n := len(got); n == 0 || got[n-1].QuestionID != coat.ID || got[n-1].Value != want {
			t.Errorf("of ticket %d the system has %+v, want %s", i, got, want)
		}
	}
	for _, c := range systemtest.Call[api.AnswerCounts](h.Hub, 200, "GET", h.At("/answer-counts"), h.Owner, nil).Questions {
		if c.Question.ID == coat.ID && c.Answered != len(tickets) || c.Question.ID == kitchen.ID && c.Answered != 0 {
			t.Errorf("%q is answered %d times", c.Question.Label, c.Answered)
		}
	}
	refused := systemtest.Call[api.List[api.RefusedAnswer]](h.Hub, 200, "GET", h.At("/refused-answers"), h.Owner, nil).Items
	if len(refused) != 1 || refused[0].TicketID != tickets[0].ID || refused[0].Answer.QuestionID != kitchen.ID ||
		refused[0].Answer.Value != "yes" || refused[0].VenueID != h.Venue.ID {
		t.Errorf("refused are %+v", refused)
	}
	office := h.Hub.Browser()
	office.Send("/sign-in", "email", "owner@example.org", "password", systemtest.Password).Must(t, 200)
	office.Get("/office/events/"+h.Event.ID.String()+"/questions").Must(t, 200, tickets[0].ID.String(),
		html.EscapeString(refused[0].Reason))
	testkit.Eventually(t, 20*time.Second, func() error { // each change was made once
		lines := h.Hub.Lines(h.Hub.Login(systemtest.AdminEmail), 0, url.Values{"act": {"ticketing.set_ticket_answers"}})
		n := 0
		for _, l := range lines {
			if l.By.Service == "venue" {
				n++
			}
		}
		if n != changes {
			return fmt.Errorf("%d changes are in the audit log, and %d were made", n, changes)
		}
		return nil
	})
	testkit.Eventually(t, 20*time.Second, func() error { // and the venue goes by what the system has
		p := b.Send(door, "code", tickets[0].Code)
		if p.Status != 200 || !strings.Contains(p.Text, `value="471"`) || strings.Contains(p.Text, kitchen.Label) {
			return fmt.Errorf("%d %s", p.Status, p.Text)
		}
		return nil
	})
}

func answersOf(t api.Ticket) string { return "/v1/tickets/" + t.ID.String() + "/answers" }

// asks has the event of a hall ask something.
func asks(h *systemtest.Hall, all ...api.NewQuestion) []api.Question {
	return systemtest.Call[api.EventQuestions](h.Hub, 200, "PUT", h.At("/questions"), h.Owner, map[string]any{"questions": all}).Questions
}

// The page of a venue's door asks right below its answer, and goes on with the next code.
func TestDoorOfAVenueAsksInABrowser(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	coat := asks(h, api.NewQuestion{Label: "Coat number", Kind: api.AsksNumber, At: api.AskedAtDoor,
		Help: "It is on the hanger"}, api.NewQuestion{Label: "Has a wristband", Kind: api.AsksConsent, At: api.AskedAtDoor})[0]
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := h.Edge.Send("GET", answersOf(tickets[0]), h.Pass, nil)
		return errors.Join(err, got.Is(200, coat.Label))
	})
	c := h.Edge.Chromium()
	c.Open("pair-to-answer", "/pair")
	lineIsUp(t, h)
	c.Run(chromedp.SetValue("[name=code]", pairing(t, h, "Telephone").Code), chromedp.Click(".fields .go"))
	c.Says(h.Event.Name)
	mend := h.Line.Pause()
	defer mend()
	c.Run(chromedp.SetValue(`input[name=code]`, tickets[0].Code), chromedp.KeyEvent("\r"))
	c.Says("Coat number")
	c.Look("door-of-a-venue-asks")
	c.Run(chromedp.SetValue(`[name="a.`+coat.ID.String()+`.0"]`, "471"), chromedp.Click("#result .button"))
	testkit.Eventually(t, 20*time.Second, func() error {
		got, err := h.Edge.Send("GET", answersOf(tickets[0]), h.Pass, nil)
		return errors.Join(err, got.Is(200, `"value":"471"`))
	})
}
