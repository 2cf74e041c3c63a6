// Package document draws text and figures and writes them as PDF, SVG or PNG. It stands between the services that make
// documents (reports, tickets) and the libraries that know fonts and files, so that a name of any script looks the same
// in all of them.
//
// Text is shaped. Latin, Greek and Cyrillic letters come from fonts that are built in; for all others the fonts of the
// machine are searched, when the first such letter is met. A sign that no font has is drawn as a box, and
// Drawing.Missing names it.
package document

import (
	"fmt"
	"slices"
	"strings"
)

// A4 is the size of a page, in points: 72 to the inch.
const (
	A4Width  = 595.28
	A4Height = 841.89
)

// Color is red, green and blue.
type Color struct{ R, G, B uint8 }

// Point is a place on a drawing, in points from its top left corner.
type Point struct{ X, Y float64 }

// Drawing is what is drawn on one page or picture. The zero value of it has no size; it is not safe for concurrent use.
type Drawing struct {
	Width, Height float64 // in points
	Title         string  // for those who cannot see it

	items   []item
	missing []rune
}

// item is one thing on a drawing: exactly one of rects, code, line, and text is there.
type item struct {
	color Color
	rects []rect // that follow each other
	code  *placedCode
	line  *line
	text  *placedText
}

// squares returns the rectangles of an item.
func (it item) squares() []rect {
	if it.code != nil {
		return it.code.squares()
	}
	return it.rects
}

type rect struct{ x, y, w, h float64 }

type line struct {
	points []Point
	width  float64
}

type placedText struct {
	Text
	x, y float64 // of the baseline
}

// Rect fills a rectangle.
func (d *Drawing) Rect(x, y, w, h float64, c Color) {
	r := rect{x, y, w, h}
	if n := len(d.items); n > 0 && d.items[n-1].rects != nil && d.items[n-1].color == c {
		d.items[n-1].rects = append(d.items[n-1].rects, r)
		return
	}
	d.items = append(d.items, item{color: c, rects: []rect{r}})
}

// Line draws a line through points.
func (d *Drawing) Line(width float64, c Color, points ...Point) {
	d.items = append(d.items, item{color: c, line: &line{points, width}})
}

// Text draws a line of text whose baseline begins at a point.
func (d *Drawing) Text(x, y float64, t Text, c Color) {
	d.items = append(d.items, item{color: c, text: &placedText{t, x, y}})
	for _, r := range t.missing {
		if !slices.Contains(d.missing, r) {
			d.missing = append(d.missing, r)
		}
	}
}

// TextRight draws a line of text that ends at a point.
func (d *Drawing) TextRight(x, y float64, t Text, c Color) { d.Text(x-t.Width, y, t, c) }

// TextCenter draws a line of text around a point.
func (d *Drawing) TextCenter(x, y float64, t Text, c Color) { d.Text(x-t.Width/2, y, t, c) }

// mostNamed is how many missing signs a footnote names.
const mostNamed = 40

// Missing returns a footnote on the signs of the drawing that no font has, or "".
func (d *Drawing) Missing() string {
	if len(d.missing) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("Signs that no font here can show, in the order of their boxes:")
	for _, r := range d.missing[:min(len(d.missing), mostNamed)] {
		fmt.Fprintf(&b, " %U", r)
	}
	if len(d.missing) > mostNamed {
		b.WriteString(" …")
	}
	return b.String()
}

// Footnote writes what is missing, if anything is, above the lower edge of the drawing, within its margin.
func (d *Drawing) Footnote(f *Fonts, margin float64, c Color) {
	note := d.Missing()
	if note == "" {
		return
	}
	const size, leading = 7, 9
	lines := f.Wrap(note, Style{Size: size}, d.Width-2*margin, 3)
	for i, l := range lines {
		d.Text(margin, d.Height-margin/2-float64(len(lines)-1-i)*leading, l, c)
	}
}
