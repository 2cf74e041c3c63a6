package document

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/vector"
)

// PNG paints the drawing on white, with so many pixels to the point.
func (d *Drawing) PNG(scale float64) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, int(math.Ceil(d.Width*scale)), int(math.Ceil(d.Height*scale))))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	p := painter{img, scale}
	for _, it := range d.items {
		if err := p.paint(it); err != nil {
			return nil, fmt.Errorf("document: png: %w", err)
		}
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		return nil, fmt.Errorf("document: png: %w", err)
	}
	return buf.Bytes(), nil
}

type painter struct {
	img   *image.RGBA
	scale float64
}

func (p painter) paint(it item) (err error) {
	for _, r := range it.squares() {
		p.fill(polygon(Point{r.x, r.y}, Point{r.x + r.w, r.y}, Point{r.x + r.w, r.y + r.h}, Point{r.x, r.y + r.h}),
			it.color)
	}
	switch {
	case it.line != nil:
		for i, q := range it.line.points {
			p.fill(disc(q, it.line.width/2), it.color)
			if i > 0 {
				p.fill(bar(it.line.points[i-1], q, it.line.width), it.color)
			}
		}
	case it.text != nil:
		for i := range it.text.runs {
			r := &it.text.runs[i]
			var path []segment
			r.path(it.text.x, it.text.y, func(s segment) { path = append(path, s) })
			p.fill(path, it.color)
			r.pictures(it.text.x, it.text.y, func(data []byte, at rect) {
				if e := p.picture(data, at); e != nil {
					err = e
				}
			})
		}
	}
	return err
}

// polygon is a closed path through points.
func polygon(points ...Point) []segment {
	path := make([]segment, len(points))
	for i, q := range points {
		path[i] = segment{begin: i == 0, p: [3]Point{q}, n: 1}
	}
	return path
}

// bar is a straight line of a width.
func bar(a, b Point, width float64) []segment {
	l := math.Hypot(b.X-a.X, b.Y-a.Y)
	if l == 0 {
		return nil
	}
	dx, dy := (b.X-a.X)/l*width/2, (b.Y-a.Y)/l*width/2
	return polygon(Point{a.X - dy, a.Y + dx}, Point{b.X - dy, b.Y + dx}, Point{b.X + dy, b.Y - dx},
		Point{a.X + dy, a.Y - dx})
}

func disc(at Point, radius float64) []segment {
	const corners = 12
	points := make([]Point, corners)
	for i := range points {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / corners)
		points[i] = Point{at.X + radius*cos, at.Y + radius*sin}
	}
	return polygon(points...)
}

// fill paints a path. Only as much of the picture is looked at as the path covers.
func (p painter) fill(path []segment, c Color) {
	if len(path) == 0 {
		return
	}
	low, high := Point{math.Inf(1), math.Inf(1)}, Point{math.Inf(-1), math.Inf(-1)}
	for _, s := range path {
		for _, q := range s.p[:s.n] {
			low = Point{min(low.X, q.X*p.scale), min(low.Y, q.Y*p.scale)}
			high = Point{max(high.X, q.X*p.scale), max(high.Y, q.Y*p.scale)}
		}
	}
	area := image.Rect(int(math.Floor(max(low.X, 0))), int(math.Floor(max(low.Y, 0))), int(math.Ceil(min(high.X, 1e6))),
		int(math.Ceil(min(high.Y, 1e6)))).Intersect(p.img.Bounds())
	if area.Empty() {
		return
	}
	r := vector.NewRasterizer(area.Dx(), area.Dy())
	at := func(q Point) (x, y float32) {
		return float32(q.X*p.scale - float64(area.Min.X)), float32(q.Y*p.scale - float64(area.Min.Y))
	}
	for i, s := range path {
		x, y := at(s.p[0])
		switch {
		case s.begin:
			if i > 0 {
				r.ClosePath()
			}
			r.MoveTo(x, y)
		case s.n == 1:
			r.LineTo(x, y)
		default:
			x2, y2 := at(s.p[1])
			x3, y3 := at(s.p[2])
			r.CubeTo(x, y, x2, y2, x3, y3)
		}
	}
	r.ClosePath()
	r.Draw(p.img, area, image.NewUniform(color.RGBA{c.R, c.G, c.B, 255}), image.Point{})
}

// picture paints a PNG into a rectangle.
func (p painter) picture(data []byte, at rect) error {
	src, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return err
	}
	to := image.Rect(int(at.x*p.scale), int(at.y*p.scale), int((at.x+at.w)*p.scale), int((at.y+at.h)*p.scale))
	xdraw.CatmullRom.Scale(p.img, to, src, src.Bounds(), draw.Over, nil)
	return nil
}
