package pages

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// eventsOnPage is how many events a page of the list has.
const eventsOnPage = 24

// home shows what is on, and finds events.
func (s *Site) home(v *visit) error {
	q := api.EventQuery{Q: v.query("q"), City: v.query("city"), Category: v.query("category"),
		From: s.cfg.Now().UTC().Truncate(time.Minute), Dates: "next",
		Page: api.Page{Limit: eventsOnPage, Cursor: v.query("cursor")}}
	if day, err := time.Parse(time.DateOnly, v.query("from")); err == nil && day.After(q.From) {
		q.From = day
	}
	list, err := ask(v, api.ListEvents, &q)
	if err != nil {
		return err
	}
	if q.Q != "" && q.Cursor == "" {
		v.Count(api.FactSearches, "")
	}
	inLanguage(list.Items, v.lang)
	return v.showKept("home", versionsOf(list.Items), map[string]any{"Events": list.Items, "Next": list.NextCursor,
		"Q": q.Q, "City": q.City, "Category": q.Category, "From": v.query("from"), "Categories": categories(),
		"Searched": q.Q != "" || q.City != "" || q.Category != "" || v.query("from") != ""}, "Events")
}

// versionsOf says which events are shown, and as which of their versions.
func versionsOf(events []api.Event) string {
	versions := make([]byte, 0, 40*len(events))
	for i := range events {
		versions = append(append(append(versions, events[i].ID...), ' '), events[i].ETag()...)
	}
	return string(versions)
}

// program shows what an organizer puts on.
func (s *Site) program(v *visit) error {
	o, err := ask(v, api.GetOrganizerProfile, &api.OrganizerName{Name: v.Param("slug")})
	if err != nil {
		return err
	}
	if here := "/organizers/" + o.Slug; string(v.RC.Path()) != here { // events link by the id
		v.redirect(here)
		return nil
	}
	list, err := ask(v, api.ListEvents, &api.EventQuery{Organizer: o.ID.String(), Dates: "next",
		From: s.cfg.Now().UTC().Truncate(time.Minute), Page: api.Page{Limit: eventsOnPage, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	return v.showKept("program", versionsOf(list.Items), map[string]any{"Organizer": o, "Events": list.Items,
		"Next": list.NextCursor}, "Events")
}

// offer is a ticket type as the page of its event shows it.
type offer struct {
	api.TicketType
	Left   int    // how many can be bought now, up to plenty
	Least  int    // that an order with any of them has
	Most   int    // that one order may have
	Person int    // the most that one person may have; 0: any
	Choice []int  // what can be chosen
	State  string // open, soon, over or sold_out
	Stage  *api.StageOnSale
	Next   *api.NextPrice
}

// plenty is a number of tickets from which on no page says how many they are.
const plenty = 50

// mostPerOrder is what a page offers at a time, whatever the system would let one order have.
const mostPerOrder = 10

// choose finds what can be chosen: none, or from the fewest to the most that one order may have.
func (o *offer) choose(rules api.OrderRules) {
	o.Least = max(1, o.MinPerOrder)
	o.Person = leastOf(o.MaxPerPerson, rules.MaxPerPerson)
	o.Most = min(max(mostPerOrder, o.Least), o.Left)
	o.Left = min(o.Left, plenty)
	if most := leastOf(o.MaxPerOrder, o.Person, rules.MaxPerOrder); most > 0 {
		o.Most = min(o.Most, most)
	}
	if o.Most < o.Least { // those that are left are too few for an order
		o.Most = 0
		return
	}
	o.Choice = append(o.Choice, 0)
	for n := o.Least; n <= o.Most; n++ {
		o.Choice = append(o.Choice, n)
	}
}

// leastOf returns the least of bounds, of which 0 is none.
func leastOf(bounds ...int) (least int) {
	for _, n := range bounds {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// event shows an event, and what is left of it.
func (s *Site) event(v *visit) error {
	e, err := v.eventShown()
	if err != nil {
		return err
	}
	if here := eventPath(e); string(v.RC.Path()) != here { // it was renamed, or the address is short
		v.redirect(here)
		return nil
	}
	return s.showEvent(v, "event", e)
}

// embedded is the tickets of an event within the site of its organizer. Any site may frame it: it has nothing that a
// click could change, and the checkout that it leads to is a page of its own, which none may frame.
func (s *Site) embedded(v *visit) error {
	e, err := v.eventShown()
	if err != nil {
		return err
	}
	h := &v.RC.Response.Header
	h.Set("Content-Security-Policy", policy("*"))
	h.Del("X-Frame-Options")
	return s.showEvent(v, "embed", e)
}

// embedScript is what the site of an organizer loads. Its address stays, so browsers ask for it again.
func (s *Site) embedScript(v *visit) error {
	h := &v.RC.Response.Header
	h.Set("Cache-Control", "public, max-age=3600")
	h.SetContentType("text/javascript; charset=utf-8")
	v.write(s.assets.byName["embed.js"].plain)
	return nil
}

// eventShown returns the event of the page's address, in the language of the page.
func (v *visit) eventShown() (*api.Event, error) {
	id, err := eventOf(v.Param("slug"))
	if err != nil {
		return nil, err
	}
	e, err := ask(v, api.GetEvent, &api.EventRef{ID: id})
	if err != nil {
		return nil, err
	}
	return e.In(v.lang), nil
}

// showEvent shows an event and what is left of it, on one of the pages about it.
func (s *Site) showEvent(v *visit, page string, e *api.Event) error {
	v.Count(api.FactViews, e.ID.String())
	offers, open, err := s.offers(v, e)
	if err != nil {
		return err
	}
	dates, err := v.datesOf(e, api.EventPublished)
	if err != nil {
		return err
	}
	version := e.ID.String() + " " + e.ETag()
	dates = others(dates, e.ID)
	for i := range dates {
		version += " " + dates[i].ID.String() + " " + dates[i].ETag()
	}
	return v.showKept(page, version, map[string]any{"Event": e, "Dates": dates, "Offers": offers, "Open": open,
		"Over": e.EndsAt.Before(s.cfg.Now())}, "Event")
}

// offers returns what is sold of an event, and whether anything can be bought now.
func (s *Site) offers(v *visit, e *api.Event) (offers []offer, open bool, err error) {
	if e.Status != api.EventPublished {
		return nil, false, nil
	}
	left, err := ask(v, api.GetAvailability, &api.AvailabilityQuery{ID: e.ID})
	if err != nil {
		return nil, false, err
	}
	available := map[ids.TicketType]api.TypeAvailability{}
	for _, t := range left.TicketTypes {
		available[t.ID] = t
	}
	now := s.cfg.Now()
	for _, t := range e.TicketTypes {
		a := available[t.ID]
		o := offer{TicketType: t, Left: a.Available, State: "open", Stage: a.Stage, Next: a.Next}
		o.Price, o.Stages = a.Price, nil
		o.choose(e.OrderRules)
		switch {
		case t.SalesStart != nil && now.Before(*t.SalesStart):
			o.State = "soon"
		case t.SalesEnd != nil && !now.Before(*t.SalesEnd), !now.Before(e.EndsAt):
			o.State = "over"
		case o.Most == 0:
			o.State = "sold_out"
		default:
			open = true
		}
		offers = append(offers, o)
	}
	return offers, open, nil
}
