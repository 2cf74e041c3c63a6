package document_test

import (
	"bytes"
	"image/png"
	"strings"
	"testing"

	"rsc.io/qr"

	"github.com/starlightsymphony/starlight/shared/document"
)

// The picture is that which the library draws, pixel for pixel, with one bit for each.
func TestQRPicture(t *testing.T) {
	for _, text := range []string{"", "ST1.tkt_01hzzzzzzzzzzzzzzzzzzzzzzz", strings.Repeat("aB3_", 200)} {
		want, err := qr.Encode(text, qr.M)
		if err != nil {
			t.Fatal(err)
		}
		code, err := document.NewQR(text)
		if err != nil {
			t.Fatal(err)
		}
		data := code.PNG()
		got, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		image, err := png.Decode(bytes.NewReader(want.PNG()))
		if err != nil {
			t.Fatal(err)
		}
		if got.Bounds() != image.Bounds() {
			t.Fatalf("%d bytes of text are a picture of %v, want %v", len(text), got.Bounds(), image.Bounds())
		}
		for y := range got.Bounds().Dy() {
			for x := range got.Bounds().Dx() {
				a, _, _, _ := got.At(x, y).RGBA()
				if b, _, _, _ := image.At(x, y).RGBA(); a != b {
					t.Fatalf("%d bytes of text: the pixel %d, %d is %d, want %d", len(text), x, y, a, b)
				}
			}
		}
		if len(data) >= len(want.PNG()) {
			t.Errorf("%d bytes of text are %d bytes, those of the library %d", len(text), len(data), len(want.PNG()))
		}
	}
	if _, err := document.NewQR(strings.Repeat("x", 5000)); err == nil {
		t.Error("a text that is too long was encoded")
	}
}

func BenchmarkQRPicture(b *testing.B) {
	text := "ST1." + strings.Repeat("aB3_", 32)
	code, err := document.NewQR(text)
	if err != nil {
		b.Fatal(err)
	}
	library, err := qr.Encode(text, qr.M)
	if err != nil {
		b.Fatal(err)
	}
	for name, draw := range map[string]func() []byte{"here": code.PNG, "library": library.PNG} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.ReportMetric(float64(len(draw())), "bytes/picture")
			}
		})
	}
}
