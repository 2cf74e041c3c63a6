package document

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
)

// PDF writes drawings as the pages of one document. Text of the built-in fonts can be searched and copied; all other is
// drawn as outlines. The same drawings are the same file.
func PDF(title string, made time.Time, pages ...*Drawing) ([]byte, error) {
	var f pdfFile
	f.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	catalog, tree, resources, info := f.reserve(), f.reserve(), f.reserve(), f.reserve()
	const usual = 16 << 10 // bytes of a page, and of a document
	f.Grow(usual)
	w := pdfWriter{file: &f, pictures: map[*byte]int{}, content: make([]byte, 0, usual)}
	var kids []byte
	for _, d := range pages {
		w.content, w.height = append(w.content[:0], "1 j 1 J\n"...), d.Height
		w.fill, w.stroke = Color{}, Color{} // as every page begins
		for _, it := range d.items {
			if err := w.write(it); err != nil {
				return nil, fmt.Errorf("document: pdf: %w", err)
			}
		}
		page, content := f.reserve(), f.reserve()
		f.stream(content, "", w.content)
		f.object(page, "<</Type /Page /Parent %d 0 R /MediaBox [0 0 %s %s] /Resources %d 0 R /Contents %d 0 R>>",
			tree, short(d.Width), short(d.Height), resources, content)
		kids = fmt.Appendf(kids, "%d 0 R ", page)
	}
	var names []byte
	for i, font := range w.fonts {
		names = fmt.Appendf(names, "/F%d %d 0 R ", i, font.write(&f))
	}
	f.object(resources, "<</Font <<%s>> /XObject <<%s>>>>", names, w.names)
	f.object(tree, "<</Type /Pages /Count %d /Kids [%s]>>", len(pages), kids)
	date := made.UTC().Format("D:20060102150405Z")
	f.object(info, "<</Title <%x> /CreationDate (%s) /ModDate (%[2]s)>>", utf16Text(title), date)
	f.object(catalog, "<</Type /Catalog /Pages %d 0 R>>", tree)
	f.trailer(catalog, info)
	return f.Bytes(), nil
}

// utf16Text returns text as PDF has it in metadata.
func utf16Text(text string) []byte {
	return appendUTF16([]byte{0xfe, 0xff}, readable(text)...)
}

func appendUTF16(b []byte, signs ...rune) []byte {
	for _, u := range utf16.Encode(signs) {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// pdfFile is the objects of a document. They are numbered from 1.
type pdfFile struct {
	bytes.Buffer
	at []int // where each object begins
}

// reserve returns the number of an object that is to be written.
func (f *pdfFile) reserve() int {
	f.at = append(f.at, 0)
	return len(f.at)
}

func (f *pdfFile) object(number int, format string, args ...any) {
	f.at[number-1] = f.Len()
	fmt.Fprintf(f, "%d 0 obj\n", number)
	fmt.Fprintf(f, format, args...)
	f.WriteString("\nendobj\n")
}

// stream writes an object that is compressed data. The entries say what it is.
func (f *pdfFile) stream(number int, entries string, data []byte) {
	f.packed(number, entries, deflated(data))
}

// packed is stream for data that is compressed already.
func (f *pdfFile) packed(number int, entries string, packed []byte) {
	f.object(number, "<<%s /Filter /FlateDecode /Length %d>>\nstream\n%s\nendstream", entries, len(packed), packed)
}

// trailer ends the file with the table of its objects.
func (f *pdfFile) trailer(catalog, info int) {
	table := f.Len()
	fmt.Fprintf(f, "xref\n0 %d\n0000000000 65535 f \n", len(f.at)+1)
	for _, at := range f.at {
		fmt.Fprintf(f, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(f, "trailer\n<</Size %d /Root %d 0 R /Info %d 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(f.at)+1, catalog,
		info, table)
}

// pdfWriter writes the contents of pages. In a PDF y grows upwards.
type pdfWriter struct {
	file     *pdfFile
	fonts    []*pdfFont
	pictures map[*byte]int // by their data: the number of the name
	names    []byte        // of the pictures, as resources

	content      []byte // of the page
	height       float64
	fill, stroke Color // that were set last
}

func (w *pdfWriter) numbers(operator string, values ...float64) {
	for _, v := range values {
		w.content = append(appendNumber(w.content, v), ' ')
	}
	w.content = append(append(w.content, operator...), '\n')
}

func (w *pdfWriter) color(operator string, c Color) {
	w.content = fmt.Appendf(w.content, "%.3f %.3f %.3f %s\n", float64(c.R)/255, float64(c.G)/255, float64(c.B)/255,
		operator)
}

// setFill sets the color of what is filled.
func (w *pdfWriter) setFill(c Color) {
	if w.fill != c {
		w.fill = c
		w.color("rg", c)
	}
}

func (w *pdfWriter) write(it item) error {
	if it.rects != nil {
		w.setFill(it.color)
		for _, r := range it.rects {
			w.numbers("re", r.x, w.height-r.y-r.h, r.w, r.h)
		}
		w.content = append(w.content, "f\n"...)
	}
	if it.code != nil {
		w.code(it.code, it.color)
	}
	if it.line != nil && len(it.line.points) > 1 {
		w.line(it.line, it.color)
	}
	if it.text == nil {
		return nil
	}
	w.setFill(it.color)
	for i := range it.text.runs {
		if err := w.run(&it.text.runs[i], it.text.x, it.text.y); err != nil {
			return err
		}
	}
	return nil
}

// code draws a code in its own coordinates, whose unit is a module: they have few digits.
func (w *pdfWriter) code(p *placedCode, c Color) {
	w.setFill(c)
	w.content = append(w.content, "q "...)
	module := p.module()
	w.content = fmt.Appendf(w.content, "%.4f 0 0 %.4f %s %s cm\n", module, -module, short(p.x), short(w.height-p.y))
	p.runs(func(column, row, length int) {
		w.numbers("re", float64(column), float64(row), float64(length), overlap)
	})
	w.content = append(w.content, "f Q\n"...)
}

func (w *pdfWriter) line(l *line, c Color) {
	if w.stroke != c {
		w.stroke = c
		w.color("RG", c)
	}
	w.numbers("w", l.width)
	for i, p := range l.points {
		operator := "l"
		if i == 0 {
			operator = "m"
		}
		w.numbers(operator, p.X, w.height-p.Y)
	}
	w.content = append(w.content, "S\n"...)
}

func (w *pdfWriter) run(r *run, x, y float64) (err error) {
	if r.font != nil {
		w.text(r, x+r.x, y)
		return nil
	}
	drawn := false
	r.path(x, y, func(s segment) {
		switch {
		case s.begin:
			if drawn {
				w.content = append(w.content, "h\n"...)
			}
			w.numbers("m", s.p[0].X, w.height-s.p[0].Y)
			drawn = true
		case s.n == 1:
			w.numbers("l", s.p[0].X, w.height-s.p[0].Y)
		default:
			w.numbers("c", s.p[0].X, w.height-s.p[0].Y, s.p[1].X, w.height-s.p[1].Y, s.p[2].X, w.height-s.p[2].Y)
		}
	})
	if drawn {
		w.content = append(w.content, "f\n"...)
	}
	r.pictures(x, y, func(data []byte, at rect) {
		if e := w.picture(data, at); e != nil {
			err = e
		}
	})
	return err
}

// text writes a run as text: the codes of its glyphs, and corrections where they do not stand at the end of the one
// before.
func (w *pdfWriter) text(r *run, x, y float64) {
	const visible = 2.0 // thousandths of the size
	n := w.font(r.font)
	font := w.fonts[n]
	size := r.scale * r.font.unitsPerEm
	w.content = append(strconv.AppendInt(append(w.content, "BT /F"...), int64(n), 10), ' ')
	w.numbers("Tf", size)
	w.numbers("Td", x, w.height-y)
	w.content = append(w.content, "[<"...)
	at := 0.0
	for i, g := range r.glyphs {
		code, width := font.code(r.signs[i], g.id)
		if off := g.x/size*1000 - at; math.Abs(off) > visible {
			w.content = append(appendNumber(append(w.content, '>'), -off), '<')
			at += off
		}
		w.content = appendHex(w.content, code)
		at += float64(width)
	}
	w.content = append(w.content, ">] TJ ET\n"...)
}

// font returns the number of a font in the document.
func (w *pdfWriter) font(t *typeface) int {
	for i, f := range w.fonts {
		if f.typeface == t {
			return i
		}
	}
	font := newPDFFont(t)
	for _, g := range t.usual {
		font.code(g.sign, g.id)
	}
	w.fonts = append(w.fonts, font)
	return len(w.fonts) - 1
}

// picture draws a PNG into a rectangle.
func (w *pdfWriter) picture(data []byte, at rect) error {
	if len(data) == 0 {
		return nil
	}
	n, known := w.pictures[&data[0]]
	if !known {
		src, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			return err
		}
		n = len(w.pictures)
		w.pictures[&data[0]] = n
		w.names = fmt.Appendf(w.names, "/P%d %d 0 R ", n, w.file.image(src))
	}
	w.content = append(w.content, "q "...)
	w.numbers("cm", at.w, 0, 0, at.h, at.x, w.height-at.y-at.h)
	w.content = fmt.Appendf(w.content, "/P%d Do Q\n", n)
	return nil
}

// image writes a picture and its transparency, and returns the number of its object.
func (f *pdfFile) image(src image.Image) int {
	b := src.Bounds()
	img := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(img, img.Bounds(), src, b.Min, draw.Src)
	var colors, alpha []byte
	for i := 0; i < len(img.Pix); i += 4 {
		colors = append(colors, img.Pix[i:i+3]...)
		alpha = append(alpha, img.Pix[i+3])
	}
	const entries = "/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 8 /ColorSpace "
	picture, mask := f.reserve(), f.reserve()
	f.stream(picture, fmt.Sprintf(entries+"/DeviceRGB /SMask %d 0 R", b.Dx(), b.Dy(), mask), colors)
	f.stream(mask, fmt.Sprintf(entries+"/DeviceGray", b.Dx(), b.Dy()), alpha)
	return picture
}

// appendNumber writes a number with at most two decimals.
func appendNumber(b []byte, f float64) []byte {
	n := int64(math.Round(f * 100))
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	b = strconv.AppendInt(b, n/100, 10)
	tenths, hundredths := byte(n/10%10), byte(n%10)
	switch {
	case hundredths != 0:
		b = append(b, '.', '0'+tenths, '0'+hundredths)
	case tenths != 0:
		b = append(b, '.', '0'+tenths)
	}
	return b
}

// appendHex writes a code as four digits.
func appendHex(b []byte, code int) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[code>>12&15], digits[code>>8&15], digits[code>>4&15], digits[code&15])
}
