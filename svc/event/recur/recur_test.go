package recur

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones must be there wherever the tests run
)

func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestTimesMoveByTheClocks(t *testing.T) {
	zone := berlin(t)
	for _, c := range []struct {
		name, t, want string
		by            time.Duration
	}{
		{"a week over the end of summer time", "2030-10-24T20:00:00+02:00", "2030-10-31T20:00:00+01:00", 7 * 24 * time.Hour},
		{"a week over its beginning", "2030-03-28T20:00:00+01:00", "2030-04-04T20:00:00+02:00", 7 * 24 * time.Hour},
		{"back", "2030-04-04T20:00:00+02:00", "2030-03-28T20:00:00+01:00", -7 * 24 * time.Hour},
		{"into an hour that there is not", "2030-03-30T02:30:00+01:00", "2030-03-31T03:30:00+02:00", 24 * time.Hour},
		{"into an hour that there is twice", "2030-10-26T02:30:00+02:00", "2030-10-27T02:30:00+02:00", 24 * time.Hour},
		{"nowhere, in the second of such hours", "2030-10-27T02:30:00+01:00", "2030-10-27T02:30:00+01:00", 0},
		{"an hour and a half", "2030-06-01T20:00:00+02:00", "2030-06-01T21:30:00+02:00", 90 * time.Minute},
	} {
		from, err := time.Parse(time.RFC3339, c.t)
		if err != nil {
			t.Fatal(err)
		}
		want, err := time.Parse(time.RFC3339, c.want)
		if err != nil {
			t.Fatal(err)
		}
		got := Move(zone, from, c.by)
		if !got.Equal(want) {
			t.Errorf("%s: %s, want %s", c.name, got.In(zone), want)
		}
	}
}

func TestDistance(t *testing.T) {
	zone := berlin(t)
	from, to := time.Date(2030, 3, 30, 20, 0, 0, 0, zone), time.Date(2030, 3, 31, 20, 0, 0, 0, zone)
	if got := Distance(zone, from, to); got != 24*time.Hour || to.Sub(from) != 23*time.Hour {
		t.Errorf("the distance is %s, of %s", got, to.Sub(from))
	}
}

func TestDates(t *testing.T) {
	zone := berlin(t)
	start := time.Date(2030, 10, 22, 20, 0, 0, 0, zone) // a Tuesday
	day := func(month time.Month, day int) time.Time { return time.Date(2030, month, day, 20, 0, 0, 0, zone) }
	until := day(11, 5)
	for _, c := range []struct {
		name string
		rule Rule
		want []time.Time
	}{
		{"weekly, over the end of summer time", Rule{Text: "FREQ=WEEKLY;COUNT=3"}, []time.Time{day(10, 22), day(10, 29), day(11, 5)}},
		{"two days a week, until a time that is the last", Rule{Text: "rrule:freq=weekly;byday=tu,th", Until: &until},
			[]time.Time{day(10, 22), day(10, 24), day(10, 29), day(10, 31), day(11, 5)}},
		{"until a day", Rule{Text: "FREQ=DAILY;UNTIL=20301024"}, []time.Time{day(10, 22), day(10, 23), day(10, 24)}},
		{"until a moment in UTC", Rule{Text: "FREQ=DAILY;UNTIL=20301024T180000Z"}, []time.Time{day(10, 22), day(10, 23), day(10, 24)}},
		{"before that moment", Rule{Text: "FREQ=DAILY;UNTIL=20301024T175959Z"}, []time.Time{day(10, 22), day(10, 23)}},
		{"with an exception", Rule{Text: "FREQ=DAILY", Count: 4, Except: []time.Time{day(10, 23)}},
			[]time.Time{day(10, 22), day(10, 24), day(10, 25)}},
		{"the first is none of the rule, and counts", Rule{Text: "FREQ=WEEKLY;BYDAY=SA;COUNT=3"},
			[]time.Time{day(10, 22), day(10, 26), day(11, 2)}},
		{"the last Friday of a month", Rule{Text: "FREQ=MONTHLY;BYDAY=-1FR;COUNT=3"},
			[]time.Time{day(10, 22), day(10, 25), day(11, 29)}},
	} {
		c.rule.Start, c.rule.Zone = start, zone
		got, err := c.rule.Dates()
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
			continue
		}
		for i := range got {
			if !got[i].Equal(c.want[i]) {
				t.Errorf("%s: %s, want %s", c.name, got[i].In(zone), c.want[i])
			}
		}
	}
	for _, bad := range []Rule{{Text: ""}, {Text: "FREQ=WEEKLY"}, {Text: "FREQ=HOURLY;COUNT=2"}, {Text: "FREQ=DAILY;COUNT=367"},
		{Text: "FREQ=DAILY;UNTIL=20991231"}, {Text: "FREQ=DAILY;COUNT=2", Count: 3}, {Text: "COUNT=2"},
		{Text: "FREQ=DAILY;COUNT=2;BYMONTH=13"}, {Text: "FREQ=DAILY;COUNT=2;INTERVAL=1000000000"},
		{Text: "DTSTART:20300101T000000Z\nFREQ=DAILY;COUNT=2"}, {Text: "FREQ=DAILY;COUNT=3", Except: []time.Time{day(12, 24)}}} {
		bad.Start, bad.Zone = start, zone
		if got, err := bad.Dates(); err == nil {
			t.Errorf("%+v is %v", bad, got)
		}
	}
}

func FuzzRules(f *testing.F) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"FREQ=WEEKLY;COUNT=3", "FREQ=DAILY;UNTIL=20301024T175959Z", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO"} {
		f.Add(text)
	}
	start := time.Date(2030, 3, 24, 2, 30, 0, 0, zone)
	f.Fuzz(func(t *testing.T, text string) {
		dates, err := Rule{Text: text, Start: start, Zone: zone}.Dates()
		if err == nil && (len(dates) == 0 || len(dates) > Most || !dates[0].Equal(start)) {
			t.Errorf("%q makes %v", text, dates)
		}
		for i := 1; i < len(dates); i++ {
			if !dates[i].After(dates[i-1]) {
				t.Errorf("%q: %s follows %s", text, dates[i], dates[i-1])
			}
		}
	})
}
