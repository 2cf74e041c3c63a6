package api

import (
	"cmp"
	"slices"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Translation is what an event is called, and what there is to say of it, in another language.
type Translation struct {
	Language    string `json:"language" pattern:"^[a-z]{2,3}$"`         // ISO 639, such as fr
	Name        string `json:"name" minLength:"1" maxLength:"200"`      // on one line
	Description string `json:"description,omitempty" maxLength:"20000"` // several lines of plain text
	// for those who do not see the picture; absent: as in the event itself
	ImageAlt string `json:"image_alt,omitempty" maxLength:"500"`
}

// TypeTranslation is what a ticket type or a product is called in another language than that of its event.
type TypeTranslation struct {
	Language string `json:"language" pattern:"^[a-z]{2,3}$"`    // ISO 639, such as fr
	Name     string `json:"name" minLength:"1" maxLength:"200"` // on one line
	// of a variant: what all of its group are called together. What one variant has here holds for all of them
	Group string `json:"group,omitempty" maxLength:"100"`
}

// StageTranslation is what a price stage is called in another language than that of its event.
type StageTranslation struct {
	Language string `json:"language" pattern:"^[a-z]{2,3}$"`    // ISO 639, such as fr
	Name     string `json:"name" minLength:"1" maxLength:"100"` // on one line
}

// QuestionTranslation is a question in another language than that of its event.
type QuestionTranslation struct {
	Language string `json:"language" pattern:"^[a-z]{2,3}$"`     // ISO 639, such as fr
	Label    string `json:"label" minLength:"1" maxLength:"300"` // what is asked, on one line
	Help     string `json:"help,omitempty" maxLength:"1000"`     // absent: as in the question itself
	Purpose  string `json:"purpose,omitempty" maxLength:"500"`   // absent: as in the question itself
}

// ChoiceTranslation is something to choose in another language than that of its event.
type ChoiceTranslation struct {
	Language string `json:"language" pattern:"^[a-z]{2,3}$"`     // ISO 639, such as fr
	Label    string `json:"label" minLength:"1" maxLength:"200"` // on one line
}

// Locale returns the language of the words.
func (t Translation) Locale() string { return t.Language }

// Locale returns the language of the words.
func (t TypeTranslation) Locale() string { return t.Language }

// Locale returns the language of the words.
func (t StageTranslation) Locale() string { return t.Language }

// Locale returns the language of the words.
func (t QuestionTranslation) Locale() string { return t.Language }

// Locale returns the language of the words.
func (t ChoiceTranslation) Locale() string { return t.Language }

// InLanguage returns the words that are in a language, and false if there are none.
func InLanguage[T interface{ Locale() string }](all []T, language string) (T, bool) {
	for _, t := range all {
		if t.Locale() == language {
			return t, true
		}
	}
	var none T
	return none, false
}

// In returns the event as readers of a language get it: its texts, ticket types and questions in that language as far
// as they are there, otherwise as they are. Ids stay.
func (e *Event) In(language string) *Event {
	t, named := InLanguage(e.Translations, language)
	types := e.typesIn(language)
	if !named && types == nil && !asksIn(e.Questions, language) {
		return e
	}
	in := *e
	in.Questions = QuestionsIn(e.Questions, language)
	if types != nil {
		in.TicketTypes = types
	}
	if named {
		in.Name, in.Description = t.Name, cmp.Or(t.Description, e.Description)
	}
	if t.ImageAlt != "" && in.Image.ID != "" {
		in.Image.Alt = t.ImageAlt
	}
	return &in
}

// typesIn returns the ticket types in a language, or nil if none of them is in it.
func (e *Event) typesIn(language string) []TicketType {
	some := slices.ContainsFunc(e.TicketTypes, func(t TicketType) bool {
		_, named := InLanguage(t.Translations, language)
		return named || t.staged(language)
	})
	if !some {
		return nil
	}
	groups := e.groupsIn(language)
	all := slices.Clone(e.TicketTypes)
	for i := range all {
		t := &all[i]
		if in, named := InLanguage(t.Translations, language); named {
			t.Name = in.Name
		}
		t.Group = cmp.Or(groups[t.Group], t.Group)
		if !t.staged(language) {
			continue
		}
		t.Stages = slices.Clone(t.Stages)
		for k := range t.Stages {
			if in, named := InLanguage(t.Stages[k].Translations, language); named {
				t.Stages[k].Name = in.Name
			}
		}
	}
	return all
}

// groupsIn returns what the groups of variants are called in a language, by what they are called otherwise.
func (e *Event) groupsIn(language string) map[string]string {
	groups := map[string]string{}
	for i := range e.TicketTypes {
		t, _ := InLanguage(e.TicketTypes[i].Translations, language)
		if of := e.TicketTypes[i].Group; of != "" && t.Group != "" && groups[of] == "" {
			groups[of] = t.Group
		}
	}
	return groups
}

// staged reports whether a stage of the ticket type is called something in a language.
func (t *TicketType) staged(language string) bool {
	return slices.ContainsFunc(t.Stages, func(s Stage) bool {
		_, named := InLanguage(s.Translations, language)
		return named
	})
}

// QuestionsIn returns questions as readers of a language get them. Their answers refer to ids, which stay.
func QuestionsIn(all []Question, language string) []Question {
	if !asksIn(all, language) {
		return all
	}
	all = slices.Clone(all)
	for i := range all {
		q := &all[i]
		if in, written := InLanguage(q.Translations, language); written {
			q.Label, q.Help, q.Purpose = in.Label, cmp.Or(in.Help, q.Help), cmp.Or(in.Purpose, q.Purpose)
		}
		q.Choices = slices.Clone(q.Choices)
		for k := range q.Choices {
			if in, written := InLanguage(q.Choices[k].Translations, language); written {
				q.Choices[k].Label = in.Label
			}
		}
	}
	return all
}

func asksIn(all []Question, language string) bool {
	return slices.ContainsFunc(all, func(q Question) bool {
		_, written := InLanguage(q.Translations, language)
		return written || slices.ContainsFunc(q.Choices, func(c QuestionChoice) bool {
			_, written := InLanguage(c.Translations, language)
			return written
		})
	})
}

// Languages returns those in which an event has words, its own first. One that does not say its own, or has no other,
// has none.
func (e *Event) Languages() (all []string) {
	add := func(language string) {
		if !slices.Contains(all, language) {
			all = append(all, language)
		}
	}
	if e.Language != "" {
		add(e.Language)
	}
	for _, t := range e.Translations {
		add(t.Language)
	}
	for _, t := range e.TicketTypes {
		for _, in := range t.Translations {
			add(in.Language)
		}
		for _, s := range t.Stages {
			for _, in := range s.Translations {
				add(in.Language)
			}
		}
	}
	if len(all) < 2 {
		return nil
	}
	return all
}

// Called is what the ticket types of an event and their stages are called in other languages than its own: by the id of
// either, and the language.
type Called map[string]map[string]string

// Called returns what documents call the ticket types of the event and their stages.
func (e *Event) Called() Called {
	c := Called{}
	add := func(id, language, words string) {
		if c[id] == nil {
			c[id] = map[string]string{}
		}
		c[id][language] = words
	}
	for _, language := range e.Languages() {
		in, groups := e.In(language), e.groupsIn(language)
		for i := range in.TicketTypes {
			t := &in.TicketTypes[i]
			if _, named := InLanguage(t.Translations, language); named || groups[e.TicketTypes[i].Group] != "" {
				add(t.ID.String(), language, t.Title())
			}
			for _, s := range t.Stages {
				if named, ok := InLanguage(s.Translations, language); ok {
					add(s.ID.String(), language, named.Name)
				}
			}
		}
	}
	return c
}

// Type returns what a ticket type is called in a language, or what it is called otherwise.
func (c Called) Type(language string, id ids.TicketType, otherwise string) string {
	return cmp.Or(c[id.String()][language], otherwise)
}

// Item returns the line of an order for readers of a language. Without words in it, it is as it was when it was made.
func (c Called) Item(language string, i OrderItem) OrderItem {
	i.Name = c.Type(language, i.TicketTypeID, i.Name)
	i.Stage = cmp.Or(c[i.StageID.String()][language], i.Stage)
	i.IncludedIn = c.Type(language, i.IncludedInID, i.IncludedIn)
	return i
}

// Order returns an order for readers of a language.
func (c Called) Order(language string, o *Order) *Order {
	in := *o
	in.Items = slices.Clone(o.Items)
	for i := range in.Items {
		in.Items[i] = c.Item(language, in.Items[i])
	}
	return &in
}

// Of returns what of it an order needs.
func (c Called) Of(o *Order) Called {
	some := Called{}
	for _, i := range o.Items {
		for _, id := range []string{i.TicketTypeID.String(), i.StageID.String()} {
			if words, ok := c[id]; ok {
				some[id] = words
			}
		}
	}
	return some
}
