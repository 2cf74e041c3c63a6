package qrread

import (
	"math/bits"
	"unicode/utf8"

	"rsc.io/qr/coding"
)

// decode reads the text of a code of a version.
func decode(modules [][]bool, version int) (string, error) {
	level, mask, ok := format(modules)
	if !ok {
		return "", ErrNone
	}
	plan, err := coding.NewPlan(coding.Version(version), level, mask)
	if err != nil {
		return "", ErrNone
	}
	data := make([]byte, plan.DataBytes+plan.CheckBytes)
	for y, row := range plan.Pixel {
		for x, pixel := range row {
			if role := pixel.Role(); role != coding.Data && role != coding.Check {
				continue
			}
			if at := pixel.Offset(); modules[y][x] != (pixel&coding.Black != 0) {
				data[at/8] |= 1 << (7 - at&7)
			}
		}
	}
	// The data of all blocks come first, then what they are checked by. The last ones may be a byte longer.
	length, longer := plan.DataBytes/plan.Blocks, plan.DataBytes%plan.Blocks
	check := plan.CheckBytes / plan.Blocks
	from := 0
	for i := range plan.Blocks {
		n := length
		if i >= plan.Blocks-longer {
			n++
		}
		block := append([]byte{}, data[from:from+n]...)
		block = append(block, data[plan.DataBytes+i*check:plan.DataBytes+(i+1)*check]...)
		if !repair(block, check) {
			return "", ErrNone
		}
		copy(data[from:], block[:n])
		from += n
	}
	return text(data[:plan.DataBytes], version)
}

// format reads level and mask, which stand in a code twice, with ten bits to correct them by.
func format(m [][]bool) (level coding.Level, mask coding.Mask, ok bool) {
	size := len(m)
	var one, two uint
	for i := range 15 {
		set := func(word *uint, y, x int) {
			if m[y][x] {
				*word |= 1 << i
			}
		}
		switch {
		case i < 6:
			set(&one, i, 8)
		case i < 8:
			set(&one, i+1, 8)
		case i < 9:
			set(&one, 8, 7)
		default:
			set(&one, 8, 14-i)
		}
		if i < 8 {
			set(&two, 8, size-1-i)
		} else {
			set(&two, size-1-(14-i), 8)
		}
	}
	const most = 3 // wrong bits
	best := most + 1
	for word := range uint(32) {
		code := word << 10
		for i := 14; i >= 10; i-- {
			if code&(1<<i) != 0 {
				code ^= 0x537 << (i - 10)
			}
		}
		code = (word<<10 | code) ^ 0x5412
		wrong := min(bits.OnesCount(code^one), bits.OnesCount(code^two))
		if wrong < best {
			best, level, mask = wrong, coding.Level(word>>3^1), coding.Mask(word&7)
		}
	}
	return level, mask, best <= most
}

// reader reads bits.
type reader struct {
	data []byte
	at   int
}

func (r *reader) left() int { return 8*len(r.data) - r.at }

// take reads n bits, which must be there.
func (r *reader) take(n int) (v int) {
	for range n {
		v = v<<1 | int(r.data[r.at/8]>>(7-r.at%8)&1)
		r.at++
	}
	return v
}

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

// text reads the segments of a code.
func text(data []byte, version int) (string, error) {
	class := 0
	switch {
	case version > 26:
		class = 2
	case version > 9:
		class = 1
	}
	r, out := &reader{data: data}, []byte{}
	for r.left() >= 4 {
		mode := r.take(4)
		if mode == 0 {
			break
		}
		var length int // bits of the number of characters
		switch mode {
		case 1:
			length = [3]int{10, 12, 14}[class]
		case 2:
			length = [3]int{9, 11, 13}[class]
		case 4:
			length = [3]int{8, 16, 16}[class]
		case 7: // how bytes are to be read: they are looked at anyway
			length = 8
		default:
			return "", ErrNone
		}
		if r.left() < length {
			return "", ErrNone
		}
		n := r.take(length)
		if mode == 7 {
			continue
		}
		var ok bool
		if out, ok = segment(out, r, mode, n); !ok {
			return "", ErrNone
		}
	}
	if len(out) == 0 {
		return "", ErrNone
	}
	if utf8.Valid(out) {
		return string(out), nil
	}
	runes := make([]rune, len(out)) // ISO 8859-1
	for i, c := range out {
		runes[i] = rune(c)
	}
	return string(runes), nil
}

// segment reads n characters.
func segment(out []byte, r *reader, mode, n int) ([]byte, bool) {
	for n > 0 {
		group, size := 1, 8
		switch {
		case mode == 1:
			group = min(n, 3)
			size = 3*group + 1
		case mode == 2:
			group = min(n, 2)
			size = 5*group + 1
		}
		if r.left() < size {
			return out, false
		}
		v := r.take(size)
		switch mode {
		case 1:
			for i := group - 1; i >= 0; i-- {
				div := [3]int{1, 10, 100}[i]
				if v/div > 9 {
					return out, false
				}
				out = append(out, byte('0'+v/div))
				v %= div
			}
		case 2:
			if group == 2 {
				if v >= len(letters)*len(letters) {
					return out, false
				}
				out = append(out, letters[v/len(letters)])
				v %= len(letters)
			}
			if v >= len(letters) {
				return out, false
			}
			out = append(out, letters[v])
		default:
			out = append(out, byte(v))
		}
		n -= group
	}
	return out, true
}
