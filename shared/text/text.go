// Package text has the rules for what people write in a request: one line, many lines, the name of a time zone. All
// services go by these, so what one of them takes is good for the others, and for mails, terminals, tickets and
// reports.
package text

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// Clean returns a line of text as it is kept: composed (NFC), without blanks around it.
func Clean(s string) string { return strings.TrimSpace(norm.NFC.String(s)) }

// CleanLines returns many lines of text as they are kept: composed (NFC), with line feeds as the only line ends.
func CleanLines(s string) string {
	return norm.NFC.String(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s))
}

// Line reports what is wrong with s as one line of least to most characters. It refuses control characters, line and
// paragraph separators, what turns the direction of the text that follows, and text with nothing to see in it.
func Line(s string, least, most int) error { return check(s, least, most, "") }

// Lines is Line for text that may have line breaks and tabs.
func Lines(s string, least, most int) error { return check(s, least, most, "\t\n\r") }

// CheckLine records what Line finds.
func CheckLine(c *fault.Check, field, s string, least, most int) {
	err := Line(s, least, most)
	c.Field(err == nil, field, "%v", err)
}

// CheckLines records what Lines finds.
func CheckLines(c *fault.Check, field, s string, least, most int) {
	err := Lines(s, least, most)
	c.Field(err == nil, field, "%v", err)
}

func check(s string, least, most int, controls string) error {
	n := utf8.RuneCountInString(s)
	switch {
	case !utf8.ValidString(s):
		return errors.New("must be valid UTF-8")
	case n > most:
		return fmt.Errorf("must have at most %d characters", most)
	}
	seen := false
	for _, r := range s {
		switch {
		case strings.ContainsRune(controls, r):
		case r == '\n' || r == '\r':
			return errors.New("must be one line")
		case refused(r):
			return fmt.Errorf("must not contain the character U+%04X", r)
		default:
			seen = seen || visible(r)
		}
	}
	blank := strings.TrimSpace(s) == ""
	switch {
	case blank && least > 0:
		return errors.New("is required")
	case !blank && !seen:
		return errors.New("must have something to see in it")
	case n < least:
		return fmt.Errorf("must have at least %d characters", least)
	}
	return nil
}

// refused reports whether r has no place in what people write: controls, separators, and the embeddings, overrides and
// isolates of UAX 9, which make other text read backwards. The marks that Arabic and Hebrew need (U+200E, U+200F,
// U+061C) are not among them, nor are the joiners of Persian and emoji.
func refused(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' &&
		r <= '\u2069'
}

// visible reports whether r leaves ink. The fillers of Hangul and the blank of Braille are letters and signs to
// Unicode.
func visible(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800':
		return false
	}
	return unicode.IsGraphic(r) && !unicode.IsSpace(r) &&
		!unicode.In(r, unicode.Zs, unicode.Mn, unicode.Me, unicode.Other_Default_Ignorable_Code_Point)
}

// zoneRule is how the IANA database spells its zones: no empty part, no dot.
var zoneRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// Email reports whether s is a mail address alone, without a name, and of a usual length.
func Email(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= 254
}

// Zone reports whether name is a time zone of the IANA database, such as Europe/Berlin. Go also knows Local, and the
// folder of zones of a system holds more than zones.
func Zone(name string) bool {
	if len(name) > 64 || !zoneRule.MatchString(name) {
		return false
	}
	switch first, _, _ := strings.Cut(name, "/"); first {
	case "Local", "localtime", "Factory", "posix", "posixrules", "right":
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}
