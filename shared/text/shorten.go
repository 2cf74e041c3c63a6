package text

import (
	"strings"
	"unicode"
)

// OneLine replaces with blanks what would end a line in a header, a log or a subject.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// Shorten cuts a text to at most n characters, of which the last is an ellipsis if anything was cut.
func Shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n-1])) + "…"
	}
	return s
}
