// Package picture makes pictures that anybody may be shown of files that anybody may have sent: it decodes them within
// bounds, turns them upright, and writes them anew in a few sizes: nothing of the file is left but what it shows.
package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"

	"golang.org/x/image/webp"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// The bounds of what is decoded. A picture of the most pixels takes about 200 MiB of memory while it is decoded.
const (
	MostPixels = 25_000_000 // those of a good camera
	MostBytes  = 7 << 20    // of a file
	mostSide   = 16_384
	mostRatio  = 5 // of the longer side to the shorter

	quality = 82 // of JPEG
)

// Kind is what a picture is for.
type Kind struct {
	Widths [3]int // of its files; none is wider than what was sent
	Least  int    // pixels of width that it needs
	Clear  bool   // it may let through what is behind it
}

// The kinds of pictures.
var (
	Poster = Kind{Widths: [3]int{480, 960, 1600}, Least: 320}
	Logo   = Kind{Widths: [3]int{96, 192, 384}, Least: 48, Clear: true}
)

// Made is a picture in its sizes, the smallest first. If what was sent is narrow, some of them are the same.
type Made struct {
	Files [3]File
	Type  string     // the media type of all files
	Ext   string     // what their names end with: jpg or png
	Color color.RGBA // the average
}

// File is a picture in one size.
type File struct {
	Width, Height int
	Data          []byte
}

// Make reads a picture and makes its files. The faults are Invalid and TooLarge, and say what is wrong.
func Make(data []byte, kind Kind) (*Made, error) {
	src, turn, err := read(data)
	if err != nil {
		return nil, err
	}
	width, height := src.Bounds().Dx(), src.Bounds().Dy()
	if turn.sideways() {
		width, height = height, width
	}
	if width < kind.Least {
		return nil, refuse("the picture is %d pixels wide, and has to have %d or more", width, kind.Least)
	}
	if width > mostRatio*height || height > mostRatio*width {
		return nil, refuse("the picture is more than %d times as long on one side as on the other", mostRatio)
	}
	clear := kind.Clear && !opaque(src)
	made := &Made{Type: "image/jpeg", Ext: "jpg"}
	if clear {
		made.Type, made.Ext = "image/png", "png"
	}
	var small *image.RGBA // the last that was made: each is made of the next larger one
	for i := len(kind.Widths) - 1; i >= 0; i-- {
		w := min(kind.Widths[i], width)
		h := max(1, int(math.Round(float64(height)*float64(w)/float64(width))))
		switch {
		case small == nil && turn.sideways():
			small = turn.apply(scale(src, h, w, !clear))
		case small == nil:
			small = turn.apply(scale(src, w, h, !clear))
		case small.Rect.Dx() == w:
			made.Files[i] = made.Files[i+1]
			continue
		default:
			small = scale(small, w, h, !clear)
		}
		if made.Files[i], err = encode(small, clear); err != nil {
			return nil, err
		}
	}
	made.Color = average(small)
	return made, nil
}

// refuse is the fault of a file that is no picture that can be taken.
func refuse(format string, args ...any) error {
	var c fault.Check
	c.Field(false, "body", format, args...)
	return c.Err()
}

// read decodes a file. What it is stands in its bytes: neither a name nor a header counts.
func read(data []byte) (image.Image, turn, error) {
	if len(data) > MostBytes {
		return nil, 0, fault.New(fault.TooLarge, "the picture is larger than %d bytes", MostBytes)
	}
	var (
		size   func() (image.Config, error)
		decode func() (image.Image, error)
	)
	upright := turn(1)
	switch formatOf(data) {
	case "jpeg":
		size = func() (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(data)) }
		decode = func() (image.Image, error) { return jpeg.Decode(bytes.NewReader(data)) }
		upright = orientation(data)
	case "png":
		if chunk(data, "acTL") {
			return nil, 0, refuse("the picture moves; one that stands still is needed")
		}
		size = func() (image.Config, error) { return png.DecodeConfig(bytes.NewReader(data)) }
		decode = func() (image.Image, error) { return png.Decode(bytes.NewReader(data)) }
	case "webp":
		if chunk(data, "ANIM") {
			return nil, 0, refuse("the picture moves; one that stands still is needed")
		}
		size = func() (image.Config, error) { return webp.DecodeConfig(bytes.NewReader(data)) }
		decode = func() (image.Image, error) { return webp.Decode(bytes.NewReader(data)) }
	default:
		return nil, 0, refuse("the file is no JPEG, PNG or WebP picture")
	}
	c, err := size()
	if err != nil {
		return nil, 0, broken(err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > mostSide || c.Height > mostSide || c.Width*c.Height > MostPixels {
		return nil, 0, fault.New(fault.TooLarge, "it has %d by %d pixels; the most are %d in all and %d a side",
			c.Width, c.Height, MostPixels, mostSide)
	}
	img, err := decode()
	if err != nil {
		return nil, 0, broken(err)
	}
	if b := img.Bounds(); b.Dx() != c.Width || b.Dy() != c.Height {
		return nil, 0, broken(fmt.Errorf("it says %d by %d and is %d by %d", c.Width, c.Height, b.Dx(), b.Dy()))
	}
	return img, upright, nil
}

func broken(err error) error { return refuse("the picture cannot be read: %s", err) }

// formatOf recognizes a file by how it begins.
func formatOf(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return "jpeg"
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return "png"
	case len(data) > 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return "webp"
	}
	return ""
}

// chunk reports whether the name of a chunk stands near the beginning of a file, where those of moving pictures do.
func chunk(data []byte, name string) bool {
	const near = 4096
	return bytes.Contains(data[:min(len(data), near)], []byte(name))
}

func opaque(img image.Image) bool {
	o, ok := img.(interface{ Opaque() bool })
	return ok && o.Opaque()
}

func encode(img *image.RGBA, clear bool) (File, error) {
	var out bytes.Buffer
	var err error
	if clear {
		err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, img)
	} else {
		err = jpeg.Encode(&out, img, &jpeg.Options{Quality: quality})
	}
	if err != nil {
		return File{}, fault.Wrap(err, fault.Internal, "the picture cannot be written")
	}
	return File{Width: img.Rect.Dx(), Height: img.Rect.Dy(), Data: out.Bytes()}, nil
}

// average returns the colour of a picture seen from far away.
func average(img *image.RGBA) color.RGBA {
	var sum [4]uint64
	for i := 0; i+3 < len(img.Pix); i += 4 {
		for k := range sum {
			sum[k] += uint64(img.Pix[i+k])
		}
	}
	if sum[3] == 0 {
		return color.RGBA{255, 255, 255, 255}
	}
	of := func(k int) uint8 { return uint8(min(255, sum[k]*255/sum[3])) } // without what is behind it
	return color.RGBA{of(0), of(1), of(2), 255}
}
