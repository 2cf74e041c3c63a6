package event

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
)

const (
	maxQuestions     = 100
	maxChoices       = 50
	maxLabel         = 300
	maxHelp          = 1000
	maxPurpose       = 500
	maxChoiceLabel   = 200
	maxRetentionDays = 3650
	// maxQuestionBytes bounds the JSON of all questions, hidden ones too: an event is a message, many times.
	maxQuestionBytes = 96 << 10
)

func (s *Service) questions(ctx context.Context, req *api.EventRef) (*api.EventQuestions, error) {
	v, err := s.cache.get(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return questionsOf(&v.record.Event), v.record.Require(rpc.Caller(ctx), api.MayVisit)
}

func questionsOf(e *api.Event) *api.EventQuestions {
	out := &api.EventQuestions{EventID: e.ID, Questions: e.Questions, Revision: e.Revision}
	if out.Questions == nil {
		out.Questions = []api.Question{}
	}
	return out
}

// setQuestions replaces what buyers are asked.
func (s *Service) setQuestions(ctx context.Context, req *api.QuestionsOf) (*api.EventQuestions, error) {
	var check fault.Check
	if check.Field(req.Questions != nil, "questions", "is required"); check.Err() != nil {
		return nil, check.Err()
	}
	r, err := s.change(ctx, edit{event: req.EventID, need: api.MayEditEvent, ifMatch: req.IfMatch,
		topic: api.EventUpdated, apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			var c fault.Check
			before := r.Event.Questions
			r.Event.Questions = s.newQuestions(&c, &r.Event, req.Questions)
			if err := c.Err(); err != nil {
				return err
			}
			if len(before) == 0 && len(r.Event.Questions) == 0 || reflect.DeepEqual(before, r.Event.Questions) {
				return errUnchanged
			}
			return nil
		}})
	if err != nil {
		return nil, err
	}
	return questionsOf(&r.Event), nil
}

// newQuestions returns the questions of an event as they are written now. Those that have an id keep it; of an event
// that was published those that are left out are hidden at the end.
func (s *Service) newQuestions(c *fault.Check, e *api.Event, in []api.NewQuestion) []api.Question {
	c.Field(len(in) <= maxQuestions, "questions", "must be at most %d", maxQuestions)
	published := e.Status != api.EventDraft
	out := make([]api.Question, 0, len(in))
	for i, n := range in {
		field := func(name string) string { return fmt.Sprintf("questions[%d].%s", i, name) }
		q := api.Question{ID: n.ID, Label: text.Clean(n.Label), Help: text.Clean(n.Help), Kind: n.Kind,
			Per: orElse(n.Per, api.AskedPerTicket), At: orElse(n.At, api.AskedAtCheckout), Required: n.Required,
			TicketTypes: n.TicketTypes, Purpose: text.Clean(n.Purpose), RetentionDays: n.RetentionDays,
			Hidden: n.Hidden, Translations: questionTexts(n.Translations)}
		var old *api.Question
		if q.ID != "" {
			at := slices.IndexFunc(e.Questions, func(o api.Question) bool { return o.ID == q.ID })
			c.Field(at >= 0, field("id"), "is no question of this event: a new one comes without an id")
			if at >= 0 {
				old = &e.Questions[at]
			}
			c.Field(!slices.ContainsFunc(out, func(o api.Question) bool { return o.ID == q.ID }), field("id"),
				"is named twice")
		} else {
			q.ID = ids.New[ids.QuestionKind](s.now())
		}
		if old != nil && published {
			c.Field(q.Kind == old.Kind, field("kind"), "is %s since the event was published: make another question",
				old.Kind)
			c.Field(q.Per == old.Per, field("per"), "is %s since the event was published: make another question",
				old.Per)
		}
		q.Choices = s.newChoices(c, field, old, published, n.Choices)
		checkQuestion(c, field, e, &q)
		checkQuestionTexts(c, field, e, &q)
		q.Condition = newCondition(c, field, out, &q, n.Condition)
		out = append(out, q)
	}
	if published {
		for _, old := range e.Questions {
			if !slices.ContainsFunc(out, func(q api.Question) bool { return q.ID == old.ID }) {
				old.Hidden = true
				out = append(out, old)
			}
		}
	}
	size, err := json.Marshal(out)
	c.Field(err == nil && len(size) <= maxQuestionBytes, "questions", "must have at most %d bytes together",
		maxQuestionBytes)
	return out
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// newChoices is newQuestions for what can be chosen.
func (s *Service) newChoices(c *fault.Check, field func(string) string, old *api.Question, published bool,
	in []api.NewChoice) []api.QuestionChoice {
	c.Field(len(in) <= maxChoices, field("choices"), "must be at most %d", maxChoices)
	var before, out []api.QuestionChoice
	if old != nil {
		before = old.Choices
	}
	for k, n := range in {
		of := func(name string) string { return field(fmt.Sprintf("choices[%d].%s", k, name)) }
		choice := api.QuestionChoice{ID: n.ID, Label: text.Clean(n.Label), Hidden: n.Hidden,
			Translations: choiceTexts(n.Translations)}
		text.CheckLine(c, of("label"), choice.Label, 1, maxChoiceLabel)
		if choice.ID == "" {
			choice.ID = ids.New[ids.ChoiceKind](s.now())
		} else {
			c.Field(slices.ContainsFunc(before, func(o api.QuestionChoice) bool { return o.ID == choice.ID }), of("id"),
				"is no choice of this question: a new one comes without an id")
		}
		for _, o := range out {
			c.Field(o.ID != choice.ID, of("id"), "is named twice")
			c.Field(o.Hidden || choice.Hidden || o.Label != choice.Label, of("label"), "is that of another choice")
		}
		out = append(out, choice)
	}
	for _, o := range before {
		if published && !slices.ContainsFunc(out, func(n api.QuestionChoice) bool { return n.ID == o.ID }) {
			o.Hidden = true
			out = append(out, o)
		}
	}
	return out
}

// copyQuestions returns what is asked for another event whose ticket types have other ids, without what was hidden.
func copyQuestions(all []api.Question, types map[ids.TicketType]ids.TicketType) (out []api.Question) {
	for _, q := range all {
		if q.Hidden {
			continue
		}
		q.Choices = slices.DeleteFunc(slices.Clone(q.Choices), func(o api.QuestionChoice) bool { return o.Hidden })
		q.TicketTypes = slices.Clone(q.TicketTypes)
		for i, t := range q.TicketTypes {
			q.TicketTypes[i] = types[t]
		}
		out = append(out, q)
	}
	return out
}

// askWithout takes a ticket type out of the questions that name it. What is asked for no other is asked no more.
func (r *record) askWithout(t ids.TicketType) {
	r.Event.Questions = slices.Clone(r.Event.Questions)
	for i := range r.Event.Questions {
		q := &r.Event.Questions[i]
		if !slices.Contains(q.TicketTypes, t) {
			continue
		}
		if len(q.TicketTypes) == 1 {
			q.Hidden = true
			continue
		}
		q.TicketTypes = slices.DeleteFunc(slices.Clone(q.TicketTypes), func(o ids.TicketType) bool { return o == t })
	}
}

// checkQuestion checks all of a question but its condition.
func checkQuestion(c *fault.Check, field func(string) string, e *api.Event, q *api.Question) {
	text.CheckLine(c, field("label"), q.Label, 1, maxLabel)
	text.CheckLine(c, field("help"), q.Help, 0, maxHelp)
	text.CheckLine(c, field("purpose"), q.Purpose, 0, maxPurpose)
	c.Field(q.RetentionDays >= 0 && q.RetentionDays <= maxRetentionDays, field("retention_days"),
		"must be from 0 to %d", maxRetentionDays)
	c.Field(q.Per == api.AskedPerOrder || q.Per == api.AskedPerTicket, field("per"), "must be order or ticket")
	c.Field(q.At == api.AskedAtCheckout || q.At == api.AskedAtDoor, field("at"), "must be checkout or door")
	c.Field(q.At != api.AskedAtDoor || q.Per == api.AskedPerTicket, field("at"),
		"must be checkout: at the door only tickets are seen")
	shown := slices.ContainsFunc(q.Choices, func(o api.QuestionChoice) bool { return !o.Hidden })
	switch q.Kind {
	case api.AsksChoice, api.AsksChoices:
		c.Field(shown || q.Hidden, field("choices"), "must be at least one")
	case api.AsksText, api.AsksDate, api.AsksPhone:
		c.Field(q.Purpose != "" || q.Hidden, field("purpose"),
			"must say what the answers are used for: they tell who a person is")
		fallthrough
	case api.AsksNumber, api.AsksCountry, api.AsksConsent:
		c.Field(len(q.Choices) == 0, field("choices"), "are only of the kinds choice and choices")
	default:
		c.Field(false, field("kind"), "must be text, number, choice, choices, date, country, phone or consent")
	}
	for i, t := range q.TicketTypes {
		of := field(fmt.Sprintf("ticket_type_ids[%d]", i))
		c.Field(e.TicketType(t) != nil || q.Hidden, of, "is no ticket type of this event")
		c.Field(!slices.Contains(q.TicketTypes[:i], t), of, "is named twice")
	}
}

// newCondition finds the question before, and its choices, that a condition names.
func newCondition(c *fault.Check, field func(string) string, before []api.Question, q *api.Question,
	in *api.NewCondition) *api.QuestionCondition {
	if in == nil {
		return nil
	}
	at := slices.IndexFunc(before, func(o api.Question) bool { return o.ID.String() == in.Question })
	if at < 0 {
		at = slices.IndexFunc(before, func(o api.Question) bool {
			return !o.Hidden && o.Label == text.Clean(in.Question)
		})
	}
	of := field("condition.question")
	if c.Field(at >= 0, of, "is no question before this one"); at < 0 {
		return nil
	}
	o := &before[at]
	c.Field(!o.Hidden || q.Hidden, of, "is hidden, so that this one would never be asked")
	c.Field(o.Per == q.Per || o.Per == api.AskedPerOrder, of, "is asked for each ticket, and this one for the order")
	c.Field(o.At == q.At || o.At == api.AskedAtCheckout, of, "is asked at the door, and this one before")
	cond := &api.QuestionCondition{QuestionID: o.ID}
	switch o.Kind {
	case api.AsksConsent:
		c.Field(len(in.Choices) == 0, field("condition.choices"), "must be none: a consent is given or not")
	case api.AsksChoice, api.AsksChoices:
		c.Field(len(in.Choices) > 0, field("condition.choices"), "must be at least one")
		for k, name := range in.Choices {
			i := slices.IndexFunc(o.Choices, func(x api.QuestionChoice) bool {
				return x.ID.String() == name || !x.Hidden && x.Label == text.Clean(name)
			})
			of := field(fmt.Sprintf("condition.choices[%d]", k))
			if c.Field(i >= 0, of, "is no choice of that question"); i < 0 {
				continue
			}
			c.Field(!slices.Contains(cond.Choices, o.Choices[i].ID), of, "is named twice")
			cond.Choices = append(cond.Choices, o.Choices[i].ID)
		}
	default:
		c.Field(false, of, "is of the kind %s: a condition needs choice, choices or consent", o.Kind)
	}
	return cond
}
