package qrread

// fourth is a fourth point of a code: where it is in the picture, and in modules from the corner of the code.
type fourth struct {
	at     point
	module float64
}

// fourths returns what the fourth point may be: the small square near the last corner, if one is found, and where that
// corner would be if the code were seen from straight above.
func (b *bitmap) fourths(c corners, size, version int) []fourth {
	plain := fourth{point{c.topRight.x + c.bottomLeft.x - c.topLeft.x, c.topRight.y + c.bottomLeft.y - c.topLeft.y},
		float64(size) - 3.5}
	if version < 2 {
		return []fourth{plain}
	}
	across := float64(size - 7)
	right := point{(c.topRight.x - c.topLeft.x) / across, (c.topRight.y - c.topLeft.y) / across}
	down := point{(c.bottomLeft.x - c.topLeft.x) / across, (c.bottomLeft.y - c.topLeft.y) / across}
	centre := point{plain.at.x - 3*right.x - 3*down.x, plain.at.y - 3*right.y - 3*down.y}
	const around = 7.0 // modules
	best, score, n := point{}, 21, 0
	step := max(0.2, 1/max(1, right.to(point{})))
	for v := -around; v <= around; v += step {
		for u := -around; u <= around; u += step {
			p := point{centre.x + u*right.x + v*down.x, centre.y + u*right.y + v*down.y}
			switch got := b.likeness(p, right, down); {
			case got > score:
				best, score, n = p, got, 1
			case got == score && n > 0 && best.to(p) < 2*right.to(point{}): // the middle of all that are as good
				best = point{(best.x*float64(n) + p.x) / float64(n+1), (best.y*float64(n) + p.y) / float64(n+1)}
				n++
			}
		}
	}
	if n == 0 {
		return []fourth{plain}
	}
	return []fourth{{best, float64(size) - 6.5}, plain}
}

// likeness counts how many of 25 modules are those of the small square around a point.
func (b *bitmap) likeness(p, right, down point) (n int) {
	for v := -2; v <= 2; v++ {
		for u := -2; u <= 2; u++ {
			ring := max(u, -u, v, -v)
			x, y := p.x+float64(u)*right.x+float64(v)*down.x, p.y+float64(u)*right.y+float64(v)*down.y
			if b.at(int(x), int(y)) == (ring != 1) {
				n++
			}
		}
	}
	return n
}

// sample reads the modules of a code, as they lie in the plane through four points.
func (b *bitmap) sample(c corners, f fourth, size int) [][]bool {
	far := float64(size) - 3.5
	h := solve([4]point{{3.5, 3.5}, {far, 3.5}, {3.5, far}, {f.module, f.module}},
		[4]point{c.topLeft, c.topRight, c.bottomLeft, f.at})
	rows := make([][]bool, size)
	for y := range rows {
		rows[y] = make([]bool, size)
		for x := range rows[y] {
			u, v := float64(x)+0.5, float64(y)+0.5
			w := h[6]*u + h[7]*v + 1
			rows[y][x] = b.at(int((h[0]*u+h[1]*v+h[2])/w), int((h[3]*u+h[4]*v+h[5])/w))
		}
	}
	return rows
}

// isTimed reports whether black and white alternate between the squares, as they do in every code of this size.
func isTimed(m [][]bool) bool {
	good, all := 0, 0
	for i := 8; i < len(m)-8; i++ {
		for _, black := range []bool{m[6][i], m[i][6]} {
			if all++; black == (i%2 == 0) {
				good++
			}
		}
	}
	return good*10 >= all*8
}

// solve returns the projection that takes four points to four others, by Gauss. One that does not exist takes all
// points to nowhere.
func solve(from, to [4]point) (h [8]float64) {
	var m [8][9]float64
	for i := range from {
		x, y, u, v := from[i].x, from[i].y, to[i].x, to[i].y
		m[2*i] = [9]float64{x, y, 1, 0, 0, 0, -x * u, -y * u, u}
		m[2*i+1] = [9]float64{0, 0, 0, x, y, 1, -x * v, -y * v, v}
	}
	for i := range m {
		pivot := i
		for k := i + 1; k < 8; k++ {
			if abs(m[k][i]) > abs(m[pivot][i]) {
				pivot = k
			}
		}
		m[i], m[pivot] = m[pivot], m[i]
		if abs(m[i][i]) < 1e-9 {
			return [8]float64{2: -1, 5: -1}
		}
		for k := range m {
			if k == i {
				continue
			}
			by := m[k][i] / m[i][i]
			for j := i; j < 9; j++ {
				m[k][j] -= by * m[i][j]
			}
		}
	}
	for i := range h {
		h[i] = m[i][8] / m[i][i]
	}
	return h
}

func abs(v float64) float64 { return max(v, -v) }
