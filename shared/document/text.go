package document

import (
	"fmt"
	"math"
	"strings"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/shaping"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Style is how text is set.
type Style struct {
	Size float64 // in points
	Bold bool
}

// Text is a line of shaped text.
type Text struct {
	Width   float64 // in points
	runs    []run
	missing []rune
}

// run is a piece of a line in one font.
type run struct {
	x      float64 // from the beginning of the line
	scale  float64 // points of a font unit
	glyphs []placedGlyph

	font  *typeface // where a built-in font has the text sign by sign from left to right, else nil
	signs []rune    // then, of the glyphs
}

type placedGlyph struct {
	*glyph
	id   font.GID
	x, y float64 // of its origin from that of the run, in points; y grows downwards
}

// glyph is how a sign looks, in font units, y upwards.
type glyph struct {
	path    []segment
	picture *picture
}

// picture is a glyph that is a PNG.
type picture struct {
	png        []byte
	x, y, w, h float64 // of its top left corner, and its size
}

// segment is a part of an outline: a beginning of a contour with one point, or a line to one point, or a curve with two
// control points to the third.
type segment struct {
	begin bool
	p     [3]Point
	n     int
}

// longestText bounds what is laid out, in signs.
const longestText = 10_000

// Line shapes text as one line.
func (f *Fonts) Line(text string, s Style) Text {
	lines := f.Wrap(text, s, math.Inf(1), 1)
	if len(lines) == 0 {
		return Text{}
	}
	return lines[0]
}

// Wrap shapes text and breaks it into at most so many lines of a width. What does not fit ends in an ellipsis. The
// lines are shared: a caller must not change the slice.
func (f *Fonts) Wrap(text string, s Style, width float64, most int) []Text {
	key := layoutKey{text, s, width, most}
	f.mu.Lock()
	defer f.mu.Unlock()
	if lines, known := f.laidOut[key]; known {
		return lines
	}
	signs := readable(text)
	if len(signs) == 0 {
		return nil
	}
	lines, err := f.wrap(signs, s, width, most, resolver{f, s.Bold})
	if err != nil { // a font of the machine is broken: without them all
		f.cfg.Log.Warn("text is shaped without the fonts of the machine", "error", err)
		f.system = nil
		if lines, err = f.wrap(signs, s, width, most, resolver{f, s.Bold}); err != nil {
			f.cfg.Log.Error("text cannot be shaped", "error", err)
		}
	}
	if err != nil || len(text) > longestKept {
		return lines
	}
	if len(f.laidOut) >= mostLaidOut {
		clear(f.laidOut)
	}
	f.laidOut[key] = lines
	return lines
}

// readable returns text as one paragraph of signs that can be drawn.
func readable(text string) []rune {
	text = norm.NFC.String(strings.ToValidUTF8(text, "\uFFFD"))
	var signs []rune
	for _, r := range text {
		if unicode.Is(unicode.Bidi_Control, r) { // the order of letters is that of their scripts
			continue
		}
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			r = ' '
		}
		if signs = append(signs, r); len(signs) == longestText {
			break
		}
	}
	return signs
}

// direction is that of the first letter that has one.
func direction(signs []rune) di.Direction {
	for _, r := range signs {
		switch p, _ := bidi.LookupRune(r); p.Class() {
		case bidi.L:
			return di.DirectionLTR
		case bidi.R, bidi.AL:
			return di.DirectionRTL
		}
	}
	return di.DirectionLTR
}

func (f *Fonts) wrap(signs []rune, s Style, width float64, most int, faces shaping.Fontmap) (lines []Text, err error) {
	defer func() {
		if r := recover(); r != nil { // fonts are files of others
			err = fmt.Errorf("document: %v", r)
		}
	}()
	dir := direction(signs)
	shape := func(signs []rune) (outs []shaping.Output) {
		in := shaping.Input{Text: signs, RunEnd: len(signs), Direction: dir, Size: toFixed(s.Size)}
		for _, part := range f.segmenter.Split(in, faces) {
			out := f.shaper.Shape(part)
			narrow(&out, signs)
			outs = append(outs, out)
		}
		return outs
	}
	outs := shape(signs)
	limit := fixed.Int26_6(math.MaxInt32)
	if width < 1e6 {
		limit = toFixed(width)
	}
	cfg := shaping.WrapConfig{Direction: dir, TruncateAfterLines: most}
	if ellipsis := shape([]rune{'…'}); len(ellipsis) == 1 {
		cfg.Truncator = ellipsis[0]
	}
	set, _ := f.wrapper.WrapParagraphF(cfg, limit, signs, shaping.NewSliceIterator(outs))
	for _, l := range set {
		lines = append(lines, f.text(l, signs, s))
	}
	return lines, nil
}

// narrow gives blanks the width that they have in text: those of fonts of pictures are as wide as the pictures.
func narrow(out *shaping.Output, signs []rune) {
	const blank = 0.28 // of the size
	for i := range out.Glyphs {
		g := &out.Glyphs[i]
		if signs[g.TextIndex()] == ' ' && g.Advance > out.Size/2 {
			g.Advance = fixed.Int26_6(float64(out.Size) * blank)
		}
	}
	out.RecomputeAdvance()
}

// text copies a line out of the shaper, in the order in which it is seen.
func (f *Fonts) text(l shaping.Line, signs []rune, s Style) Text {
	var t Text
	order := make([]*shaping.Output, len(l))
	for i := range l {
		order[min(int(l[i].VisualIndex), len(l)-1)] = &l[i]
	}
	for _, out := range order {
		if out == nil {
			continue
		}
		r := run{x: t.Width, scale: s.Size / float64(out.Face.Upem())}
		var missing []rune
		x, level := 0.0, true
		for _, g := range out.Glyphs {
			if g.GlyphID == 0 {
				missing = append(missing, absent(out.Face, signs, g)...)
			}
			r.glyphs = append(r.glyphs,
				placedGlyph{f.glyph(out.Face, g.GlyphID), g.GlyphID, x + toFloat(g.XOffset), -toFloat(g.YOffset)})
			level = level && g.YOffset == 0
			x += toFloat(g.Advance)
		}
		ellipsis := out.Runes.Count == 0 || out.Runes.Offset+out.Runes.Count > len(signs)
		own := f.builtIn(s.Bold)
		if out.Face == own.Face && out.Direction == di.DirectionLTR && len(missing) == 0 && !ellipsis && level &&
			len(out.Glyphs) == out.Runes.Count {
			r.font, r.signs = own, signs[out.Runes.Offset:out.Runes.Offset+out.Runes.Count]
		}
		t.missing = append(t.missing, missing...)
		t.runs = append(t.runs, r)
		t.Width += toFloat(out.Advance)
	}
	return t
}

// absent returns the signs of a glyph's cluster that its face does not have.
func absent(face *font.Face, signs []rune, g shaping.Glyph) (out []rune) {
	for i := g.TextIndex(); i < min(g.TextIndex()+g.RunesCount(), len(signs)); i++ {
		if !has(face, signs[i]) {
			out = append(out, signs[i])
		}
	}
	return out
}

// glyph returns how a glyph looks.
func (f *Fonts) glyph(face *font.Face, id font.GID) *glyph {
	key := glyphKey{face, id}
	if g := f.glyphs[key]; g != nil {
		return g
	}
	if len(f.glyphs) >= mostGlyphs {
		clear(f.glyphs)
	}
	g := new(glyph)
	f.glyphs[key] = g
	switch data := face.GlyphData(id).(type) {
	case font.GlyphOutline:
		g.path = outline(data)
	case font.GlyphSVG:
		g.path = outline(data.Outline)
	case font.GlyphBitmap:
		extents, found := face.GlyphExtents(id)
		switch {
		case data.Format == font.PNG && found:
			g.picture = &picture{data.Data, float64(extents.XBearing), float64(extents.YBearing),
				float64(extents.Width), -float64(extents.Height)}
		case data.Outline != nil:
			g.path = outline(*data.Outline)
		}
	}
	return g
}

// outline copies an outline. Curves with one control point become those with two.
func outline(o font.GlyphOutline) []segment {
	var path []segment
	var at Point
	for _, s := range o.Segments {
		args := s.ArgsSlice()
		p := make([]Point, len(args))
		for i, a := range args {
			p[i] = Point{float64(a.X), float64(a.Y)}
		}
		seg := segment{begin: s.Op == 0, n: len(p)}
		switch len(p) {
		case 2:
			seg.n = 3
			seg.p = [3]Point{{at.X + 2*(p[0].X-at.X)/3, at.Y + 2*(p[0].Y-at.Y)/3},
				{p[1].X + 2*(p[0].X-p[1].X)/3, p[1].Y + 2*(p[0].Y-p[1].Y)/3}, p[1]}
		default:
			copy(seg.p[:], p)
		}
		at = p[len(p)-1]
		path = append(path, seg)
	}
	return path
}

// path calls fn for every segment of a run's outlines, in points of the drawing, where the line begins at x, y.
func (r *run) path(x, y float64, fn func(segment)) {
	for _, g := range r.glyphs {
		for _, s := range g.path {
			for i := range s.n {
				s.p[i] = Point{x + r.x + g.x + s.p[i].X*r.scale, y + g.y - s.p[i].Y*r.scale}
			}
			fn(s)
		}
	}
}

// pictures calls fn for every glyph of a run that is a picture.
func (r *run) pictures(x, y float64, fn func(png []byte, at rect)) {
	for _, g := range r.glyphs {
		if p := g.picture; p != nil {
			fn(p.png, rect{x + r.x + g.x + p.x*r.scale, y + g.y - p.y*r.scale, p.w * r.scale, p.h * r.scale})
		}
	}
}

func toFixed(f float64) fixed.Int26_6 { return fixed.Int26_6(math.Round(f * 64)) }
func toFloat(i fixed.Int26_6) float64 { return float64(i) / 64 }
