// Package invoices makes the invoices of paid orders and the credit notes of their refunds, keeps them, and writes them
// as files. A document is written once, in the transaction that pays or refunds, with a number out of its organizer's
// series: a transaction that does not commit uses none, so that a series has no gap.
package invoices

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// untaxed is the rate of what has no tax.
const untaxed = "0"

// Row is a row of the table invoices.
type Row struct {
	bun.BaseModel `bun:"table:invoices,alias:invoices"`

	ID          ids.Invoice   `bun:"id,pk"`
	OrganizerID ids.Organizer `bun:"organizer_id"`
	Year        int           `bun:"year"`
	Number      int64         `bun:"number"`
	Prefix      string        `bun:"prefix"`
	Kind        string        `bun:"kind"`
	OrderID     ids.Order     `bun:"order_id"`
	Sequence    int           `bun:"sequence"` // among those of the order
	EventID     ids.Event     `bun:"event_id"`
	RefundID    ids.Refund    `bun:"refund_id"`
	Document    api.Invoice   `bun:"document,type:text"`
	IssuedAt    time.Time     `bun:"issued_at"`
}

// Batch collects what a transaction has to issue. Issue is the transaction's last step: who numbers has the series
// alone until the commit, and asks for nothing else meanwhile. The zero value is empty.
type Batch struct {
	rows  []Row
	zones map[string]*time.Location
}

// Issuing reports whether an organizer makes invoices of what costs so much.
func Issuing(offer *api.Offer, total int64) bool {
	return offer != nil && offer.Organizer.Selling.Invoices && total > 0
}

// Paid adds the invoice of an order that is paid, if its organizer makes any. sequence is how many documents the order
// has then.
func (b *Batch) Paid(offer *api.Offer, o api.Order, to *api.Billing, sequence int, now time.Time) {
	if !Issuing(offer, o.Total.Amount) {
		return
	}
	selling := &offer.Organizer.Selling
	doc := api.Invoice{Kind: api.InvoiceIssued, OrganizerID: offer.Event.OrganizerID, EventID: o.EventID,
		EventName: offer.Event.Name, EventOn: b.day(offer.Event.StartsAt, offer.Event.Timezone), OrderID: o.ID,
		OrderNumber: o.Number, Seller: selling.Seller, Buyer: to, Taxes: o.Taxes, Note: selling.InvoiceNote,
		Language: offer.Event.Language, Translations: translations(&offer.Event, &o)}
	doc.Seller.Timezone = cmp.Or(doc.Seller.Timezone, offer.Event.Timezone)
	for _, item := range o.Items {
		line := lineOf(item.Title(), item.Quantity, item.Tax, item.Gross(), o.Total.Currency)
		line.TicketTypeID, line.IncludedInID = item.TicketTypeID, item.IncludedInID
		doc.Lines = append(doc.Lines, line)
	}
	for _, fee := range o.Fees {
		doc.Lines = append(doc.Lines, lineOf(fee.Name, fee.Quantity, fee.Tax, fee.Gross(), o.Total.Currency))
	}
	if len(doc.Taxes) == 0 {
		doc.Taxes = []api.TaxTotal{whole(o.Total)}
	}
	b.add(doc, selling.InvoicePrefix, sequence, now)
}

// translations returns what the event and the lines of an order are called in other languages now. Fees have one name.
func translations(e *api.Event, o *api.Order) (all []api.InvoiceTranslation) {
	called := e.Called()
	for _, language := range e.Languages() {
		if language == e.Language {
			continue
		}
		t := api.InvoiceTranslation{Language: language, EventName: e.In(language).Name}
		for _, item := range o.Items {
			t.Lines = append(t.Lines, called.Item(language, item).Title())
		}
		for _, fee := range o.Fees {
			t.Lines = append(t.Lines, fee.Name)
		}
		all = append(all, t)
	}
	return all
}

// lineOf returns a line that costs gross, with its tax if it has any.
func lineOf(name string, quantity int, tax *api.LineTotal, gross int64, currency string) api.InvoiceLine {
	if tax == nil {
		t := whole(api.Money{Amount: gross, Currency: currency})
		return api.InvoiceLine{Name: name, Quantity: quantity, Rate: t.Rate, Net: t.Net, Tax: t.Tax, Gross: t.Gross}
	}
	return api.InvoiceLine{Name: name, Quantity: quantity, TaxName: tax.Name, Rate: tax.Rate,
		ReverseCharge: tax.ReverseCharge, Net: tax.Net, Tax: tax.Tax, Gross: tax.Gross}
}

// whole is an amount without tax.
func whole(amount api.Money) api.TaxTotal {
	return api.TaxTotal{Rate: untaxed, Net: amount, Tax: api.Money{Currency: amount.Currency}, Gross: amount}
}

// Issued is what an order has: its newest invoice, and how many documents there are.
type Issued struct {
	Row
	Documents int
}

// Returned is tickets that go back.
type Returned struct {
	Type     ids.TicketType
	Name     string
	Quantity int
	Tax      *api.LineTotal // of their line; nil: it has none
	With     ids.TicketType // of the tickets that they came with; "": they were bought by themselves
}

// Refund adds the credit note of a refund to the newest invoice of its order.
func (b *Batch) Refund(of Issued, due api.RefundDue, back []Returned, now time.Time) {
	issued, doc := of.Document, credit(of)
	doc.RefundID = due.RefundID
	if due.Amount == of.Document.Gross {
		b.add(doc, of.Prefix, of.Documents+1, now)
		return
	}
	if doc.Taxes, doc.Lines = due.Taxes, nil; len(doc.Taxes) == 0 {
		doc.Taxes = []api.TaxTotal{whole(due.Amount)}
	}
	doc.Translations = slices.Clone(doc.Translations)
	for i := range doc.Translations {
		doc.Translations[i].Lines = nil
	}
	for _, t := range doc.Taxes {
		of := func(r Returned) bool { return t.Has(r.Tax) || r.Tax == nil && t.Rate == untaxed && !t.ReverseCharge }
		doc.Lines = append(doc.Lines, api.InvoiceLine{Name: namesOf(back, of, Returned.name), Quantity: 1,
			TaxName: t.Name, Rate: t.Rate, ReverseCharge: t.ReverseCharge, Net: t.Net, Tax: t.Tax, Gross: t.Gross})
		for i := range doc.Translations {
			in := &doc.Translations[i]
			in.Lines = append(in.Lines, namesOf(back, of, func(r Returned) string { return r.nameIn(&issued, i) }))
		}
	}
	b.add(doc, of.Prefix, of.Documents+1, now)
}

func (r Returned) name() string { return r.Name }

// nameIn returns what the tickets are called in one of the languages of the invoice on which they were.
func (r Returned) nameIn(invoice *api.Invoice, language int) string {
	for i, l := range invoice.Lines {
		if l.TicketTypeID == r.Type && l.IncludedInID == r.With && r.Type != "" {
			return lineIn(invoice.Translations[language], i)
		}
	}
	return r.Name
}

// namesOf names the tickets of a line.
func namesOf(back []Returned, of func(Returned) bool, name func(Returned) string) string {
	var names []string
	for _, r := range back {
		if of(r) {
			names = append(names, fmt.Sprintf("%d × %s", r.Quantity, name(r)))
		}
	}
	return strings.Join(names, ", ")
}

// Cancel adds the credit note of all of an invoice that another will follow.
func (b *Batch) Cancel(of Issued, now time.Time) { b.add(credit(of), of.Prefix, of.Documents+1, now) }

// credit returns a credit note of all of an invoice.
func credit(of Issued) api.Invoice {
	doc := of.Document
	doc.Kind = api.CreditNote
	doc.Corrects = &api.InvoiceRef{ID: of.ID, Number: doc.Number, IssuedOn: doc.IssuedOn}
	return doc
}

// add adds a document, which has all but its sums and its number.
func (b *Batch) add(doc api.Invoice, prefix string, sequence int, now time.Time) {
	currency := doc.Taxes[0].Gross.Currency
	doc.Net, doc.Tax, doc.Gross = api.Money{Currency: currency}, api.Money{Currency: currency},
		api.Money{Currency: currency}
	for _, t := range doc.Taxes {
		doc.Net.Amount += t.Net.Amount
		doc.Tax.Amount += t.Tax.Amount
		doc.Gross.Amount += t.Gross.Amount
	}
	doc.ID, doc.IssuedAt = ids.New[ids.InvoiceKind](now), now.UTC()
	doc.IssuedOn = b.day(now, doc.Seller.Timezone)
	year, _ := time.Parse(time.DateOnly, doc.IssuedOn)
	b.rows = append(b.rows, Row{ID: doc.ID, OrganizerID: doc.OrganizerID, Year: year.Year(), Prefix: prefix,
		Kind: doc.Kind, OrderID: doc.OrderID, Sequence: sequence, EventID: doc.EventID, RefundID: doc.RefundID,
		Document: doc, IssuedAt: now})
}

// day returns the day of a time in a zone, that of UTC if there is no such zone.
func (b *Batch) day(at time.Time, zone string) string {
	loc := b.zones[zone]
	if loc == nil {
		var err error
		if loc, err = time.LoadLocation(zone); err != nil {
			loc = time.UTC
		}
		if b.zones == nil {
			b.zones = map[string]*time.Location{}
		}
		b.zones[zone] = loc
	}
	return at.In(loc).Format(time.DateOnly)
}

// series is what numbers are counted in.
type series struct {
	organizer ids.Organizer
	year      int
}

// Issue numbers what was collected and writes it: the last step of the transaction.
func (b *Batch) Issue(ctx context.Context, tx bun.Tx) error {
	if len(b.rows) == 0 {
		return nil
	}
	of := map[series][]int{}
	for i, r := range b.rows {
		s := series{r.OrganizerID, r.Year}
		of[s] = append(of[s], i)
	}
	// In one order, so that two transactions cannot wait for each other.
	for _, s := range slices.SortedFunc(maps.Keys(of), func(a, b series) int {
		return cmp.Or(cmp.Compare(a.organizer, b.organizer), cmp.Compare(a.year, b.year))
	}) {
		var last int64
		err := store.Select(ctx, tx, &last, `INSERT INTO invoice_counters (organizer_id, year, last) VALUES (?, ?, ?)
			ON CONFLICT (organizer_id, year) DO UPDATE SET last = invoice_counters.last + excluded.last RETURNING last`,
			s.organizer, s.year, len(of[s]))
		if err != nil {
			return err
		}
		for k, i := range of[s] {
			r := &b.rows[i]
			r.Number = last - int64(len(of[s])-1-k)
			r.Document.Number = numberOf(r.Prefix, r.Year, r.Number)
			b.linkTo(r)
		}
	}
	_, err := store.Insert(ctx, tx, b.rows, "")
	return err
}

// linkTo gives the number of an invoice to a credit note of the same transaction.
func (b *Batch) linkTo(invoice *Row) {
	for i := range b.rows {
		if c := b.rows[i].Document.Corrects; c != nil && c.ID == invoice.ID {
			c.Number = invoice.Document.Number
		}
	}
}

// numberOf writes a number: RE-2030-00042.
func numberOf(prefix string, year int, n int64) string {
	if prefix != "" && !strings.HasSuffix(prefix, "-") {
		prefix += "-"
	}
	return fmt.Sprintf("%s%d-%05d", prefix, year, n)
}
