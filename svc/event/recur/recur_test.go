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
