package analytics

import (
	"bytes"
	"fmt"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"github.com/go-analyze/charts"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
)

// The size of a picture, in pixels.
const (
	pictureWidth  = 960
	pictureHeight = 480
	mostLabels    = 7 // of an axis of time, so that they do not touch
)

// draw makes the picture of a report, as svg or png.
func (r *report) draw(format string) ([]byte, error) {
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: format, Width: pictureWidth, Height: pictureHeight})
	padding := charts.Box{Top: 20, Left: 20, Right: 40, Bottom: 20, IsSet: true}
	whole := func(f float64) string { return fmt.Sprintf("%.0f", f) }
	axis := []charts.ValueAxisOption{r.valueAxis()}
	empty := len(r.labels) == 0
	var err error
	switch {
	case empty: // an axis needs a point
		opt := charts.NewBarChartOptionWithData([][]float64{{0}})
		opt.Title.Text, opt.Padding = r.title+" (nothing yet)", padding
		opt.CategoryAxis.Labels = []string{""}
		err = p.BarChart(opt)
	case r.bars:
		opt := charts.NewBarChartOptionWithData(r.values)
		opt.Title.Text, opt.Padding, opt.ValueFormatter = r.title, padding, whole
		opt.CategoryAxis.Labels, opt.ValueAxis = r.labels, axis
		if len(r.values) > 1 {
			opt.Legend.SeriesNames, opt.Legend.Offset = r.legend, charts.OffsetRight
		}
		for i := range opt.SeriesList {
			opt.SeriesList[i].Label.Show, opt.SeriesList[i].Label.ValueFormatter = charts.Ptr(true), whole
		}
		err = p.BarChart(opt)
	default:
		opt := charts.NewLineChartOptionWithData(r.values)
		opt.Title.Text, opt.Padding, opt.ValueFormatter = r.title, padding, whole
		opt.XAxis.Labels, opt.YAxis = r.labels, axis
		opt.XAxis.LabelCount = min(len(r.labels), mostLabels)
		opt.Legend.SeriesNames = r.legend
		opt.Legend.Offset = charts.OffsetRight
		opt.LineStrokeWidth = 2
		err = p.LineChart(opt)
	}
	if err != nil {
		return nil, fmt.Errorf("analytics: chart: %w", err)
	}
	return p.Bytes()
}

// valueAxis begins at zero and has whole numbers.
func (r *report) valueAxis() charts.ValueAxisOption {
	const few = 10
	most := 1.0
	for _, line := range r.values {
		for _, v := range line {
			most = max(most, v)
		}
	}
	axis := charts.ValueAxisOption{Min: charts.Ptr(0.0)}
	if most <= few {
		axis.Max, axis.LabelCount = &most, int(most)+1
	}
	return axis
}

const pdfFont = "Go"

// pdf puts the picture and the table of a report on pages.
func (r *report) pdf(now time.Time) ([]byte, error) {
	picture, err := r.draw("png")
	if err != nil {
		return nil, err
	}
	doc := fpdf.New("P", "mm", "A4", "")
	doc.AddUTF8FontFromBytes(pdfFont, "", goregular.TTF) // the built-in fonts know western letters only
	doc.AddUTF8FontFromBytes(pdfFont, "B", gobold.TTF)
	doc.SetCreationDate(now)
	doc.SetModificationDate(now)
	doc.SetTitle(r.title, true)
	doc.SetAutoPageBreak(true, 15)
	doc.AddPage()
	doc.SetFont(pdfFont, "B", 16)
	doc.CellFormat(0, 10, r.title, "", 1, "L", false, 0, "")
	doc.SetFont(pdfFont, "", 9)
	doc.CellFormat(0, 6, now.UTC().Format("2006-01-02 15:04 UTC"), "", 1, "L", false, 0, "")
	doc.RegisterImageOptionsReader("chart", fpdf.ImageOptions{ImageType: "PNG"}, bytes.NewReader(picture))
	doc.ImageOptions("chart", 10, doc.GetY()+2, 190, 95, true, fpdf.ImageOptions{ImageType: "PNG"}, 0, "")
	doc.Ln(4)
	doc.SetFont(pdfFont, "B", 6.5)
	widths := r.widths(doc)
	for i, cell := range r.header {
		doc.CellFormat(widths[i], 6, cell, "B", 0, align(i), false, 0, "")
	}
	doc.Ln(-1)
	doc.SetFont(pdfFont, "", 6.5)
	for _, row := range r.rows {
		for i, cell := range row {
			doc.CellFormat(widths[i], 5, cell, "", 0, align(i), false, 0, "")
		}
		doc.Ln(-1)
	}
	var buf bytes.Buffer
	err = doc.Output(&buf)
	return buf.Bytes(), err
}

// widths shares the page among the columns by the longest of their cells, in millimetres.
func (r *report) widths(doc *fpdf.Fpdf) []float64 {
	widths := make([]float64, len(r.header))
	for _, row := range append([][]string{r.header}, r.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], doc.GetStringWidth(cell)+4)
		}
	}
	sum := 0.0
	for _, w := range widths {
		sum += w
	}
	for i := range widths {
		widths[i] *= 190 / sum
	}
	return widths
}

// align has numbers stand below each other.
func align(column int) string {
	if column == 0 {
		return "L"
	}
	return "R"
}
