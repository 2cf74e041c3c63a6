package notification

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"rsc.io/qr"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The measures of a ticket page, in points. Everything is black or grey: it is printed at home.
const (
	pageMargin = 56.0
	codeSize   = 220.0 // of the QR code, with the light edge that readers need
	codeEdge   = 4     // of it, in modules
	labelSize  = 9.0
	valueSize  = 13.0
)

func black() document.Color { return document.Color{} }
func grey() document.Color  { return document.Color{R: 90, G: 90, B: 90} }

// printed is what stands on the pages of tickets.
type printed struct {
	lang    string
	event   *eventFacts // nil if it is not known
	order   *api.Order  // nil if it is not known; then no price is shown
	owner   string      // holds the tickets that name no holder
	tickets []api.Ticket
	codes   []*qr.Code // of the tickets
	made    time.Time
}

// encoded returns the QR codes of tickets.
func encoded(tickets []api.Ticket) ([]*qr.Code, error) {
	codes := make([]*qr.Code, len(tickets))
	for i, t := range tickets {
		code, err := qr.Encode(t.Code, qr.M)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the code of %s cannot be drawn", t.ID)
		}
		codes[i] = code
	}
	return codes, nil
}

// ticketPages writes tickets as one PDF, each on a page of its own.
func (s *Service) ticketPages(p printed) ([]byte, error) {
	pages := make([]*document.Drawing, len(p.tickets))
	for i := range p.tickets {
		page, err := s.ticketPage(p, i)
		if err != nil {
			return nil, err
		}
		pages[i] = page
	}
	title, err := s.texts.part(p.lang, "order_paid.subject", s.texts.view(p.lang, "", facts{Event: p.event}))
	if err != nil {
		return nil, err
	}
	return document.PDF(title, p.made, pages...)
}

// ticketPage draws one ticket.
func (s *Service) ticketPage(p printed, n int) (*document.Drawing, error) {
	t := p.tickets[n]
	d := &document.Drawing{Width: document.A4Width, Height: document.A4Height}
	w := writer{fonts: s.fonts, d: d, y: pageMargin}
	width := d.Width - 2*pageMargin

	d.Rect(pageMargin, w.y, width, 3, black())
	w.y += 22
	d.Text(pageMargin, w.y, s.fonts.Line(s.from.Name, document.Style{Size: 10}), grey())
	d.TextRight(d.Width-pageMargin, w.y, s.fonts.Line(fmt.Sprintf("%d / %d", n+1, len(p.tickets)), document.Style{Size: 10}), grey())
	w.y += 26
	v := s.texts.view(p.lang, cmp.Or(t.Holder.Name, p.owner), facts{Event: p.event})
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
	drawCode(d, p.codes[n], d.Width-pageMargin-codeSize, top)
	column := width - codeSize - 24
	rows := []pair{{"type", oneLine(t.TypeName)}, {"price", price(p.lang, p.order, t.TicketTypeID)}, {"holder", v.Name},
		{"order", t.OrderID.String()}, {"number", t.ID.String()}}
	for _, row := range rows {
		if row.Value == "" {
			continue
		}
		label, err := s.texts.part(p.lang, "label."+row.Label, v)
		if err != nil {
			return nil, err
		}
		w.text(pageMargin, column, label, document.Style{Size: labelSize}, 1)
		w.text(pageMargin, column, row.Value, document.Style{Size: valueSize, Bold: row.Label == "type" || row.Label == "holder"}, 3)
		w.y += 9
	}
	w.y = max(w.y, top+codeSize) + 16
	label, err := s.texts.part(p.lang, "label.code", v)
	if err != nil {
		return nil, err
	}
	w.text(pageMargin, width, label, document.Style{Size: labelSize}, 1)
	w.text(pageMargin, width, t.Code, document.Style{Size: 10}, 8)
	w.y += 12
	d.Rect(pageMargin, w.y, width, 0.8, grey())
	w.y += 22
	note, err := s.texts.part(p.lang, "ticket.note", v)
	if err != nil {
		return nil, err
	}
	w.text(pageMargin, width, note, document.Style{Size: 11}, 3)
	d.Footnote(s.fonts, pageMargin, grey())
	return d, nil
}

// writer sets lines of text below each other.
type writer struct {
	fonts *document.Fonts
	d     *document.Drawing
	y     float64 // the top of what comes next
}

// text sets text in at most so many lines of a width, labels in grey.
func (w *writer) text(x, width float64, text string, style document.Style, most int) {
	color := black()
	if style.Size == labelSize {
		color = grey()
	}
	for _, line := range w.fonts.Wrap(text, style, width, most) {
		w.y += style.Size
		w.d.Text(x, w.y, line, color)
		w.y += style.Size * 0.3
	}
}

// drawCode draws a QR code with its light edge. Dark modules beside each other are one rectangle: no printer leaves a gap.
func drawCode(d *document.Drawing, code *qr.Code, x, y float64) {
	module := codeSize / float64(code.Size+2*codeEdge)
	for row := range code.Size {
		for from := 0; from < code.Size; from++ {
			to := from
			for to < code.Size && code.Black(to, row) {
				to++
			}
			if to > from {
				d.Rect(x+module*float64(from+codeEdge), y+module*float64(row+codeEdge), module*float64(to-from), module*1.02, black())
				from = to
			}
		}
	}
}

// price returns what a ticket of the type cost in an order.
func price(lang string, o *api.Order, t ids.TicketType) string {
	if o == nil {
		return ""
	}
	i := slices.IndexFunc(o.Items, func(item api.OrderItem) bool { return item.TicketTypeID == t })
	if i < 0 {
		return ""
	}
	return o.Items[i].UnitPrice.In(lang)
}

// getTicketPages returns the tickets that the caller holds of an order, as the mail brings them.
func (s *Service) getTicketPages(ctx context.Context, req *api.OrderRef) (*rpc.Blob, error) {
	user := callerOf(ctx)
	tickets, err := s.held(ctx, api.HeldTickets{UserID: user, OrderID: req.ID})
	if err != nil {
		return nil, err
	}
	if len(tickets) == 0 {
		return nil, fault.New(fault.NotFound, "there are no valid tickets of this order")
	}
	about, err := s.about(ctx, tickets[0].EventID)
	if err != nil {
		return nil, err
	}
	contact, err := s.people.Do(ctx, user)
	if err != nil {
		return nil, err
	}
	p := printed{lang: s.texts.language(contact.Language), event: about.Event, owner: contact.Name, tickets: tickets, made: s.Now()}
	if p.codes, err = encoded(tickets); err != nil {
		return nil, err
	}
	if p.order, err = s.paidOrder(ctx, req.ID, user); err != nil {
		return nil, err
	}
	data, err := s.ticketPages(p)
	if err != nil {
		return nil, err
	}
	return &rpc.Blob{ContentType: "application/pdf", Filename: ticketFile(req.ID), Data: data}, nil
}

func ticketFile(order ids.Order) string { return "tickets-" + order.String() + ".pdf" }

// paidOrder returns an order as its buyer was told that it is paid, and nil if that was not heard of yet.
func (s *Service) paidOrder(ctx context.Context, id ids.Order, user ids.User) (*api.Order, error) {
	var told []string
	err := s.DB.Read().NewRaw("SELECT facts FROM messages WHERE id = ?", messageID(orderCause("order_paid", id), user)).Scan(ctx, &told)
	if err != nil || len(told) == 0 {
		return nil, err
	}
	var f facts
	if err := json.Unmarshal([]byte(told[0]), &f); err != nil {
		return nil, err
	}
	return f.Order, nil
}
