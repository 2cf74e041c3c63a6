package locale_test

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/locale"
)

// Over a change of the clocks each time has its own zone.
func TestSpan(t *testing.T) {
	for _, c := range []struct{ from, to, zone, en, de string }{
		{"2030-05-17T18:00:00Z", "2030-05-17T21:00:00Z", "Europe/Berlin", "17 May 2030, 20:00–23:00 CEST", "17. Mai 2030, 20:00–23:00 CEST"},
		{"2030-10-27T00:45:00Z", "2030-10-27T01:15:00Z", "Europe/Berlin", "27 October 2030, 02:45 CEST – 02:15 CET", "27. Oktober 2030, 02:45 CEST – 02:15 CET"},
		{"2030-10-26T20:00:00Z", "2030-10-27T02:00:00Z", "Europe/Berlin", "26 October 2030, 22:00 CEST – 27 October 2030, 03:00 CET",
			"26. Oktober 2030, 22:00 CEST – 27. Oktober 2030, 03:00 CET"},
		{"2030-05-17T20:00:00Z", "2030-05-18T01:00:00Z", "Europe/Berlin", "17 May 2030, 22:00 – 18 May 2030, 03:00 CEST", "17. Mai 2030, 22:00 – 18. Mai 2030, 03:00 CEST"},
		{"2030-05-17T20:00:00Z", "2031-05-17T20:00:00Z", "UTC", "17 May 2030, 20:00 – 17 May 2031, 20:00 UTC", "17. Mai 2030, 20:00 – 17. Mai 2031, 20:00 UTC"},
		{"2030-11-03T05:30:00Z", "2030-11-03T06:30:00Z", "America/New_York", "3 November 2030, 01:30 EDT – 01:30 EST", "3. November 2030, 01:30 EDT – 01:30 EST"},
	} {
		at := func(s string) time.Time {
			got, err := time.Parse(time.RFC3339, s)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		var z locale.Zones
		if en, de := z.Span("en", at(c.from), at(c.to), c.zone), z.Span("de", at(c.from), at(c.to), c.zone); en != c.en || de != c.de {
			t.Errorf("%s to %s is %q and %q, want %q and %q", c.from, c.to, en, de, c.en, c.de)
		}
	}
}
