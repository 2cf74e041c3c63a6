package qrread_test

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"rsc.io/qr"

	"github.com/starlightsymphony/starlight/shared/qrread"
)

// view is how a camera sees a code.
type view struct {
	module float64 // pixels
	turn   float64 // degrees
	tilt   float64 // how much smaller the far edge is, as a share
	light  float64 // how much darker one side is, as a share
	noise  float64 // of each pixel, in shades of grey
	blur   int     // pixels
}

// ticket is about as long as the code of a ticket.
var ticket = "SS1." + strings.Repeat("kQ7-x_9bT2", 14)

// picture is what a camera of w by h pixels sees.
func picture(t testing.TB, text string, level qr.Level, w, h int, v view) *image.Gray {
	t.Helper()
	code, err := qr.Encode(text, level)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	img := image.NewGray(image.Rect(0, 0, w, h))
	sin, cos := math.Sincos(v.turn * math.Pi / 180)
	half := float64(code.Size) / 2
	for y := range h {
		for x := range w {
			dx, dy := float64(x)-float64(w)/2, float64(y)-float64(h)/2
			rx, ry := dx*cos+dy*sin, -dx*sin+dy*cos
			scale := v.module * (1 - v.tilt*ry/float64(h)) // farther away further down
			mx, my := rx/scale+half, ry/scale+half
			shade := 150.0 // what is behind the ticket
			if mx > -4 && my > -4 && mx < float64(code.Size)+4 && my < float64(code.Size)+4 {
				shade = 225
				if code.Black(int(math.Floor(mx)), int(math.Floor(my))) {
					shade = 40
				}
			}
			shade *= 1 - v.light*float64(x)/float64(w)
			img.SetGray(x, y, color.Gray{uint8(min(255, max(0, shade+v.noise*random.NormFloat64())))})
		}
	}
	if v.blur == 0 {
		return img
	}
	out := image.NewGray(img.Rect)
	for y := range h {
		for x := range w {
			sum, n := 0, 0
			for by := max(0, y-v.blur); by <= min(h-1, y+v.blur); by++ {
				for bx := max(0, x-v.blur); bx <= min(w-1, x+v.blur); bx++ {
					sum += int(img.GrayAt(bx, by).Y)
					n++
				}
			}
			out.SetGray(x, y, color.Gray{uint8(sum / n)})
		}
	}
	return out
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		level qr.Level
		view  view
	}{
		"a number":      {"0123456789012", qr.L, view{module: 8}},
		"letters":       {"HTTPS://EXAMPLE.ORG/A+B", qr.Q, view{module: 8}},
		"words":         {"Grüße aus Köln 🎻", qr.M, view{module: 8}},
		"a ticket":      {ticket, qr.M, view{module: 6}},
		"small":         {ticket, qr.M, view{module: 3}},
		"large":         {ticket, qr.M, view{module: 9}},
		"much checked":  {ticket, qr.H, view{module: 5}},
		"long":          {strings.Repeat(ticket, 4), qr.L, view{module: 4}},
		"tilted":        {ticket, qr.M, view{module: 6, tilt: 0.35}},
		"tilted aside":  {ticket, qr.M, view{module: 6, tilt: 0.3, turn: 40}},
		"in the shade":  {ticket, qr.M, view{module: 6, light: 0.7}},
		"grainy":        {ticket, qr.M, view{module: 6, noise: 18}},
		"out of focus":  {ticket, qr.M, view{module: 6, blur: 2}},
		"all of it":     {ticket, qr.M, view{module: 6.5, tilt: 0.2, turn: 12, light: 0.4, noise: 10, blur: 1}},
		"short, tilted": {"SS1.short", qr.M, view{module: 12, tilt: 0.08, turn: 200}},
	} {
		got, err := qrread.Read(picture(t, c.text, c.level, 640, 640, c.view))
		if err != nil || got != c.text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for turn := 0.0; turn < 360; turn += 15 {
		if got, err := qrread.Read(picture(t, ticket, qr.M, 640, 640, view{module: 6, turn: turn})); err != nil || got != ticket {
			t.Errorf("turned by %v: %q, %v", turn, got, err)
		}
	}
}

// A part of a code may be covered; more of it is not guessed.
func TestCovered(t *testing.T) {
	t.Parallel()
	cover := func(side int) (string, error) {
		img := picture(t, ticket, qr.M, 640, 640, view{module: 7})
		for y := 320; y < 320+side; y++ {
			for x := 320; x < 320+side; x++ {
				img.SetGray(x, y, color.Gray{200})
			}
		}
		return qrread.Read(img)
	}
	if got, err := cover(70); err != nil || got != ticket {
		t.Errorf("a part is covered: %q, %v", got, err)
	}
	if got, err := cover(230); !errors.Is(err, qrread.ErrNone) {
		t.Errorf("most is covered: %q, %v", got, err)
	}
}

func TestNoCode(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	noise := image.NewGray(image.Rect(0, 0, 640, 480))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(random.IntN(256))
	}
	stripes := image.NewGray(noise.Rect)
	for i := range stripes.Pix {
		stripes.Pix[i] = uint8(255 * (i / 4 % 2))
	}
	for name, img := range map[string]*image.Gray{"noise": noise, "stripes": stripes, "white": image.NewGray(noise.Rect),
		"nothing": image.NewGray(image.Rect(0, 0, 0, 0)), "a dot": image.NewGray(image.Rect(0, 0, 1, 1)),
		"too large": image.NewGray(image.Rect(0, 0, 4000, 3000))} {
		if got, err := qrread.Read(img); !errors.Is(err, qrread.ErrNone) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(picture(f, "SS1.x", qr.L, 100, 100, view{module: 3}).Pix, uint8(100))
	f.Fuzz(func(t *testing.T, pix []byte, w uint8) {
		if w == 0 {
			return
		}
		h := len(pix) / int(w)
		_, err := qrread.Read(&image.Gray{Pix: pix, Stride: int(w), Rect: image.Rect(0, 0, int(w), h)})
		if err != nil && !errors.Is(err, qrread.ErrNone) {
			t.Fatal(err)
		}
	})
}

// What is no code takes no longer than one.
func BenchmarkNoCode(b *testing.B) {
	random := rand.New(rand.NewPCG(3, 4))
	img := image.NewGray(image.Rect(0, 0, 640, 480))
	for i := range img.Pix {
		img.Pix[i] = uint8(random.IntN(256))
	}
	for b.Loop() {
		if _, err := qrread.Read(img); err == nil {
			b.Fatal("noise was read")
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, v := range []view{{module: 6}, {module: 6.5, tilt: 0.2, turn: 12, light: 0.4, noise: 10, blur: 1}} {
		img := picture(b, ticket, qr.M, 640, 480, v)
		b.Run(fmt.Sprintf("tilt=%v", v.tilt), func(b *testing.B) {
			for b.Loop() {
				if _, err := qrread.Read(img); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
