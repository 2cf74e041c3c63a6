package document

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/go-text/typesetting/font"
)

// pdfFont is a built-in font in a document: the glyphs of it that are used. Each pair of sign and glyph has a code of
// its own, so that what is copied is what was written, also where two alphabets share a glyph.
type pdfFont struct {
	*typeface
	codes  map[pdfChar]int
	chars  []pdfChar // by code; 0 is the box
	widths []int     // by code, in thousandths of the size
}

type pdfChar struct {
	sign rune
	id   font.GID
}

func newPDFFont(t *typeface) *pdfFont {
	f := &pdfFont{typeface: t, codes: map[pdfChar]int{}}
	f.code(0, 0)
	return f
}

// code returns the code and the width of a glyph that stands for a sign.
func (f *pdfFont) code(sign rune, id font.GID) (code, width int) {
	c := pdfChar{sign, id}
	code, known := f.codes[c]
	if !known {
		code = len(f.chars)
		f.codes[c] = code
		advance, _ := f.metric(id)
		f.chars, f.widths = append(f.chars, c), append(f.widths, f.thousandths(int16(advance)))
	}
	return code, f.widths[code]
}

// thousandths converts font units to those of a PDF.
func (f *pdfFont) thousandths(units int16) int {
	return int(math.Round(float64(units) * 1000 / f.unitsPerEm))
}

// write writes the font and returns the number of its object.
func (f *pdfFont) write(to *pdfFile) int {
	program := f.program()
	name := program.tag + "+" + f.name
	whole, descendant, descriptor, file, unicode := to.reserve(), to.reserve(), to.reserve(), to.reserve(), to.reserve()
	to.object(whole,
		"<</Type /Font /Subtype /Type0 /BaseFont /%s /Encoding /Identity-H /DescendantFonts [%d 0 R] /ToUnicode %d 0 "+
			"R>>", name, descendant, unicode)
	to.object(descendant,
		"<</Type /Font /Subtype /CIDFontType2 /BaseFont /%s /CIDSystemInfo <</Registry (Adobe) /Ordering (Identity) "+
			"/Supplement 0>> "+
			"/FontDescriptor %d 0 R /CIDToGIDMap /Identity /W [0 %d]>>", name, descriptor, f.widths)
	const symbolic, stem = 4, 80
	to.object(descriptor,
		"<</Type /FontDescriptor /FontName /%s /Flags %d /FontBBox [%d %d %d %d] /ItalicAngle 0 /Ascent %d /Descent "+
			"%d /CapHeight %d /StemV %d /FontFile2 %d 0 R>>",
		name, symbolic, f.thousandths(f.left), f.thousandths(f.bottom), f.thousandths(f.right), f.thousandths(f.top),
		f.thousandths(f.ascent), f.thousandths(f.descent), f.thousandths(f.capHeight), stem, file)
	to.packed(file, fmt.Sprintf("/Length1 %d", program.length), program.font)
	to.packed(unicode, "", program.unicode)
	return whole
}

// fontProgram is what a document has of a font for certain signs.
type fontProgram struct {
	tag           string
	length        int    // of the font
	font, unicode []byte // compressed: the font, and the map from codes to signs
}

// mostPrograms are remembered of a typeface.
const mostPrograms = 100

// program returns the font as the document needs it. Documents of one kind have the same signs, and share it.
func (f *pdfFont) program() *fontProgram {
	key := make([]byte, 0, 8*len(f.chars))
	for _, c := range f.chars {
		key = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(key, uint32(c.sign)), uint32(c.id))
	}
	t := f.typeface
	t.mu.Lock()
	known := t.programs[string(key)]
	t.mu.Unlock()
	if known != nil {
		return known
	}
	glyphs := make([]font.GID, len(f.chars))
	for i, c := range f.chars {
		glyphs[i] = c.id
	}
	subset := t.subset(glyphs)
	made := &fontProgram{subsetTag(subset), len(subset), deflated(subset), deflated(f.toUnicode())}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.programs) >= mostPrograms || t.programs == nil {
		t.programs = map[string]*fontProgram{}
	}
	t.programs[string(key)] = made
	return made
}

// subsetTag returns the six letters that tell one subset of a font from another.
func subsetTag(subset []byte) string {
	sum := sha256.Sum256(subset)
	tag := sum[:6]
	for i := range tag {
		tag[i] = 'A' + tag[i]%26
	}
	return string(tag)
}

// toUnicode returns the map from codes to signs.
func (f *pdfFont) toUnicode() []byte {
	const most = 100 // lines in a section
	b := []byte(
		"/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo <</Registry (Adobe) " +
			"/Ordering (UCS) /Supplement 0>> def\n" +
			"/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> " +
			"<ffff>\nendcodespacerange\n")
	for from := 1; from < len(f.chars); from += most {
		to := min(from+most, len(f.chars))
		b = fmt.Appendf(b, "%d beginbfchar\n", to-from)
		for code := from; code < to; code++ {
			b = fmt.Appendf(b, "<%04x> <%x>\n", code, appendUTF16(nil, f.chars[code].sign))
		}
		b = append(b, "endbfchar\n"...)
	}
	return append(b, "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"...)
}
