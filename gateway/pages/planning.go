package pages

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// findingCodes are what an event may lack, as texts name it. What breaks a rule has the words of the service.
func findingCodes() []string {
	return []string{"no_ticket_type", "no_room", "in_the_past", "no_payment", "no_legal_data", "no_place", "all_hidden",
		"sale_ends_late", "sale_is_over", "required_not_sold", "no_quantity", "no_description"}
}

// todo is something that an event lacks, and where that is changed.
type todo struct {
	Text, Link string
	Error      bool
}

// todos returns what an event lacks, and whether it can be published.
func (s *Site) todos(v *visit, e *api.Event) (all []todo, ready bool, err error) {
	r, err := ask(v, api.GetReadiness, &api.EventRef{ID: e.ID})
	if err != nil {
		return nil, false, err
	}
	for _, f := range r.Findings {
		t := todo{Text: f.Field + ": " + f.Detail, Error: f.Level == api.FindingError}
		if slices.Contains(findingCodes(), f.Code) {
			if t.Text, err = s.looks[v.lang].texts.text("ready." + f.Code); err != nil {
				return nil, false, err
			}
		}
		office := "/office/events/" + e.ID.String()
		switch field, _, _ := strings.Cut(f.Field, "["); field {
		case "ticket_types", "capacity":
			t.Link = office + "#types"
		case "tax":
			t.Link = "/office/organizers/" + e.OrganizerID.String()
		case "payment_providers": // administrators switch them on
		default:
			t.Link = office + "/edit"
		}
		all = append(all, t)
	}
	return all, r.Ready, nil
}

// datesOf returns the dates of an event's series, of the states that are named, by their begin. Without a series there
// are none.
func (v *visit) datesOf(e *api.Event, states ...string) (all []api.Event, err error) {
	if e.SeriesID == "" {
		return nil, nil
	}
	for _, state := range states {
		list, err := ask(v, api.ListEvents, &api.EventQuery{Series: e.SeriesID, Status: state,
			From: v.site.cfg.Now().UTC().Truncate(time.Minute), Page: api.Page{Limit: 100}})
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
	}
	slices.SortStableFunc(all, func(a, b api.Event) int { return a.StartsAt.Compare(b.StartsAt) })
	return all, nil
}

// copyEvent makes a draft like the event at another time.
func (s *Site) copyEvent(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	starts := f.moment("starts").Value
	f.check.Field(starts != nil, "starts", "must be a day and a time")
	if err := f.check.Err(); err != nil {
		return s.back(v, err)
	}
	made, err := askOnce(v, api.CopyEvent, &api.CopyOf{ID: e.ID, StartsAt: *starts}, v.form("key"))
	if err != nil {
		return s.back(v, err)
	}
	v.redirect("/office/events/" + made.ID.String())
	return nil
}

// repetition is the form by which an event is repeated.
type repetition struct{ Every, Unit, Count string }

func (v *visit) repetition() repetition {
	return repetition{cmp.Or(v.form("every"), "1"), cmp.Or(v.form("unit"), "WEEKLY"), cmp.Or(v.form("count"), "4")}
}

// repeat shows the dates of a rule, or makes them.
func (s *Site) repeat(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	f, preview := v.repetition(), v.form("do") != "create"
	count, err := strconv.Atoi(f.Count)
	if err != nil {
		var check fault.Check
		check.Field(false, "count", "must be a number")
		return s.back(v, check.Err())
	}
	req := &api.NewSeries{ID: ref.ID, Rule: "FREQ=" + f.Unit + ";INTERVAL=" + f.Every, Count: count, DryRun: preview}
	series, err := askOnce(v, api.CreateSeries, req, v.form("key")+v.form("do"))
	if err != nil {
		return s.back(v, err)
	}
	if preview {
		return s.dashboardWith(v, nil, series)
	}
	v.redirect("/office/events/" + ref.ID.String() + "#dates")
	return nil
}

// translated is what an event is called in a language, as it was written.
type translated struct{ Name, Description string }

// readTexts reads in which language an event is described, and how it is called in others.
func (f *eventForm) readTexts(v *visit) {
	f.Language, f.Others = v.form("language"), map[string]translated{}
	for _, l := range languageNames() {
		f.Others[l[0]] = translated{v.form("name_" + l[0]), v.form("description_" + l[0])}
	}
}

// translations returns what was written, and what an event has in languages that the form does not.
func (f *eventForm) translations(kept []api.Translation) (all []api.Translation) {
	for _, t := range kept {
		if _, here := f.Others[t.Language]; !here {
			all = append(all, t)
		}
	}
	for _, l := range languageNames() {
		if t := f.Others[l[0]]; l[0] != f.Language && strings.TrimSpace(t.Name) != "" {
			all = append(all, api.Translation{Language: l[0], Name: t.Name, Description: t.Description})
		}
	}
	return all
}

// asText returns a language as a change of an event has it.
func asText(language string) codec.Patch[string] {
	if language == "" {
		return codec.Clear[string]()
	}
	return codec.To(language)
}

// inLanguage shows events as readers of a language get them.
func inLanguage(events []api.Event, lang string) {
	for i := range events {
		events[i] = *events[i].In(lang)
	}
}

// otherLanguages are those beside that of an event in which the forms of its parts ask for words: none before that is
// known.
func otherLanguages(e *api.Event) [][2]string {
	if e.Language == "" {
		return nil
	}
	return slices.DeleteFunc(languageNames(), func(l [2]string) bool { return l[0] == e.Language })
}

// notAsked returns the words that are in languages that a form does not ask for. They stay.
func notAsked[T interface{ Locale() string }](all []T, asked [][2]string) []T {
	return slices.DeleteFunc(slices.Clone(all), func(t T) bool {
		return slices.ContainsFunc(asked, func(l [2]string) bool { return l[0] == t.Locale() })
	})
}

// typeTexts is what stands in the form of a ticket type in other languages.
func typeTexts(texts map[string]string, t *api.TicketType) {
	for _, in := range t.Translations {
		texts["name_"+in.Language], texts["group_"+in.Language] = in.Name, in.Group
	}
	for k, s := range t.Stages {
		for _, in := range s.Translations {
			texts[fmt.Sprintf("stage.%d.name_%s", k, in.Language)] = in.Name
		}
	}
}

// typeIn reads what a ticket type is called in other languages. One whose group alone is, is called there as it is.
func (f *fields) typeIn(e *api.Event, t *api.TicketType) []api.TypeTranslation {
	languages := otherLanguages(e)
	all := notAsked(t.Translations, languages)
	for _, l := range languages {
		in := api.TypeTranslation{Language: l[0], Name: f.text("name_" + l[0]), Group: f.text("group_" + l[0])}
		if in.Name = cmp.Or(in.Name, f.text("name")); f.text("name_"+l[0]) != "" || in.Group != "" {
			all = append(all, in)
		}
	}
	return all
}

// stageIn reads what a price stage is called in other languages; before is what the ticket type had.
func (f *fields) stageIn(e *api.Event, prefix string, id ids.Stage, before []api.Stage) (all []api.StageTranslation) {
	languages := otherLanguages(e)
	for _, s := range before {
		if s.ID == id {
			all = notAsked(s.Translations, languages)
		}
	}
	for _, l := range languages {
		if name := f.text(prefix + "name_" + l[0]); name != "" {
			all = append(all, api.StageTranslation{Language: l[0], Name: name})
		}
	}
	return all
}

// inWords returns what is left of a ticket type with its stages called as the type that is shown calls them.
func inWords(t *api.TicketType, left api.TypeAvailability) api.TypeAvailability {
	for _, s := range t.Stages {
		if on := left.Stage; on != nil && on.ID == s.ID {
			named := *on
			named.Name, left.Stage = s.Name, &named
		}
		if next := left.Next; next != nil && next.ID == s.ID {
			named := *next
			named.Name, left.Next = s.Name, &named
		}
	}
	return left
}

// ticketsIn returns tickets of an event that is shown in the language of the page, as it calls them.
func (v *visit) ticketsIn(e *api.Event, tickets []api.Ticket) []api.Ticket {
	called := e.Called()
	tickets = slices.Clone(tickets)
	for i := range tickets {
		t := &tickets[i]
		t.TypeName = called.Type(v.lang, t.TicketTypeID, t.TypeName)
		if in, ok := api.InLanguage(e.Translations, v.lang); ok {
			t.EventName = in.Name
		}
	}
	return tickets
}

// others returns the dates but one, up to a dozen.
func others(dates []api.Event, but ids.Event) []api.Event {
	const most = 12
	dates = slices.DeleteFunc(dates, func(e api.Event) bool { return e.ID == but })
	return dates[:min(len(dates), most)]
}
