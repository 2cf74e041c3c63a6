package pages

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
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
	Comes  string // what each ticket comes with; "" for nothing
}

// comes says what tickets of a type come with.
func comes(e *api.Event, t *api.TicketType) string {
	var all []string
	for _, p := range t.Includes {
		of := e.TicketType(p.TicketTypeID)
		switch {
		case of == nil:
		case p.Quantity == 1:
			all = append(all, of.Title())
		default:
			all = append(all, fmt.Sprintf("%d × %s", p.Quantity, of.Title()))
		}
	}
	return strings.Join(all, ", ")
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

// split parts what is sold into tickets and products.
func split(offers []offer) (tickets, products []offer) {
	for _, o := range offers {
		if o.IsProduct() {
			products = append(products, o)
		} else {
			tickets = append(tickets, o)
		}
	}
	return tickets, products
}

// addOn is a product as the step of the checkout shows it that asks what is bought beside tickets.
type addOn struct {
	api.Product
	Offers []offer // its variants
	Fixed  int     // how many of its only variant come with the tickets; 0: the buyer chooses
	Need   int     // how many are chosen at the least, of all variants together
	Most   int     // how many are chosen at the most, of all variants together; 0: each variant has its own bound
	Wrong  bool    // that was not met
}

// Chosen is what stands in the field of a variant.
func (a addOn) Chosen(value func(string) string, o offer) int {
	n, err := strconv.Atoi(value(o.ID.String()))
	if err == nil {
		return n
	}
	if a.Fixed > 0 || a.Need == 1 && len(a.Offers) == 1 {
		return a.Need
	}
	return 0
}

// addOns asks what is bought beside tickets, if the event sells such and it was not asked, or not answered as it can
// be. It reports whether it did.
func (s *Site) addOns(v *visit, e *api.Event, lines []line, value func(string) string) (bool, error) {
	if len(e.Products()) == 0 || v.RC.IsPost() {
		return false, nil
	}
	offers, _, err := s.offers(v, e)
	if err != nil {
		return false, err
	}
	tickets := 0
	for _, l := range lines {
		if !l.Type.IsProduct() {
			tickets += l.Quantity
		}
	}
	if tickets == 0 {
		v.redirect(eventPath(e))
		return true, nil
	}
	all := addOnsOf(e, offers, lines, tickets)
	var wrong fault.Check
	answered := value("addons") != ""
	for i := range all {
		a, n := &all[i], 0
		for _, l := range lines {
			if a.Has(l.Type.ID) {
				n += l.Quantity
			}
		}
		a.Wrong = answered && (n < a.Need || a.Most > 0 && n > a.Most)
		wrong.Field(!a.Wrong, a.Name, "must be another number")
	}
	if len(all) == 0 || answered && wrong.Err() == nil {
		return false, nil
	}
	data := map[string]any{"Event": e, "AddOns": all, "Lines": lines, "Value": value}
	if answered {
		return true, v.again("addons", wrong.Err(), data)
	}
	return true, v.show("addons", data)
}

// addOnsOf returns what can be bought beside lines with so many tickets. Who has a product with a ticket needs none.
func addOnsOf(e *api.Event, offers []offer, lines []line, all int) (list []addOn) {
	for _, p := range e.Products() {
		a, tickets := addOn{Product: p}, all
		for _, l := range lines {
			if p.ServedBy(l.Type) {
				tickets -= l.Quantity
			}
		}
		if tickets < all && (tickets == 0 && p.Per == api.PerTicket) {
			continue
		}
		p.Required = p.Required && (tickets == all || p.Per == api.PerTicket)
		if p.Per == api.PerTicket {
			a.Most = tickets
		}
		switch {
		case p.Required && p.Per == api.PerTicket:
			a.Need = tickets
		case p.Required:
			a.Need = 1
		}
		for _, o := range offers {
			if !p.Has(o.ID) {
				continue
			}
			if a.Most > 0 {
				for len(o.Choice) > 0 && o.Choice[len(o.Choice)-1] > a.Most {
					o.Choice = o.Choice[:len(o.Choice)-1]
				}
			}
			a.Offers = append(a.Offers, o)
		}
		if a.Need == tickets && a.Need > 0 && len(a.Offers) == 1 && p.Per == api.PerTicket {
			a.Fixed = a.Need
		}
		open := false
		for _, o := range a.Offers {
			open = open || o.State == "open"
		}
		if open || p.Required {
			list = append(list, a)
		}
	}
	return list
}

// ofKinds parts tickets from products.
func ofKinds(all []api.Ticket) (tickets, products []api.Ticket) {
	for _, t := range all {
		if t.Kind == api.KindProduct {
			products = append(products, t)
		} else {
			tickets = append(tickets, t)
		}
	}
	return tickets, products
}

// ticketsFirst compares lines as an order has them.
func ticketsFirst(a, b line) int {
	switch {
	case a.Type.IsProduct() == b.Type.IsProduct():
		return 0
	case b.Type.IsProduct():
		return -1
	}
	return 1
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
	tickets, products := split(offers)
	return v.showKept(page, version, map[string]any{"Event": e, "Dates": dates, "Offers": tickets, "Open": open,
		"Products": products,
		"Over":     e.EndsAt.Before(s.cfg.Now())}, "Event")
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
		of, sold := available[t.ID]
		if t.Hidden && !sold { // tickets come with it
			continue
		}
		a := inWords(&t, of)
		o := offer{TicketType: t, Left: a.Available, State: "open", Stage: a.Stage, Next: a.Next,
			Comes: comes(e, &t)}
		o.Price, o.Stages = a.Price, nil
		if t.IsProduct() {
			o.choose(api.OrderRules{})
		} else {
			o.choose(e.OrderRules)
		}
		switch {
		case t.SalesStart != nil && now.Before(*t.SalesStart):
			o.State = "soon"
		case t.SalesEnd != nil && !now.Before(*t.SalesEnd), !now.Before(e.EndsAt):
			o.State = "over"
		case o.Most == 0:
			o.State = "sold_out"
		default:
			open = open || !t.IsProduct()
		}
		offers = append(offers, o)
	}
	return offers, open, nil
}
