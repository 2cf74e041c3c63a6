package report

import (
	"math"

	"github.com/starlightsymphony/starlight/shared/document"
)

// chart is a picture of numbers: lines over time, or bars.
type chart struct {
	title  string
	labels []string // of the points
	lines  []chartLine
	bars   bool
	write  func(float64) string // how a value is written
	whole  bool                 // there are no values between whole numbers
}

type chartLine struct {
	name   string
	values []float64
}

// The colours of lines: they differ in grey, too.
var (
	chartColors = [...]document.Color{{R: 32, G: 84, B: 147}, {R: 224, G: 132, B: 40}}
	chartInk    = document.Color{R: 40, G: 44, B: 52}
	chartGrey   = document.Color{R: 110, G: 115, B: 125}
	chartGrid   = document.Color{R: 222, G: 225, B: 230}
)

const (
	mostTicks  = 6
	widestBar  = 60.0 // points
	labelRoom  = 70.0 // of a label of the axis of time, so that they do not touch
	lineHeight = 1.35 // of the size of text
)

// ticks returns values from zero to at least most, in steps that people count in: 1, 2 or 5 of a power of ten.
func ticks(most float64, whole bool) []float64 {
	if most <= 0 {
		most = 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most/mostTicks)))
	step := power * 10
	for _, n := range []float64{1, 2, 5} {
		if most/(n*power) <= mostTicks {
			step = n * power
			break
		}
	}
	if whole {
		step = max(step, 1)
	}
	out := []float64{0}
	for i := 1.0; out[len(out)-1] < most*(1-1e-9); i++ {
		out = append(out, i*step)
	}
	return out
}

func (c *chart) empty() bool { return len(c.labels) == 0 }

func (c *chart) most() float64 {
	most := 0.0
	for _, l := range c.lines {
		for _, v := range l.values {
			most = max(most, v)
		}
	}
	return most
}

// draw draws the chart into a rectangle. Text is of a size.
func (c *chart) draw(d *document.Drawing, f *document.Fonts, x, y, w, h, size float64) {
	style := document.Style{Size: size}
	d.Text(x, y+size, f.Line(c.title, document.Style{Size: size, Bold: true}), chartInk)
	if c.empty() {
		d.TextCenter(x+w/2, y+h/2, f.Line("nothing yet", document.Style{Size: size * 1.3}), chartGrey)
		return
	}
	c.legend(d, f, x+w, y+size, style)
	axis := ticks(c.most(), c.whole)
	var room float64
	var marks []document.Text
	for _, v := range axis {
		marks = append(marks, f.Line(c.write(v), style))
		room = max(room, marks[len(marks)-1].Width)
	}
	left, top, bottom := x+room+size*0.6, y+size*2.6, y+h-c.footer(size)
	at := func(v float64) float64 { return bottom - (bottom-top)*v/axis[len(axis)-1] }
	for i, v := range axis {
		d.Line(0.5, chartGrid, document.Point{X: left, Y: at(v)}, document.Point{X: x + w, Y: at(v)})
		d.TextRight(left-size*0.6, at(v)+size*0.35, marks[i], chartGrey)
	}
	slot := (x + w - left) / float64(len(c.labels))
	if c.bars {
		c.drawBars(d, f, left, slot, at, style)
	} else {
		c.drawLines(d, left, slot, at)
	}
	d.Line(0.8, chartGrey, document.Point{X: left, Y: bottom}, document.Point{X: x + w, Y: bottom})
	c.drawLabels(d, f, left, bottom, slot, style)
}

// footer is the height of what is below the axis.
func (c *chart) footer(size float64) float64 {
	if c.bars {
		return 2.4 * size * lineHeight
	}
	return 1.4 * size * lineHeight
}

func (c *chart) legend(d *document.Drawing, f *document.Fonts, right, baseline float64, s document.Style) {
	if len(c.lines) < 2 {
		return
	}
	for i := len(c.lines) - 1; i >= 0; i-- {
		name := f.Line(c.lines[i].name, s)
		d.TextRight(right, baseline, name, chartInk)
		right -= name.Width + s.Size*1.2
		d.Rect(right, baseline-s.Size*0.75, s.Size*0.8, s.Size*0.8, chartColors[i%len(chartColors)])
		right -= s.Size
	}
}

func (c *chart) drawLines(d *document.Drawing, left, slot float64, at func(float64) float64) {
	for i := len(c.lines) - 1; i >= 0; i-- {
		var points []document.Point
		for k, v := range c.lines[i].values {
			points = append(points, document.Point{X: left + (float64(k)+0.5)*slot, Y: at(v)})
		}
		d.Line(1.6, chartColors[i%len(chartColors)], points...)
	}
}

func (c *chart) drawBars(
	d *document.Drawing, f *document.Fonts, left, slot float64, at func(float64) float64, s document.Style,
) {
	width := min(slot*0.7/float64(len(c.lines)), widestBar)
	for k := range c.labels {
		begin := left + (float64(k)+0.5)*slot - width*float64(len(c.lines))/2
		for i, l := range c.lines {
			v := l.values[k]
			d.Rect(begin+float64(i)*width, at(v), width*0.92, at(0)-at(v), chartColors[i%len(chartColors)])
			d.TextCenter(begin+(float64(i)+0.46)*width, at(v)-s.Size*0.3, f.Line(c.write(v), s), chartInk)
		}
	}
}

// drawLabels writes below the axis what there is room for: of bars all, in two lines, of points some.
func (c *chart) drawLabels(d *document.Drawing, f *document.Fonts, left, bottom, slot float64, s document.Style) {
	every := 1
	if !c.bars {
		every = max(int(math.Ceil(labelRoom*s.Size/9/slot)), 1)
	}
	for k := 0; k < len(c.labels); k += every {
		for i, l := range f.Wrap(c.labels[k], s, slot*float64(every)*0.96, 2) {
			d.TextCenter(left+(float64(k)+0.5)*slot, bottom+s.Size*lineHeight*float64(i+1), l, chartGrey)
			if !c.bars {
				break
			}
		}
	}
}
