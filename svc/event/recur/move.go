// Package recur moves times by the clocks of a place, and finds the dates that a rule of RFC 5545 names.
package recur

import "time"

// wall returns what the clocks of a zone show at t, written as if it were UTC: such times can be subtracted.
func wall(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// at returns when the clocks of a zone show a time. What they show twice is the first of both, and what they skip is
// counted on from before the gap: RFC 5545, 3.3.5.
func at(shown time.Time, zone *time.Location) time.Time {
	_, before := shown.Add(-24 * time.Hour).In(zone).Zone()
	_, after := shown.Add(24 * time.Hour).In(zone).Zone()
	for _, offset := range []int{before, after} {
		t := shown.Add(-time.Duration(offset) * time.Second)
		if wall(t, zone).Equal(shown) {
			return t.UTC()
		}
	}
	return shown.Add(-time.Duration(before) * time.Second).UTC()
}

// Distance returns how far apart two times are by the clocks of a zone: from 20:00 on one day to 20:00 on the next it
// is 24 hours, whatever the clocks did in the night.
func Distance(zone *time.Location, from, to time.Time) time.Duration {
	return wall(to, zone).Sub(wall(from, zone))
}

// Move returns the time that is so far from t by the clocks of a zone. A distance of 0 moves nothing.
func Move(zone *time.Location, t time.Time, by time.Duration) time.Time {
	if by == 0 {
		return t
	}
	return at(wall(t, zone).Add(by), zone)
}
