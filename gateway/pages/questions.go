package pages

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func (s *Site) questionRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/questions", s.questions, false},
		{"POST", "/office/events/{id}/questions", s.changeQuestions, false},
		{"GET", "/orders/{id}/answers", s.answersPage, false},
		{"POST", "/orders/{id}/answers", s.setAnswers, false},
	}
}

// questionKinds are the kinds as the editor offers them.
func questionKinds() []string {
	return []string{api.AsksText, api.AsksChoice, api.AsksChoices, api.AsksConsent, api.AsksNumber, api.AsksDate,
		api.AsksCountry, api.AsksPhone}
}

// questions shows what buyers are asked, and how often what was answered.
func (s *Site) questions(v *visit) error { return s.questionsAgain(v, nil) }

func (s *Site) questionsAgain(v *visit, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	counts, refused, err := v.answersTo(e)
	if err != nil {
		return err
	}
	revision := e.ETag()
	if v.RC.IsPost() {
		revision = v.form("revision")
	}
	data := map[string]any{"Event": e, "Form": filled{v, questionTexts(e)}, "Kinds": questionKinds(),
		"Rows": prefixes("q", len(e.Questions)+1), "Conditions": conditions(e), "Counts": counts.Questions,
		"Refused": refused.Items, "Next": refused.NextCursor,
		"Languages": otherLanguages(e),
		"Revision":  revision, "Until": numberText(e.OrderRules.AnswerMinutesBefore / 60)}
	if failed != nil {
		return v.again("questions", failed, data)
	}
	return v.show("questions", data)
}

// answersTo returns how often what was answered, and which answers of a door could not be kept. Of those who write
// questions not all read orders: they see nothing of that.
func (v *visit) answersTo(e *api.Event) (*api.AnswerCounts, *api.List[api.RefusedAnswer], error) {
	counts, refused := &api.AnswerCounts{}, &api.List[api.RefusedAnswer]{}
	if e.Status == api.EventDraft || len(e.Questions) == 0 {
		return counts, refused, nil
	}
	given, err := ask(v, api.GetAnswerCounts, &api.EventRef{ID: e.ID})
	if fault.Is(err, fault.Forbidden) {
		return counts, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	refused, err = ask(v, api.ListRefusedAnswers, &api.EventPage{EventID: e.ID,
		Page: api.Page{Cursor: v.query("cursor")}})
	return given, refused, err
}

// condition is what another question can depend on.
type condition struct{ Value, Label string }

func conditions(e *api.Event) (all []condition) {
	for _, q := range e.Questions {
		switch {
		case q.Hidden:
		case q.Kind == api.AsksConsent:
			all = append(all, condition{q.ID.String(), q.Label})
		default:
			for _, c := range q.Choices {
				if !c.Hidden {
					all = append(all, condition{q.ID.String() + "/" + c.ID.String(), q.Label + ": " + c.Label})
				}
			}
		}
	}
	return all
}

// questionTexts is what stands in the form of the questions of an event.
func questionTexts(e *api.Event) map[string]string {
	t := map[string]string{fmt.Sprintf("q.%d.place", len(e.Questions)): strconv.Itoa(len(e.Questions) + 1)}
	for i, q := range e.Questions {
		p := fmt.Sprintf("q.%d.", i)
		t[p+"id"], t[p+"label"], t[p+"help"], t[p+"purpose"] = q.ID.String(), q.Label, q.Help, q.Purpose
		t[p+"kind"], t[p+"per"], t[p+"at"], t[p+"place"] = q.Kind, q.Per, q.At, strconv.Itoa(i+1)
		t[p+"required"], t[p+"hidden"] = tickText(q.Required), tickText(q.Hidden)
		t[p+"days"] = numberText(q.RetentionDays)
		var labels []string
		for _, c := range q.Choices {
			if !c.Hidden {
				labels = append(labels, c.Label)
			}
		}
		t[p+"choices"] = strings.Join(labels, "\n")
		for _, in := range q.Translations {
			t[p+"label_"+in.Language], t[p+"help_"+in.Language] = in.Label, in.Help
			t[p+"purpose_"+in.Language] = in.Purpose
		}
		for _, l := range otherLanguages(e) {
			t[p+"choices_"+l[0]] = choicesIn(&q, l[0])
		}
		for _, typ := range q.TicketTypes {
			t[p+typ.String()] = "yes"
		}
		if c := q.Condition; c != nil {
			t[p+"if."+c.QuestionID.String()] = tickText(len(c.Choices) == 0)
			for _, id := range c.Choices {
				t[p+"if."+c.QuestionID.String()+"/"+id.String()] = "yes"
			}
		}
	}
	return t
}

func (s *Site) changeQuestions(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	req := &api.QuestionsOf{EventID: e.ID, IfMatch: `"` + v.form("revision") + `"`, Questions: f.questionsIn(e)}
	if err = f.check.Err(); err == nil {
		_, err = ask(v, api.PutQuestions, req)
	}
	if err != nil {
		return s.questionsAgain(v, err)
	}
	v.redirect("/office/events/" + e.ID.String() + "/questions")
	return nil
}

// questionsIn reads the rows of questions. One whose label is taken away is taken away.
func (f *fields) questionsIn(e *api.Event) []api.NewQuestion {
	type row struct {
		place int
		api.NewQuestion
	}
	var rows []row
	for i := range len(e.Questions) + 1 {
		p := fmt.Sprintf("q.%d.", i)
		if f.text(p+"label") == "" {
			continue
		}
		q := api.NewQuestion{ID: ids.Question(f.form(p + "id")), Label: f.form(p + "label"), Help: f.form(p + "help"),
			Kind: f.form(p + "kind"), Per: f.form(p + "per"), At: f.form(p + "at"), Purpose: f.form(p + "purpose"),
			Required: f.ticked(p + "required"), Hidden: f.ticked(p + "hidden"), RetentionDays: f.limit(p + "days")}
		old := e.Question(q.ID)
		for line := range strings.Lines(f.form(p + "choices")) {
			if line = strings.TrimSpace(line); line != "" {
				q.Choices = append(q.Choices, choiceNamed(old, line))
			}
		}
		f.questionIn(e, p, old, &q)
		for _, t := range e.TicketTypes {
			if f.ticked(p + t.ID.String()) {
				q.TicketTypes = append(q.TicketTypes, t.ID)
			}
		}
		for _, c := range conditions(e) {
			if !f.ticked(p + "if." + c.Value) {
				continue
			}
			question, choice, chosen := strings.Cut(c.Value, "/")
			if q.Condition == nil {
				q.Condition = &api.NewCondition{Question: question}
			}
			if chosen {
				q.Condition.Choices = append(q.Condition.Choices, choice)
			}
		}
		rows = append(rows, row{f.limit(p + "place"), q})
	}
	slices.SortStableFunc(rows, func(a, b row) int { return a.place - b.place })
	all := make([]api.NewQuestion, len(rows))
	for i, r := range rows {
		all[i] = r.NewQuestion
	}
	return all
}

// choicesIn returns what can be chosen in another language, on the lines of what it translates.
func choicesIn(q *api.Question, language string) string {
	var lines []string
	for _, c := range q.Choices {
		if !c.Hidden {
			in, _ := api.InLanguage(c.Translations, language)
			lines = append(lines, in.Label)
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// questionIn reads a question in other languages. Its choices are on the lines of those that they translate.
func (f *fields) questionIn(e *api.Event, p string, old *api.Question, q *api.NewQuestion) {
	languages := otherLanguages(e)
	if old != nil {
		q.Translations = notAsked(old.Translations, languages)
	}
	for k := range q.Choices {
		q.Choices[k].Translations = notAsked(q.Choices[k].Translations, languages)
	}
	for _, l := range languages {
		in := api.QuestionTranslation{Language: l[0], Label: f.text(p + "label_" + l[0]),
			Help: f.text(p + "help_" + l[0]), Purpose: f.text(p + "purpose_" + l[0])}
		if in.Label != "" || in.Help != "" || in.Purpose != "" {
			in.Label = cmp.Or(in.Label, f.text(p+"label"))
			q.Translations = append(q.Translations, in)
		}
		for k, line := range strings.Split(f.form(p+"choices_"+l[0]), "\n") {
			if line = strings.TrimSpace(line); line != "" && k < len(q.Choices) {
				q.Choices[k].Translations = append(q.Choices[k].Translations,
					api.ChoiceTranslation{Language: l[0], Label: line})
			}
		}
	}
}

// choiceNamed returns the choice that is called so already, or a new one.
func choiceNamed(q *api.Question, label string) api.NewChoice {
	if q != nil {
		for _, c := range q.Choices {
			if c.Label == label {
				return api.NewChoice{ID: c.ID, Label: label, Translations: c.Translations}
			}
		}
	}
	return api.NewChoice{Label: label}
}
