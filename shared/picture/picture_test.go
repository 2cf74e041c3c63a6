package picture_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/picture"
)

var (
	red   = color.RGBA{220, 20, 20, 255}
	green = color.RGBA{20, 180, 20, 255}
	blue  = color.RGBA{20, 20, 220, 255}
)

// halves is a picture that is one colour on the left and another one on the right, with a third in its lower half.
func halves(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(m, image.Rect(0, 0, w/2, h/2), image.NewUniform(red), image.Point{}, draw.Src)
	draw.Draw(m, image.Rect(w/2, 0, w, h/2), image.NewUniform(green), image.Point{}, draw.Src)
	draw.Draw(m, image.Rect(0, h/2, w, h), image.NewUniform(blue), image.Point{}, draw.Src)
	return m
}

func asJPEG(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withExif puts an Exif segment into a JPEG file, with how the camera was held, and a secret.
func withExif(file []byte, order binary.ByteOrder, turn uint16) []byte {
	tiff := []byte("II*\x00")
	if order == binary.BigEndian {
		tiff = []byte("MM\x00*")
	}
	put16 := func(v uint16) { tiff = append(tiff, 0, 0); order.PutUint16(tiff[len(tiff)-2:], v) }
	put32 := func(v uint32) { tiff = append(tiff, 0, 0, 0, 0); order.PutUint32(tiff[len(tiff)-4:], v) }
	put32(8)
	put16(1)
	put16(0x0112)
	put16(3)
	put32(1)
	put16(turn)
	put16(0)
	put32(0)
	segment := append([]byte("Exif\x00\x00"), tiff...)
	segment = append(segment, "GPS 52.5200 13.4050"...)
	out := append([]byte{}, file[:2]...)
	out = append(out, 0xff, 0xe1, byte((len(segment)+2)>>8), byte(len(segment)+2))
	return append(append(out, segment...), file[2:]...)
}

func at(t *testing.T, f picture.File, x, y float64) color.RGBA {
	t.Helper()
	m, _, err := image.Decode(bytes.NewReader(f.Data))
	if err != nil {
		t.Fatal(err)
	}
	return color.RGBAModel.Convert(m.At(int(x*float64(f.Width)), int(y*float64(f.Height)))).(color.RGBA)
}

func near(a, b color.RGBA) bool {
	far := func(x, y uint8) bool { return max(x, y)-min(x, y) > 24 }
	return !far(a.R, b.R) && !far(a.G, b.G) && !far(a.B, b.B)
}

func TestSizes(t *testing.T) {
	t.Parallel()
	made, err := picture.Make(asJPEG(t, halves(2000, 1500)), picture.Poster)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]int{{480, 360}, {960, 720}, {1600, 1200}} {
		f := made.Files[i]
		if f.Width != want[0] || f.Height != want[1] {
			t.Errorf("%d: %d by %d, want %v", i, f.Width, f.Height, want)
		}
		c, err := jpeg.DecodeConfig(bytes.NewReader(f.Data))
		if err != nil || c.Width != f.Width || c.Height != f.Height {
			t.Errorf("%d: the file is %+v, %v", i, c, err)
		}
		for _, p := range []struct {
			x, y float64
			want color.RGBA
		}{{.25, .25, red}, {.75, .25, green}, {.5, .75, blue}} {
			if got := at(t, f, p.x, p.y); !near(got, p.want) {
				t.Errorf("%d: %v at %v, %v, want %v", i, got, p.x, p.y, p.want)
			}
		}
	}
	if want := (color.RGBA{70, 60, 120, 255}); !near(made.Color, want) {
		t.Errorf("from far away it is %v, want %v", made.Color, want)
	}
}

// A narrow picture is not made wider.
func TestNarrow(t *testing.T) {
	t.Parallel()
	made, err := picture.Make(asPNG(t, halves(700, 500)), picture.Poster)
	if err != nil {
		t.Fatal(err)
	}
	if f := made.Files; f[0].Width != 480 || f[1].Width != 700 || f[2].Width != 700 ||
		!bytes.Equal(f[1].Data, f[2].Data) || made.Ext != "jpg" {
		t.Errorf("%d, %d, %d %s", f[0].Width, f[1].Width, f[2].Width, made.Ext)
	}
}

// Each of the eight ways to hold a camera comes out upright, and nothing is left of what the file said beside.
func TestUpright(t *testing.T) {
	t.Parallel()
	// Where the red of the upper left corner lies in what the camera wrote.
	stored := map[uint16]func(m *image.RGBA, w, h, x, y int) color.Color{
		1: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(x, y) },
		2: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(w-1-x, y) },
		3: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(w-1-x, h-1-y) },
		4: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(x, h-1-y) },
		5: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(y, x) },
		6: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(w-1-y, x) },
		7: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(w-1-y, h-1-x) },
		8: func(m *image.RGBA, w, h, x, y int) color.Color { return m.At(y, h-1-x) },
	}
	up := halves(640, 400)
	for turn, of := range stored {
		w, h := 640, 400
		sw, sh := w, h
		if turn >= 5 {
			sw, sh = h, w
		}
		held := image.NewRGBA(image.Rect(0, 0, sw, sh))
		for y := range sh {
			for x := range sw {
				held.Set(x, y, of(up, w, h, x, y))
			}
		}
		order := binary.ByteOrder(binary.LittleEndian)
		if turn%2 == 0 {
			order = binary.BigEndian
		}
		made, err := picture.Make(withExif(asJPEG(t, held), order, turn), picture.Poster)
		if err != nil {
			t.Fatal(turn, err)
		}
		f := made.Files[0]
		if f.Width != 480 || f.Height != 300 || !near(at(t, f, .25, .25), red) || !near(at(t, f, .75, .25), green) ||
			!near(at(t, f, .5, .75), blue) {
			t.Errorf("held like %d it is %d by %d: %v %v %v", turn, f.Width, f.Height, at(t, f, .25, .25),
				at(t, f, .75, .25), at(t, f, .5, .75))
		}
		for _, f := range made.Files {
			if bytes.Contains(f.Data, []byte("GPS")) || bytes.Contains(f.Data, []byte("Exif")) {
				t.Errorf("held like %d: the file says where it was taken", turn)
			}
		}
	}
}

// A logo lets through what is behind it; a poster is on white.
func TestClear(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 400, 400))
	draw.Draw(m, image.Rect(100, 100, 300, 300), image.NewUniform(red), image.Point{}, draw.Src)
	logo, err := picture.Make(asPNG(t, m), picture.Logo)
	if err != nil {
		t.Fatal(err)
	}
	if got := at(t, logo.Files[2], 0.02, 0.02); logo.Type != "image/png" || got.A != 0 ||
		!near(at(t, logo.Files[2], .5, .5), red) || !near(logo.Color, red) {
		t.Errorf("%s, %v in the corner, %v from far away", logo.Type, got, logo.Color)
	}
	poster, err := picture.Make(asPNG(t, m), picture.Poster)
	if err != nil {
		t.Fatal(err)
	}
	if got := at(t, poster.Files[0], 0.02, 0.02); poster.Type != "image/jpeg" || !near(got, color.RGBA{255, 255, 255, 255}) {
		t.Errorf("%s, %v in the corner", poster.Type, got)
	}
}

// headOnly is a PNG file that says to have so many pixels.
func headOnly(w, h uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	head = append(binary.BigEndian.AppendUint32(head, h), 8, 6, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	out = append(out, head...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(head))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	whole := asJPEG(t, halves(640, 480))
	var moving bytes.Buffer
	frame := image.NewPaletted(image.Rect(0, 0, 400, 400), color.Palette{red, blue})
	if err := gif.EncodeAll(&moving, &gif.GIF{Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1}}); err != nil {
		t.Fatal(err)
	}
	still := asPNG(t, halves(400, 400))
	apng := append(append([]byte{}, still[:33]...), "\x00\x00\x00\x08acTL\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"...)
	apng = append(apng, still[33:]...)
	for name, c := range map[string]struct {
		data []byte
		code fault.Code
		want string
	}{
		"nothing":            {nil, fault.Invalid, "no JPEG, PNG or WebP"},
		"SVG":                {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>`), fault.Invalid, "no JPEG"},
		"a page":             {[]byte("<!doctype html><script>1</script>"), fault.Invalid, "no JPEG"},
		"GIF":                {moving.Bytes(), fault.Invalid, "no JPEG"},
		"moving PNG":         {apng, fault.Invalid, "moves"},
		"moving WebP":        {[]byte("RIFF\x00\x01\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x8f\x01\x00\x8f\x01\x00ANIM"), fault.Invalid, "moves"},
		"a bomb":             {headOnly(16_000, 16_000), fault.TooLarge, "16000 by 16000"},
		"a long bomb":        {headOnly(1<<31-1, 1), fault.TooLarge, "pixels"},
		"no pixels":          {headOnly(0, 4), fault.Invalid, "cannot be read"},
		"a head":             {headOnly(500, 500), fault.Invalid, "cannot be read"},
		"half a file":        {whole[:len(whole)/2], fault.Invalid, "cannot be read"},
		"text after a start": {append([]byte("\xff\xd8\xff"), strings.Repeat("<script>", 100)...), fault.Invalid, "cannot be read"},
		"small":              {asPNG(t, halves(300, 200)), fault.Invalid, "300 pixels wide"},
		"a strip":            {asPNG(t, halves(2000, 300)), fault.Invalid, "5 times"},
		"much":               {make([]byte, picture.MostBytes+1), fault.TooLarge, "bytes"},
	} {
		_, err := picture.Make(c.data, picture.Poster)
		f := fault.From(err)
		said := f.Detail
		for _, field := range f.Fields {
			said += " " + field.Detail
		}
		if err == nil || f.Code != c.code || !strings.Contains(said, c.want) {
			t.Errorf("%s: %v %q, want %v %q", name, f.Code, said, c.code, c.want)
		}
	}
}

// What hides behind a picture does not come out: the files are made of pixels alone.
func TestPolyglot(t *testing.T) {
	t.Parallel()
	hidden := []byte("PK\x03\x04<script>alert(1)</script>")
	for _, file := range [][]byte{asJPEG(t, halves(640, 480)), asPNG(t, halves(640, 480))} {
		made, err := picture.Make(append(file, hidden...), picture.Poster)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range made.Files {
			if bytes.Contains(f.Data, []byte("script")) || bytes.Contains(f.Data, []byte("PK\x03\x04")) {
				t.Error("what hides behind the picture came out")
			}
		}
	}
}

func FuzzMake(f *testing.F) {
	var b bytes.Buffer
	_ = jpeg.Encode(&b, halves(64, 48), nil)
	f.Add(withExif(b.Bytes(), binary.BigEndian, 6))
	b.Reset()
	_ = png.Encode(&b, halves(64, 48))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		made, err := picture.Make(data, picture.Logo)
		switch {
		case err == nil:
			if made.Files[0].Width < 1 || made.Files[2].Height < 1 {
				t.Fatalf("%+v", made)
			}
		case !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge):
			t.Fatal(err)
		}
	})
}
