// Package questions has the rules of what is asked about an order and its tickets, and of what answers it.
package questions

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
)

// MaxText is how many characters a text has at most that answers a question.
const MaxText = 1000

// WholeOrder stands in for the position of a ticket where an order itself is meant.
const WholeOrder = -1

var (
	numberRule = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,6})?$`)
	phoneRule  = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
)

// Ticket is a ticket that questions are asked about.
type Ticket struct {
	Position int // in its order, counted from 0
	Type     ids.TicketType
	Product  bool // what is asked for all tickets is not asked for it
}

// Sheet is what is asked at one place, about an order, some of its tickets, or both.
type Sheet struct {
	Questions []api.Question   // all of the event
	At        string           // only those that are asked there; empty: everywhere
	Order     []ids.TicketType // of the whole order; nil: nothing is asked about the order itself
	Tickets   []Ticket
	Known     []api.Answer // to what is not asked here, which conditions look at
}

// Slot is a place for an answer: a question about a ticket, or about the order, whose position is WholeOrder.
type Slot struct {
	*api.Question
	Position int
}

// PositionOf returns which ticket an answer is about, or WholeOrder.
func PositionOf(a api.Answer) int {
	if a.Position == nil {
		return WholeOrder
	}
	return *a.Position
}

// Slots returns what may be asked, whatever is answered: conditions are not looked at.
func (s Sheet) Slots() []Slot {
	var all []Slot
	for i := range s.Questions {
		q := &s.Questions[i]
		switch {
		case q.Hidden || s.At != "" && q.At != s.At:
		case q.Per == api.AskedPerOrder:
			about := func(t ids.TicketType) bool { return slices.Contains(q.TicketTypes, t) }
			if len(s.Order) > 0 && (len(q.TicketTypes) == 0 || slices.ContainsFunc(s.Order, about)) {
				all = append(all, Slot{q, WholeOrder})
			}
		default:
			for _, t := range s.Tickets {
				if len(q.TicketTypes) == 0 && !t.Product || slices.Contains(q.TicketTypes, t.Type) {
					all = append(all, Slot{q, t.Position})
				}
			}
		}
	}
	return all
}

// Asked returns which of the slots are asked, as the answers stand: those whose conditions are met by answers to
// questions that are asked themselves.
func (s Sheet) Asked(answers []api.Answer) []Slot {
	given := map[key]api.Answer{}
	for _, a := range s.Known {
		given[keyOf(a)] = a
	}
	slots := s.Slots()
	for _, slot := range slots {
		delete(given, key{slot.ID, slot.Position})
	}
	here := map[key]api.Answer{}
	for _, a := range answers {
		here[keyOf(a)] = a
	}
	asked := slots[:0]
	for _, slot := range slots { // conditions are about questions before
		if !s.met(slot, given) {
			continue
		}
		asked = append(asked, slot)
		k := key{slot.ID, slot.Position}
		if a, ok := here[k]; ok {
			given[k] = a
		}
	}
	return asked
}

type key struct {
	question ids.Question
	position int
}

func keyOf(a api.Answer) key { return key{a.QuestionID, PositionOf(a)} }

// met reports whether the condition of a slot is met by what was answered to questions that are asked.
func (s Sheet) met(slot Slot, given map[key]api.Answer) bool {
	c := slot.Condition
	if c == nil {
		return true
	}
	a, ok := given[key{c.QuestionID, slot.Position}]
	if !ok {
		a, ok = given[key{c.QuestionID, WholeOrder}]
	}
	if !ok {
		return false
	}
	if len(c.Choices) == 0 {
		return a.Value == api.ConsentGiven
	}
	return slices.ContainsFunc(a.Choices, func(id ids.Choice) bool { return slices.Contains(c.Choices, id) })
}

// Check finds what is wrong with answers, and returns them as they are kept, in the order of the slots. What is kept
// already under the same question may have choices that are hidden now. If all is to be there, what is required and
// missing is wrong, too.
func (s Sheet) Check(c *fault.Check, answers, kept []api.Answer, all bool) []api.Answer {
	slots := map[key]*api.Question{}
	for _, slot := range s.Slots() {
		slots[key{slot.ID, slot.Position}] = slot.Question
	}
	before := map[key]api.Answer{}
	for _, a := range kept {
		before[keyOf(a)] = a
	}
	var clean []api.Answer
	given := map[key]int{} // of answers
	for i, a := range answers {
		field := fmt.Sprintf("answers[%d]", i)
		k := keyOf(a)
		q := slots[k]
		if q == nil {
			c.Field(false, field+".question_id", "%s", s.unasked(a))
			continue
		}
		if _, twice := given[k]; twice {
			c.Field(false, field+".question_id", "%q is answered twice", q.Label)
			continue
		}
		given[k] = i
		clean = append(clean, normal(c, field, q, a, before[k]))
	}
	byKey := make(map[key]api.Answer, len(clean))
	for _, a := range clean {
		byKey[keyOf(a)] = a
	}
	out := make([]api.Answer, 0, len(clean))
	for _, slot := range s.Asked(clean) {
		k := key{slot.ID, slot.Position}
		if a, ok := byKey[k]; ok {
			out = append(out, a)
			delete(byKey, k)
		}
	}
	for _, a := range clean {
		if _, left := byKey[keyOf(a)]; left {
			c.Field(false, fmt.Sprintf("answers[%d].question_id", given[keyOf(a)]),
				"%q is not asked: its condition is not met", slots[keyOf(a)].Label)
		}
	}
	if all {
		s.Missing(c, out)
	}
	return out
}

// Missing finds the answers that are required and not there.
func (s Sheet) Missing(c *fault.Check, answers []api.Answer) {
	byKey := make(map[key]api.Answer, len(answers))
	for _, a := range answers {
		byKey[keyOf(a)] = a
	}
	for _, slot := range s.Asked(answers) {
		a, ok := byKey[key{slot.ID, slot.Position}]
		given := ok && (slot.Kind != api.AsksConsent || a.Value == api.ConsentGiven)
		c.Field(given || !slot.Required, slot.Field(), "%s", slot.needed())
	}
}

// Field names the slot where its answer is missing.
func (slot Slot) Field() string {
	if slot.Position == WholeOrder {
		return "answers." + slot.ID.String()
	}
	return fmt.Sprintf("answers.%s[%d]", slot.ID, slot.Position)
}

func (slot Slot) needed() string {
	what := "must be answered"
	if slot.Kind == api.AsksConsent {
		what = "must be given"
	}
	if slot.Position == WholeOrder {
		return fmt.Sprintf("%q %s", slot.Label, what)
	}
	return fmt.Sprintf("%q %s for ticket %d", slot.Label, what, slot.Position+1)
}

// unasked says why there is no slot for an answer.
func (s Sheet) unasked(a api.Answer) string {
	at := slices.IndexFunc(s.Questions, func(q api.Question) bool { return q.ID == a.QuestionID })
	if at < 0 {
		return "is no question of this event"
	}
	q := &s.Questions[at]
	switch {
	case q.Hidden:
		return fmt.Sprintf("%q is asked no more", q.Label)
	case s.At != "" && q.At != s.At:
		return fmt.Sprintf("%q is asked at the %s", q.Label, q.At)
	case q.Per == api.AskedPerOrder && a.Position != nil:
		return fmt.Sprintf("%q is about the order: it has no position", q.Label)
	case q.Per == api.AskedPerTicket && a.Position == nil:
		return fmt.Sprintf("%q is about a ticket: position is missing", q.Label)
	case a.Position != nil && !slices.ContainsFunc(s.Tickets, func(t Ticket) bool { return t.Position == *a.Position }):
		return fmt.Sprintf("%q is answered for a ticket that is not there", q.Label)
	}
	return fmt.Sprintf("%q is not asked for these ticket types", q.Label)
}

// normal checks an answer by the kind of its question, and returns it as it is kept.
func normal(c *fault.Check, field string, q *api.Question, a, before api.Answer) api.Answer {
	a.Value = text.Clean(a.Value)
	fail := func(format string, args ...any) {
		c.Field(false, field+".value", "%q "+format, append([]any{q.Label}, args...)...)
	}
	if q.Kind == api.AsksChoice || q.Kind == api.AsksChoices {
		if a.Value != "" {
			fail("is answered by choices")
		}
		return chosen(c, field, q, a, before)
	}
	if len(a.Choices) > 0 {
		c.Field(false, field+".choices", "%q is answered by a value", q.Label)
		a.Choices = nil
	}
	switch v := &a.Value; q.Kind {
	case api.AsksText:
		if err := text.Line(*v, 1, MaxText); err != nil {
			fail("%v", err)
		}
	case api.AsksNumber:
		if !numberRule.MatchString(*v) {
			fail("must be a number, such as 12 or 1.5")
		}
	case api.AsksDate:
		day, err := time.Parse(time.DateOnly, *v)
		if err != nil || day.Year() < 1900 || day.Year() > 2200 {
			fail("must be a date, such as 2031-12-24")
		}
	case api.AsksCountry:
		if *v = strings.ToUpper(*v); !text.Country(*v) {
			fail("must be a country code of ISO 3166-1, such as DE")
		}
	case api.AsksPhone:
		*v = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", "/", "", ".", "").Replace(*v)
		if !phoneRule.MatchString(*v) {
			fail("must be a phone number with the code of its country, such as +4930123456")
		}
	case api.AsksConsent:
		if *v != api.ConsentGiven && *v != api.ConsentRefused {
			fail("must be yes or no")
		}
	}
	return a
}

// chosen is normal for the kinds choice and choices.
func chosen(c *fault.Check, field string, q *api.Question, a, before api.Answer) api.Answer {
	field += ".choices"
	c.Field(len(a.Choices) > 0, field, "%q must have a choice: what is not answered is left out", q.Label)
	c.Field(q.Kind == api.AsksChoices || len(a.Choices) <= 1, field, "%q has one choice", q.Label)
	var sorted []ids.Choice // as the question has them
	for _, o := range q.Choices {
		if slices.Contains(a.Choices, o.ID) && (!o.Hidden || slices.Contains(before.Choices, o.ID)) {
			sorted = append(sorted, o.ID)
		}
	}
	for i, id := range a.Choices {
		c.Field(slices.Contains(sorted, id), fmt.Sprintf("%s[%d]", field, i), "is no choice of %q", q.Label)
		c.Field(!slices.Contains(a.Choices[:i], id), fmt.Sprintf("%s[%d]", field, i), "is named twice")
	}
	a.Choices = sorted
	return a
}

// Text returns an answer as a person reads it: choices by their labels.
func Text(q *api.Question, a api.Answer) string {
	if len(a.Choices) == 0 {
		return a.Value
	}
	var labels []string
	for _, o := range q.Choices {
		if slices.Contains(a.Choices, o.ID) {
			labels = append(labels, o.Label)
		}
	}
	return strings.Join(labels, ", ")
}
