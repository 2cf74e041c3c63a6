package document

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
)

// SVG writes the drawing as a picture that needs no fonts.
func (d *Drawing) SVG() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b,
		`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img">`,
		short(d.Width), short(d.Height))
	b.WriteString("\n<title>")
	_ = xml.EscapeText(&b, []byte(string(readable(d.Title)))) // a buffer does not fail
	b.WriteString("</title>\n")
	for _, it := range d.items {
		color := fmt.Sprintf("#%02x%02x%02x", it.color.R, it.color.G, it.color.B)
		for _, r := range it.squares() {
			fmt.Fprintf(&b, `<rect x="%s" y="%s" width="%s" height="%s" fill="%s"/>`+"\n", short(r.x), short(r.y),
				short(r.w), short(r.h), color)
		}
		switch {
		case it.line != nil:
			b.WriteString(`<polyline points="`)
			for i, p := range it.line.points {
				if i > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(short(p.X) + "," + short(p.Y))
			}
			fmt.Fprintf(&b,
				`" fill="none" stroke="%s" stroke-width="%s" stroke-linejoin="round" stroke-linecap="round"/>`+"\n",
				color, short(it.line.width))
		case it.text != nil:
			it.text.svg(&b, color)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (t *placedText) svg(b *bytes.Buffer, color string) {
	var path bytes.Buffer
	for i := range t.runs {
		r := &t.runs[i]
		r.path(t.x, t.y, func(s segment) {
			path.WriteByte(" MLxC"[1+btoi(!s.begin)*s.n])
			for k := range s.n {
				if k > 0 {
					path.WriteByte(' ')
				}
				path.WriteString(short(s.p[k].X) + " " + short(s.p[k].Y))
			}
		})
		r.pictures(t.x, t.y, func(png []byte, at rect) {
			fmt.Fprintf(b, `<image x="%s" y="%s" width="%s" height="%s" href="data:image/png;base64,%s"/>`+"\n",
				short(at.x), short(at.y), short(at.w), short(at.h),
				base64.StdEncoding.EncodeToString(png))
		})
	}
	if path.Len() > 0 {
		fmt.Fprintf(b, `<path fill="%s" d="%s"/>`+"\n", color, path.Bytes())
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// short returns a number with at most two decimals.
func short(f float64) string { return string(appendNumber(nil, f)) }
