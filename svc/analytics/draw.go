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
		opt.CategoryAxis.Labels = r.labels
		for i := range opt.SeriesList {
			opt.SeriesList[i].Label.Show, opt.SeriesList[i].Label.ValueFormatter = charts.Ptr(true), whole
		}
		err = p.BarChart(opt)
	default:
		opt := charts.NewLineChartOptionWithData(r.values)
		opt.Title.Text, opt.Padding, opt.ValueFormatter = r.title, padding, whole
		opt.XAxis.Labels = r.labels
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
	width := 190.0 / float64(len(r.header))
	doc.SetFont(pdfFont, "B", 6.5)
	for _, cell := range r.header {
		doc.CellFormat(width, 6, cell, "B", 0, "L", false, 0, "")
	}
	doc.Ln(-1)
	doc.SetFont(pdfFont, "", 6.5)
	for _, row := range r.rows {
		for _, cell := range row {
			doc.CellFormat(width, 5, cell, "", 0, "L", false, 0, "")
		}
		doc.Ln(-1)
	}
	var buf bytes.Buffer
	err = doc.Output(&buf)
	return buf.Bytes(), err
}
