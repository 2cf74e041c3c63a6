package document_test

import (
	"bytes"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

var ink = document.Color{R: 30, G: 30, B: 30}

// names are of all the kinds that people and places have.
var names = []string{
	"Żółta Kaczka, Łódź, ŽIŽKOV, Åse & İğdır",
	"Праздник, Ελλάδα",
	"大阪交響楽団定期演奏会 2027",
	"한국어 콘서트",
	"مهرجان الموسيقى 2027 (Dubai)",
	"פסטיבל ירושלים!",
	"เทศกาลดนตรีกรุงเทพ",
	"हिन्दी संगीत समारोह",
	"Linz 🎵 👩‍🚀 𝄞",
	"e\u0301galite\u0301 \u202eevil\u202c \x07bell\nnew line",
}

func fonts(t *testing.T, builtInOnly bool) *document.Fonts {
	t.Helper()
	f, err := document.NewFonts(document.FontConfig{BuiltInOnly: builtInOnly, Cache: t.TempDir(), Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func page(f *document.Fonts, lines ...string) *document.Drawing {
	d := &document.Drawing{Width: document.A4Width, Height: document.A4Height, Title: "names <&>"}
	d.Rect(40, 20, 200, 4, document.Color{R: 200})
	d.Line(2, document.Color{B: 200}, document.Point{X: 40, Y: 30}, document.Point{X: 100, Y: 40},
		document.Point{X: 240, Y: 30})
	for i, s := range lines {
		d.Text(40, 60+float64(i)*30, f.Line(s, document.Style{Size: 16, Bold: i%2 == 1}), ink)
	}
	d.Footnote(f, 40, ink)
	return d
}

// keep writes a file to look at, if a folder for that is set.
func keep(t *testing.T, name string, data []byte) {
	t.Helper()
	if dir := os.Getenv("STARLIGHT_TEST_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// all writes a drawing in each form and looks whether that is one.
func all(t *testing.T, name string, d *document.Drawing) {
	t.Helper()
	pdf, err := document.PDF("names", time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC), d)
	if err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) || !bytes.HasSuffix(bytes.TrimSpace(pdf), []byte("%%EOF")) {
		t.Errorf("%s: no PDF: %v", name, err)
	}
	picture, err := d.PNG(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Error(err)
	}
	keep(t, name+".pdf", pdf)
	keep(t, name+".png", picture)
	keep(t, name+".svg", d.SVG())
}

// Whatever is in a name, with no font but the built-in ones a document comes, and says what it cannot show.
func TestWithoutFontsOfTheMachine(t *testing.T) {
	f := fonts(t, true)
	d := page(f, names...)
	all(t, "built-in", d)
	note := d.Missing()
	for _, want := range []string{"U+5927", "U+1F3B5", "U+05E4", "U+1D11E"} {
		if !strings.Contains(note, want) && !strings.HasSuffix(note, "…") {
			t.Errorf("%s is not in %q", want, note)
		}
	}
	for _, own := range "ŻółtаПрΕλ" {
		if missing := (page(f, string(own))).Missing(); missing != "" {
			t.Errorf("%q: %s", own, missing)
		}
	}
	if note := page(f, "🎵").Missing(); !strings.HasSuffix(note, "U+1F3B5") {
		t.Errorf("footnote %q", note)
	}
}

// With fonts that have them, signs of all scripts are drawn, each in its own way.
func TestWithFontsOfTheMachine(t *testing.T) {
	f := fonts(t, false)
	found := 0
	seen := map[string]string{}
	for _, s := range []string{"大", "阪", "ก", "م", "א", "अ"} {
		d := page(f, s)
		if d.Missing() != "" {
			continue
		}
		found++
		picture := string(d.SVG())
		if other, known := seen[picture]; known {
			t.Errorf("%s looks like %s", s, other)
		}
		seen[picture] = s
	}
	all(t, "machine", page(f, names...))
	if found == 0 {
		t.Skip("this machine has no fonts but Latin ones")
	}
}

// Letters of scripts that are joined and read from the right are shaped, not set one after the other.
func TestShaping(t *testing.T) {
	f := fonts(t, false)
	if page(f, "سلام").Missing() != "" {
		t.Skip("this machine has no Arabic font")
	}
	style := document.Style{Size: 20}
	apart := 0.0
	for _, r := range "سلام" {
		apart += f.Line(string(r), style).Width
	}
	if joined := f.Line("سلام", style).Width; joined >= apart {
		t.Errorf("joined %.1f, apart %.1f points wide", joined, apart)
	}
}

// Long text is broken within a width, into no more lines than there is room for.
func TestWrap(t *testing.T) {
	f := fonts(t, true)
	style := document.Style{Size: 10}
	long := strings.Repeat("The long night of the short pieces ", 20)
	for _, text := range []string{long, strings.Repeat("W", 500), strings.Repeat("大", 200)} {
		lines := f.Wrap(text, style, 200, 3)
		if len(lines) != 3 {
			t.Errorf("%.10s: %d lines", text, len(lines))
		}
		for _, l := range lines {
			if l.Width > 200.5 || l.Width < 100 {
				t.Errorf("%.10s: a line is %.1f points wide", text, l.Width)
			}
		}
	}
	if lines := f.Wrap("short", style, 200, 3); len(lines) != 1 {
		t.Errorf("%d lines", len(lines))
	}
	if lines := f.Wrap("", style, 200, 3); len(lines) != 0 || f.Line("", style).Width != 0 {
		t.Error("nothing has lines")
	}
}

// Text of the built-in fonts can be found in a PDF.
func TestTextCanBeCopied(t *testing.T) {
	tool, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Skip("pdftotext is not installed")
	}
	f := fonts(t, true)
	pdf, err := document.PDF("x", time.Time{}, page(f, "Order ord_123, Łódź"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.pdf")
	if err := os.WriteFile(file, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, file, "-").Output()
	if err != nil || !strings.Contains(string(out), "Order ord_123, Łódź") {
		t.Errorf("%q %v", out, err)
	}
}

// What is made of outside text never fails, nor do callers beside each other.
func TestSideBySide(t *testing.T) {
	f := fonts(t, false)
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			d := page(f, names...)
			if _, err := document.PDF("x", time.Time{}, d); err != nil {
				t.Error(err)
			}
			d.SVG()
		})
	}
	work.Wait()
}

func FuzzLine(f *testing.F) {
	for _, s := range names {
		f.Add(s)
	}
	fonts, err := document.NewFonts(document.FontConfig{BuiltInOnly: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := &document.Drawing{Width: 200, Height: 50}
		d.Text(0, 20, fonts.Line(s, document.Style{Size: 10}), ink)
		d.Footnote(fonts, 10, ink)
		if _, err := document.PDF(s, time.Time{}, d); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	f, err := document.NewFonts(document.FontConfig{BuiltInOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f.Line("27 March 2027", document.Style{Size: 7})
	}
}
