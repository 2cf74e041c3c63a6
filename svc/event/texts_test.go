package event

import (
	"slices"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Readers get ticket types, products and price stages in their language, and each as it is where there is none.
func TestTicketTypesInOtherLanguages(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		req := draftOf("Starlit night")
		req.Language, req.Capacity = "en", 0
		adult := req.TicketTypes[0]
		adult.Name, adult.Translations = "Adult", []api.TypeTranslation{{Language: "de", Name: " Erwachsene "}}
		adult.Stages = []api.Stage{{Name: "Early bird", Price: adult.Price, Quantity: 5,
			Translations: []api.StageTranslation{{Language: "de", Name: "Frühbucher"}}}}
		child := req.TicketTypes[0]
		child.Name = "Child"
		shirt := func(size string, in ...api.TypeTranslation) api.NewTicketType {
			return api.NewTicketType{Kind: api.KindProduct, Name: size, Group: "T-shirt", Price: adult.Price, Quantity: 5,
				Translations: in}
		}
		req.TicketTypes = []api.NewTicketType{adult, child, shirt("Medium"),
			shirt("Large", api.TypeTranslation{Language: "de", Name: "Groß", Group: "Hemd"})}
		e := must(w, anna, api.CreateEvent, req)
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
		e = must(w, nob, api.GetEvent, api.EventRef{ID: e.ID})
		titles := func(e *api.Event) (all []string) {
			for i := range e.TicketTypes {
				all = append(all, e.TicketTypes[i].Title())
			}
			return all
		}
		own := []string{"Adult", "Child", "T-shirt, Medium", "T-shirt, Large"}
		german := []string{"Erwachsene", "Child", "Hemd, Medium", "Hemd, Groß"}
		in := e.In("de")
		if !slices.Equal(titles(e), own) || !slices.Equal(titles(in), german) || !slices.Equal(titles(e.In("fr")), own) {
			t.Errorf("%v is in German %v, in French %v", titles(e), titles(in), titles(e.In("fr")))
		}
		if s := in.TicketTypes[0].Stages[0]; s.Name != "Frühbucher" || s.ID != e.TicketTypes[0].Stages[0].ID {
			t.Errorf("the stage is %+v", s)
		}
		if p := in.Products(); len(p) != 1 || p[0].Name != "Hemd" || len(p[0].Variants) != 2 {
			t.Errorf("the products are %+v", p)
		}
		item := api.OrderItem{TicketTypeID: e.TicketTypes[0].ID, Name: "Adults", StageID: e.TicketTypes[0].Stages[0].ID,
			Stage: "Early"}
		if c := e.Called(); c.Item("de", item).Title() != "Erwachsene, Frühbucher" ||
			c.Item("en", item).Title() != "Adults, Early" || c.Type("de", e.TicketTypes[1].ID, "Kid") != "Kid" {
			t.Errorf("they are called %v", c)
		}

		change := func(i int, p api.PatchTicketType) (*api.Event, error) {
			p.EventID, p.ID = e.ID, e.TicketTypes[i].ID
			return call(w, anna, api.UpdateTicketType, p)
		}
		name := "Grown-up"
		got, err := change(0, api.PatchTicketType{Name: &name})
		if err != nil || got.In("de").TicketTypes[0].Name != "Erwachsene" {
			t.Errorf("a change that says nothing of languages: %v, %+v", err, got)
		}
		got, err = change(2, api.PatchTicketType{Translations: codec.To([]api.TypeTranslation{
			{Language: "de", Name: "Mittel", Group: "Leibchen"}})})
		if err != nil || !slices.Equal(titles(got.In("de"))[2:], []string{"Leibchen, Mittel", "Leibchen, Groß"}) {
			t.Errorf("a variant names its group: %v, %v", err, titles(got.In("de")))
		}
		got, err = change(2, api.PatchTicketType{Group: codec.Clear[string]()})
		if err != nil || !slices.Equal(titles(got.In("de"))[2:], []string{"Mittel", "Leibchen, Groß"}) {
			t.Errorf("a variant leaves its group: %v, %v", err, titles(got.In("de")))
		}
		got, err = change(0, api.PatchTicketType{Translations: codec.Clear[[]api.TypeTranslation]()})
		if err != nil || got.In("de").TicketTypes[0].Name != name {
			t.Errorf("without translations: %v, %+v", err, got)
		}

		for want, in := range map[string][]api.TypeTranslation{
			"translations[0].language": {{Language: "en", Name: "Adult"}},
			"translations[1].language": {{Language: "de", Name: "A"}, {Language: "de", Name: "B"}},
			"translations[0].name":     {{Language: "de", Name: ""}},
			"translations[0].group":    {{Language: "de", Name: "A", Group: "B"}},
			"translations":             slices.Repeat([]api.TypeTranslation{{Language: "de", Name: "A"}}, 11),
		} {
			_, err := change(0, api.PatchTicketType{Translations: codec.To(in)})
			if got := fields(err); !fault.Is(err, fault.Invalid) || !slices.Contains(got, want) {
				t.Errorf("want %s at fault, not %v: %v", want, got, err)
			}
		}
		cup := shirt("Cup", api.TypeTranslation{Language: "de", Name: "Becher", Group: "Leibchen"})
		cup.Group = "Cups"
		_, err = call(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: cup})
		if got := fields(err); !slices.Contains(got, "translations[0].group") {
			t.Errorf("two groups are called alike: %v", err)
		}
		_, err = call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Language: codec.To("de")})
		if got := fields(err); !slices.Contains(got, "ticket_types[3].translations[0].language") {
			t.Errorf("the event speaks the language of a translation: %v", err)
		}
		long := make([]api.NewTicketType, 40)
		for i := range long {
			long[i] = adult
			long[i].Stages, long[i].Translations = nil, nil
			for _, l := range []string{"aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj"} {
				long[i].Translations = append(long[i].Translations,
					api.TypeTranslation{Language: l, Name: strings.Repeat("x", 200)})
			}
		}
		req.TicketTypes = long
		_, err = call(w, anna, api.CreateEvent, req)
		if got := fields(err); !slices.Equal(got, []string{"ticket_types"}) {
			t.Errorf("more than messages should carry: %v", err)
		}
	})
}

// Buyers are asked in their language; what they answer refers to the same ids.
func TestQuestionsInOtherLanguages(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		req := draftOf("Starlit night")
		req.Language = "en"
		e := must(w, anna, api.CreateEvent, req)
		menu := api.NewQuestion{Label: "What do you eat?", Help: "At the break", Kind: api.AsksChoice,
			Choices: []api.NewChoice{{Label: "All", Translations: []api.ChoiceTranslation{{Language: "de", Label: " Alles "}}},
				{Label: "No meat"}},
			Translations: []api.QuestionTranslation{{Language: "de", Label: "Was essen Sie?"}}}
		put := func(all ...api.NewQuestion) (*api.EventQuestions, error) {
			return call(w, anna, api.PutQuestions, api.QuestionsOf{EventID: e.ID, Questions: all})
		}
		if _, err := put(menu); err != nil {
			t.Fatal(err)
		}
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
		e = must(w, nob, api.GetEvent, api.EventRef{ID: e.ID})
		own, in := e.Questions[0], e.In("de").Questions[0]
		if in.Label != "Was essen Sie?" || in.Help != own.Help || in.Choices[0].Label != "Alles" ||
			in.Choices[1].Label != "No meat" || in.ID != own.ID || in.Choices[0].ID != own.Choices[0].ID {
			t.Errorf("%+v is in German %+v", own, in)
		}
		if own.Label != menu.Label || own.Choices[0].Label != "All" {
			t.Errorf("the event's own question is %+v", own)
		}
		was := e.Revision
		if got, err := put(newOf(own)); err != nil || got.Revision != was {
			t.Errorf("the same again is a change: %v", err)
		}
		_, err := call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Language: codec.To("de")})
		want := []string{"questions[0].choices[0].translations[0].language", "questions[0].translations[0].language"}
		if got := fields(err); !slices.Equal(got, want) {
			t.Errorf("the event speaks the language of a translation: %v", err)
		}
		bad := newOf(own)
		bad.Translations = []api.QuestionTranslation{{Language: "fr"}, {Language: "en", Label: "What"}}
		bad.Choices[1].Translations = []api.ChoiceTranslation{{Language: "fr"}}
		_, err = put(bad)
		want = []string{"questions[0].choices[1].translations[0].label", "questions[0].translations[0].label",
			"questions[0].translations[1].language"}
		if got := fields(err); !slices.Equal(got, want) {
			t.Errorf("at fault are %v, want %v", got, want)
		}
		later := e.StartsAt.AddDate(0, 0, 7)
		c := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: later})
		c = must(w, anna, api.GetEvent, api.EventRef{ID: c.ID})
		if got := c.In("de").Questions[0]; got.Label != in.Label || got.ID != own.ID ||
			!slices.Equal([]ids.Choice{got.Choices[0].ID}, []ids.Choice{own.Choices[0].ID}) {
			t.Errorf("the copy asks %+v", got)
		}
	})
}
