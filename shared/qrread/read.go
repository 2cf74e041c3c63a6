// Package qrread reads QR codes, ISO/IEC 18004, in pictures of cameras: at any angle, under uneven light, a part of the
// code covered. It is for doors whose browsers do not read codes themselves.
package qrread

import (
	"errors"
	"image"
)

// ErrNone is returned for a picture in which no code can be read.
var ErrNone = errors.New("qrread: there is no code")

// MostPixels is how large a picture may be. One of so many takes about 30 ms.
const MostPixels = 1_000_000

// shares of the picture within which light is compared, one after the other, until a code is read.
const (
	smallShare = 8
	largeShare = 3
)

// Read returns the text of the code in a picture, or ErrNone.
func Read(img *image.Gray) (string, error) {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	if w < 21 || h < 21 || w*h > MostPixels {
		return "", ErrNone
	}
	for _, share := range []int{smallShare, largeShare} {
		b := newBitmap(img, max(w, h)/share)
		for _, corners := range b.triples(b.finders()) {
			if text, err := b.read(corners); err == nil {
				return text, nil
			}
		}
	}
	return "", ErrNone
}

// read reads the code between three corners.
func (b *bitmap) read(c corners) (string, error) {
	module := b.moduleOf(c)
	if module < 1 {
		return "", ErrNone
	}
	across := (c.topLeft.to(c.topRight) + c.topLeft.to(c.bottomLeft)) / 2 / module // modules between the centres
	guess := int((across+7-17)/4 + 0.5)
	for _, version := range []int{guess, guess + 1, guess - 1} {
		if version < 1 || version > 40 {
			continue
		}
		size := 17 + 4*version
		for _, fourth := range b.fourths(c, size, version) {
			modules := b.sample(c, fourth, size)
			if !isTimed(modules) { // which is most of what is no code
				continue
			}
			if text, err := decode(modules, version); err == nil {
				return text, nil
			}
		}
	}
	return "", ErrNone
}

// bitmap is a picture in black and white.
type bitmap struct {
	w, h  int
	black []bool
}

func (b *bitmap) at(x, y int) bool { return x >= 0 && y >= 0 && x < b.w && y < b.h && b.black[y*b.w+x] }

// newBitmap calls black what is darker than its surroundings of so many pixels.
func newBitmap(img *image.Gray, window int) *bitmap {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	sums := make([]int, (w+1)*(h+1)) // of all pixels above and to the left
	for y := range h {
		row := 0
		for x := range w {
			row += int(img.Pix[y*img.Stride+x])
			sums[(y+1)*(w+1)+x+1] = sums[y*(w+1)+x+1] + row
		}
	}
	b := &bitmap{w: w, h: h, black: make([]bool, w*h)}
	half := max(window/2, 4)
	for y := range h {
		top, bottom := max(0, y-half), min(h, y+half+1)
		for x := range w {
			left, right := max(0, x-half), min(w, x+half+1)
			sum := sums[bottom*(w+1)+right] - sums[top*(w+1)+right] - sums[bottom*(w+1)+left] + sums[top*(w+1)+left]
			area := (bottom - top) * (right - left)
			b.black[y*w+x] = int(img.Pix[y*img.Stride+x])*area*10 < sum*9
		}
	}
	return b
}
