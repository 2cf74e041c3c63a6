package picture

import (
	"image"
	"image/draw"
)

// scale makes a picture smaller: each pixel is the average of those that it stands for, also where its border cuts
// through some. It takes no more memory than a few rows beside the result. Solid puts white behind the picture.
func scale(src image.Image, width, height int, solid bool) *image.RGBA {
	b := src.Bounds()
	dst := image.NewRGBA(image.Rect(0, 0, width, height))
	row := image.NewRGBA(image.Rect(0, 0, b.Dx(), 1)) // of the source, as it is read
	narrow := make([]float64, 4*width)                // that row, scaled
	sum := make([]float64, 4*width)                   // of the rows of one of the result
	steep := float64(b.Dy()) / float64(height)        // rows of the source that stand in one of the result
	y, end, weight := 0, steep, 0.0
	flush := func() {
		out := dst.Pix[y*dst.Stride:]
		for i, v := range sum {
			out[i] = uint8(min(255, v/weight+0.5))
			sum[i] = 0
		}
		y, end, weight = y+1, end+steep, 0
	}
	add := func(share float64) {
		for i, v := range narrow {
			sum[i] += share * v
		}
		weight += share
	}
	for sy := range b.Dy() {
		if solid {
			draw.Draw(row, row.Rect, image.White, image.Point{}, draw.Src)
			draw.Draw(row, row.Rect, src, image.Pt(b.Min.X, b.Min.Y+sy), draw.Over)
		} else {
			draw.Draw(row, row.Rect, src, image.Pt(b.Min.X, b.Min.Y+sy), draw.Src)
		}
		squeeze(narrow, row.Pix, width, b.Dx())
		above := min(1, end-float64(sy)) // how much of this row stands in the row of the result that is being made
		if above > 0 {
			add(above)
		}
		if end <= float64(sy+1) && y < height-1 {
			flush()
			if above < 1 {
				add(1 - above)
			}
		}
	}
	flush()
	return dst
}

// squeeze scales one row of so many pixels.
func squeeze(dst []float64, src []uint8, width, pixels int) {
	flat := float64(pixels) / float64(width)
	for x := range width {
		from, to := float64(x)*flat, float64(x+1)*flat
		var sum [4]float64
		weight := 0.0
		for sx := int(from); sx < pixels && float64(sx) < to; sx++ {
			share := min(to, float64(sx+1)) - max(from, float64(sx))
			if share <= 0 {
				continue
			}
			at := src[4*sx : 4*sx+4]
			for k := range sum {
				sum[k] += share * float64(at[k])
			}
			weight += share
		}
		for k := range sum {
			dst[4*x+k] = sum[k] / weight
		}
	}
}
