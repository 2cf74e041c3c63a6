package api

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// How often a fee is charged.
const (
	FeePerOrder  = "order"
	FeePerTicket = "ticket"
)

// How tax is rounded.
const (
	RoundPerLine     = "line"     // each line by itself
	RoundPerDocument = "document" // the sum of a rate; the lines show parts of it
)

// Tax is what of a price is tax, or comes on top of it. The zero value says nothing.
type Tax struct {
	Name string `json:"name,omitempty" maxLength:"50"` // what documents call it, such as VAT
	// percent, from 0 to 100 with up to three decimals
	Rate string `json:"rate" pattern:"^[0-9]{1,3}(\\.[0-9]{1,3})?$"`
	// whether prices have it in them; otherwise it comes on top
	Included bool `json:"included,omitempty"`
	// businesses of other member states of the EU pay without it and owe it themselves, if the organizer's
	// reverse_charge allows it: only for what is taxed where its buyer is, such as virtual attendance; admission to a
	// place is taxed there, for businesses too
	ReverseCharge bool `json:"reverse_charge,omitempty"`
}

// Fee is what an event charges beside its tickets, or says of their price. What costs nothing has no fee.
type Fee struct {
	Name string `json:"name" minLength:"1" maxLength:"100"` // what documents call it, on one line
	// how often it is charged; of a fee for each ticket products are left out
	Per string `json:"per" enum:"order,ticket"`
	// so much each time; either this or percent
	Amount Money `json:"amount,omitzero"`
	// of what the tickets cost, and for the order its products, too; with up to three decimals
	Percent string `json:"percent,omitempty" pattern:"^[0-9]{1,3}(\\.[0-9]{1,3})?$"`
	// it is a part of the tickets' prices, and makes nothing dearer; otherwise it comes on top
	Included bool `json:"included,omitempty"`
	// of the fee; absent: that of the event. Of one that is part of a price, tax is on top if that of the ticket is
	Tax Tax `json:"tax,omitzero"`
}

// ChargesOnTop reports whether buyers pay more for an event's tickets than the prices say.
func (e *Event) ChargesOnTop() bool {
	return slices.ContainsFunc(e.TicketTypes, func(t TicketType) bool {
		tax := e.TaxOf(&t)
		return tax.Rate != "" && !tax.Included
	}) || slices.ContainsFunc(e.Fees, func(f Fee) bool { return !f.Included })
}

// OwedByBusinesses reports whether businesses of other member states of the EU may owe the tax of something themselves.
func (e *Event) OwedByBusinesses() bool {
	return e.Tax.ReverseCharge || slices.ContainsFunc(e.TicketTypes, func(t TicketType) bool {
		return t.Tax.ReverseCharge
	}) || slices.ContainsFunc(e.Fees, func(f Fee) bool { return f.Tax.ReverseCharge })
}

// TaxOf returns the tax of a ticket type: its own, or that of the event.
func (e *Event) TaxOf(t *TicketType) Tax {
	if t.Tax.Rate != "" {
		return t.Tax
	}
	return e.Tax
}

// IncludedProduct is a product that each ticket of a type comes with. Its price is a part of the ticket's.
type IncludedProduct struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id"`                    // of the product, or of a variant
	Quantity     int            `json:"quantity" minimum:"1" maximum:"20"` // how many, with each ticket
	// what each of them is of the ticket's price, taxed as the product is; the rest is taxed as the ticket
	Price Money `json:"price"`
}

// IncludeProduct is an IncludedProduct as the organizer describes it.
type IncludeProduct struct {
	// the id of a product of the event, or its name; of a variant with the group before it, such as T-shirt, M
	TicketTypeID string `json:"ticket_type_id" minLength:"1" maxLength:"302"`
	// how many, with each ticket; of all products together at most 20
	Quantity int `json:"quantity" minimum:"1" maximum:"20" required:"false" default:"1"`
	// what each of them is of the ticket's price. All together they are no more than the price of the ticket and of
	// any of its stages
	Price Money `json:"price"`
}

// OrderItem is a line of an order. Its tickets cost quantity times unit_price less the discount; tax has what of that
// is tax, or comes on top. Products that come with tickets have lines of their own, at their part of the price, and the
// line of the tickets has the rest.
type OrderItem struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	// a product lets nobody in; those stand after the tickets. Absent: tickets
	Kind    string    `json:"kind,omitempty" enum:"ticket,product"`
	Name    string    `json:"name"`               // of the ticket type, when the order was made
	StageID ids.Stage `json:"stage_id,omitempty"` // at whose price it was sold
	Stage   string    `json:"stage,omitempty"`    // what that is called
	// the tickets that the products came with, equally many with each, in the order of the tickets; absent: they were
	// bought by themselves
	IncludedInID ids.TicketType `json:"included_in_id,omitempty"`
	IncludedIn   string         `json:"included_in,omitempty"` // what that type was called
	Quantity     int            `json:"quantity" minimum:"1"`  // how many tickets
	UnitPrice    Money          `json:"unit_price"`
	Discount     Money          `json:"discount,omitzero"` // off all tickets of the line together
	// what of the price is fees, which have lines of their own and are not in the sums of tax
	IncludedFees Money      `json:"included_fees,omitzero"`
	Tax          *LineTotal `json:"tax,omitempty"` // absent: the order has no tax
}

// IsProduct reports whether the line lets nobody in.
func (i OrderItem) IsProduct() bool { return i.Kind == KindProduct }

// Title returns what documents call the line: the ticket type, and the stage at whose price it was sold, or the tickets
// that it came with.
func (i OrderItem) Title() string {
	switch {
	case i.IncludedInID != "":
		return i.Name + " (" + i.IncludedIn + ")"
	case i.Stage != "":
		return i.Name + ", " + i.Stage
	}
	return i.Name
}

// LineAt returns which line the ticket at a position in an order is of, and which of its tickets it is, from 0 on.
func LineAt(items []OrderItem, position int) (line, n int, ok bool) {
	for i, item := range items {
		if position < item.Quantity {
			return i, position, true
		}
		position -= item.Quantity
	}
	return 0, 0, false
}

// Included calls back with each line of products that came with the tickets of a line, and how many with each of them.
func Included(items []OrderItem, line int, f func(line, each int)) {
	of := items[line]
	if of.IsProduct() || of.Quantity == 0 {
		return
	}
	for i, item := range items {
		if item.IncludedInID == of.TicketTypeID {
			f(i, item.Quantity/of.Quantity)
		}
	}
}

// OrderFee is a fee of an order: of all of it, or of the tickets of one line.
type OrderFee struct {
	Name         string         `json:"name"`                     // when the order was made
	TicketTypeID ids.TicketType `json:"ticket_type_id,omitempty"` // whose tickets it is charged for; absent: the order
	Quantity     int            `json:"quantity" minimum:"1"`     // how often it is charged
	Amount       Money          `json:"amount"`                   // of all together, before tax that comes on top
	Included     bool           `json:"included,omitempty"`       // it is a part of the tickets' prices
	Tax          *LineTotal     `json:"tax,omitempty"`            // absent: the order has no tax
}

// LineTotal is a line with its tax: net + tax = gross.
type LineTotal struct {
	Name string `json:"name,omitempty"` // what the tax is called
	Rate string `json:"rate"`           // percent
	// whether the price had it in it
	Included bool `json:"included,omitempty"`
	// the buyer owes the tax: the rate is 0, and of a price that has the tax in it only the net is paid
	ReverseCharge bool  `json:"reverse_charge,omitempty"`
	Net           Money `json:"net"`
	Tax           Money `json:"tax"`
	Gross         Money `json:"gross"`
}

// TaxTotal is what a document has of one rate: net + tax = gross, each the sum of its lines.
type TaxTotal struct {
	Name string `json:"name,omitempty"` // what the tax is called
	Rate string `json:"rate"`           // percent
	// the buyer owes the tax: no other total of rate 0 has these lines
	ReverseCharge bool  `json:"reverse_charge,omitempty"`
	Net           Money `json:"net"`
	Tax           Money `json:"tax"`
	Gross         Money `json:"gross"`
}

// Has reports whether a line is one of those whose sum the total is.
func (t TaxTotal) Has(l *LineTotal) bool {
	return l != nil && l.Rate == t.Rate && l.ReverseCharge == t.ReverseCharge
}

// Cost returns what the tickets of the line cost together by their price, in minor units: without tax that comes on
// top, and with fees that are a part of it.
func (i OrderItem) Cost() int64 { return i.UnitPrice.Amount*int64(i.Quantity) - i.Discount.Amount }

// Gross returns what is paid for the tickets of the line together, in minor units, fees aside.
func (i OrderItem) Gross() int64 {
	if i.Tax != nil {
		return i.Tax.Gross.Amount
	}
	return i.Cost() - i.IncludedFees.Amount
}

// Gross returns what is paid for the fee, in minor units.
func (f OrderFee) Gross() int64 {
	if f.Tax != nil {
		return f.Tax.Gross.Amount
	}
	return f.Amount.Amount
}

// GrossOf returns what is paid for the nth ticket of the line, counted from 0, in minor units, fees aside: those of all
// are that of the line, and no two differ by more than one unit.
func (i OrderItem) GrossOf(n int) int64 { return nth(i.Gross(), i.Quantity, n) }

// GrossOf returns what is paid of the fee for the nth of its tickets, as that of an item does.
func (f OrderFee) GrossOf(n int) int64 { return nth(f.Gross(), f.Quantity, n) }

func nth(sum int64, of, n int) int64 {
	each, rest := sum/int64(of), sum%int64(of)
	if int64(n) < rest {
		return each + 1
	}
	return each
}

// PaidFor returns what is paid for the nth ticket of a line, counted from 0, with the fees of the ticket, in minor
// units: what a refund of it gives back. Fees of the whole order are no ticket's.
func (o *Order) PaidFor(line, n int) int64 {
	sum := o.Items[line].GrossOf(n)
	for _, f := range o.Fees {
		if f.TicketTypeID == o.Items[line].TicketTypeID {
			sum += f.GrossOf(n)
		}
	}
	return sum
}

// The kinds of what a bill has beside its items.
const (
	BillFee         = "fee"          // comes on top
	BillTax         = "tax"          // comes on top
	BillIncludedTax = "included_tax" // is in what is above, and adds nothing

	// is in what is above and not paid, so that it is 0 or less: the buyer owes the tax to the authorities
	BillReverseCharge = "reverse_charge"
)

// BillLine is what a bill has beside its items.
type BillLine struct {
	Kind   string
	Name   string // of the fee or tax, as far as it has one
	Rate   string // of a tax, percent
	Amount Money
}

// Extras returns what the bill of an order has beside its items and the discount: with those, all lines but the kind
// BillIncludedTax add up to the total.
func (o *Order) Extras() []BillLine {
	var onTop, included []BillLine
	owed := BillLine{Kind: BillReverseCharge, Amount: Money{Currency: o.Total.Currency}}
	for _, item := range o.Items {
		onTop, included = addTax(onTop, included, item.Tax)
		if item.Tax != nil && item.Tax.ReverseCharge {
			owed.Amount.Amount += item.Tax.Gross.Amount - (item.Cost() - item.IncludedFees.Amount)
		}
	}
	var all []BillLine
	for _, f := range o.Fees {
		onTop, included = addTax(onTop, included, f.Tax)
		if f.Tax != nil && f.Tax.ReverseCharge {
			owed.Amount.Amount += f.Tax.Gross.Amount - f.Amount.Amount
		}
		if f.Included {
			continue
		}
		i := slices.IndexFunc(all, func(l BillLine) bool { return l.Name == f.Name })
		if i < 0 {
			i = len(all)
			all = append(all, BillLine{Kind: BillFee, Name: f.Name, Amount: Money{Currency: f.Amount.Currency}})
		}
		all[i].Amount.Amount += f.Amount.Amount
	}
	if o.ReverseCharge {
		all = append(all, owed)
	}
	return append(append(all, onTop...), included...)
}

func addTax(onTop, included []BillLine, t *LineTotal) ([]BillLine, []BillLine) {
	if t == nil || t.Tax.Amount == 0 {
		return onTop, included
	}
	list, kind := &onTop, BillTax
	if t.Included {
		list, kind = &included, BillIncludedTax
	}
	i := slices.IndexFunc(*list, func(l BillLine) bool { return l.Rate == t.Rate && l.Name == t.Name })
	if i < 0 {
		i = len(*list)
		*list = append(*list, BillLine{Kind: kind, Name: t.Name, Rate: t.Rate, Amount: Money{Currency: t.Tax.Currency}})
	}
	(*list)[i].Amount.Amount += t.Tax.Amount
	return onTop, included
}
