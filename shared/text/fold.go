package text

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns text as it is compared and searched: without case and accents. Zürich and ZURICH are the same, as are
// Łódź and lodz, København and kobenhavn, Iğdır and igdir. It is for looking, not for showing.
func Fold(s string) string {
	s = cases.Fold().String(norm.NFKD.String(s))
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) && r != voiced && r != semiVoiced {
			return -1
		}
		return r
	}, s)
	return unmarked.Replace(norm.NFC.String(s))
}

// The marks that make another syllable of a Japanese one: ホール is a hall, ボール a ball.
const (
	voiced     = '\u3099'
	semiVoiced = '\u309a'
)

// unmarked replaces the letters that Unicode does not take for a letter with a mark, though people leave the mark out.
// It is not changed after it is made.
var unmarked = strings.NewReplacer("ł", "l", "ø", "o", "đ", "d", "ð", "d", "ħ", "h", "ŧ", "t", "ı", "i", "æ", "ae", "œ",
	"oe", "þ", "th", "ŋ", "n", "ə", "e")
