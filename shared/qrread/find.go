package qrread

import (
	"cmp"
	"math"
	"slices"
)

type point struct{ x, y float64 }

func (p point) to(q point) float64 { return math.Hypot(q.x-p.x, q.y-p.y) }

// finder is the centre of what looks like one of the three squares of a code.
type finder struct {
	point
	module float64 // pixels
	seen   int     // rows that cross it
}

// corners are the centres of the three squares.
type corners struct{ topLeft, topRight, bottomLeft point }

const (
	mostFinders = 12 // of which triples are made
	mostTriples = 6  // that are tried
)

// finders looks in the rows for black and white in the ratio 1:1:3:1:1, and in the columns whether it is there too.
func (b *bitmap) finders() []finder {
	var found []finder
	for y := 0; y < b.h; y += 2 {
		var runs [5]int
		n, x := 0, 0
		for x < b.w && !b.at(x, y) {
			x++
		}
		for x < b.w {
			black, from := b.at(x, y), x
			for x < b.w && b.at(x, y) == black {
				x++
			}
			copy(runs[:], runs[1:])
			runs[4] = x - from
			if n++; n < 5 || !black {
				continue
			}
			if total, ok := isFinder(runs); ok {
				centre := float64(x) - float64(runs[4]+runs[3]) - float64(runs[2])/2
				found = b.confirm(found, centre, y, total)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b finder) int { return cmp.Compare(b.seen, a.seen) })
	return found[:min(len(found), mostFinders)]
}

// isFinder reports whether five runs have the ratio, and how long they are together.
func isFinder(runs [5]int) (total int, ok bool) {
	for _, r := range runs {
		if r == 0 {
			return 0, false
		}
		total += r
	}
	if total < 7 {
		return 0, false
	}
	module := float64(total) / 7
	for i, r := range runs {
		want, slack := module, module*0.6
		if i == 2 {
			want, slack = 3*module, module*1.5
		}
		if math.Abs(float64(r)-want) > slack {
			return 0, false
		}
	}
	return total, true
}

// confirm notes a finder if the column and the row through it have the ratio as well.
func (b *bitmap) confirm(found []finder, x float64, y, total int) []finder {
	cy, tall, ok := b.crossed(int(x), y, 0, 1, total)
	if !ok {
		return found
	}
	cx, wide, ok := b.crossed(int(x), int(cy), 1, 0, total)
	if !ok || wide > 2*tall || tall > 2*wide {
		return found
	}
	p, module := point{cx, cy}, float64(tall+wide)/14
	for i := range found {
		if f := &found[i]; f.to(p) < 2*f.module {
			n := float64(f.seen)
			f.x, f.y, f.module = (f.x*n+p.x)/(n+1), (f.y*n+p.y)/(n+1), (f.module*n+module)/(n+1)
			f.seen++
			return found
		}
	}
	return append(found, finder{p, module, 1})
}

// crossed measures the five runs through a point along a column or a row, and returns where their middle is.
func (b *bitmap) crossed(x, y, dx, dy, like int) (middle float64, total int, ok bool) {
	if !b.at(x, y) {
		return 0, 0, false
	}
	var runs [5]int
	walk := func(sign int, order [3]int) {
		px, py := x, y
		for i, want := range []bool{true, false, true} {
			for runs[order[i]] <= 2*like && px >= 0 && py >= 0 && px < b.w && py < b.h && b.at(px, py) == want {
				runs[order[i]]++
				px, py = px+sign*dx, py+sign*dy
			}
		}
	}
	walk(-1, [3]int{2, 1, 0})
	back := runs[2]
	walk(1, [3]int{2, 3, 4})
	runs[2]-- // the point itself was counted twice
	total, ok = isFinder(runs)
	from := x*dx + y*dy - back + 1
	return float64(from) + float64(runs[2])/2, total, ok
}

// triples returns which finders may be the corners of a code, the likeliest first.
func (b *bitmap) triples(found []finder) []corners {
	type rated struct {
		corners
		wrong float64
	}
	var all []rated
	for i := range found {
		for j := i + 1; j < len(found); j++ {
			for k := j + 1; k < len(found); k++ {
				if c, wrong, ok := square(found[i], found[j], found[k]); ok {
					all = append(all, rated{c, wrong})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b rated) int { return cmp.Compare(a.wrong, b.wrong) })
	var best []corners
	for _, r := range all[:min(len(all), mostTriples)] {
		best = append(best, r.corners)
	}
	return best
}

// square reports whether three finders stand like those of a code, and how far they are from doing so exactly.
func square(f, g, h finder) (c corners, wrong float64, ok bool) {
	small, large := min(f.module, g.module, h.module), max(f.module, g.module, h.module)
	if large > 1.8*small {
		return c, 0, false
	}
	// The corner between the others is opposite the longest side.
	if f.to(g.point) >= max(f.to(h.point), g.to(h.point)) {
		f, h = h, f
	} else if f.to(h.point) >= max(f.to(g.point), g.to(h.point)) {
		f, g = g, f
	}
	one, two, across := f.to(g.point), f.to(h.point), g.to(h.point)
	if min(one, two) < 10*small || max(one, two) > 1.6*min(one, two) {
		return c, 0, false
	}
	wrong = math.Abs(one-two)/max(one, two) + math.Abs(across*across-one*one-two*two)/(across*across) + large/small - 1
	if (g.x-f.x)*(h.y-f.y)-(g.y-f.y)*(h.x-f.x) < 0 {
		g, h = h, g
	}
	return corners{f.point, g.point, h.point}, wrong, wrong < 1.2
}

// moduleOf measures the squares along the sides of the code, as large as they are at its angle.
func (b *bitmap) moduleOf(c corners) float64 {
	sum, n := 0.0, 0
	for _, side := range [][2]point{{c.topLeft, c.topRight}, {c.topRight, c.topLeft}, {c.topLeft, c.bottomLeft},
		{c.bottomLeft, c.topLeft}} {
		if edge := b.edge(side[0], side[1]); edge > 0 {
			sum += edge / 3.5
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// edge returns how far it is from the centre of a square to where it ends, in the direction of another one.
func (b *bitmap) edge(from, to point) float64 {
	length := from.to(to)
	dx, dy := (to.x-from.x)/length, (to.y-from.y)/length
	changes, black := 0, true
	for d := 0.0; d < length/2; d += 0.25 {
		if is := b.at(int(from.x+d*dx), int(from.y+d*dy)); is != black {
			if black = is; changes == 2 {
				return d
			}
			changes++
		}
	}
	return 0
}
