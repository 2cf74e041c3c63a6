package invoices

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/locale"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The measures of a page, in points.
const (
	margin  = 56.0
	size    = 9.5
	leading = 13.0
	bottom  = document.A4Height - 90 // where a page is full
)

func black() document.Color { return document.Color{} }
func grey() document.Color  { return document.Color{R: 90, G: 90, B: 90} }

// Writer writes documents as PDF. It is safe for concurrent use.
type Writer struct {
	fonts *document.Fonts
	match locale.Matcher
}

// NewWriter returns a writer.
func NewWriter(log *slog.Logger) (*Writer, error) {
	fonts, err := document.NewFonts(document.FontConfig{Log: log})
	return &Writer{fonts: fonts, match: locale.NewMatcher()}, err
}

// PDF writes a document in the language of its seller. What everything is called in that of the reader stands beside
// it, or else in another one of the event. What the event and its tickets are called there is what it was at the issue.
func (w *Writer) PDF(doc *api.Invoice, reader string) (*rpc.Blob, error) {
	own := w.match.Language(cmp.Or(doc.Seller.Language, ours(doc.Language), reader))
	p := page{Writer: w, doc: doc, own: wordsOf(own), lang: own}
	if other := w.other(doc, own, reader); other != "" {
		words := wordsOf(other)
		p.other, p.otherLang = &words, other
	}
	p.begin()
	p.head()
	p.lines()
	p.sums()
	p.foot()
	data, err := document.PDF(p.title()+" "+doc.Number, doc.IssuedAt, p.pages...)
	return &rpc.Blob{ContentType: "application/pdf", Filename: doc.Number + ".pdf", Data: data}, err
}

// other returns the second language of a document, or "".
func (w *Writer) other(doc *api.Invoice, own, reader string) string {
	if reader != "" {
		if other := w.match.Language(reader); other != own {
			return other
		}
	}
	if len(doc.Translations) == 0 {
		return ""
	}
	if first := ours(doc.Language); first != own && first != "" {
		return first
	}
	for _, t := range doc.Translations {
		if first := ours(t.Language); first != own && first != "" {
			return first
		}
	}
	return ""
}

// ours returns a language if there are words in it, otherwise "".
func ours(language string) string {
	if locale.Is(language) {
		return language
	}
	return ""
}

// page is the pages of a document that is being written.
type page struct {
	*Writer
	doc             *api.Invoice
	own             words
	other           *words // nil: the document is in one language
	lang, otherLang string

	pages []*document.Drawing
	d     *document.Drawing
	y     float64 // of the baseline that was written last
}

func (p *page) begin() {
	p.d = &document.Drawing{Width: document.A4Width, Height: document.A4Height}
	p.pages = append(p.pages, p.d)
	p.y = margin
}

// room begins another page if there is none for so much.
func (p *page) room(height float64) {
	if p.y+height > bottom {
		p.begin()
	}
}

// both returns a word in the languages of the document.
func (p *page) both(of func(words) string) string {
	if p.other == nil || of(*p.other) == of(p.own) {
		return of(p.own)
	}
	return of(p.own) + " / " + of(*p.other)
}

// under returns what something on the document is called in another of its languages, or "" if that is no other name.
func (p *page) under(name string, of func(api.InvoiceTranslation) string) string {
	for _, language := range []string{p.otherLang, p.lang} {
		for _, t := range p.doc.Translations {
			if in := of(t); t.Language == language && in != "" && in != name {
				return in
			}
		}
	}
	return ""
}

// lineIn returns what a line is called in a language, or "".
func lineIn(t api.InvoiceTranslation, line int) string {
	if line >= len(t.Lines) {
		return ""
	}
	return t.Lines[line]
}

func (p *page) title() string {
	return p.both(func(w words) string {
		if p.doc.Kind == api.CreditNote {
			return w.creditNote
		}
		return w.invoice
	})
}

func (p *page) text(x float64, s string, style document.Style, c document.Color) {
	p.d.Text(x, p.y, p.fonts.Line(s, style), c)
}

func (p *page) right(x float64, s string, style document.Style) {
	p.d.TextRight(x, p.y, p.fonts.Line(s, style), black())
}

// block writes lines below each other and returns where they end.
func (p *page) block(x, y, width float64, s string) float64 {
	for _, line := range p.wrap(s, width) {
		p.d.Text(x, y, line, black())
		y += leading
	}
	return y
}

// wrap breaks lines into lines of a width.
func (p *page) wrap(s string, width float64) (lines []document.Text) {
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, p.fonts.Wrap(line, document.Style{Size: size}, width, 12)...)
	}
	return lines
}

// date writes a day as the languages of the document do.
func (p *page) date(day string) string {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return day
	}
	own := locale.Date(p.lang, t)
	if p.other == nil {
		return own
	}
	return own + " / " + locale.Date(p.otherLang, t)
}

// head writes who sells to whom, and what this is.
func (p *page) head() {
	const half = 260.0
	doc := p.doc
	p.y += 6
	p.text(margin, doc.Seller.LegalName, document.Style{Size: 13, Bold: true}, black())
	left := p.block(margin, p.y+17, half, doc.Seller.Address+"\n"+doc.Seller.Country)
	if doc.Buyer != nil {
		left += 18
		p.y = left
		p.text(margin, p.both(func(w words) string { return w.billedTo }), document.Style{Size: 8}, grey())
		left = p.block(margin, left+leading, half, addressOf(doc.Buyer))
	}
	p.y = margin + 6
	x := margin + half + 20
	fact := func(of func(words) string, value string) {
		if value == "" {
			return
		}
		p.text(x, p.both(of), document.Style{Size: 8}, grey())
		p.y += 11
		p.y = p.block(x, p.y, document.A4Width-margin-x, value) + 4
	}
	fact(func(w words) string { return w.number }, doc.Number)
	fact(func(w words) string { return w.date }, p.date(doc.IssuedOn))
	if doc.Corrects != nil {
		fact(func(w words) string { return w.corrects }, doc.Corrects.Number+" ("+p.date(doc.Corrects.IssuedOn)+")")
	}
	fact(func(w words) string { return w.order }, doc.OrderNumber)
	fact(func(w words) string { return w.event }, strings.TrimSpace(doc.EventName+"\n"+
		p.under(doc.EventName, func(t api.InvoiceTranslation) string { return t.EventName })))
	fact(func(w words) string { return w.eventOn }, p.date(doc.EventOn))
	fact(func(w words) string { return w.taxID }, doc.Seller.TaxID)
	p.y = max(p.y, left) + 24
	p.text(margin, p.title(), document.Style{Size: 18, Bold: true}, black())
	p.y += 26
}

func addressOf(b *api.Billing) string {
	town := strings.TrimSpace(b.Postcode + " " + b.City)
	lines := []string{b.Company, b.Name, b.Street, town, b.Country, b.VATID}
	var some []string
	for _, l := range lines {
		if l != "" {
			some = append(some, l)
		}
	}
	return strings.Join(some, "\n")
}

// columns are the right ends of the columns of numbers.
func columns() [5]float64 {
	end := document.A4Width - margin
	return [5]float64{end - 270, end - 215, end - 145, end - 75, end}
}

func (p *page) tableHead() {
	style := document.Style{Size: 8, Bold: true}
	for _, w := range []*words{&p.own, p.other} {
		if w == nil {
			continue
		}
		p.text(margin, w.description, style, black())
		for i, s := range []string{w.quantity, w.rate, w.net, w.tax, w.gross} {
			p.right(columns()[i], s, style)
		}
		p.y += 11
		style.Bold = false
	}
	p.d.Rect(margin, p.y-7, document.A4Width-2*margin, 0.8, grey())
	p.y += 8
}

// amount writes an amount without its currency, which stands in the sums.
func (p *page) amount(m api.Money) string { return strings.TrimSuffix(m.In(p.lang), " "+m.Currency) }

func percent(rate string) string { return rate + " %" }

func (p *page) lines() {
	p.tableHead()
	style := document.Style{Size: size}
	for i, l := range p.doc.Lines {
		name := cmp.Or(l.Name, p.both(func(w words) string { return w.refund }))
		width := columns()[0] - margin - 30
		lines := p.fonts.Wrap(name, style, width, 4)
		under := p.under(l.Name, func(t api.InvoiceTranslation) string { return lineIn(t, i) })
		var below []document.Text
		if under != "" {
			below = p.fonts.Wrap(under, style, width, 4)
		}
		before := p.d
		if p.room(float64(len(lines)+len(below)) * leading); p.d != before {
			p.tableHead()
		}
		for i, v := range []string{fmt.Sprint(l.Quantity), percent(l.Rate), p.amount(l.Net), p.amount(l.Tax),
			p.amount(l.Gross)} {
			p.right(columns()[i], v, style)
		}
		for _, line := range lines {
			p.d.Text(margin, p.y, line, black())
			p.y += leading
		}
		for _, line := range below {
			p.d.Text(margin, p.y, line, grey())
			p.y += leading
		}
		p.y += 2
	}
}

func (p *page) sums() {
	p.room(float64(len(p.doc.Taxes)+3)*leading + 40)
	p.d.Rect(margin, p.y-6, document.A4Width-2*margin, 0.8, grey())
	p.y += 10
	style := document.Style{Size: size}
	row := func(label string, net, tax, gross api.Money) {
		p.d.TextRight(columns()[1], p.y, p.fonts.Line(label, style), black())
		for i, m := range []api.Money{net, tax, gross} {
			p.right(columns()[2+i], p.amount(m), style)
		}
		p.y += leading
	}
	for _, t := range p.doc.Taxes {
		name := t.Name
		if t.ReverseCharge {
			name = p.own.reverse
		}
		row(strings.TrimSpace(name+" "+percent(t.Rate)), t.Net, t.Tax, t.Gross)
	}
	style.Bold = true
	p.y += 3
	row(p.both(func(w words) string { return w.total })+" "+p.doc.Gross.Currency, p.doc.Net, p.doc.Tax, p.doc.Gross)
	p.y += 16
	thanks := p.both(func(w words) string {
		if p.doc.Kind == api.CreditNote {
			return w.returned
		}
		return w.paid
	})
	reverse := ""
	if reversed(p.doc) {
		reverse = p.both(func(w words) string { return w.reverse })
	}
	for _, s := range []string{reverse, thanks, p.doc.Note} {
		if s == "" {
			continue
		}
		lines := p.wrap(s, document.A4Width-2*margin)
		p.room(float64(len(lines)) * leading)
		for _, line := range lines {
			p.d.Text(margin, p.y, line, black())
			p.y += leading
		}
		p.y += 6
	}
}

// reversed reports whether the buyer owes the tax of something on a document.
func reversed(doc *api.Invoice) bool {
	return slices.ContainsFunc(doc.Taxes, func(t api.TaxTotal) bool { return t.ReverseCharge })
}

// foot writes who it is from and how many pages there are on each.
func (p *page) foot() {
	from := p.doc.Seller.LegalName
	for _, s := range []string{p.doc.Seller.TaxID, p.doc.Seller.Email} {
		if s != "" {
			from += " · " + s
		}
	}
	for i, d := range p.pages {
		p.d, p.y = d, document.A4Height-50
		d.Rect(margin, p.y-12, document.A4Width-2*margin, 0.5, grey())
		p.text(margin, from, document.Style{Size: 8}, grey())
		count := fmt.Sprintf("%s · %d / %d", p.doc.Number, i+1, len(p.pages))
		d.TextRight(document.A4Width-margin, p.y, p.fonts.Line(count, document.Style{Size: 8}), grey())
		d.Footnote(p.fonts, margin, grey())
	}
}
