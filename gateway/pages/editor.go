package pages

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/text"
)

// local is how a browser writes a time without its zone.
const local = "2006-01-02T15:04"

// asLocal returns a time as a browser takes it for a field, or "" for what is none.
func asLocal(text string) string {
	if _, err := time.Parse(local, text); err != nil {
		return ""
	}
	return text
}

// eventForm is what an organizer writes of an event, as it was written.
type eventForm struct {
	Name, Description, Category     string
	Starts, Ends, Timezone          string
	Place, Address, City, Country   string
	Type, Price, Quantity, Currency string // of the first ticket type, for a new event

	Language string                // of name and description
	Others   map[string]translated // by language
	Series   bool                  // whether there are other dates
}

func (v *visit) eventForm() eventForm {
	f := eventForm{Name: v.form("name"), Description: v.form("description"), Category: v.form("category"),
		Starts: v.form("starts"), Ends: v.form("ends"), Timezone: v.form("timezone"), Place: v.form("place"),
		Address: v.form("address"), City: v.form("city"), Country: v.form("country"), Type: v.form("type"),
		Price: v.form("price"), Quantity: v.form("quantity"), Currency: v.form("currency"),
		Series: v.form("scope") != ""}
	f.readTexts(v)
	return f
}

// times reads the two times in the zone of the event.
func (f eventForm) times() (starts, ends time.Time, err error) {
	var check fault.Check
	zone, err := time.LoadLocation(f.Timezone)
	check.Field(err == nil && f.Timezone != "" && f.Timezone != "Local", "timezone", "must be a time zone")
	if zone == nil {
		zone = time.UTC
	}
	starts, err = time.ParseInLocation(local, f.Starts, zone)
	check.Field(err == nil, "starts", "must be a day and a time")
	ends, err = time.ParseInLocation(local, f.Ends, zone)
	check.Field(err == nil, "ends", "must be a day and a time")
	return starts, ends, check.Err()
}

func (f eventForm) location() api.Location {
	return api.Location{Name: f.Place, Address: f.Address, City: f.City, Country: f.Country}
}

// ticketType reads a ticket type that was written, without what its own page asks.
func (v *visit) ticketType(name string) (api.NewTicketType, error) {
	f := fields{visit: v, currency: v.form("currency")}
	t := api.NewTicketType{Name: name, Price: f.amount("price"), Quantity: f.number("quantity", 0)}
	if v.form("kind") == api.KindProduct {
		t.Kind, t.Per, t.Group, t.Required = api.KindProduct, v.form("per"), f.text("group"), f.ticked("required")
	}
	return t, f.check.Err()
}

// categories are those that the editor proposes; texts have their names. Clients may name others.
func categories() []string {
	return []string{"concert", "theatre", "comedy", "festival", "conference", "workshop", "sports", "film", "food",
		"party", "other"}
}

// categoriesWith are the proposed ones, and the one that an event has.
func categoriesWith(own string) []string {
	all := categories()
	if own == "" || slices.Contains(all, own) {
		return all
	}
	return append(all, own)
}

// country is one that an event can be in.
type country struct{ Code, Name string }

// countries returns all of ISO 3166-1 with their names in a language, in the order of these.
func countries(lang string) (all []country) {
	names := display.Regions(language.Make(lang))
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string(a) + string(b)
			if !text.Country(code) {
				continue
			}
			if region, err := language.ParseRegion(code); err == nil {
				all = append(all, country{code, names.Name(region)})
			}
		}
	}
	slices.SortFunc(all, func(a, b country) int { return strings.Compare(text.Fold(a.Name), text.Fold(b.Name)) })
	return all
}

func (s *Site) newEventPage(v *visit) error {
	start := s.cfg.Now().AddDate(0, 1, 0)
	f := eventForm{Category: "concert", Starts: start.Format("2006-01-02") + "T20:00",
		Ends: start.Format("2006-01-02") + "T23:00", Timezone: "Europe/Berlin", Country: "DE", Currency: "EUR",
		Quantity: "100", Type: "", Price: ""}
	return s.editor(v, "", f, nil)
}

// editor shows the form of an event; a new one has no id.
func (s *Site) editor(v *visit, id ids.Event, f eventForm, failed error) error {
	if v.access == "" {
		return fault.New(fault.Unauthenticated, "sign in first")
	}
	f.Starts, f.Ends = asLocal(f.Starts), asLocal(f.Ends)
	data := map[string]any{"ID": id.String(), "Form": f, "Categories": categoriesWith(f.Category),
		"Countries": countries(v.lang), "Zones": zoneNames()}
	if failed != nil {
		return v.again("editor", failed, data)
	}
	return v.show("editor", data)
}

// zoneNames are the zones that the editor proposes; any other can be written.
func zoneNames() []string {
	return []string{
		"Europe/Berlin",
		"Europe/London",
		"Europe/Madrid",
		"Europe/Paris",
		"Europe/Vienna",
		"Europe/Zurich",
		"Europe/Lisbon",
		"Europe/Warsaw",
		"Europe/Stockholm",
		"Europe/Athens",
		"America/New_York",
		"America/Chicago",
		"America/Denver",
		"America/Los_Angeles",
		"America/Mexico_City",
		"America/Sao_Paulo",
		"America/Toronto",
		"Africa/Lagos",
		"Africa/Johannesburg",
		"Asia/Dubai",
		"Asia/Kolkata",
		"Asia/Singapore",
		"Asia/Tokyo",
		"Australia/Sydney",
		"Pacific/Auckland",
		"UTC",
	}
}

func (s *Site) createEvent(v *visit) error {
	f := v.eventForm()
	starts, ends, err := f.times()
	if err != nil {
		return s.editor(v, "", f, err)
	}
	req := &api.NewEvent{
		Name:        f.Name,
		Description: f.Description,
		Category:    f.Category,
		StartsAt:    starts,
		EndsAt:      ends,
		Timezone:    f.Timezone,
		Location:    f.location(),
		Language:    f.Language, Translations: f.translations(nil),
	}
	if f.Type != "" {
		t, err := v.ticketType(f.Type)
		if err != nil {
			return s.editor(v, "", f, err)
		}
		req.TicketTypes = []api.NewTicketType{t}
	}
	e, err := ask(v, api.CreateEvent, req)
	if err != nil {
		return s.editor(v, "", f, err)
	}
	v.redirect("/office/events/" + e.ID.String())
	return nil
}

func (s *Site) editEventPage(v *visit) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	in := func(t time.Time) string { return s.zones.In(t, e.Timezone).Format(local) }
	others := map[string]translated{}
	for _, t := range e.Translations {
		others[t.Language] = translated{t.Name, t.Description}
	}
	return s.editor(v, e.ID, eventForm{Language: e.Language, Others: others, Series: e.SeriesID != "", Name: e.Name,
		Description: e.Description, Category: e.Category,
		Starts: in(e.StartsAt), Ends: in(e.EndsAt), Timezone: e.Timezone, Place: e.Location.Name,
		Address: e.Location.Address, City: e.Location.City, Country: e.Location.Country}, nil)
}

func (s *Site) editEvent(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	f := v.eventForm()
	starts, ends, err := f.times()
	if err != nil {
		return s.editor(v, ref.ID, f, err)
	}
	at := f.location()
	e, err := ask(v, api.GetEvent, &ref)
	if err != nil {
		return err
	}
	if e.Location.City == at.City && e.Location.Address == at.Address { // it is where it was on the map
		at.Latitude, at.Longitude = e.Location.Latitude, e.Location.Longitude
	}
	req := &api.PatchEvent{ID: ref.ID, Scope: v.form("scope"), Name: &f.Name, Description: codec.To(f.Description),
		Category: codec.To(f.Category), StartsAt: &starts, EndsAt: &ends, Location: &at, Language: asText(f.Language),
		Translations: codec.To(f.translations(e.Translations))}
	if f.Timezone != e.Timezone { // it is of one date alone
		req.Timezone = &f.Timezone
	}
	if _, err = ask(v, api.UpdateEvent, req); err != nil {
		return s.editor(v, ref.ID, f, err)
	}
	v.redirect("/office/events/" + ref.ID.String())
	return nil
}

// back leads to the dashboard of the event after a change, or shows there what was wrong with it.
func (s *Site) back(v *visit, err error) error {
	if err != nil {
		return s.dashboardAgain(v, err)
	}
	v.redirect("/office/events/" + v.Param("id"))
	return nil
}

func (s *Site) addTicketType(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	t, err := v.ticketType(v.form("name"))
	if err == nil {
		_, err = ask(v, api.CreateTicketType, &api.AddTicketType{EventID: ref.ID, NewTicketType: t})
	}
	return s.back(v, err)
}

// changeTicketType changes a ticket type, or takes it away.
func (s *Site) changeTicketType(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	id, err := ids.Parse[ids.TicketTypeKind](v.Param("type"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such ticket type")
	}
	if v.form("do") == "delete" {
		_, err := ask(v, api.DeleteTicketType, &api.TicketTypeRef{EventID: ref.ID, ID: id})
		return s.back(v, err)
	}
	if v.form("do") == "whole" {
		return s.wholeTicketType(v, id)
	}
	t, err := v.ticketType(v.form("name"))
	if err == nil {
		_, err = ask(v, api.UpdateTicketType, &api.PatchTicketType{EventID: ref.ID, ID: id, Name: &t.Name,
			Price: &t.Price, Quantity: &t.Quantity})
	}
	return s.back(v, err)
}

func (s *Site) publish(v *visit) error {
	ref, err := v.eventRef()
	if err == nil {
		_, err = ask(v, api.PublishEvent, &api.EventToPublish{ID: ref.ID, Scope: v.form("scope")})
	}
	return s.back(v, err)
}

func (s *Site) cancelEvent(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	if v.form("sure") != "yes" {
		var check fault.Check
		check.Field(false, "sure", "tick that you are sure: tickets are revoked and the money goes back")
		return s.back(v, check.Err())
	}
	_, err = ask(v, api.CancelEvent, &api.CancelEventRequest{ID: ref.ID, Scope: v.form("scope"),
		Reason: v.form("reason")})
	return s.back(v, err)
}
