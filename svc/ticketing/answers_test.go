package ticketing

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// inquiry is an event that asks: the food of each ticket, what else it is, the town of the order, letters, and at the
// door the number of the coat.
type inquiry struct {
	*api.Offer
	food, what, town, letters, coat *api.Question
}

func (h *harness) asking(price int64) inquiry {
	o := h.publish(20, price, 500)
	q := func(label, kind, per string) api.Question {
		return api.Question{ID: ids.New[ids.QuestionKind](h.clock.Now()), Label: label, Kind: kind, Per: per,
			At: api.AskedAtCheckout}
	}
	food, what := q("Food", api.AsksChoice, api.AskedPerTicket), q("=What?", api.AsksText, api.AskedPerTicket)
	town, letters := q("Country", api.AsksCountry, api.AskedPerOrder), q("Letters", api.AsksConsent, api.AskedPerOrder)
	coat := q("Coat", api.AsksNumber, api.AskedPerTicket)
	food.Required, food.TicketTypes = true, []ids.TicketType{o.Event.TicketTypes[0].ID}
	for _, label := range []string{"All", "Vegan", "Other"} {
		food.Choices = append(food.Choices, api.QuestionChoice{ID: ids.New[ids.ChoiceKind](h.clock.Now()), Label: label})
	}
	what.Condition = &api.QuestionCondition{QuestionID: food.ID, Choices: []ids.Choice{food.Choices[2].ID}}
	what.Required, what.RetentionDays, coat.At = true, 2, api.AskedAtDoor
	o.Event.Questions = []api.Question{food, what, town, letters, coat}
	all := o.Event.Questions
	return inquiry{o, &all[0], &all[1], &all[2], &all[3], &all[4]}
}

func (q inquiry) eats(position, choice int) api.Answer {
	return api.Answer{QuestionID: q.food.ID, Position: &position, Choices: []ids.Choice{q.food.Choices[choice].ID}}
}

func says(q *api.Question, position int, value string) api.Answer {
	a := api.Answer{QuestionID: q.ID, Value: value}
	if position != questions.WholeOrder {
		a.Position = &position
	}
	return a
}

func fieldsOf(err error) (names []string) {
	for _, f := range fault.From(err).Fields {
		names = append(names, f.Field)
	}
	return names
}

func TestQuestionsAreAnsweredBeforeAnOrderIsPaid(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		q := h.asking(1000)
		buyer := person()
		made := must(h.as(buyer), h, api.CreateOrder, order(q.Offer, 2))
		if !made.AnswersDue {
			t.Errorf("made is %+v", made.Order)
		}
		// It cannot be paid, and it is said why.
		pay := api.BeginPaymentOf{OrderID: made.ID, PaymentID: ids.New[ids.PaymentKind](h.clock.Now())}
		_, err := do(h.as(buyer), h, api.BeginPayment, pay)
		want := []string{"answers." + q.food.ID.String() + "[0]", "answers." + q.food.ID.String() + "[1]"}
		if !fault.Is(err, fault.Conflict) || !slices.Equal(fieldsOf(err), want) ||
			!strings.Contains(err.Error(), `"Food" must be answered for ticket 1`) {
			t.Errorf("paying without answers: %v", err)
		}
		put := func(in ...api.Answer) (*api.AnswerSheet, error) {
			return do(h.as(buyer), h, api.PutOrderAnswers, api.OrderAnswers{ID: made.ID, Answers: in})
		}
		_, err = put(q.eats(0, 0), q.eats(1, 2), says(q.town, 1, "DE"), says(q.coat, 0, "7"), says(q.letters, -1, "maybe"))
		want = []string{"answers[2].question_id", "answers[3].question_id", "answers[4].value",
			"answers." + q.what.ID.String() + "[1]"}
		if !fault.Is(err, fault.Invalid) || !slices.Equal(fieldsOf(err), want) {
			t.Errorf("wrong answers: %v", err)
		}
		if _, err := do(h.as(person()), h, api.PutOrderAnswers, api.OrderAnswers{ID: made.ID, Answers: []api.Answer{}}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger answers: %v", err)
		}
		sheet, err := put(q.eats(0, 0), q.eats(1, 2), says(q.what, 1, "=canary"), says(q.town, -1, "de"),
			says(q.letters, -1, "no"))
		if err != nil || sheet.AnswersDue || len(sheet.Answers) != 5 || len(sheet.Tickets) != 2 || !sheet.Open ||
			len(sheet.Questions) != 4 || sheet.Answers[0].Value != "DE" {
			t.Fatalf("%+v, %v", sheet, err)
		}
		h.pay(buyer, &made.Order)
		h.becomes(buyer, made.ID, api.OrderPaid)
		for _, msg := range h.published(api.OrderWasPaid.Subject) {
			if strings.Contains(string(msg.Data), "canary") {
				t.Error("a domain event has answers")
			}
		}

		// The organizer reads them: of attendees, in files, and counted.
		owner := h.as(ownerOf(q.Offer))
		for _, a := range must(owner, h, api.ListAttendees, api.AttendeePage{EventPage: api.EventPage{EventID: q.Event.ID}}).Items {
			if n := len(a.Answers); n != 1+*a.Answers[0].Position {
				t.Errorf("an attendee is %+v", a)
			}
		}
		file := api.EventExport{EventID: q.Event.ID}
		for file, want := range map[string]string{
			string(must(owner, h, api.GetAttendeesCSV, api.AttendeeExport{EventExport: file}).Data): "Other,'=canary",
			string(must(owner, h, api.GetOrdersCSV, file).Data):                                     "DE,no",
		} {
			if !strings.Contains(file, want) {
				t.Errorf("%q is not in %s", want, file)
			}
		}
		h.pays(q, q.eats(0, 0))
		pending := must(h.as(person()), h, api.CreateOrder, api.NewOrder{EventID: q.Event.ID, Items: order(q.Offer, 1).Items,
			Answers: []api.Answer{q.eats(0, 1)}})
		if pending.AnswersDue {
			t.Errorf("with its answers an order is %+v", pending.Order)
		}
		counts := must(owner, h, api.GetAnswerCounts, api.EventRef{ID: q.Event.ID}).Questions
		if got := counts[0]; got.Answered != 3 || len(got.Choices) != 3 || got.Choices[0].Label != "All" ||
			got.Choices[0].Count != 2 || got.Choices[2].Count != 0 || counts[1].Answered != 1 || len(counts[1].Choices) != 0 ||
			counts[2].Choices[0] != (api.ChoiceCount{Choice: "DE", Count: 1}) {
			t.Errorf("the counts are %+v", counts)
		}
		if _, err := do(h.as(buyer), h, api.GetAnswerCounts, api.EventRef{ID: q.Event.ID}); err == nil {
			t.Error("buyers read counts")
		}

		// Less is asked by now: the order can be paid as it is.
		late := must(h.as(buyer), h, api.CreateOrder, order(q.Offer, 1))
		h.change(q.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { o.Event.Questions = slices.Clone(o.Event.Questions)[2:] })
		h.clock.Advance(2 * time.Second)
		h.pay(buyer, &late.Order)
		h.becomes(buyer, late.ID, api.OrderPaid)
		h.audit()
	})
}

// pays orders one ticket with answers, and pays for it.
func (h *harness) pays(q inquiry, in ...api.Answer) (ids.User, api.Ticket) {
	h.t.Helper()
	buyer, req := person(), order(q.Offer, 1)
	req.Answers = in
	made := must(h.as(buyer), h, api.CreateOrder, req)
	if made.Status == api.OrderPending {
		h.pay(buyer, &made.Order)
		h.becomes(buyer, made.ID, api.OrderPaid)
	}
	return buyer, must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items[0]
}

func TestFreeOrdersBringTheirAnswers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		q := h.asking(0)
		_, err := do(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(q.Offer, 1, "kim@example.org"))
		if !fault.Is(err, fault.Invalid) || !slices.Equal(fieldsOf(err), []string{"answers." + q.food.ID.String() + "[0]"}) {
			t.Errorf("without: %v", err)
		}
		req := guestOrder(q.Offer, 1, "kim@example.org")
		req.Answers = []api.Answer{q.eats(0, 2), says(q.what, 0, "canary")}
		made := must(h.from("192.0.2.7"), h, api.CreateOrder, req)
		me := h.guest(made.AccessToken)
		got := must(me, h, api.ExportOrder, api.OrderRef{ID: made.ID}).Answers
		slices.SortFunc(got, func(a, b api.PersonAnswer) int { return strings.Compare(b.Question, a.Question) })
		if len(got) != 2 || got[0].Question != "Food" ||
			got[0].Answer != "Other" || got[1].Answer != "canary" {
			t.Errorf("the guest takes away %+v", got)
		}
		// Until the deadline they can be changed, by the token of the order.
		answer := api.OrderAnswers{ID: made.ID, Answers: []api.Answer{q.eats(0, 1)}}
		if sheet := must(me, h, api.PutOrderAnswers, answer); len(sheet.Answers) != 1 || sheet.Until == nil ||
			!sheet.Until.Equal(q.Event.StartsAt) {
			t.Errorf("changed %+v", sheet)
		}
		h.change(q.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { o.Event.OrderRules.AnswerMinutesBefore = 60 })
		h.clock.Set(q.Event.StartsAt.Add(-time.Hour))
		if sheet := must(me, h, api.GetOrderAnswers, api.OrderRef{ID: made.ID}); sheet.Open {
			t.Errorf("after the deadline %+v", sheet)
		}
		if _, err := do(me, h, api.PutOrderAnswers, answer); !fault.Is(err, fault.Conflict) {
			t.Errorf("after the deadline: %v", err)
		}
		// The organizer may still, with a line in the audit log, and whoever is forgotten leaves none.
		must(h.as(ownerOf(q.Offer)), h, api.PutOrderAnswers, api.OrderAnswers{ID: made.ID,
			Answers: []api.Answer{q.eats(0, 2), says(q.what, 0, "canary")}})
		if found := testkit.Search(t, h.db, "canary"); len(found) != 1 {
			t.Errorf("it is written to %q", found)
		}
		must(me, h, api.ForgetOrder, api.OrderRef{ID: made.ID})
		if found := testkit.Search(t, h.db, "canary"); len(found) != 0 {
			t.Errorf("it is left in %q", found)
		}
	})
}

// Who comes with a ticket answers for it: at the door staff sees and writes what is asked there, and who gets a ticket
// begins anew.
func TestAnswersOfATicket(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		q := h.asking(0)
		buyer, ticket := h.pays(q, q.eats(0, 2), says(q.what, 0, "canary"))
		door := person()
		h.change(q.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) {
			o.Team = append(o.Team, api.TeamMember{UserID: door, Role: api.RoleDoor})
		})
		h.clock.Set(q.Event.StartsAt)
		got, err := h.scan(q.Offer, ticket.Code)
		if err != nil || len(got.Questions) != 1 || got.Questions[0].ID != q.coat.ID || len(got.Answers) != 0 {
			t.Fatalf("the door hears %+v, %v", got, err)
		}
		sheet := must(h.as(door), h, api.PutTicketAnswers, api.TicketAnswers{ID: ticket.ID,
			Answers: []api.Answer{says(q.coat, 0, "471")}})
		if len(sheet.Answers) != 1 || len(sheet.Questions) != 1 || !sheet.Open {
			t.Errorf("the door sees %+v", sheet)
		}
		_, err = do(h.as(door), h, api.PutTicketAnswers, api.TicketAnswers{ID: ticket.ID, Answers: []api.Answer{q.eats(0, 0)}})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("the door answers what is asked at checkout: %v", err)
		}
		if _, err := do(h.as(door), h, api.GetOrderAnswers, api.OrderRef{ID: ticket.OrderID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("the door reads the order: %v", err)
		}
		if got, err := h.scan(q.Offer, ticket.Code); err != nil || got.Result != api.AlreadyAdmitted || len(got.Answers) != 1 ||
			got.Answers[0].Value != "471" {
			t.Errorf("the door hears %+v, %v", got, err)
		}
		if got := must(h.as(buyer), h, api.GetTicketAnswers, api.TicketRef{ID: ticket.ID}); len(got.Answers) != 2 || got.Open {
			t.Errorf("the buyer sees %+v", got)
		}

		giver, given := h.pays(q, q.eats(0, 2), says(q.what, 0, "secret"))
		friend := person()
		h.people["friend@example.org"] = api.Contact{ID: friend, Email: "friend@example.org", Name: "Friend", EmailVerified: true}
		h.change(q.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { o.Event.StartsAt = o.Event.StartsAt.Add(time.Hour) })
		must(h.as(giver), h, api.TransferTicket, api.Transfer{ID: given.ID, Email: "friend@example.org"})
		if found := testkit.Search(t, h.db, "secret"); len(found) != 0 {
			t.Errorf("the giver's answers are in %q", found)
		}
		h.clock.Advance(2 * time.Second)
		if sheet, err := do(h.as(giver), h, api.PutOrderAnswers, api.OrderAnswers{ID: given.OrderID, Answers: []api.Answer{}}); !fault.Is(err, fault.Conflict) {
			t.Errorf("the giver answers: %+v, %v", sheet, err)
		}
		must(h.as(friend), h, api.PutTicketAnswers, api.TicketAnswers{ID: given.ID, Answers: []api.Answer{q.eats(0, 1)}})
		mine := func(who ids.User) (n int) {
			for cursor := ""; ; {
				r := must(t.Context(), h, api.ExportPerson, api.PersonRef{UserID: who, Cursor: cursor})
				n += len(r.Answers)
				if cursor = r.NextCursor; cursor == "" {
					return n
				}
			}
		}
		if a, b := mine(giver), mine(friend); a != 0 || b != 1 {
			t.Errorf("the giver takes away %d answers, the friend %d", a, b)
		}
	})
}

// A device answers what is asked at the door about a ticket of its event, and sees nothing else that was answered.
func TestDeviceAnswersAtTheDoor(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		q := h.asking(0)
		_, ticket := h.pays(q, q.eats(0, 2), says(q.what, 0, "canary"))
		ask := line.AnswersAtHub{EventID: q.Event.ID, PassID: ids.New[ids.PassKind](h.clock.Now()), TicketID: ticket.ID}
		if got := must(t.Context(), h, line.VenueAnswers, ask); len(got.Questions) != 1 || got.Questions[0].ID != q.coat.ID ||
			len(got.Answers) != 0 || len(got.Tickets) != 1 {
			t.Errorf("the device sees %+v", got)
		}
		ask.Answers = []api.Answer{{QuestionID: q.coat.ID, Value: "471"}} // without a position: it is about the ticket
		if got := must(t.Context(), h, line.VenueAnswers, ask); len(got.Answers) != 1 || got.Answers[0].Value != "471" {
			t.Errorf("the device sees %+v", got)
		}
		ask.Answers = nil // nothing is changed
		if got := must(t.Context(), h, line.VenueAnswers, ask); len(got.Answers) != 1 || got.Answers[0].Value != "471" {
			t.Errorf("the device sees %+v", got)
		}
		for name, answer := range map[string]api.Answer{"what is asked at checkout": q.eats(0, 0), "nonsense": says(q.coat, 0, "x"),
			"another ticket": says(q.coat, 1, "1")} {
			ask.Answers = []api.Answer{answer}
			if _, err := do(t.Context(), h, line.VenueAnswers, ask); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		other := h.asking(0)
		ask.EventID, ask.Answers = other.Event.ID, []api.Answer{}
		if _, err := do(t.Context(), h, line.VenueAnswers, ask); !fault.Is(err, fault.NotFound) {
			t.Errorf("with the pass of another event: %v", err)
		}
		ask.EventID = q.Event.ID
		if got := must(t.Context(), h, line.VenueAnswers, ask); len(got.Answers) != 0 {
			t.Errorf("what is left out is answered: %+v", got)
		}
		if all := must(h.as(ownerOf(q.Offer)), h, api.GetTicketAnswers, api.TicketRef{ID: ticket.ID}); len(all.Answers) != 2 {
			t.Errorf("of the buyer's answers are left %+v", all.Answers)
		}
	})
}

// Answers go when the setting or their question says, and those that come late go, too.
func TestAnswersEndAfterTheEvent(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		q := h.asking(0)
		_, ticket := h.pays(q, q.eats(0, 2), says(q.what, 0, "canary"))
		eraser := retention.Eraser{DB: h.db, Live: h.live, Log: h.log, Now: h.clock.Now}
		left := func(at time.Time) (n int) {
			t.Helper()
			h.clock.Set(at)
			if err := eraser.Erase(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := h.db.Read().NewRaw("SELECT COUNT(*) FROM question_answers").Scan(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		end, day := q.Event.EndsAt, 24*time.Hour
		if a, b := left(end.Add(2*day-time.Minute)), left(end.Add(2*day+time.Minute)); a != 2 || b != 1 {
			t.Errorf("%d and %d answers are left around the days of the question", a, b)
		}
		late := api.TicketAnswers{ID: ticket.ID, Answers: []api.Answer{q.eats(0, 2), says(q.what, 0, "late")}}
		must(h.as(ownerOf(q.Offer)), h, api.PutTicketAnswers, late)
		if n := left(end.Add(2*day + time.Hour)); n != 1 {
			t.Errorf("%d answers are left of what came late", n)
		}
		if a, b := left(end.Add(api.AnswerRetention.Default()-time.Hour)), left(end.Add(api.AnswerRetention.Default()+time.Hour)); a != 1 || b != 0 {
			t.Errorf("%d and %d answers are left around the time of the setting", a, b)
		}
		must(h.as(ownerOf(q.Offer)), h, api.PutTicketAnswers, late)
		if n := left(end.Add(api.AnswerRetention.Default() + 2*time.Hour)); n != 0 {
			t.Errorf("%d answers are left of what came late", n)
		}
	})
}

// An event that asks nothing costs no question to the database: none of this has one to ask.
func TestNoQuestionsAskForNothing(t *testing.T) {
	e, ctx := &api.Event{}, t.Context()
	row := orderRow{Items: []api.OrderItem{{Quantity: 2}}}
	made := creation{}
	if err := made.withAnswers(&row, e, nil); err != nil || row.AnswersDue || made.answers != nil {
		t.Errorf("%v, %+v, %+v", err, row, made.answers)
	}
	_, err := answers.Of(ctx, nil, e, "ord_x")
	_, _, door := answers.AtDoor(ctx, nil, e, "ord_x", questions.Ticket{})
	for _, err := range []error{err, door, answers.Insert(ctx, bun.Tx{}, nil), answers.Date(ctx, bun.Tx{}, e)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := made.withAnswers(&row, e, []api.Answer{{QuestionID: "que_x"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an answer to nothing: %v", err)
	}
	if text, err := json.Marshal(row.order()); err != nil || strings.Contains(string(text), "answers") {
		t.Errorf("%s, %v", text, err)
	}
}
