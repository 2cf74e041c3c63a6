package event

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// findings collects what an event lacks.
type findings []api.Finding

// lacks adds what keeps the event from being published, unless ok.
func (f *findings) lacks(ok bool, code, field, detail string) {
	if !ok {
		*f = append(*f, api.Finding{Code: code, Level: api.FindingError, Field: field, Detail: detail})
	}
}

// odd adds what its organizer should look at, unless ok.
func (f *findings) odd(ok bool, code, field, detail string) {
	if !ok {
		*f = append(*f, api.Finding{Code: code, Level: api.FindingHint, Field: field, Detail: detail})
	}
}

// errors returns what keeps the event from being published: what breaks a rule by now, and what is missing.
func (r *record) errors(now time.Time) (all findings) {
	e := &r.Event
	var c fault.Check
	r.check(&c, wholeEvent)
	if err := c.Err(); err != nil {
		for _, f := range fault.From(err).Fields {
			all.lacks(false, "invalid", f.Field, f.Detail)
		}
	}
	all.lacks(len(e.Tickets()) > 0, "no_ticket_type", "ticket_types", "must be at least one, products aside")
	all.lacks(len(e.Tickets()) == 0 || e.Capacity > 0, "no_room", "capacity", "must be at least 1")
	all.lacks(e.StartsAt.After(now), "in_the_past", "starts_at", "must be in the future")
	return all
}

// hints returns what is odd about an event, as far as the event alone says it.
func (r *record) hints(now time.Time) (all findings) {
	e := &r.Event
	all.odd(e.Location.Name != "" || e.Location.Address != "", "no_place", "location",
		"The event names a town, but no hall and no street.")
	tickets := e.Tickets()
	some := len(tickets) > 0
	hidden := func(t api.TicketType) bool { return !t.Hidden }
	all.odd(!some || slices.ContainsFunc(tickets, hidden), "all_hidden", "ticket_types",
		"Every ticket type is hidden: only who has a code can buy.")
	late := func(t api.TicketType) bool { return t.SalesEnd != nil && t.SalesEnd.After(e.StartsAt) }
	all.odd(!slices.ContainsFunc(tickets, late), "sale_ends_late", "ticket_types",
		"Tickets are sold after the event has begun.")
	open := func(t api.TicketType) bool { return t.SalesEnd == nil || t.SalesEnd.After(now) }
	all.odd(!some || slices.ContainsFunc(tickets, open), "sale_is_over", "ticket_types",
		"The sale of every ticket type is over.")
	for _, p := range e.Products() {
		sold := func(t api.TicketType) bool { return !t.Hidden && open(t) && t.Quantity > 0 }
		all.odd(!p.Required || slices.ContainsFunc(p.Variants, sold), "required_not_sold", "ticket_types",
			"No order can be made: "+p.Name+" is required, and none of it is on sale.")
	}
	for _, t := range tickets {
		all.odd(t.Quantity > 0 || e.Capacity == 0, "no_quantity", "ticket_types", "There are no tickets of "+t.Name+".")
	}
	all.odd(strings.TrimSpace(e.Description) != "", "no_description", "description",
		"A description tells people why they should come.")
	return all
}

// costs reports whether an event sells anything for money, and taxed whether it says what tax.
func (r *record) costs() bool {
	return slices.ContainsFunc(r.Event.TicketTypes, func(t api.TicketType) bool { return t.Price.Amount > 0 })
}

func (r *record) taxed() bool {
	return slices.ContainsFunc(r.Event.TicketTypes, func(t api.TicketType) bool { return r.Event.TaxOf(&t).Rate != "" })
}

func (s *Service) readiness(ctx context.Context, req *api.EventRef) (*api.Readiness, error) {
	k, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.MayReadEvent); err != nil {
		return nil, err
	}
	all := findings{}
	if k.Event.Status == api.EventDraft {
		all = append(all, k.errors(s.now())...)
	}
	out := &api.Readiness{Ready: len(all) == 0}
	all.odd(!k.costs() || s.canBePaid(ctx, &k.Event), "no_payment", "payment_providers",
		"Tickets cost something, but no payment provider that the event takes is switched on: they can be sold at a "+
			"counter only.")
	if k.taxed() {
		legal, err := s.organizers.HasLegalData(ctx, k.Event.OrganizerID)
		if err != nil {
			return nil, err
		}
		all.odd(legal, "no_legal_data", "tax",
			"Prices have tax, but the organizer has no legal name, address and tax number yet.")
	}
	all = append(all, k.hints(s.now())...)
	out.Findings = all
	return out, nil
}

// canBePaid reports whether a provider that the event takes is switched on. While the payment service does not answer,
// nothing is said against it.
func (s *Service) canBePaid(ctx context.Context, e *api.Event) bool {
	on, err := rpc.Call(ctx, s.client, api.GetPaymentMethods, &rpc.None{})
	if err != nil {
		s.log.InfoContext(ctx, "payment providers are not known", "error", err)
		return true
	}
	return slices.ContainsFunc(on.Providers, func(name string) bool {
		return len(e.Providers) == 0 || slices.Contains(e.Providers, name)
	})
}
