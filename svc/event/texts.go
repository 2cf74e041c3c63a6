package event

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

// maxTypeTexts bounds the JSON of what all ticket types are called in other languages: an event is a message, many
// times.
const maxTypeTexts = 64 << 10

var languageRule = regexp.MustCompile(`^[a-z]{2,3}$`)

// alsoIn checks words that a part of an event has in other languages: see inLanguages.
func alsoIn[T interface{ Locale() string }](c *fault.Check, whole func(string) string, e *api.Event, all []T,
	check func(of func(string) string, in T)) {
	c.Field(len(all) == 0 || e.Language != "", whole("translations"), "need the language of the event, which says none")
	inLanguages(c, whole, e, all, check)
}

// inLanguages wants words in each language once, and beside that of the event. whole returns what a field is called of
// what has them, check checks the words in one language.
func inLanguages[T interface{ Locale() string }](c *fault.Check, whole func(string) string, e *api.Event, all []T,
	check func(of func(string) string, in T)) {
	c.Field(len(all) <= maxTranslations, whole("translations"), "must be at most %d", maxTranslations)
	for i, t := range all {
		of := func(name string) string { return whole(fmt.Sprintf("translations[%d].%s", i, name)) }
		c.Field(languageRule.MatchString(t.Locale()), of("language"), "must be a code of ISO 639, such as de")
		_, twice := api.InLanguage(all[:i], t.Locale())
		c.Field(t.Locale() != e.Language && !twice, of("language"), "is there already")
		check(of, t)
	}
}

func checkTranslations(c *fault.Check, e *api.Event) {
	c.Field(e.Language == "" || languageRule.MatchString(e.Language), "language",
		"must be a code of ISO 639, such as de")
	c.Field(len(e.Translations) == 0 || e.Language != "", "language", "is required beside translations")
	top := func(name string) string { return name }
	inLanguages(c, top, e, e.Translations, func(of func(string) string, t api.Translation) {
		text.CheckLine(c, of("name"), t.Name, 1, maxName)
		text.CheckLines(c, of("description"), t.Description, 0, maxDescription)
		text.CheckLine(c, of("image_alt"), t.ImageAlt, 0, maxAlt)
	})
}

// normalizeTexts brings what a ticket type is called in other languages into the form in which it is kept.
func normalizeTexts(t *api.TicketType) {
	t.Translations = slices.Clone(t.Translations)
	for i := range t.Translations {
		in := &t.Translations[i]
		in.Name, in.Group = text.Clean(in.Name), text.Clean(in.Group)
	}
}

// patchTexts changes what ticket type i is called in other languages. What its group is called there goes with the
// group that it leaves.
func (r *record) patchTexts(i int, before string, req *api.PatchTicketType) {
	t := &r.Event.TicketTypes[i]
	req.Translations.Apply(&t.Translations)
	normalizeTexts(t)
	if t.Group != before && !req.Translations.Given {
		for k := range t.Translations {
			t.Translations[k].Group = ""
		}
	}
	r.groupIn(i)
}

// groupIn gives what the group of type i is called in other languages to the other variants that have words for it.
func (r *record) groupIn(i int) {
	t := &r.Event.TicketTypes[i]
	for k := range r.Event.TicketTypes {
		o := &r.Event.TicketTypes[k]
		if k == i || t.Group == "" || o.Group != t.Group {
			continue
		}
		o.Translations = slices.Clone(o.Translations)
		for l := range o.Translations {
			in := &o.Translations[l]
			if own, ok := api.InLanguage(t.Translations, in.Language); ok && own.Group != "" && in.Group != "" {
				in.Group = own.Group
			}
		}
	}
}

// checkTexts checks what type i is called in other languages. Two groups are two in each language.
func (r *record) checkTexts(c *fault.Check, n naming, i int) {
	e, t := &r.Event, &r.Event.TicketTypes[i]
	field := func(name string) string { return n.of(i, name) }
	alsoIn(c, field, e, t.Translations, func(of func(string) string, in api.TypeTranslation) {
		text.CheckLine(c, of("name"), in.Name, 1, maxName)
		text.CheckLine(c, of("group"), in.Group, 0, maxGroup)
		c.Field(in.Group == "" || t.Group != "", of("group"), "is of variants alone")
		for k := range e.TicketTypes {
			o := &e.TicketTypes[k]
			if in.Group == "" || o.Group == "" || k == i || n == wholeEvent && k > i {
				continue
			}
			theirs, _ := api.InLanguage(o.Translations, in.Language)
			switch {
			case o.Group != t.Group:
				c.Field(in.Group != cmp.Or(theirs.Group, o.Group), of("group"), "is that of %s", o.Group)
			case theirs.Group != "":
				c.Field(in.Group == theirs.Group, of("group"), "must be %s, as of the other variants of %s",
					theirs.Group, o.Group)
			}
		}
	})
}

func (r *record) checkTextSize(c *fault.Check, n naming) {
	size := 0
	for i := range r.Event.TicketTypes {
		t := &r.Event.TicketTypes[i]
		texts := []any{t.Translations}
		for k := range t.Stages {
			texts = append(texts, t.Stages[k].Translations)
		}
		for _, in := range texts {
			b, err := json.Marshal(in)
			if size += len(b); err != nil {
				size += maxTypeTexts
			}
		}
	}
	field := "translations"
	if n == wholeEvent {
		field = "ticket_types"
	}
	c.Field(size <= maxTypeTexts, field, "must have at most %d bytes in other languages together", maxTypeTexts)
}

func questionTexts(all []api.QuestionTranslation) []api.QuestionTranslation {
	if len(all) == 0 { // as it is read again
		return nil
	}
	all = slices.Clone(all)
	for i := range all {
		t := &all[i]
		t.Label, t.Help, t.Purpose = text.Clean(t.Label), text.Clean(t.Help), text.Clean(t.Purpose)
	}
	return all
}

func choiceTexts(all []api.ChoiceTranslation) []api.ChoiceTranslation {
	if len(all) == 0 {
		return nil
	}
	all = slices.Clone(all)
	for i := range all {
		all[i].Label = text.Clean(all[i].Label)
	}
	return all
}

// checkQuestionTexts checks a question and its choices in other languages.
func checkQuestionTexts(c *fault.Check, field func(string) string, e *api.Event, q *api.Question) {
	alsoIn(c, field, e, q.Translations, func(of func(string) string, in api.QuestionTranslation) {
		text.CheckLine(c, of("label"), in.Label, 1, maxLabel)
		text.CheckLine(c, of("help"), in.Help, 0, maxHelp)
		text.CheckLine(c, of("purpose"), in.Purpose, 0, maxPurpose)
	})
	for k := range q.Choices {
		choice := func(name string) string { return field(fmt.Sprintf("choices[%d].%s", k, name)) }
		alsoIn(c, choice, e, q.Choices[k].Translations, func(of func(string) string, in api.ChoiceTranslation) {
			text.CheckLine(c, of("label"), in.Label, 1, maxChoiceLabel)
		})
	}
}

// checkTextsOfQuestions checks all questions in other languages: that of the event may have become one of these.
func checkTextsOfQuestions(c *fault.Check, e *api.Event) {
	for i := range e.Questions {
		field := func(name string) string { return fmt.Sprintf("questions[%d].%s", i, name) }
		checkQuestionTexts(c, field, e, &e.Questions[i])
	}
}
