package report

import (
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/document"
)

// The size of a picture, in points and pixels.
const (
	pictureWidth  = 960
	pictureHeight = 480
	pictureMargin = 24
)

// titleLines is in how many lines the name of an event is written at most.
const titleLines = 2

// Picture draws the charts of a report beside a title.
func (r *Report) Picture(f *document.Fonts) *document.Drawing {
	d := &document.Drawing{Width: pictureWidth, Height: pictureHeight, Title: r.title}
	d.Rect(0, 0, d.Width, d.Height, document.Color{R: 255, G: 255, B: 255})
	y := float64(pictureMargin)
	for _, l := range f.Wrap(r.title, document.Style{Size: 18, Bold: true}, d.Width-2*pictureMargin, titleLines) {
		d.Text(pictureMargin, y+14, l, chartInk)
		y += 24
	}
	y += 10
	const foot = 40 // for a footnote, too
	w := (d.Width - 2*pictureMargin - float64(len(r.charts)-1)*pictureMargin) / float64(len(r.charts))
	for i := range r.charts {
		r.charts[i].draw(d, f, pictureMargin+float64(i)*(w+pictureMargin), y, w, d.Height-y-foot, 12)
	}
	d.Footnote(f, pictureMargin, chartGrey)
	return d
}

// The measures of a page of a report, in points.
const (
	pageMargin  = 42.0
	chartHeight = 200.0
	rowHeight   = 13.0
	cellSize    = 8.0
	cellGap     = 8.0
)

// pages lays out a report on sheets of paper.
type pages struct {
	f    *document.Fonts
	all  []*document.Drawing
	y    float64 // where the next thing goes
	page *document.Drawing
}

func (p *pages) next() {
	p.page = &document.Drawing{Width: document.A4Width, Height: document.A4Height}
	p.all = append(p.all, p.page)
	p.y = pageMargin
}

// room begins a new page if there is not so much left on this one.
func (p *pages) room(h float64) (fresh bool) {
	if p.page != nil && p.y+h <= document.A4Height-pageMargin-10 {
		return false
	}
	p.next()
	return true
}

func (p *pages) line(text string, s document.Style, c document.Color, most int) {
	for _, l := range p.f.Wrap(text, s, document.A4Width-2*pageMargin, most) {
		p.page.Text(pageMargin, p.y+s.Size, l, c)
		p.y += s.Size * lineHeight
	}
}

// PDF puts the charts and the tables of a report on pages.
func (r *Report) PDF(f *document.Fonts, now time.Time) ([]byte, error) {
	p := &pages{f: f}
	p.next()
	p.line(r.title, document.Style{Size: 18, Bold: true}, chartInk, 3)
	p.y += 2
	p.line(now.In(r.zone).Format("Monday, 2 January 2006, 15:04 MST"), document.Style{Size: 9}, chartGrey, 1)
	p.y += 12
	for i := range r.charts {
		p.room(chartHeight)
		r.charts[i].draw(p.page, f, pageMargin, p.y, document.A4Width-2*pageMargin, chartHeight, 9)
		p.y += chartHeight + 16
	}
	for _, t := range r.tables {
		p.table(t)
	}
	for i, page := range p.all {
		number := f.Line(fmt.Sprintf("%d / %d", i+1, len(p.all)), document.Style{Size: 7})
		page.TextRight(page.Width-pageMargin, page.Height-pageMargin/2, number, chartGrey)
		page.Footnote(f, pageMargin, chartGrey)
	}
	return document.PDF(r.title, now, p.all...)
}

// table is what people read: its headings are words, its times are local.
type table struct {
	title  string
	header []string
	rows   [][]string
	text   int // how many columns, from the first, are words: the others are numbers, which stand below each other
}

func (p *pages) table(t table) {
	if len(t.rows) == 0 {
		return
	}
	p.room(4 * rowHeight)
	p.line(t.title, document.Style{Size: 11, Bold: true}, chartInk, 1)
	p.y += 6
	widths := p.widths(t)
	head := p.cells(t.header, widths, true)
	p.row(t, head, widths, true)
	for _, row := range t.rows {
		cells := p.cells(row, widths, false)
		if p.room(height(cells)) {
			p.row(t, head, widths, true)
		}
		p.row(t, cells, widths, false)
	}
	p.y += 16
}

// mostCellLines is in how many lines a cell is broken.
const mostCellLines = 3

// cells breaks the cells of a row into lines.
func (p *pages) cells(row []string, widths []float64, bold bool) [][]document.Text {
	out := make([][]document.Text, len(row))
	for i, text := range row {
		out[i] = p.f.Wrap(text, document.Style{Size: cellSize, Bold: bold}, widths[i], mostCellLines)
	}
	return out
}

func height(cells [][]document.Text) float64 {
	lines := 1
	for _, c := range cells {
		lines = max(lines, len(c))
	}
	return rowHeight + float64(lines-1)*cellSize*lineHeight
}

func (p *pages) row(t table, cells [][]document.Text, widths []float64, heading bool) {
	x := pageMargin
	for i, lines := range cells {
		for k, l := range lines {
			y := p.y + cellSize + float64(k)*cellSize*lineHeight
			if i < t.text {
				p.page.Text(x, y, l, chartInk)
			} else {
				p.page.TextRight(x+widths[i], y, l, chartInk)
			}
		}
		x += widths[i] + cellGap
	}
	p.y += height(cells)
	if heading {
		p.page.Line(0.6, chartGrey, document.Point{X: pageMargin, Y: p.y - 3},
			document.Point{X: document.A4Width - pageMargin, Y: p.y - 3})
		p.y += 2
	}
}

// widths gives each column what its longest cell needs. Where the page is too narrow, the widest give way.
func (p *pages) widths(t table) []float64 {
	widths := make([]float64, len(t.header))
	for i, text := range t.header { // a heading may be broken at its blanks
		for _, l := range p.f.Wrap(text, document.Style{Size: cellSize, Bold: true}, 60, mostCellLines) {
			widths[i] = max(widths[i], l.Width+1)
		}
	}
	longest := make([]int, len(t.header)) // measured are those that are longer than all before
	for _, row := range t.rows {
		for i, text := range row {
			if n := len(text); n >= longest[i] {
				longest[i] = n
				widths[i] = max(widths[i], p.f.Line(text, document.Style{Size: cellSize}).Width+1)
			}
		}
	}
	room := document.A4Width - 2*pageMargin - cellGap*float64(len(widths)-1)
	for sum(widths) > room {
		widest := 0
		for i := range widths {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		widths[widest] -= min(sum(widths)-room+0.01, widths[widest]*0.1)
	}
	return widths
}

func sum(all []float64) (s float64) {
	for _, v := range all {
		s += v
	}
	return s
}
