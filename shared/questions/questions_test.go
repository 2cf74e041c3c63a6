package questions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
)

var kinds = []string{api.AsksText, api.AsksNumber, api.AsksChoice, api.AsksChoices, api.AsksDate, api.AsksCountry,
	api.AsksPhone, api.AsksConsent}

func questionID(i int) ids.Question { return ids.Derive[ids.QuestionKind](fmt.Sprint(i)) }

func choiceID(i, k int) ids.Choice { return ids.Derive[ids.ChoiceKind](fmt.Sprint(i, k)) }

// draw makes any questions that an organizer could write: conditions are about questions before.
func draw(t *rapid.T) []api.Question {
	all := make([]api.Question, rapid.IntRange(0, 6).Draw(t, "questions"))
	for i := range all {
		q := api.Question{ID: questionID(i), Label: fmt.Sprint("q", i), Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
			Per: rapid.SampledFrom([]string{api.AskedPerOrder, api.AskedPerTicket}).Draw(t, "per"), At: api.AskedAtCheckout,
			Required: rapid.Bool().Draw(t, "required"), Hidden: rapid.IntRange(0, 9).Draw(t, "hidden") == 0}
		if q.Per == api.AskedPerTicket && rapid.IntRange(0, 4).Draw(t, "door") == 0 {
			q.At = api.AskedAtDoor
		}
		if q.Kind == api.AsksChoice || q.Kind == api.AsksChoices {
			for k := range 3 {
				q.Choices = append(q.Choices, api.QuestionChoice{ID: choiceID(i, k), Label: fmt.Sprint("c", k),
					Hidden: k == 2 && rapid.Bool().Draw(t, "hidden choice")})
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
			q.TicketTypes = []ids.TicketType{"tty_a"}
		}
		for j, before := range all[:i] {
			fits := (before.Per == q.Per || before.Per == api.AskedPerOrder) && before.At == api.AskedAtCheckout
			if !fits || rapid.Bool().Draw(t, "unconditional") {
				continue
			}
			switch before.Kind {
			case api.AsksConsent:
				q.Condition = &api.QuestionCondition{QuestionID: before.ID}
			case api.AsksChoice, api.AsksChoices:
				q.Condition = &api.QuestionCondition{QuestionID: before.ID,
					Choices: []ids.Choice{choiceID(j, rapid.IntRange(0, 1).Draw(t, "choice"))}}
			}
		}
		all[i] = q
	}
	return all
}

// good is an answer that a question takes.
func good(t *rapid.T, i int, q *api.Question) api.Answer {
	a := api.Answer{QuestionID: q.ID}
	switch q.Kind {
	case api.AsksText:
		a.Value = "Käse <b>=1+1</b>"
	case api.AsksNumber:
		a.Value = rapid.SampledFrom([]string{"0", "-1.5", "12"}).Draw(t, "number")
	case api.AsksDate:
		a.Value = "2031-12-24"
	case api.AsksCountry:
		a.Value = "DE"
	case api.AsksPhone:
		a.Value = "+4930123456"
	case api.AsksConsent:
		a.Value = rapid.SampledFrom([]string{api.ConsentGiven, api.ConsentRefused}).Draw(t, "consent")
	case api.AsksChoice:
		a.Choices = []ids.Choice{choiceID(i, rapid.IntRange(0, 1).Draw(t, "choice"))}
	case api.AsksChoices:
		a.Choices = []ids.Choice{choiceID(i, 0), choiceID(i, 1)}[rapid.IntRange(0, 1).Draw(t, "from"):]
	}
	return a
}

// bad is an answer that no question of the kind takes.
func bad(q *api.Question) api.Answer {
	a := api.Answer{QuestionID: q.ID, Value: map[string]string{api.AsksText: "two\nlines", api.AsksNumber: "1e5",
		api.AsksDate: "2031-02-30", api.AsksCountry: "XX", api.AsksPhone: "030123456", api.AsksConsent: "maybe"}[q.Kind]}
	if a.Value == "" {
		a.Choices = []ids.Choice{choiceID(99, 99)}
	}
	return a
}

func at(a api.Answer, position int) api.Answer {
	if a.Position = nil; position != questions.WholeOrder {
		a.Position = &position
	}
	return a
}

// asked is the rule about who is asked what, told in another way: a question is asked if it is shown here, is about
// this ticket type, and what it depends on is asked too and was answered so.
func asked(all []api.Question, types []ids.TicketType, given map[string]api.Answer, i, position int) bool {
	q := all[i]
	if q.Hidden || q.At != api.AskedAtCheckout || (q.Per == api.AskedPerOrder) != (position == questions.WholeOrder) {
		return false
	}
	if len(q.TicketTypes) > 0 {
		if position >= 0 && types[position] != "tty_a" || position < 0 && !slices.Contains(types, "tty_a") {
			return false
		}
	}
	if q.Condition == nil {
		return true
	}
	j := slices.IndexFunc(all, func(o api.Question) bool { return o.ID == q.Condition.QuestionID })
	if all[j].Per == api.AskedPerOrder {
		position = questions.WholeOrder
	}
	a, ok := given[fmt.Sprint(j, position)]
	if !ok || !asked(all, types, given, j, position) {
		return false
	}
	if len(q.Condition.Choices) == 0 {
		return a.Value == api.ConsentGiven
	}
	return slices.Contains(a.Choices, q.Condition.Choices[0])
}

// Whatever is asked and answered: what is asked and good is kept, everything else is named with its place and its
// question, and what is required, asked and missing is named, too.
func TestAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := draw(t)
		types := []ids.TicketType{"tty_a", "tty_b", "tty_a"}[:rapid.IntRange(1, 3).Draw(t, "tickets")]
		sheet := questions.Sheet{Questions: all, At: api.AskedAtCheckout, Order: types}
		for p, typ := range types {
			sheet.Tickets = append(sheet.Tickets, questions.Ticket{Position: p, Type: typ})
		}
		var in []api.Answer
		given, wrong := map[string]api.Answer{}, map[int]bool{}
		for i := range all {
			for p := -1; p < len(types); p++ {
				switch rapid.IntRange(0, 9).Draw(t, "answer") {
				case 0, 1, 2:
					continue
				case 3:
					wrong[len(in)] = true
					in = append(in, at(bad(&all[i]), p))
				default:
					a := at(good(t, i, &all[i]), p)
					given[fmt.Sprint(i, p)] = a
					in = append(in, a)
				}
			}
		}
		var want []string // prefixes of fields
		for k, a := range in {
			i, p := slices.IndexFunc(all, func(q api.Question) bool { return q.ID == a.QuestionID }), questions.PositionOf(a)
			if wrong[k] || !asked(all, types, given, i, p) {
				want = append(want, fmt.Sprintf("answers[%d].", k))
			}
		}
		if len(wrong) > 0 { // what hangs on a wrong answer is not compared: the caller corrects that first
			var c fault.Check
			sheet.Check(&c, in, nil, false)
			fields := fault.From(c.Err()).Fields
			for k := range wrong {
				if !slices.ContainsFunc(fields, func(f fault.Field) bool {
					return strings.HasPrefix(f.Field, fmt.Sprintf("answers[%d].", k)) && strings.Contains(f.Detail, `"q`)
				}) {
					t.Fatalf("answer %d is wrong, and at fault are %+v", k, fields)
				}
			}
			return
		}
		for i, q := range all {
			for p := -1; p < len(types); p++ {
				a, ok := given[fmt.Sprint(i, p)]
				ok = ok && (q.Kind != api.AsksConsent || a.Value == api.ConsentGiven)
				if q.Required && !ok && asked(all, types, given, i, p) {
					want = append(want, questions.Slot{Question: &q, Position: p}.Field())
				}
			}
		}
		var c fault.Check
		kept := sheet.Check(&c, in, nil, true)
		var got []string
		if err := c.Err(); err != nil {
			for _, f := range fault.From(err).Fields {
				name := f.Field
				if strings.HasPrefix(name, "answers[") {
					name = name[:strings.Index(name, ".")+1]
				}
				got = append(got, name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("at fault are %q, want %q: %+v", got, want, c.Err())
		}
		if n := len(in) - len(slices.DeleteFunc(want, func(f string) bool { return !strings.HasPrefix(f, "answers[") })); len(kept) != n {
			t.Fatalf("kept are %+v, want %d of %+v", kept, n, in)
		}
		var again fault.Check
		if more := sheet.Check(&again, kept, nil, false); again.Err() != nil || len(more) != len(kept) {
			t.Fatalf("what is kept is not good again: %v", again.Err())
		}
	})
}

// What was chosen before a choice was hidden can be sent again, and by nobody else.
func TestHiddenChoicesStay(t *testing.T) {
	q := api.Question{ID: questionID(0), Label: "Size", Kind: api.AsksChoice, Per: api.AskedPerOrder,
		At: api.AskedAtCheckout, Choices: []api.QuestionChoice{{ID: choiceID(0, 0), Label: "L", Hidden: true}}}
	sheet := questions.Sheet{Questions: []api.Question{q}, Order: []ids.TicketType{"tty_a"}}
	a := []api.Answer{{QuestionID: q.ID, Choices: []ids.Choice{choiceID(0, 0)}}}
	for kept, want := range map[*[]api.Answer]bool{{}: false, &a: true} {
		var c fault.Check
		sheet.Check(&c, a, *kept, true)
		if good := c.Err() == nil; good != want {
			t.Errorf("with %v before: %v", *kept, c.Err())
		}
	}
	if got := questions.Text(&q, a[0]); got != "L" {
		t.Errorf("it reads %q", got)
	}
}
