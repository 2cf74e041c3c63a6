package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
	"unicode/utf16"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
)

// pdfFont is the name of the built-in font in a document.
const pdfFont = "Go"

// PDF writes drawings as the pages of one document. Text of the built-in fonts can be searched and copied; all other is
// drawn as outlines.
func PDF(title string, made time.Time, pages ...*Drawing) ([]byte, error) {
	doc := fpdf.New("P", "pt", "A4", "")
	doc.AddUTF8FontFromBytes(pdfFont, "", goregular.TTF)
	doc.AddUTF8FontFromBytes(pdfFont, "B", gobold.TTF)
	doc.SetCatalogSort(true) // the same drawings are the same file
	doc.SetCreationDate(made)
	doc.SetModificationDate(made)
	doc.SetTitle(utf16Text(title), false)
	doc.SetAutoPageBreak(false, 0)
	doc.SetMargins(0, 0, 0)
	doc.SetLineJoinStyle("round")
	doc.SetLineCapStyle("round")
	w := pdfWriter{doc: doc}
	for _, d := range pages {
		doc.AddPageFormat("P", fpdf.SizeType{Wd: d.Width, Ht: d.Height})
		for _, it := range d.items {
			w.write(it)
		}
	}
	var buf bytes.Buffer
	if err := doc.Output(&buf); err != nil {
		return nil, fmt.Errorf("document: pdf: %w", err)
	}
	return buf.Bytes(), nil
}

// utf16Text writes text as PDF has it in metadata. The library's own conversion fails above U+FFFF.
func utf16Text(text string) string {
	b := []byte{0xfe, 0xff}
	for _, u := range utf16.Encode(readable(text)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return string(b)
}

type pdfWriter struct{ doc *fpdf.Fpdf }

func (w pdfWriter) write(it item) {
	doc, c := w.doc, it.color
	doc.SetFillColor(int(c.R), int(c.G), int(c.B))
	doc.SetDrawColor(int(c.R), int(c.G), int(c.B))
	doc.SetTextColor(int(c.R), int(c.G), int(c.B))
	switch {
	case it.rect != nil:
		doc.Rect(it.rect.x, it.rect.y, it.rect.w, it.rect.h, "F")
	case it.line != nil && len(it.line.points) > 1:
		doc.SetLineWidth(it.line.width)
		doc.MoveTo(it.line.points[0].X, it.line.points[0].Y)
		for _, p := range it.line.points[1:] {
			doc.LineTo(p.X, p.Y)
		}
		doc.DrawPath("D")
	case it.text != nil:
		for i := range it.text.runs {
			w.run(&it.text.runs[i], it.text.x, it.text.y)
		}
	}
}

func (w pdfWriter) run(r *run, x, y float64) {
	if r.plain != "" {
		style := ""
		if r.style.Bold {
			style = "B"
		}
		w.doc.SetFont(pdfFont, style, r.style.Size)
		w.doc.Text(x+r.x, y, r.plain)
		return
	}
	drawn := false
	r.path(x, y, func(s segment) {
		switch {
		case s.begin:
			if drawn {
				w.doc.ClosePath()
			}
			w.doc.MoveTo(s.p[0].X, s.p[0].Y)
			drawn = true
		case s.n == 1:
			w.doc.LineTo(s.p[0].X, s.p[0].Y)
		default:
			w.doc.CurveBezierCubicTo(s.p[0].X, s.p[0].Y, s.p[1].X, s.p[1].Y, s.p[2].X, s.p[2].Y)
		}
	})
	if drawn {
		w.doc.ClosePath()
		w.doc.DrawPath("F")
	}
	r.pictures(x, y, func(png []byte, at rect) {
		sum := sha256.Sum256(png)
		name := hex.EncodeToString(sum[:8])
		w.doc.RegisterImageOptionsReader(name, fpdf.ImageOptions{ImageType: "PNG"}, bytes.NewReader(png))
		w.doc.ImageOptions(name, at.x, at.y, at.w, at.h, false, fpdf.ImageOptions{ImageType: "PNG"}, 0, "")
	})
}
