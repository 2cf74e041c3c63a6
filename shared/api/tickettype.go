package api

import (
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// The kinds of what an event sells.
const (
	KindTicket  = "ticket"  // lets one person in
	KindProduct = "product" // is handed out, once, and lets nobody in: parking, a shirt, a programme
)

// What a product belongs to.
const (
	PerOrder  = "order"  // as many as the product's own limits allow
	PerTicket = "ticket" // at most one for each ticket of the order
)

// TicketType is a kind of ticket of an event, or a product that it sells beside them.
type TicketType struct {
	ID ids.TicketType `json:"id"`
	// a product is sold beside tickets and lets nobody in; absent: a ticket
	Kind  string `json:"kind,omitempty" enum:"ticket,product"`
	Name  string `json:"name" maxLength:"200"` // what it is called, on one line; of a variant, such as M
	Price Money  `json:"price"`
	// how many tickets there are, sold ones included
	Quantity int `json:"quantity" minimum:"0" maximum:"1000000"`
	// the most that one order may have; 0 means no other limit than that of all orders
	MaxPerOrder int `json:"max_per_order" minimum:"0" maximum:"1000000"`
	// the fewest that an order with any of them may have; 0 means one
	MinPerOrder int `json:"min_per_order,omitempty" minimum:"0" maximum:"1000000"`
	// the most that one buyer may have, of all orders together; 0 means no such bound
	MaxPerPerson int `json:"max_per_person,omitempty" minimum:"0" maximum:"1000000"`
	// from when on it is sold; absent: since the event was published
	SalesStart *time.Time `json:"sales_start,omitempty"`
	SalesEnd   *time.Time `json:"sales_end,omitempty"` // until when it is sold; absent: until the event ends
	// it is sold to holders of a code that unlocks it, and shown to them and to the event's team
	Hidden bool `json:"hidden,omitempty"`
	// buyers pay what they want: the price is the least
	FreePrice bool `json:"free_price,omitempty"`
	// that it draws on beside its own quantity: what can be bought is the least that any of them has left
	Quotas []ids.Quota `json:"quotas,omitempty"`
	// in its price or on top of it; absent: that of the event
	Tax Tax `json:"tax,omitzero"`
	// for how long, or for how many tickets, it has another price: the first that is open counts
	Stages []Stage `json:"stages,omitempty"`
	// of a product: whether an order has at most one for each of its tickets
	Per string `json:"per,omitempty" enum:"order,ticket"`
	// of a product: no order of a buyer is without it; per ticket, it has one for each
	Required bool `json:"required,omitempty"`
	// of a product that is a variant: what all of them are called together, such as T-shirt. Per and required are about
	// all of them together
	Group string `json:"group,omitempty" maxLength:"100"`
	// of a ticket: products that each of them comes with
	Includes []IncludedProduct `json:"includes,omitempty"`
	// name and group in other languages; readers of none of them get those above
	Translations []TypeTranslation `json:"translations,omitempty"`
}

// NewTicketType is a ticket type as the organizer first describes it.
type NewTicketType struct {
	// a product is sold beside tickets and lets nobody in; it stays what it is
	Kind  string `json:"kind,omitempty" enum:"ticket,product" default:"ticket"`
	Name  string `json:"name" minLength:"1" maxLength:"200"` // what it is called, on one line; of a variant, such as M
	Price Money  `json:"price"`
	// how many tickets there are; absent: as many as the smallest of its quotas has
	Quantity int `json:"quantity" minimum:"0" maximum:"1000000" required:"false" default:"0"`
	// the most that one order may have; 0 means no other limit than that of all orders
	MaxPerOrder int `json:"max_per_order,omitempty" minimum:"0" maximum:"1000000" default:"0"`
	// the fewest that an order with any of them may have; 0 means one
	MinPerOrder int `json:"min_per_order,omitempty" minimum:"0" maximum:"1000000" default:"0"`
	// the most that one buyer may have, of all orders together; 0 means no such bound
	MaxPerPerson int `json:"max_per_person,omitempty" minimum:"0" maximum:"1000000" default:"0"`
	// from when on it is sold; absent: since the event was published
	SalesStart *time.Time `json:"sales_start,omitempty"`
	SalesEnd   *time.Time `json:"sales_end,omitempty"` // until when it is sold; absent: until the event ends
	// it is sold to holders of a code that unlocks it, and shown to them and to the event's team
	Hidden bool `json:"hidden,omitempty"`
	// buyers pay what they want: the price is the least
	FreePrice bool `json:"free_price,omitempty"`
	// the ids or names of quotas of the event that it draws on beside its own quantity
	Quotas []string `json:"quotas,omitempty" maxItems:"20"`
	// in its price or on top of it; absent: that of the event
	Tax Tax `json:"tax,omitzero"`
	// for how long, or for how many tickets, it has another price: the first that is open counts
	Stages []Stage `json:"stages,omitempty" maxItems:"10"`
	// of a product: whether an order has at most one for each of its tickets; absent: order, or what its group has
	Per string `json:"per,omitempty" enum:"order,ticket"`
	// of a product: no order of a buyer is without it; per ticket, it has one for each. One that is added to a group
	// that is required is so, too
	Required bool `json:"required,omitempty"`
	// of a product that is a variant: what all of them are called together, such as T-shirt. All variants have the same
	// per and required, which are about all of them together
	Group string `json:"group,omitempty" maxLength:"100"`
	// of a ticket: products that each of them comes with
	Includes []IncludeProduct `json:"includes,omitempty" maxItems:"10"`
	// name and group in other languages, which need the language of the event
	Translations []TypeTranslation `json:"translations,omitempty" maxItems:"10"`
}

// AddTicketType is the request of the endpoint of that name.
type AddTicketType struct {
	EventID ids.Event `json:"-" path:"id"`
	NewTicketType
}

// PatchTicketType is the request of UpdateTicketType. What is absent stays as it is, null clears what can be cleared.
type PatchTicketType struct {
	EventID ids.Event      `json:"-" path:"id"`
	ID      ids.TicketType `json:"-" path:"ticket_type_id"`
	// the ETag of the event that was read; if it is not the present one, nothing is changed
	IfMatch  string  `json:"-" header:"If-Match"`
	Name     *string `json:"name,omitempty" minLength:"1" maxLength:"200"` // what it is called, on one line
	Price    *Money  `json:"price,omitempty"`
	Quantity *int    `json:"quantity,omitempty" minimum:"0" maximum:"1000000"` // not less than are held and sold
	// null or 0 means no other limit than that of all orders
	MaxPerOrder codec.Patch[int] `json:"max_per_order,omitzero" minimum:"0" maximum:"1000000"`
	// null or 0 means one
	MinPerOrder codec.Patch[int] `json:"min_per_order,omitzero" minimum:"0" maximum:"1000000"`
	// null or 0 means no such bound
	MaxPerPerson codec.Patch[int]       `json:"max_per_person,omitzero" minimum:"0" maximum:"1000000"`
	SalesStart   codec.Patch[time.Time] `json:"sales_start,omitzero"` // null means since the event was published
	SalesEnd     codec.Patch[time.Time] `json:"sales_end,omitzero"`   // null means until the event ends
	Hidden       *bool                  `json:"hidden,omitempty"`     // whether only a code unlocks it
	FreePrice    *bool                  `json:"free_price,omitempty"` // whether buyers pay what they want, at least the price
	// the ids or names of quotas of the event that it draws on; null means none
	Quotas codec.Patch[[]string] `json:"quotas,omitzero" maxItems:"20"`
	// in its price or on top of it; null means that of the event
	Tax codec.Patch[Tax] `json:"tax,omitzero"`
	// replaces all stages; one with an id stays the same stage, with what was sold of it. Null means none
	Stages codec.Patch[[]Stage] `json:"stages,omitzero" maxItems:"10"`
	// of a product, and of all variants of its group: whether an order has at most one for each of its tickets
	Per *string `json:"per,omitempty" enum:"order,ticket"`
	// of a product, and of all variants of its group: whether no order of a buyer is without it
	Required *bool `json:"required,omitempty"`
	// of a product: of what it is a variant; null means of none. In another group it is as that has it
	Group codec.Patch[string] `json:"group,omitzero" maxLength:"100"`
	// of a ticket: replaces all products that each of them comes with; null means none. Orders keep what they have
	Includes codec.Patch[[]IncludeProduct] `json:"includes,omitzero" maxItems:"10"`
	// replaces all translations; null means none
	Translations codec.Patch[[]TypeTranslation] `json:"translations,omitzero" maxItems:"10"`
}

// IsProduct reports whether it is sold beside tickets and lets nobody in.
func (t *TicketType) IsProduct() bool { return t.Kind == KindProduct }

// Title returns what documents call it: a variant with its group before it.
func (t *TicketType) Title() string {
	if t.Group == "" {
		return t.Name
	}
	return t.Group + ", " + t.Name
}

// Product is what an event sells beside tickets, with all of its variants.
type Product struct {
	Name     string // of the group, or of the only variant
	Per      string
	Required bool
	Variants []TicketType
}

// Has reports whether a ticket type is one of the variants.
func (p *Product) Has(id ids.TicketType) bool {
	return slices.ContainsFunc(p.Variants, func(t TicketType) bool { return t.ID == id })
}

// Products returns what the event sells beside tickets, in the order of the first variants.
func (e *Event) Products() (all []Product) {
	for _, t := range e.TicketTypes {
		if !t.IsProduct() {
			continue
		}
		i := slices.IndexFunc(all, func(p Product) bool { return t.Group != "" && p.Variants[0].Group == t.Group })
		if i >= 0 {
			all[i].Variants = append(all[i].Variants, t)
			continue
		}
		p := Product{Name: t.Name, Per: t.Per, Required: t.Required, Variants: []TicketType{t}}
		if t.Group != "" {
			p.Name = t.Group
		}
		all = append(all, p)
	}
	return all
}

// TicketsFirst returns the items of an order of the event with those that let people in first, as its lines and its
// tickets stand.
func (e *Event) TicketsFirst(items []NewOrderItem) []NewOrderItem {
	product := func(i NewOrderItem) int {
		if t := e.TicketType(i.TicketTypeID); t != nil && t.IsProduct() {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(items), func(a, b NewOrderItem) int { return product(a) - product(b) })
}

// Tickets returns the types of the event that let people in.
func (e *Event) Tickets() []TicketType {
	return slices.DeleteFunc(slices.Clone(e.TicketTypes), func(t TicketType) bool { return t.IsProduct() })
}

// TicketTypeRef names a ticket type in a path.
type TicketTypeRef struct {
	EventID ids.Event      `json:"-" path:"id"`
	ID      ids.TicketType `json:"-" path:"ticket_type_id"`
}

// Quota is a number of tickets that several ticket types share, such as the seats of a hall.
type Quota struct {
	ID       ids.Quota `json:"id,omitempty"`                           // absent in a request: a new one
	Name     string    `json:"name" minLength:"1" maxLength:"200"`     // what it is called, on one line
	Capacity int       `json:"capacity" minimum:"0" maximum:"1000000"` // the most tickets of all types that draw on it
}

// NewQuota is a quota as the organizer first describes it.
type NewQuota struct {
	Name     string `json:"name" minLength:"1" maxLength:"200"`     // what it is called, on one line
	Capacity int    `json:"capacity" minimum:"0" maximum:"1000000"` // the most tickets of all types that draw on it
}

// QuotaShare is a quota as the inventory knows it: how much it has, and which ticket types draw on it.
type QuotaShare struct {
	ID       ids.Quota        `json:"id"`
	Capacity int              `json:"capacity"`
	Types    []ids.TicketType `json:"types"`
}

// ServedBy reports whether tickets of a type come with one of the variants.
func (p *Product) ServedBy(t *TicketType) bool {
	return slices.ContainsFunc(t.Includes, func(i IncludedProduct) bool { return p.Has(i.TicketTypeID) })
}

// IncludedIn returns the ticket types that come with a product.
func (e *Event) IncludedIn(product ids.TicketType) (all []*TicketType) {
	for i := range e.TicketTypes {
		t := &e.TicketTypes[i]
		if slices.ContainsFunc(t.Includes, func(p IncludedProduct) bool { return p.TicketTypeID == product }) {
			all = append(all, t)
		}
	}
	return all
}

// Hides reports whether the event has ticket types that only a code unlocks.
func (e *Event) Hides() bool {
	return slices.ContainsFunc(e.TicketTypes, func(t TicketType) bool { return t.Hidden })
}

// Shown returns the event as those see it who are not in its team: without what is hidden. A hidden product stays that
// a ticket in sight comes with, because buyers read what they get; it is not sold to them alone.
func (e *Event) Shown() Event {
	shown := *e
	shown.TicketTypes = slices.DeleteFunc(slices.Clone(e.TicketTypes), func(t TicketType) bool {
		seen := func(of *TicketType) bool { return !of.Hidden }
		return t.Hidden && !slices.ContainsFunc(e.IncludedIn(t.ID), seen)
	})
	return shown
}

// QuotaShares returns the quotas of the event with the ticket types that draw on each, in the event's order.
func (e *Event) QuotaShares() []QuotaShare {
	shares := make([]QuotaShare, len(e.Quotas))
	for i, q := range e.Quotas {
		shares[i] = QuotaShare{ID: q.ID, Capacity: q.Capacity, Types: []ids.TicketType{}}
		for _, t := range e.TicketTypes {
			if slices.Contains(t.Quotas, q.ID) {
				shares[i].Types = append(shares[i].Types, t.ID)
			}
		}
	}
	return shares
}

// Stage is another price of a ticket type, for a time, for a number of tickets, or both: early bird, the last days. The
// first stage of a type that is open and has room for all tickets of an order is what they cost; without one it is the
// price of the type.
type Stage struct {
	ID    ids.Stage  `json:"id,omitempty"`                       // absent in a request: a new one
	Name  string     `json:"name" minLength:"1" maxLength:"100"` // what buyers read, such as Early bird
	Price Money      `json:"price"`
	From  *time.Time `json:"from,omitempty"`  // from when on; absent: since the type is on sale
	Until *time.Time `json:"until,omitempty"` // until when; absent: as long as the type is on sale
	// for how many tickets, those of unpaid orders included; 0 means no such bound
	Quantity int `json:"quantity,omitempty" minimum:"0" maximum:"1000000"`
	// the name in other languages, which need the language of the event
	Translations []StageTranslation `json:"translations,omitempty" maxItems:"10"`
}

// IsOpen reports whether the stage is open at a time, as far as that decides.
func (s *Stage) IsOpen(now time.Time) bool {
	return (s.From == nil || !now.Before(*s.From)) && (s.Until == nil || now.Before(*s.Until))
}

// StageFor returns the stage at whose price so many tickets of the type are sold at a time, or nil if that is the price
// of the type. left tells how many tickets a stage with a quantity has left.
func (t *TicketType) StageFor(now time.Time, tickets int, left func(*Stage) int) *Stage {
	for i := range t.Stages {
		if s := &t.Stages[i]; s.IsOpen(now) && (s.Quantity == 0 || left(s) >= tickets) {
			return s
		}
	}
	return nil
}

// PriceAt returns the price of the type at a stage, or without one.
func (t *TicketType) PriceAt(s *Stage) Money {
	if s == nil {
		return t.Price
	}
	return s.Price
}

// StageOnSale is the stage at whose price a ticket type is sold.
type StageOnSale struct {
	ID    ids.Stage  `json:"id"`
	Name  string     `json:"name"`            // what buyers read
	Until *time.Time `json:"until,omitempty"` // when it ends, if that has a time
	Left  int        `json:"left,omitempty"`  // how many tickets there are at its price; absent: as many as there are
}

// NextPrice is what a ticket type costs after the stage that is on sale, or from some time on.
type NextPrice struct {
	ID    ids.Stage  `json:"id,omitempty"`   // of the stage; absent: it is the price of the type
	Name  string     `json:"name,omitempty"` // of the stage
	Price Money      `json:"price"`
	From  *time.Time `json:"from,omitempty"` // absent: once the tickets of the stage before are sold
}

// NextAfter returns what the type costs after the stage that is on sale at a time, or nil if nothing is known of that.
func (t *TicketType) NextAfter(on *Stage, now time.Time, left func(*Stage) int) *NextPrice {
	var from *time.Time
	at := now
	switch {
	case on == nil: // the stage that begins next
		for i := range t.Stages {
			if b := t.Stages[i].From; b != nil && b.After(now) && (from == nil || b.Before(*from)) {
				from = b
			}
		}
		if from == nil {
			return nil
		}
		at = *from
	case on.Quantity > 0:
	case on.Until != nil:
		from, at = on.Until, *on.Until
	default:
		return nil
	}
	next := t.StageFor(at, 1, func(s *Stage) int {
		if s == on {
			return 0
		}
		return left(s)
	})
	if next == on {
		return nil
	}
	n := &NextPrice{Price: t.PriceAt(next), From: from}
	if next != nil {
		n.ID, n.Name = next.ID, next.Name
	}
	return n
}

// Staged reports whether a ticket type of the event has stages.
func (e *Event) Staged() bool {
	for i := range e.TicketTypes {
		if len(e.TicketTypes[i].Stages) > 0 {
			return true
		}
	}
	return false
}
