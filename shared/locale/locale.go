// Package locale has the languages in which the system speaks to people, and writes times as they do.
package locale

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/text/language"
)

// Languages returns those that there are texts in. The first is that of readers who speak none of them.
func Languages() []language.Tag {
	return []language.Tag{language.English, language.German, language.French, language.Spanish}
}

// Is reports whether there are texts in a language.
func Is(name string) bool {
	return slices.ContainsFunc(Languages(), func(t language.Tag) bool { return t.String() == name })
}

// Matcher finds the language that suits a reader. It is safe for concurrent use.
type Matcher struct{ match language.Matcher }

// NewMatcher returns a Matcher for Languages.
func NewMatcher() Matcher { return Matcher{language.NewMatcher(Languages())} }

// Language returns the language of ours that suits a reader best, who wants those of an Accept-Language header.
func (m Matcher) Language(wanted string) string {
	tags, _, err := language.ParseAcceptLanguage(wanted)
	if err != nil {
		return Languages()[0].String()
	}
	_, i, _ := m.match.Match(tags...)
	return Languages()[i].String()
}

// Months returns the names of the months in a language.
func Months(lang string) []string {
	switch lang {
	case "de":
		return []string{"Januar", "Februar", "März", "April", "Mai", "Juni",
			"Juli", "August", "September", "Oktober", "November", "Dezember"}
	case "fr":
		return []string{"janvier", "février", "mars", "avril", "mai", "juin",
			"juillet", "août", "septembre", "octobre", "novembre", "décembre"}
	case "es":
		return []string{"enero", "febrero", "marzo", "abril", "mayo", "junio",
			"julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"}
	}
	return []string{"January", "February", "March", "April", "May", "June",
		"July", "August", "September", "October", "November", "December"}
}

// Date writes the day of t.
func Date(lang string, t time.Time) string {
	month := Months(lang)[t.Month()-1]
	switch lang {
	case "de":
		return fmt.Sprintf("%d. %s %d", t.Day(), month, t.Year())
	case "es":
		return fmt.Sprintf("%d de %s de %d", t.Day(), month, t.Year())
	}
	return fmt.Sprintf("%d %s %d", t.Day(), month, t.Year())
}

// Moment writes a time in a zone: 17 May 2030, 20:00 CEST.
func (z *Zones) Moment(lang string, t time.Time, zone string) string {
	t = z.In(t, zone)
	return Date(lang, t) + ", " + t.Format("15:04 MST")
}

// Span writes a period in its zone: 17 May 2030, 20:00–23:00 CEST. Over a change of the clocks each time has its own
// zone: 27 October 2030, 02:45 CEST – 02:15 CET.
func (z *Zones) Span(lang string, from, to time.Time, zone string) string {
	from, to = z.In(from, zone), z.In(to, zone)
	begin, dash, end := from.Format("15:04"), " – ", to.Format("15:04 MST")
	if from.Format("MST -0700") != to.Format("MST -0700") {
		begin = from.Format("15:04 MST")
	} else if from.Format(time.DateOnly) == to.Format(time.DateOnly) {
		dash = "–"
	}
	if from.Format(time.DateOnly) != to.Format(time.DateOnly) {
		end = Date(lang, to) + ", " + end
	}
	return Date(lang, from) + ", " + begin + dash + end
}

// Zones caches time zones: to read one from the disk takes longer than to write a mail. The zero value is ready.
type Zones struct{ known sync.Map }

// In returns t as clocks show it in a zone, or in UTC if there is no such zone.
func (z *Zones) In(t time.Time, zone string) time.Time {
	if loc, ok := z.known.Load(zone); ok {
		return t.In(loc.(*time.Location))
	}
	loc, err := time.LoadLocation(zone) // "" is UTC
	if err != nil {
		return t.UTC()
	}
	z.known.Store(zone, loc)
	return t.In(loc)
}
