package render

import (
	"fmt"
	"sync"
	"time"
)

// months returns the names of the months in a language.
func months(lang string) []string {
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

// date writes the day of t.
func date(lang string, t time.Time) string {
	month := months(lang)[t.Month()-1]
	switch lang {
	case "de":
		return fmt.Sprintf("%d. %s %d", t.Day(), month, t.Year())
	case "es":
		return fmt.Sprintf("%d de %s de %d", t.Day(), month, t.Year())
	}
	return fmt.Sprintf("%d %s %d", t.Day(), month, t.Year())
}

// Moment writes a time in a zone.
func (c *Catalogue) Moment(lang string, t time.Time, zone string) string {
	return c.zones.moment(lang, t, zone)
}

func (z *zones) moment(lang string, t time.Time, zone string) string {
	t = z.in(t, zone)
	return date(lang, t) + ", " + t.Format("15:04 MST")
}

// span writes a period in its zone: 17 May 2030, 20:00–23:00 CEST. Over a change of the clocks each time has its own
// zone: 27 October 2030, 02:45 CEST – 02:15 CET.
func (z *zones) span(lang string, from, to time.Time, zone string) string {
	from, to = z.in(from, zone), z.in(to, zone)
	begin, dash, end := from.Format("15:04"), " – ", to.Format("15:04 MST")
	if from.Format("MST -0700") != to.Format("MST -0700") {
		begin = from.Format("15:04 MST")
	} else if from.Format(time.DateOnly) == to.Format(time.DateOnly) {
		dash = "–"
	}
	if from.Format(time.DateOnly) != to.Format(time.DateOnly) {
		end = date(lang, to) + ", " + end
	}
	return date(lang, from) + ", " + begin + dash + end
}

// zones caches time zones: to read one from the disk takes longer than to write a mail.
type zones struct{ known sync.Map }

// in returns t as clocks show it in a zone, or in UTC if there is no such zone.
func (z *zones) in(t time.Time, zone string) time.Time {
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
