package document

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"golang.org/x/image/font/gofont/goregular"
)

// A subset has the outlines and widths of the whole font, and no hints.
func TestSubset(t *testing.T) {
	whole, err := parseTypeface("GoRegular", goregular.TTF)
	if err != nil {
		t.Fatal(err)
	}
	glyphs := []font.GID{0}
	for _, sign := range " AÅaǺЯΩ…éA" {
		id, found := whole.NominalGlyph(sign)
		if !found {
			t.Fatalf("no %c", sign)
		}
		glyphs = append(glyphs, id)
	}
	data := whole.subset(glyphs)
	if len(data) > 2_500 {
		t.Errorf("%d bytes", len(data))
	}
	part, err := parseTypeface("part", withCmap(t, data))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range glyphs {
		n := font.GID(i)
		if got, want := part.HorizontalAdvance(n), whole.HorizontalAdvance(id); got != want {
			t.Errorf("glyph %d is %v wide, want %v", id, got, want)
		}
		if got, want := part.GlyphData(n), whole.GlyphData(id); !reflect.DeepEqual(got, want) {
			t.Errorf("glyph %d: %v, want %v", id, got, want)
		}
		if i > 1 && len(part.outline(n)) >= len(whole.outline(id)) {
			t.Errorf("glyph %d has hints", id)
		}
	}
}

// withCmap adds the table of signs of the whole font, which a parser asks for and a PDF does not.
func withCmap(t *testing.T, data []byte) []byte {
	t.Helper()
	whole, err := opentype.NewLoader(bytes.NewReader(goregular.TTF))
	if err != nil {
		t.Fatal(err)
	}
	part, err := opentype.NewLoader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var tables []opentype.Table
	for _, from := range []struct {
		*opentype.Loader
		tag string
	}{{whole, "cmap"}, {part, "glyf"}, {part, "head"}, {part, "hhea"}, {part, "hmtx"}, {part, "loca"}, {part, "maxp"}} {
		content, err := from.RawTable(opentype.MustNewTag(from.tag))
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, opentype.Table{Tag: opentype.MustNewTag(from.tag), Content: padded(content)})
	}
	return opentype.WriteTTF(tables)
}

// The table at the end of a file says where each object begins.
func TestObjectsAreFound(t *testing.T) {
	f, err := NewFonts(FontConfig{BuiltInOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	d := &Drawing{Width: 100, Height: 50}
	d.Text(0, 20, f.Line("Łódź", Style{Size: 10}), Color{})
	data, err := PDF("x", time.Time{}, d, d)
	if err != nil {
		t.Fatal(err)
	}
	_, end, found := bytes.Cut(data, []byte("startxref\n"))
	at, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(string(end), "%%EOF\n")))
	if !found || err != nil || !bytes.HasPrefix(data[at:], []byte("xref\n")) {
		t.Fatalf("no table: %q", end)
	}
	lines := strings.Split(string(data[at:]), "\n")
	count, _ := strconv.Atoi(strings.TrimPrefix(lines[1], "0 "))
	if count < 10 {
		t.Fatalf("%d objects", count)
	}
	for n := 1; n < count; n++ {
		begin, err := strconv.Atoi(lines[2+n][:10])
		if want := fmt.Sprintf("%d 0 obj\n", n); err != nil || len(lines[2+n]) != 19 ||
			!bytes.HasPrefix(data[begin:], []byte(want)) {
			t.Errorf("object %d: %q", n, lines[2+n])
		}
	}
}

// A sign is copied as what it is, also where two alphabets share a glyph.
func TestCodesTellSignsApart(t *testing.T) {
	whole, err := parseTypeface("GoRegular", goregular.TTF)
	if err != nil {
		t.Fatal(err)
	}
	f := newPDFFont(whole)
	latin, _ := f.code('A', 36)
	greek, _ := f.code('Α', 36)
	again, _ := f.code('A', 36)
	if latin == greek || latin != again {
		t.Errorf("codes %d, %d and %d", latin, greek, again)
	}
	if m := string(f.toUnicode()); !strings.Contains(m, "<0001> <0041>\n<0002> <0391>\n") {
		t.Error(m)
	}
}

// Documents that differ in an id share what they have of the font, and are each what they would be alone.
func TestDocumentsShareAFont(t *testing.T) {
	fonts := func() *Fonts {
		f, err := NewFonts(FontConfig{BuiltInOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	page := func(f *Fonts, text string) []byte {
		d := &Drawing{Width: 100, Height: 50}
		d.Text(0, 20, f.Line(text, Style{Size: 10}), Color{})
		data, err := PDF("x", time.Time{}, d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	f := fonts()
	for _, text := range []string{"Ticket tkt_01a2", "Ticket tkt_zy98", "Ticket Ł", "Ticket tkt_01a2"} {
		if !bytes.Equal(page(f, text), page(fonts(), text)) {
			t.Errorf("%q is another document after others", text)
		}
	}
	if n := len(f.regular.programs); n != 2 {
		t.Errorf("%d programs of the font, want one for the ids and one with the other letter", n)
	}
	for i := range 2 * mostPrograms {
		page(f, string(rune('Α'+i)))
	}
	if n := len(f.regular.programs); n > mostPrograms {
		t.Errorf("%d programs are remembered", n)
	}
}

func TestNumbers(t *testing.T) {
	for f, want := range map[float64]string{0: "0", -0.001: "0", 1: "1", 0.5: "0.5", -1.25: "-1.25", 841.889: "841.89",
		0.07: "0.07", 12.999: "13"} {
		if got := short(f); got != want {
			t.Errorf("%v is %q, want %q", f, got, want)
		}
	}
}
