package manual

import (
	"crypto/rand"
	"strings"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// A reference is what a payer copies onto a bank transfer: seven random characters and a check character, shown as
// XXXX-XXXX. The alphabet has 31 characters, none of which looks like another (no 0, I, L, O, U). As 31 is prime and
// the places weigh 1 to 8, the weighted sum of the characters being a multiple of 31 finds every single wrong character
// and every two that changed places.
const (
	referenceAlphabet = "123456789ABCDEFGHJKMNPQRSTVWXYZ"
	referenceSize     = 8 // characters, without the hyphen
	maxReference      = 64
)

// newReference returns a fresh reference.
func newReference() string {
	const base = byte(len(referenceAlphabet))
	text := make([]byte, 0, referenceSize)
	var b [1]byte
	for len(text) < referenceSize-1 {
		rand.Read(b[:])          // never fails, by its documentation
		if b[0] < 255-255%base { // so that each character is as likely as the others
			text = append(text, referenceAlphabet[b[0]%base])
		}
	}
	for _, c := range []byte(referenceAlphabet) {
		if whole := append(text, c); referenceSum(whole) == 0 {
			return formatReference(whole)
		}
	}
	panic("payment: the last place can make any sum, its weight being prime to 31")
}

// parseReference reads a reference as people type it: in any case, with spaces and hyphens anywhere, and I or L for 1.
func parseReference(s string) (string, error) {
	refused := fault.New(fault.Invalid,
		"that is no reference number: one has 8 characters, the last of which checks the others")
	if len(s) > maxReference {
		return "", refused
	}
	text := make([]byte, 0, referenceSize)
	for _, c := range []byte(strings.ToUpper(s)) {
		switch c {
		case ' ', '-':
			continue
		case 'I', 'L':
			c = '1'
		}
		if strings.IndexByte(referenceAlphabet, c) < 0 || len(text) == referenceSize {
			return "", refused
		}
		text = append(text, c)
	}
	if len(text) != referenceSize || referenceSum(text) != 0 {
		return "", refused
	}
	return formatReference(text), nil
}

// referenceSum returns the weighted sum of characters of the alphabet, modulo its size.
func referenceSum(text []byte) int {
	sum := 0
	for i, c := range text {
		sum += (i + 1) * strings.IndexByte(referenceAlphabet, c)
	}
	return sum % len(referenceAlphabet)
}

func formatReference(text []byte) string {
	return string(text[:referenceSize/2]) + "-" + string(text[referenceSize/2:])
}
