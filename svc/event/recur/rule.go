package recur

import (
	"strings"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// Most is how many dates a rule may make, and a series may have.
const Most = 366

// longest is how far ahead a rule looks.
const longest = 10 * 366 * 24 * time.Hour

// Rule says when something happens again.
type Rule struct {
	Text   string         // RRULE of RFC 5545; may have UNTIL or COUNT
	Start  time.Time      // of the first one, which the rule goes on from
	Zone   *time.Location // whose clocks count
	Until  *time.Time     // the last moment at which one may begin, if set
	Count  int            // how many there are, the first included; 0 means that the rule says it
	Except []time.Time    // when there is none
}

// Dates returns when it happens, the first time included, or an Invalid fault that names what is wrong.
func (r Rule) Dates() ([]time.Time, error) {
	var c fault.Check
	o, err := rrule.StrToROptionInLocation(strings.ToUpper(strings.TrimSpace(r.Text)), time.UTC)
	if err != nil {
		c.Field(false, "rule", "is no RRULE of RFC 5545, such as FREQ=WEEKLY;BYDAY=TU,TH: %s", err)
		return nil, c.Err()
	}
	c.Field(o.Freq <= rrule.DAILY, "rule", "must be of FREQ YEARLY, MONTHLY, WEEKLY or DAILY")
	c.Field(o.Dtstart.IsZero(), "rule", "begins when the event does: it has no DTSTART")
	c.Field(len(o.Bysecond) == 0 && len(o.Byeaster) == 0, "rule", "has a part that is not known here")
	c.Field(o.Interval >= 0 && o.Interval <= Most, "rule", "must have an INTERVAL of at most %d", Most)
	c.Field(r.Count == 0 || o.Count == 0, "count", "is in the rule already")
	c.Field(r.Until == nil || o.Until.IsZero(), "until", "is in the rule already")
	ends := r.Count > 0 || o.Count > 0 || r.Until != nil || !o.Until.IsZero()
	c.Field(ends, "count", "is required, or until, unless the rule has COUNT or UNTIL: a series has an end")
	if err := c.Err(); err != nil {
		return nil, err
	}
	return r.expand(o)
}

// expand reckons with what the clocks show, written as UTC: so the library needs to know nothing of zones.
func (r Rule) expand(o *rrule.ROption) ([]time.Time, error) {
	var c fault.Check
	first := wall(r.Start, r.Zone)
	o.Dtstart, o.Count = first.Truncate(time.Second), max(o.Count, r.Count)
	rest := first.Sub(o.Dtstart)
	o.Until = r.until(o)
	if limit := first.Add(longest); o.Until.IsZero() || o.Until.After(limit) {
		o.Until = limit
	}
	most := Most
	if o.Count > 0 { // the first one is counted, though the rule may not name its day
		c.Field(o.Count <= Most, "count", "must be at most %d", Most)
		most = min(most, o.Count)
	}
	rule, err := rrule.NewRRule(*o)
	if err != nil {
		c.Field(false, "rule", "is not possible: %s", err)
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	dates, next := []time.Time{r.Start}, rule.Iterator()
	for {
		shown, more := next()
		if !more || o.Count > 0 && len(dates) >= most {
			break
		}
		if t := at(shown.Add(rest), r.Zone); t.After(r.Start) {
			dates = append(dates, t)
		}
		if len(dates) > Most {
			c.Field(false, "rule", "makes more than %d dates: give it an earlier end", Most)
			return nil, c.Err()
		}
	}
	return r.without(dates)
}

// until returns the end of the rule as the clocks show it. One that is a day alone has that day.
func (r Rule) until(o *rrule.ROption) time.Time {
	if r.Until != nil {
		return wall(*r.Until, r.Zone)
	}
	_, text, found := strings.Cut(strings.ToUpper(r.Text), "UNTIL=")
	text, _, _ = strings.Cut(strings.TrimSpace(text), ";")
	switch {
	case !found:
		return time.Time{}
	case !strings.Contains(text, "T"):
		return o.Until.Add(24*time.Hour - time.Second)
	case strings.HasSuffix(text, "Z"):
		return wall(o.Until, r.Zone)
	}
	return o.Until
}

// without takes out the exceptions. One that is no date of the rule is a mistake.
func (r Rule) without(dates []time.Time) ([]time.Time, error) {
	var c fault.Check
	out := map[int64]bool{}
	for _, t := range r.Except {
		out[t.Unix()] = true
	}
	kept := dates[:1]
	for _, t := range dates[1:] {
		if out[t.Unix()] {
			delete(out, t.Unix())
			continue
		}
		kept = append(kept, t)
	}
	c.Field(len(out) == 0, "exdates", "must be dates of the rule, after the first")
	return kept, c.Err()
}
