package pages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
)

// askedGroup is what is asked about one ticket, or about the order.
type askedGroup struct {
	Ticket *api.AnsweredTicket // nil: the order
	Fields []askedField
}

// askedField is a question as a form asks it.
type askedField struct {
	*api.Question
	Name   string // of the field
	Value  string
	Chosen map[ids.Choice]bool
	Wrong  string // what is wrong with the answer
	If, Is string // it is asked if the field of that name has one of these values; empty: always
}

// Must reports whether the browser may insist on an answer.
func (f askedField) Must() bool {
	return f.Required && f.Condition == nil && f.At == api.AskedAtCheckout && f.Kind != api.AsksChoices
}

// Offered reports whether a choice can be chosen: one that is hidden only by who has it.
func (f askedField) Offered(c api.QuestionChoice) bool { return !c.Hidden || f.Chosen[c.ID] }

func fieldOf(q ids.Question, position int) string {
	if position == questions.WholeOrder {
		return "a." + q.String()
	}
	return fmt.Sprintf("a.%s.%d", q, position)
}

// answersIn reads the answers of a form. What is not asked, as the others stand, is left out: its field was hidden, or
// would have been by a script.
func (v *visit) answersIn(sheet questions.Sheet) []api.Answer {
	var all []api.Answer
	for _, slot := range sheet.Slots() {
		a := api.Answer{QuestionID: slot.ID}
		if at := slot.Position; at != questions.WholeOrder {
			a.Position = &at
		}
		name := fieldOf(slot.ID, slot.Position)
		switch slot.Kind {
		case api.AsksChoice, api.AsksChoices:
			for _, value := range v.RC.PostArgs().PeekMulti(name) {
				if id, err := ids.Parse[ids.ChoiceKind](string(value)); err == nil {
					a.Choices = append(a.Choices, id)
				}
			}
		case api.AsksConsent:
			if a.Value = api.ConsentRefused; v.form(name) == "yes" {
				a.Value = api.ConsentGiven
			}
		default:
			a.Value = strings.TrimSpace(v.form(name))
		}
		if slot.Kind == api.AsksNumber {
			a.Value = strings.ReplaceAll(a.Value, ",", ".")
		}
		if a.Value != "" || len(a.Choices) > 0 {
			all = append(all, a)
		}
	}
	asked := sheet.Asked(all)
	return slices.DeleteFunc(all, func(a api.Answer) bool {
		return !slices.ContainsFunc(asked, func(s questions.Slot) bool {
			return s.ID == a.QuestionID && s.Position == questions.PositionOf(a)
		})
	})
}

// askedGroups lays out what is asked, with answers and what a fault says of them.
func askedGroups(
	sheet questions.Sheet, tickets []api.AnsweredTicket, given []api.Answer, failed error,
) []askedGroup {
	wrong := map[string]string{} // by the name of the field
	if failed != nil {
		for _, f := range fault.From(failed).Fields {
			for i, a := range given {
				if strings.HasPrefix(f.Field, fmt.Sprintf("answers[%d].", i)) {
					wrong[fieldOf(a.QuestionID, questions.PositionOf(a))] = f.Detail
				}
			}
			for _, slot := range sheet.Slots() {
				if f.Field == slot.Field() {
					wrong[fieldOf(slot.ID, slot.Position)] = f.Detail
				}
			}
		}
	}
	groups := []askedGroup{{}}
	for i := range tickets {
		groups = append(groups, askedGroup{Ticket: &tickets[i]})
	}
	for _, slot := range sheet.Slots() {
		f := askedField{Question: slot.Question, Name: fieldOf(slot.ID, slot.Position), Chosen: map[ids.Choice]bool{}}
		f.Wrong = wrong[f.Name]
		for _, a := range given {
			if a.QuestionID == slot.ID && questions.PositionOf(a) == slot.Position {
				f.Value = a.Value
				for _, c := range a.Choices {
					f.Chosen[c] = true
				}
			}
		}
		if c := slot.Condition; c != nil {
			at := slot.Position
			for _, q := range sheet.Questions {
				if q.ID == c.QuestionID && q.Per == api.AskedPerOrder {
					at = questions.WholeOrder
				}
			}
			f.If, f.Is = fieldOf(c.QuestionID, at), api.ConsentGiven
			if len(c.Choices) > 0 {
				f.Is = strings.Trim(fmt.Sprint(c.Choices), "[]")
			}
		}
		for k := range groups {
			t := groups[k].Ticket
			if t == nil && slot.Position == questions.WholeOrder || t != nil && t.Position == slot.Position {
				groups[k].Fields = append(groups[k].Fields, f)
			}
		}
	}
	return slices.DeleteFunc(groups, func(g askedGroup) bool { return len(g.Fields) == 0 })
}

// sheetOf is what an answer sheet asks at checkout.
func sheetOf(a *api.AnswerSheet, whole bool, at string) questions.Sheet {
	sheet := questions.Sheet{Questions: a.Questions, At: at}
	for _, t := range a.Tickets {
		sheet.Tickets = append(sheet.Tickets, questions.Ticket{Position: t.Position, Type: t.TicketTypeID,
			Product: t.Kind == api.KindProduct})
		if whole {
			sheet.Order = append(sheet.Order, t.TicketTypeID)
		}
	}
	return sheet
}

// answersPage asks what the event asks about an order.
func (s *Site) answersPage(v *visit) error { return s.answersAgain(v, nil, nil) }

func (s *Site) answersAgain(v *visit, sent []api.Answer, failed error) error {
	ref, err := orderOf(v)
	if err != nil {
		return err
	}
	a, err := ask(v, api.GetOrderAnswers, &ref)
	if err != nil {
		return err
	}
	e, err := s.eventNamed(v, a.EventID.String())
	if err != nil {
		return err
	}
	a.Questions = api.QuestionsIn(a.Questions, v.lang)
	called := e.Called()
	for i := range a.Tickets {
		a.Tickets[i].TypeName = called.Type(v.lang, a.Tickets[i].TicketTypeID, a.Tickets[i].TypeName)
	}
	given := a.Answers
	if failed != nil {
		given = sent
	}
	data := map[string]any{"Event": e, "Order": ref.ID, "Carried": [][2]string(nil), "Open": a.Open, "Until": a.Until,
		"Groups": askedGroups(sheetOf(a, true, api.AskedAtCheckout), a.Tickets, given, failed), "Due": a.AnswersDue}
	if failed != nil {
		return v.again("answers", failed, data)
	}
	return v.show("answers", data)
}

func (s *Site) setAnswers(v *visit) error {
	ref, err := orderOf(v)
	if err != nil {
		return err
	}
	a, err := ask(v, api.GetOrderAnswers, &ref)
	if err != nil {
		return err
	}
	sent := v.answersIn(sheetOf(a, true, api.AskedAtCheckout))
	put := &api.OrderAnswers{ID: ref.ID, Answers: append([]api.Answer{}, sent...)}
	if _, err := ask(v, api.PutOrderAnswers, put); err != nil {
		return s.answersAgain(v, sent, err)
	}
	v.redirect("/orders/" + ref.ID.String())
	return nil
}

// checkoutSheet is what is asked about an order that is not made yet.
func checkoutSheet(e *api.Event, lines []line) (questions.Sheet, []api.AnsweredTicket) {
	a := &api.AnswerSheet{Questions: e.Questions}
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, ticketsFirst)
	for _, l := range lines {
		for range l.Quantity {
			a.Tickets = append(a.Tickets, api.AnsweredTicket{Position: len(a.Tickets), TicketTypeID: l.Type.ID,
				Kind: l.Type.Kind, TypeName: l.Type.Title()})
		}
	}
	for _, l := range lines { // what comes with tickets has the positions after all else
		for _, p := range l.Type.Includes {
			t := e.TicketType(p.TicketTypeID)
			for range p.Quantity * l.Quantity {
				if t != nil {
					a.Tickets = append(a.Tickets, api.AnsweredTicket{Position: len(a.Tickets), TicketTypeID: t.ID,
						Kind: t.Kind, TypeName: t.Title()})
				}
			}
		}
	}
	return sheetOf(a, true, api.AskedAtCheckout), a.Tickets
}

// lacksAnswers reports whether an order was refused because of its answers: what costs nothing brings them along.
func lacksAnswers(err error) bool {
	return fault.Is(err, fault.Invalid) && slices.ContainsFunc(fault.From(err).Fields, func(f fault.Field) bool {
		return strings.HasPrefix(f.Field, "answers")
	})
}

// askFirst asks what an order needs before it is made. The form has all that was chosen before.
func (s *Site) askFirst(v *visit, e *api.Event, lines []line, sent []api.Answer, failed error) error {
	sheet, tickets := checkoutSheet(e, lines)
	var carried [][2]string
	for name, value := range v.RC.PostArgs().All() {
		if n := string(name); !strings.HasPrefix(n, "a.") && n != "asked" {
			carried = append(carried, [2]string{n, string(value)})
		}
	}
	carried = append(carried, [2]string{"asked", "yes"})
	first := v.form("asked") == ""
	shown := failed
	if first { // nothing was wrong: it was not asked yet
		shown = nil
	}
	data := map[string]any{"Event": e, "Order": ids.Order(""), "Carried": carried, "Open": true, "Until": nil,
		"Due": true, "Groups": askedGroups(sheet, tickets, sent, shown)}
	if first {
		return v.show("answers", data)
	}
	return v.again("answers", failed, data)
}

// answerAtDoor writes what is asked at the door about a ticket that was scanned.
func (s *Site) answerAtDoor(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	ticket, err := ids.Parse[ids.TicketKind](v.form("ticket"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such ticket")
	}
	paired := v.isPaired(ref.ID)
	var a *api.AnswerSheet
	if paired {
		a, err = ask(v, api.AnswerWithPass, &api.PassAnswers{EventID: ref.ID, Secret: v.pass(ref.ID), TicketID: ticket})
	} else {
		a, err = ask(v, api.GetTicketAnswers, &api.TicketRef{ID: ticket})
	}
	if paired && fault.Is(err, fault.NotFound) {
		return v.unpaired()
	}
	if err != nil {
		return err
	}
	if len(a.Tickets) != 1 {
		return fault.New(fault.Conflict, "the ticket was revoked")
	}
	here := a.Tickets[0].Position
	shown := slices.DeleteFunc(slices.Clone(a.Questions), func(q api.Question) bool { return !v.wasShown(q.ID) })
	door := doorSheet(api.QuestionsIn(shown, v.lang), a.Tickets[0].TicketTypeID)
	sent := v.answersIn(door)
	put := &api.TicketAnswers{ID: ticket, Answers: []api.Answer{}}
	for _, given := range sent {
		given.Position = &here
		put.Answers = append(put.Answers, given)
	}
	// Who may answer more here keeps what there is.
	for _, slot := range sheetOf(a, false, api.AskedAtCheckout).Slots() {
		for _, given := range a.Answers {
			if given.QuestionID == slot.ID {
				put.Answers = append(put.Answers, given)
			}
		}
	}
	if paired {
		_, err = ask(v, api.AnswerWithPass, &api.PassAnswers{EventID: ref.ID, Secret: v.pass(ref.ID), TicketID: ticket,
			Answers: put.Answers})
	} else {
		_, err = ask(v, api.PutTicketAnswers, put)
	}
	if fault.Is(err, fault.Invalid) { // the form once more, with what is wrong
		v.RC.Response.SetStatusCode(fault.Invalid.Status())
		return s.doorWith(v, &scanned{Result: "unnoted", Ticket: &api.Ticket{ID: ticket},
			Asked: askedGroups(door, []api.AnsweredTicket{{TicketTypeID: a.Tickets[0].TicketTypeID}}, sent, err)})
	}
	if err != nil {
		return err
	}
	v.redirect("/door/" + ref.ID.String())
	return nil
}

// wasShown reports whether the form of a ticket that was scanned asks a question. One that does not say asks all.
func (v *visit) wasShown(id ids.Question) bool {
	shown := v.RC.PostArgs().PeekMulti("shown")
	return len(shown) == 0 || slices.ContainsFunc(shown, func(b []byte) bool { return string(b) == id.String() })
}

// asks reports whether an event asks its buyers anything.
func asks(e *api.Event) bool {
	return slices.ContainsFunc(e.Questions, func(q api.Question) bool {
		return !q.Hidden && q.At == api.AskedAtCheckout
	})
}

// answerLine is a question and its answer on one line.
func answerLine(e *api.Event, a api.Answer) string {
	q := e.Question(a.QuestionID)
	if q == nil {
		return ""
	}
	return strings.TrimRight(q.Label, ":") + " – " + questions.Text(q, a)
}

// doorSheet is what is asked at the door about a ticket, which the form calls the first. What is here is asked: the
// conditions have been looked at.
func doorSheet(asked []api.Question, of ids.TicketType) questions.Sheet {
	all := slices.Clone(asked)
	for i := range all {
		all[i].Condition = nil
	}
	return questions.Sheet{Questions: all, At: api.AskedAtDoor, Tickets: []questions.Ticket{{Type: of}}}
}

// orderAnswer is an answer as the office shows it.
type orderAnswer struct {
	Position int // of the ticket, counted from 1; 0: the order
	api.Answer
}

// answersOf returns what was answered about an order.
func answersOf(v *visit, e *api.Event, order ids.Order) (all []orderAnswer, err error) {
	if len(e.Questions) == 0 {
		return nil, nil
	}
	a, err := ask(v, api.GetOrderAnswers, &api.OrderRef{ID: order})
	if err != nil {
		return nil, err
	}
	for _, given := range a.Answers {
		all = append(all, orderAnswer{questions.PositionOf(given) + 1, given})
	}
	return all, nil
}

// askedAtDoor lays out what is asked about a ticket that was scanned.
func askedAtDoor(t *api.Ticket, asked []api.Question, answers []api.Answer, lang string) []askedGroup {
	if t == nil || len(asked) == 0 {
		return nil
	}
	first := 0
	given := slices.Clone(answers)
	for i := range given {
		given[i].Position = &first
	}
	return askedGroups(doorSheet(api.QuestionsIn(asked, lang), t.TicketTypeID),
		[]api.AnsweredTicket{{TicketTypeID: t.TicketTypeID}}, given, nil)
}
