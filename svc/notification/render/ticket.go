package render

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
)

// The measures of a ticket page, in points. Everything is black or grey: it is printed at home.
const (
	pageMargin = 56.0
	codeSize   = 220.0 // of the QR code, with the light edge that readers need
	labelSize  = 9.0
	valueSize  = 13.0
)

func black() document.Color { return document.Color{} }
func grey() document.Color  { return document.Color{R: 90, G: 90, B: 90} }

// Tickets is what stands on the pages of tickets.
type Tickets struct {
	Language string
	Event    *Event     // nil if it is not known
	Order    *api.Order // nil if it is not known; then no price is shown
	Owner    string     // holds the tickets that name no holder
	Tickets  []api.Ticket
	Codes    []*document.QR // of the tickets
	Made     time.Time
}

// Codes returns the QR codes of tickets.
func Codes(tickets []api.Ticket) ([]*document.QR, error) {
	codes := make([]*document.QR, len(tickets))
	for i, t := range tickets {
		code, err := document.NewQR(t.Code)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the code of %s cannot be drawn", t.ID)
		}
		codes[i] = code
	}
	return codes, nil
}

// TicketsPDF writes tickets as one PDF, each on a page of its own.
func (c *Catalogue) TicketsPDF(p Tickets) ([]byte, error) {
	pages := make([]*document.Drawing, len(p.Tickets))
	for i := range p.Tickets {
		page, err := c.ticketPage(p, i)
		if err != nil {
			return nil, err
		}
		pages[i] = page
	}
	title, err := c.part(p.Language, "order_paid.subject", c.View(p.Language, "", Facts{Event: p.Event}))
	if err != nil {
		return nil, err
	}
	return document.PDF(title, p.Made, pages...)
}

// ticketPage draws one ticket.
func (c *Catalogue) ticketPage(p Tickets, n int) (*document.Drawing, error) {
	t := p.Tickets[n]
	d := &document.Drawing{Width: document.A4Width, Height: document.A4Height}
	w := writer{fonts: c.fonts, d: d, y: pageMargin}
	width := d.Width - 2*pageMargin

	d.Rect(pageMargin, w.y, width, 3, black())
	w.y += 22
	d.Text(pageMargin, w.y, c.fonts.Line(c.sender, document.Style{Size: 10}), grey())
	count := c.fonts.Line(fmt.Sprintf("%d / %d", n+1, len(p.Tickets)), document.Style{Size: 10})
	d.TextRight(d.Width-pageMargin, w.y, count, grey())
	w.y += 26
	v := c.View(p.Language, cmp.Or(t.Holder.Name, p.Owner), Facts{Event: p.Event})
	name := t.EventName
	if v.Event.Name != "" {
		name = v.Event.Name
	}
	w.text(pageMargin, width, name, document.Style{Size: 26, Bold: true}, 3)
	w.y += 4
	w.text(pageMargin, width, v.Event.When, document.Style{Size: 14, Bold: true}, 2)
	w.text(pageMargin, width, v.Event.Where, document.Style{Size: 12}, 3)
	w.y += 14
	d.Rect(pageMargin, w.y, width, 0.8, grey())
	w.y += 24

	top := w.y
	d.QR(d.Width-pageMargin-codeSize, top, codeSize, p.Codes[n], black())
	column := width - codeSize - 24
	kind, says := "type", "ticket.note"
	if t.Kind == api.KindProduct {
		kind, says = "product", "product.note"
	}
	called := t.TypeName
	if p.Event != nil {
		called = p.Event.Called.Type(p.Language, t.TicketTypeID, called)
	}
	order := t.OrderID.String()
	if p.Order != nil && p.Order.ID == t.OrderID { // who got a ticket from another does not see the order
		order = p.Order.Called()
	}
	rows := []detail{{kind, text.OneLine(called)}, {"price", price(p.Language, p.Order, t.TicketTypeID)},
		{"holder", v.Name}, {"order", order}, {"number", t.ID.String()}}
	for _, row := range rows {
		if row.Value == "" {
			continue
		}
		label, err := c.part(p.Language, "label."+row.Label, v)
		if err != nil {
			return nil, err
		}
		w.text(pageMargin, column, label, document.Style{Size: labelSize}, 1)
		bold := row.Label == kind || row.Label == "holder"
		w.text(pageMargin, column, row.Value, document.Style{Size: valueSize, Bold: bold}, 3)
		w.y += 9
	}
	w.y = max(w.y, top+codeSize) + 16
	label, err := c.part(p.Language, "label.code", v)
	if err != nil {
		return nil, err
	}
	w.text(pageMargin, width, label, document.Style{Size: labelSize}, 1)
	w.text(pageMargin, width, t.Code, document.Style{Size: 10}, 8)
	w.y += 12
	d.Rect(pageMargin, w.y, width, 0.8, grey())
	w.y += 22
	note, err := c.part(p.Language, says, v)
	if err != nil {
		return nil, err
	}
	w.text(pageMargin, width, note, document.Style{Size: 11}, 3)
	d.Footnote(c.fonts, pageMargin, grey())
	return d, nil
}

// writer sets lines of text below each other.
type writer struct {
	fonts *document.Fonts
	d     *document.Drawing
	y     float64 // the top of what comes next
}

// text sets text in at most so many lines of a width, labels in grey.
func (w *writer) text(x, width float64, line string, style document.Style, most int) {
	color := black()
	if style.Size == labelSize {
		color = grey()
	}
	for _, line := range w.fonts.Wrap(line, style, width, most) {
		w.y += style.Size
		w.d.Text(x, w.y, line, color)
		w.y += style.Size * 0.3
	}
}

// price returns what a ticket of the type cost in an order, with the products that came with it. A product that came
// with a ticket has no price of its own.
func price(lang string, o *api.Order, t ids.TicketType) string {
	if o == nil {
		return ""
	}
	i := slices.IndexFunc(o.Items, func(item api.OrderItem) bool { return item.TicketTypeID == t })
	if i < 0 || o.Items[i].IncludedInID != "" {
		return ""
	}
	unit := func(item api.OrderItem) int64 {
		if item.Tax != nil && !item.Tax.Included { // what was paid, and not a price without its tax
			return item.GrossOf(item.Quantity - 1)
		}
		return item.UnitPrice.Amount
	}
	sum := api.Money{Amount: unit(o.Items[i]), Currency: o.Items[i].UnitPrice.Currency}
	api.Included(o.Items, i, func(line, each int) { sum.Amount += int64(each) * unit(o.Items[line]) })
	return sum.In(lang)
}
