package systemtest

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
)

// AView is a picture as people take them.
func AView() []byte {
	m := image.NewRGBA(image.Rect(0, 0, 1600, 900))
	for y := range 900 {
		for x := range 1600 {
			c := color.RGBA{uint8(30 + y/5), uint8(20 + y/14), uint8(90 - y/18), 255}
			if dx, dy := x-1150, y-420; dx*dx+dy*dy < 130*130 {
				c = color.RGBA{255, 196, 120, 255}
			}
			for i, hill := range []float64{520, 620, 730} {
				if float64(y) > hill+60*math.Sin(float64(x)/(180+70*float64(i))+2*float64(i)) {
					c = color.RGBA{uint8(70 - 22*i), uint8(30 - 9*i), uint8(80 - 20*i), 255}
				}
			}
			m.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// APicture is a file that can be uploaded.
func APicture() []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 400, 300)), nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}
