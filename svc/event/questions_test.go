package event

import (
	"slices"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func newOf(q api.Question) api.NewQuestion {
	n := api.NewQuestion{ID: q.ID, Label: q.Label, Help: q.Help, Kind: q.Kind, Per: q.Per, At: q.At, Required: q.Required,
		TicketTypes: q.TicketTypes, Purpose: q.Purpose, RetentionDays: q.RetentionDays, Hidden: q.Hidden,
		Translations: q.Translations}
	for _, c := range q.Choices {
		n.Choices = append(n.Choices, api.NewChoice(c))
	}
	if q.Condition != nil {
		n.Condition = &api.NewCondition{Question: q.Condition.QuestionID.String()}
		for _, c := range q.Condition.Choices {
			n.Condition.Choices = append(n.Condition.Choices, c.String())
		}
	}
	return n
}

func TestQuestions(t *testing.T) {
	w := start(t)
	e := must(w, anna, api.CreateEvent, draftOf("Asked"))
	put := func(qs ...api.NewQuestion) (*api.EventQuestions, error) {
		return call(w, anna, api.PutQuestions, api.QuestionsOf{EventID: e.ID, Questions: qs})
	}
	wanted := []api.NewQuestion{
		{Label: " Food ", Kind: api.AsksChoice, Choices: []api.NewChoice{{Label: "All"}, {Label: "Other"}}, Required: true,
			TicketTypes: []ids.TicketType{e.TicketTypes[1].ID}},
		{Label: "What?", Kind: api.AsksText, Purpose: "the kitchen", RetentionDays: 3,
			Condition: &api.NewCondition{Question: "Food", Choices: []string{"Other"}}},
		{Label: "Letters", Kind: api.AsksConsent, Per: api.AskedPerOrder},
	}
	got, err := put(wanted...)
	if err != nil {
		t.Fatal(err)
	}
	food, what := got.Questions[0], got.Questions[1]
	if food.Label != "Food" || food.Per != api.AskedPerTicket || food.At != api.AskedAtCheckout || food.ID == "" ||
		what.Condition.QuestionID != food.ID || what.Condition.Choices[0] != food.Choices[1].ID {
		t.Errorf("made %+v", got)
	}
	if read := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); len(read.Questions) != 3 || read.ETag() != got.ETag() {
		t.Errorf("read back %+v", read.Questions)
	}
	// In a draft nothing was answered: what is left out is gone, and kinds change.
	last := newOf(got.Questions[2])
	last.Kind = api.AsksCountry
	if got, err = put(newOf(food), newOf(what), last); err != nil || len(got.Questions) != 3 || got.Questions[2].Kind != last.Kind {
		t.Fatalf("%+v, %v", got, err)
	}
	before := got.Revision
	if got, err = put(newOf(food), newOf(what), last); err != nil || got.Revision != before {
		t.Errorf("the same again is %+v, %v", got, err)
	}
	if got, err = put(newOf(food), newOf(what)); err != nil || len(got.Questions) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}

	// Once it is published they are hidden, and keep kind and choices.
	must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
	one := newOf(food)
	one.Choices = []api.NewChoice{one.Choices[0], {Label: "Vegan"}}
	if got, err = put(one); err != nil {
		t.Fatal(err)
	}
	if q := got.Questions; len(q) != 2 || q[0].Hidden || !q[1].Hidden || q[1].ID != what.ID || len(q[0].Choices) != 3 ||
		!q[0].Choices[2].Hidden || q[0].Choices[2].ID != food.Choices[1].ID {
		t.Errorf("after publication %+v", q)
	}
	copied := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: e.StartsAt.AddDate(0, 0, 7)})
	if q := copied.Questions; len(q) != 1 || len(q[0].Choices) != 2 || q[0].TicketTypes[0] != copied.TicketTypes[1].ID {
		t.Errorf("the copy asks %+v", q)
	}
	one.Kind, one.Per = api.AsksChoices, api.AskedPerOrder
	_, err = put(one, api.NewQuestion{ID: questionOfNone, Label: "Food", Kind: "colour"},
		api.NewQuestion{Label: "Phone", Kind: api.AsksPhone, At: api.AskedAtDoor, Per: api.AskedPerOrder,
			TicketTypes:   []ids.TicketType{"tty_00000000000000000000000000"},
			RetentionDays: -1, Condition: &api.NewCondition{Question: "Later"}},
		api.NewQuestion{Label: "Later", Kind: api.AsksNumber, Choices: []api.NewChoice{{Label: "x"}},
			Condition: &api.NewCondition{Question: "Phone"}},
		api.NewQuestion{Label: "Size", Kind: api.AsksChoice,
			Condition: &api.NewCondition{Question: food.ID.String(), Choices: []string{"Nothing"}}})
	wantCode(t, err, fault.Invalid)
	want := []string{"questions[0].kind", "questions[0].per", "questions[1].id", "questions[1].kind", "questions[2].at",
		"questions[2].condition.question", "questions[2].purpose", "questions[2].retention_days",
		"questions[2].ticket_type_ids[0]", "questions[3].choices", "questions[3].condition.question",
		"questions[4].choices", "questions[4].condition.choices[0]"}
	if got := fields(err); !slices.Equal(slices.Compact(got), want) {
		t.Errorf("at fault are %v, want %v", got, want)
	}
	_, err = call(w, ben, api.PutQuestions, api.QuestionsOf{EventID: e.ID, Questions: wanted})
	wantCode(t, err, fault.Forbidden)
	_, err = call(w, anna, api.PutQuestions, api.QuestionsOf{EventID: e.ID, IfMatch: e.ETag(), Questions: wanted})
	wantCode(t, err, fault.Precondition)

	// What is asked for one ticket type alone is asked no more when that is gone, and not of all others.
	must(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: e.TicketTypes[1].ID})
	if q := must(w, nob, api.GetQuestions, api.EventRef{ID: e.ID}).Questions; !q[0].Hidden {
		t.Errorf("without its ticket type %+v", q[0])
	}
}

const questionOfNone ids.Question = "que_00000000000000000000000000"
