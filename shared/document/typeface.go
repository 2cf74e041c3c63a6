package document

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
)

// typeface is a built-in TrueType font. Its tables are parsed once; a PDF gets the glyphs that it uses.
type typeface struct {
	*font.Face
	name                                string // the PostScript name
	glyf, loca, hmtx, head, hhea, maxp  []byte
	unitsPerEm                          float64
	longLoca                            bool
	glyphCount, metricCount             int
	ascent, descent                     int16
	left, bottom, right, top, capHeight int16

	usual []usualGlyph // every document with the font gets them: those of ids and numbers, which are never the same

	mu       sync.Mutex
	programs map[string]*fontProgram // by the signs and glyphs that they have
}

type usualGlyph struct {
	sign rune
	id   font.GID
}

// have gives signs to every document with the font. The face is asked here, because its lookups are for one caller at a
// time.
func (t *typeface) have(signs string) {
	for _, sign := range signs {
		if id, found := t.NominalGlyph(sign); found {
			t.usual = append(t.usual, usualGlyph{sign, id})
		}
	}
}

func parseTypeface(name string, data []byte) (*typeface, error) {
	face, err := font.ParseTTF(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	loader, err := opentype.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	t := &typeface{Face: face, name: name}
	for tag, table := range map[string]*[]byte{"glyf": &t.glyf, "loca": &t.loca, "hmtx": &t.hmtx, "head": &t.head,
		"hhea": &t.hhea, "maxp": &t.maxp} {
		if *table, err = loader.RawTable(opentype.MustNewTag(tag)); err != nil {
			return nil, fmt.Errorf("document: table %s of %s: %w", tag, name, err)
		}
	}
	number := func(table []byte, at int) int16 { return int16(binary.BigEndian.Uint16(table[at:])) }
	t.unitsPerEm = float64(number(t.head, 18))
	t.left, t.bottom, t.right, t.top = number(t.head, 36), number(t.head, 38), number(t.head, 40), number(t.head, 42)
	t.longLoca = number(t.head, 50) == 1
	t.ascent, t.descent = number(t.hhea, 4), number(t.hhea, 6)
	t.glyphCount, t.metricCount = int(number(t.maxp, 4)), int(number(t.hhea, 34))
	for id := range t.glyphCount {
		if isComposed(t.outline(font.GID(id))) {
			return nil, fmt.Errorf("document: %s has glyphs that are composed of others, which subset does not know",
				name)
		}
	}
	t.capHeight = t.ascent
	if h, found := face.NominalGlyph('H'); found {
		if extents, found := face.GlyphExtents(h); found {
			t.capHeight = int16(extents.YBearing)
		}
	}
	return t, nil
}

// outline returns the data of a glyph, which is empty for a blank.
func (t *typeface) outline(id font.GID) []byte {
	i := int(id)
	if i >= t.glyphCount {
		return nil
	}
	if t.longLoca {
		return t.glyf[binary.BigEndian.Uint32(t.loca[4*i:]):binary.BigEndian.Uint32(t.loca[4*i+4:])]
	}
	return t.glyf[2*int(binary.BigEndian.Uint16(t.loca[2*i:])) : 2*int(binary.BigEndian.Uint16(t.loca[2*i+2:]))]
}

// metric returns the advance of a glyph and its left side bearing, as the table hmtx has them.
func (t *typeface) metric(id font.GID) (advance, bearing uint16) {
	i := min(int(id), t.metricCount-1)
	advance = binary.BigEndian.Uint16(t.hmtx[4*i:])
	if int(id) < t.metricCount {
		return advance, binary.BigEndian.Uint16(t.hmtx[4*i+2:])
	}
	return advance, binary.BigEndian.Uint16(t.hmtx[4*t.metricCount+2*(int(id)-t.metricCount):])
}

// subset returns a TrueType font of some glyphs, numbered in their order. Hints are left out: they are for screens of
// low resolution.
func (t *typeface) subset(glyphs []font.GID) []byte {
	var glyf, loca, hmtx []byte
	for _, id := range glyphs {
		loca = binary.BigEndian.AppendUint32(loca, uint32(len(glyf)))
		glyf = padded(appendUnhinted(glyf, t.outline(id)))
		advance, bearing := t.metric(id)
		hmtx = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(hmtx, advance), bearing)
	}
	loca = binary.BigEndian.AppendUint32(loca, uint32(len(glyf)))
	head, hhea, maxp := bytes.Clone(t.head), bytes.Clone(t.hhea), bytes.Clone(t.maxp)
	binary.BigEndian.PutUint16(head[50:], 1) // long offsets
	binary.BigEndian.PutUint16(hhea[34:], uint16(len(glyphs)))
	binary.BigEndian.PutUint16(maxp[4:], uint16(len(glyphs)))
	table := func(tag string, content []byte) opentype.Table {
		return opentype.Table{Tag: opentype.MustNewTag(tag), Content: padded(content)}
	}
	return opentype.WriteTTF([]opentype.Table{table("glyf", glyf), table("head", head), table("hhea", hhea),
		table("hmtx", hmtx),
		table("loca", loca), table("maxp", maxp)})
}

// padded appends zeros up to a multiple of four bytes.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// glyphHeader is how many bytes stand before the contours of a glyph: their number, and the box around it.
const glyphHeader = 10

// isComposed reports whether a glyph refers to others by their numbers.
func isComposed(glyph []byte) bool {
	return len(glyph) >= glyphHeader && int16(binary.BigEndian.Uint16(glyph)) < 0
}

// appendUnhinted appends the data of a glyph without its instructions.
func appendUnhinted(to, glyph []byte) []byte {
	if len(glyph) < glyphHeader {
		return to
	}
	length := glyphHeader + 2*int(binary.BigEndian.Uint16(glyph)) // where that of the instructions stands
	points := length + 2 + int(binary.BigEndian.Uint16(glyph[length:]))
	to = append(append(to, glyph[:length]...), 0, 0)
	return append(to, glyph[points:]...)
}
