package questions

import (
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// DoorSheet is what is asked at the door about a ticket, where the answers to what was asked before are not known: met
// are the questions whose conditions about those are met, as MetBefore returned them.
func DoorSheet(all []api.Question, met []ids.Question, t Ticket) Sheet {
	all = slices.Clone(all)
	for i := range all {
		if slices.Contains(met, all[i].ID) {
			all[i].Condition = nil
		}
	}
	return Sheet{Questions: all, At: api.AskedAtDoor, Tickets: []Ticket{t}}
}

// MetBefore returns the questions that are asked at the door about a ticket because of what was answered before, of all
// that was answered about its order.
func MetBefore(all []api.Question, answers []api.Answer, t Ticket) []ids.Question {
	var met []ids.Question
	before := Sheet{Questions: all}
	given := map[key]api.Answer{}
	for _, a := range answers {
		given[keyOf(a)] = a
	}
	for _, slot := range (Sheet{Questions: all, At: api.AskedAtDoor, Tickets: []Ticket{t}}).Slots() {
		if hangsOnBefore(all, slot.Question) && before.met(slot, given) {
			met = append(met, slot.ID)
		}
	}
	return met
}

// AskBefore returns the questions that are asked at the door if something was answered before, with their conditions.
func AskBefore(all []api.Question) []api.Question {
	var out []api.Question
	for i := range all {
		if !all[i].Hidden && all[i].At == api.AskedAtDoor && hangsOnBefore(all, &all[i]) {
			out = append(out, api.Question{ID: all[i].ID, Condition: all[i].Condition, TicketTypes: all[i].TicketTypes})
		}
	}
	return out
}

// hangsOnBefore reports whether a question is asked only if one was answered so that is not asked at the door.
func hangsOnBefore(all []api.Question, q *api.Question) bool {
	return q.Condition != nil && !slices.ContainsFunc(all, func(o api.Question) bool {
		return o.ID == q.Condition.QuestionID && o.At == api.AskedAtDoor
	})
}

// AsksAtDoor reports whether anything is asked at the door.
func AsksAtDoor(all []api.Question) bool {
	return slices.ContainsFunc(all, func(q api.Question) bool { return !q.Hidden && q.At == api.AskedAtDoor })
}

// Shown returns what is asked, as the answers stand, and the answers to that.
func (s Sheet) Shown(answers []api.Answer) (asked []api.Question, given []api.Answer) {
	for _, slot := range s.Asked(answers) {
		asked = append(asked, *slot.Question)
		for _, a := range answers {
			if a.QuestionID == slot.ID && PositionOf(a) == slot.Position {
				given = append(given, a)
			}
		}
	}
	return asked, given
}

// Change is what somebody has changed of the answers at a door.
type Change struct {
	Answers []api.Answer   // those that are other than before, or were not there
	Cleared []ids.Question // to which the answer was taken away
}

// ChangeOf returns what makes other answers out of those of before.
func ChangeOf(before, after []api.Answer) (c Change) {
	same := func(a api.Answer) func(api.Answer) bool {
		return func(b api.Answer) bool {
			return keyOf(a) == keyOf(b) && a.Value == b.Value && slices.Equal(a.Choices, b.Choices)
		}
	}
	for _, a := range after {
		if !slices.ContainsFunc(before, same(a)) {
			c.Answers = append(c.Answers, a)
		}
	}
	for _, b := range before {
		if !slices.ContainsFunc(after, func(a api.Answer) bool { return keyOf(a) == keyOf(b) }) {
			c.Cleared = append(c.Cleared, b.QuestionID)
		}
	}
	return c
}

// Refused is an answer that is not kept, and why.
type Refused struct {
	api.Answer
	Reason string
}

// Merge makes a change in the answers of a sheet as they are now, which may be others than those that it was made of.
// It returns what is kept then, and what cannot be: it is not asked any more, or not so. What hangs on an answer that
// was changed goes with it.
func (s Sheet) Merge(now []api.Answer, c Change) (kept []api.Answer, refused []Refused) {
	slots := s.Slots()
	changed := map[key]bool{}
	for _, a := range c.Answers {
		changed[keyOf(a)] = true
	}
	answers := slices.Clone(c.Answers)
	for _, a := range now {
		here := slices.ContainsFunc(slots, func(slot Slot) bool { return keyOf(a) == key{slot.ID, slot.Position} })
		if here && !changed[keyOf(a)] && !slices.Contains(c.Cleared, a.QuestionID) {
			answers = append(answers, a)
		}
	}
	for {
		var check fault.Check
		kept = s.Check(&check, answers, now, false)
		err := check.Err()
		if err == nil {
			return kept, refused
		}
		wrong, at := fault.From(err).Fields[0], 0
		if _, err := fmt.Sscanf(wrong.Field, "answers[%d]", &at); err != nil || at >= len(answers) {
			return kept, refused // Check names answers only, unless all have to be there
		}
		if changed[keyOf(answers[at])] {
			refused = append(refused, Refused{answers[at], wrong.Detail})
		}
		answers = slices.Delete(answers, at, at+1)
	}
}
