package qrread

import "rsc.io/qr/coding"

// repair corrects up to half as many wrong bytes of a block as it has to check it by, by Reed and Solomon, and reports
// whether it is right then.
func repair(block []byte, check int) bool {
	f := coding.Field
	power := func(e int) byte { return f.Exp(((e % 255) + 255) % 255) }
	syndromes, wrong := make([]byte, check), false
	for i := range syndromes {
		for _, c := range block {
			syndromes[i] = f.Mul(syndromes[i], power(i)) ^ c
		}
		wrong = wrong || syndromes[i] != 0
	}
	if !wrong {
		return true
	}
	// Berlekamp and Massey: the shortest recurrence that makes the syndromes.
	locator, before := []byte{1}, []byte{1}
	length, shift, last := 0, 1, byte(1)
	for n := range syndromes {
		d := syndromes[n]
		for i := 1; i <= length && i < len(locator); i++ {
			d ^= f.Mul(locator[i], syndromes[n-i])
		}
		if d == 0 {
			shift++
			continue
		}
		next := make([]byte, max(len(locator), len(before)+shift))
		copy(next, locator)
		factor := f.Mul(d, f.Inv(last))
		for i, c := range before {
			next[i+shift] ^= f.Mul(factor, c)
		}
		if 2*length <= n {
			length, before, last, shift = n+1-length, locator, d, 0
		}
		locator = next
		shift++
	}
	if 2*length > check {
		return false
	}
	// Forney: the error at a place is the value of omega there, over that of the derivative of the locator.
	omega := make([]byte, check)
	for i := range omega {
		for j := 0; j <= i && j < len(locator); j++ {
			omega[i] ^= f.Mul(locator[j], syndromes[i-j])
		}
	}
	found := 0
	for at := range block {
		place := len(block) - 1 - at
		x := power(-place)
		value := func(p []byte) (v byte) {
			for i := len(p) - 1; i >= 0; i-- {
				v = f.Mul(v, x) ^ p[i]
			}
			return v
		}
		if value(locator) != 0 {
			continue
		}
		slope := byte(0)
		for i := 1; i < len(locator); i += 2 {
			slope ^= f.Mul(locator[i], power(-place*(i-1)))
		}
		if slope == 0 {
			return false
		}
		block[at] ^= f.Mul(power(place), f.Mul(value(omega), f.Inv(slope)))
		found++
	}
	return found == length
}
