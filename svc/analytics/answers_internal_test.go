package analytics

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

var testEvent = ids.Derive[ids.EventKind]("1")

func testOffer(zone string) *api.Offer {
	own := api.OwnTeam(person("usr_org"))
	return &api.Offer{Organizer: own, Event: api.Event{ID: testEvent, OrganizerID: own.ID, Name: "Nocturne", Timezone: zone,
		Status: api.EventPublished, Revision: 1,
		StartsAt: testStart, EndsAt: testStart.Add(3 * time.Hour),
		TicketTypes: []api.TicketType{{ID: typeNumber(0), Name: "Standing", Quantity: 100,
			Price: api.Money{Amount: 1000, Currency: "EUR"}}}}}
}

// filled returns a service whose read model has one sale at each of the times.
func filled(t *testing.T, times ...time.Time) *Service {
	t.Helper()
	s, err := bare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	err = s.db.Update(func(tx *bolt.Tx) error {
		f := newFold(tx)
		if err := (&description{*testOffer("Europe/Berlin")}).fold(f); err != nil {
			return err
		}
		for _, at := range times {
			f.count(testEvent, byEvent, "", minuteOf(at), nSold, 1)
			f.count(testEvent, byEvent, "", minuteOf(at), nPaid, 1)
		}
		return f.write()
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Service) seriesOf(t *testing.T, zone string, q api.SeriesQuery) *api.Series {
	t.Helper()
	var out *api.Series
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		out, err = series(tx, testOffer(zone), &q, "day", func(counts) bool { return true })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Days have 23, 24 or 25 hours; an hour that comes twice is two; nothing is lost, before and after cells are made
// coarser.
func TestSeriesOverClockChanges(t *testing.T) {
	for _, c := range []struct {
		zone  string
		day   time.Time // some time of the day of the change, UTC
		hours int
	}{
		{"Europe/Berlin", time.Date(2027, 3, 28, 10, 0, 0, 0, time.UTC), 23},
		{"Europe/Berlin", time.Date(2027, 10, 31, 10, 0, 0, 0, time.UTC), 25},
		{"Asia/Kolkata", time.Date(2027, 5, 1, 10, 0, 0, 0, time.UTC), 24},
		{"Asia/Beirut", time.Date(2027, 3, 28, 10, 0, 0, 0, time.UTC), 23}, // the clocks change at midnight
		{"Australia/Lord_Howe", time.Date(2027, 4, 3, 20, 0, 0, 0, time.UTC), 25},
	} {
		t.Run(fmt.Sprint(c.zone, c.hours), func(t *testing.T) {
			loc, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			start := begin(c.day.In(loc), "day")
			end := following(start, "day")
			var times []time.Time
			for at := start; at.Before(end); at = at.Add(10 * time.Minute) {
				times = append(times, at.Add(3*time.Minute))
			}
			s := filled(t, append(times, start.Add(-time.Minute), end)...)
			for range 2 {
				days := s.seriesOf(t, c.zone, api.SeriesQuery{Interval: "day", From: start, To: end})
				if len(days.Points) != 1 || days.Points[0].TicketsSold != int64(len(times)) {
					t.Errorf("the day is %+v, want %d sold", days.Points, len(times))
				}
				hours := s.seriesOf(t, c.zone, api.SeriesQuery{Interval: "hour", From: start, To: end})
				sum := int64(0)
				for _, p := range hours.Points {
					sum += p.TicketsSold
				}
				if len(hours.Points) != c.hours || sum != int64(len(times)) {
					t.Errorf("%d hours with %d sold, want %d with %d", len(hours.Points), sum, c.hours, len(times))
				}
				if err := s.downsample(t.Context(), minuteOf(end.Add(time.Hour))); err != nil {
					t.Fatal(err)
				}
			}
			weeks := s.seriesOf(t, c.zone, api.SeriesQuery{Interval: "week", From: start, To: end})
			if len(weeks.Points) != 1 || weeks.Points[0].Start.Weekday() != time.Monday {
				t.Errorf("weeks %+v", weeks.Points)
			}
		})
	}
}

func TestDownsampleAndForget(t *testing.T) {
	s := filled(t, testStart, testStart.Add(time.Minute), testStart.Add(14*time.Minute), testStart.Add(16*time.Minute))
	err := s.db.Update(func(tx *bolt.Tx) error { // something of everything
		f := newFold(tx)
		return errors.Join((&orderChange{subject: api.OrderWasHeld.Subject, id: "ord_1", event: testEvent,
			created: testStart, promo: "EARLY"}).fold(f),
			(&ticketChange{subject: api.TicketAdmission.Subject, id: "tkt_1", event: testEvent, gate: "north",
				at: testStart}).fold(f),
			f.countBuyers([]*buyer{{user: "usr_1", event: testEvent}}), f.write())
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.downsample(t.Context(), minuteOf(testStart.Add(16*time.Minute))); err != nil {
		t.Fatal(err)
	}
	minutes := s.seriesOf(t, "UTC", api.SeriesQuery{Interval: "minute"})
	if len(minutes.Points) != 17 || minutes.Points[0].TicketsSold != 3 || minutes.Points[16].TicketsSold != 1 {
		t.Errorf("%d points: %+v", len(minutes.Points), minutes.Points)
	}
	if err := s.deleteEnded(t.Context(), testStart); err != nil {
		t.Fatal(err)
	}
	if got := s.seriesOf(t, "UTC", api.SeriesQuery{}); len(got.Points) != 1 {
		t.Errorf("an event that is not over is forgotten")
	}
	for _, c := range []struct {
		before time.Time
		marks  int
	}{{testStart, 1}, {testStart.Add(4 * time.Hour), 0}} {
		if err := s.forgetPeople(c.before); err != nil {
			t.Fatal(err)
		}
		err := s.db.View(func(tx *bolt.Tx) error {
			marks := 0
			count := func([]byte) error { marks++; return nil }
			if err := tx.Bucket(bucketPeople).ForEachBucket(count); err != nil || marks != c.marks {
				t.Errorf("before %s: marks of the buyers of %d events, %v", c.before, marks, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if got := s.seriesOf(t, "UTC", api.SeriesQuery{}); len(got.Points) != 1 {
		t.Errorf("the numbers went with the marks")
	}
	if err := s.deleteEnded(t.Context(), testStart.Add(4*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := s.seriesOf(t, "UTC", api.SeriesQuery{}); len(got.Points) != 0 {
		t.Errorf("an old event is still there: %+v", got.Points)
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if k, _ := tx.Bucket(name).Cursor().First(); k != nil && !bytes.Equal(name, bucketMeta) {
				t.Errorf("%s still has %q", name, k)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// No group below five is shown, and none can be computed from the rest.
func TestProtect(t *testing.T) {
	for _, c := range []struct {
		in     []api.Group
		shown  int
		others int64
	}{
		{nil, 0, 0},
		{[]api.Group{{Name: "DE", People: 4}}, 0, 0},
		{[]api.Group{{Name: "DE", People: 5}}, 1, 0},
		{[]api.Group{{Name: "DE", People: 9}, {Name: "FR", People: 4}}, 0, 13}, // or FR would be the difference
		{[]api.Group{{Name: "DE", People: 9}, {Name: "FR", People: 6}, {Name: "PL", People: 1}}, 1, 7},
		{[]api.Group{{Name: "DE", People: 9}, {Name: "FR", People: 4}, {Name: "PL", People: 3}}, 1, 7},
		{[]api.Group{{Name: "", People: 9}, {Name: "FR", People: 5}}, 1, 9},
	} {
		got := protect(c.in)
		if len(got.Groups) != c.shown || got.Others != c.others {
			t.Errorf("%v shows %+v", c.in, got)
		}
	}
}

func TestPeopleCountOnce(t *testing.T) {
	s := filled(t)
	err := s.db.Update(func(tx *bolt.Tx) error {
		f := newFold(tx)
		var buyers []*buyer
		for i := range 12 { // six people, each twice
			buyers = append(buyers, &buyer{user: ids.User(fmt.Sprint("usr_counted", i%6)), event: testEvent,
				traits: api.PersonTraits{AgeBand: "25-34", Country: "DE"}})
		}
		if err := f.countBuyers(buyers); err != nil {
			return err
		}
		return f.write()
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		d, err := buyers(tx, testEvent)
		if err != nil {
			return err
		}
		if len(d.Countries.Groups) != 1 || d.Countries.Groups[0].People != 6 || len(d.Cities.Groups) != 0 ||
			d.Cities.Others != 6 {
			t.Errorf("demographics %+v", d)
		}
		if n := tx.Bucket(bucketPeople).Bucket([]byte(testEvent)).Stats().KeyN; n != 6 {
			t.Errorf("%d people are remembered, want 6", n)
		}
		file, err := os.ReadFile(s.db.Path())
		if bytes.Contains(file, []byte("usr_counted")) {
			t.Error("a person's id is in the store")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A client that makes up referrers makes neither the store nor a summary grow without end, and no view is lost.
func TestReferrersAreBounded(t *testing.T) {
	s := filled(t)
	seq := uint64(0)
	for range 4 {
		var group []message
		for range 300 {
			seq++
			group = append(group, message{seq: seq,
				change: &views{At: testStart, EventID: testEvent, Referrer: fmt.Sprintf("%d.example.org", seq),
					Count: 1}},
				message{seq: seq, change: &views{At: testStart, EventID: testEvent, Referrer: "1.example.org",
					Count: 1}})
		}
		if err := s.commit(follower{stream: api.AnalyticsStream}, seq-300, group); err != nil {
			t.Fatal(err)
		}
	}
	err := s.db.View(func(tx *bolt.Tx) error {
		all := breakdown(tx, testEvent, byReferrer)
		sum := int64(0)
		of := map[string]int64{}
		for _, r := range all {
			sum += r.Views
			of[r.Key] = r.Views
		}
		if len(all) != mostReferrers+1 || sum != 2400 || of["1.example.org"] != 1201 || of[otherReferrers] != 700 {
			t.Errorf("%d referrers with %d views, %d others: %v", len(all), sum, of[otherReferrers],
				of["1.example.org"])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPredict(t *testing.T) {
	now := testStart
	f := predict(now, 100*time.Hour, 100, 200, 200)
	if f.SoldOutAt == nil || f.SoldOutAt.Sub(now).Round(time.Hour) != 100*time.Hour {
		t.Errorf("sold out at %v", f.SoldOutAt)
	}
	// The F distribution with 200 and 200 degrees of freedom has its 95 % quantile at 1.263 (Merrington and
	// Thompson's tables).
	if h := f.Latest.Sub(now).Hours(); h < 125 || h > 128 {
		t.Errorf("latest after %.1f h", h)
	}
	if !f.Earliest.Before(*f.SoldOutAt) {
		t.Error("earliest is not before the expectation")
	}
	for _, few := range []*api.Forecast{predict(now, 30*24*time.Hour, 9, 18, 100),
		predict(now, 23*time.Hour, 500, 900, 100)} {
		if few.SoldOutAt != nil || few.Earliest != nil || few.Latest != nil || few.PerDay != 0 ||
			few.Remaining != 100 || !strings.Contains(few.Basis, "not enough") {
			t.Errorf("of what says nothing %+v is forecast", few)
		}
	}
	if f := predict(now, time.Hour, 0, 0, 10); f.SoldOutAt != nil {
		t.Error("without sales there is no end")
	}
	if f := predict(now, time.Hour, 3, 3, 0); f.SoldOutAt != nil || f.Remaining != 0 {
		t.Error("a sold-out event has nothing to forecast")
	}
}

// A funnel narrows, whatever was not counted on the way.
func TestFunnelNarrows(t *testing.T) {
	for _, c := range []counts{
		{nViews: 15, nHeld: 12, nPaid: 8, nSold: 21, nAdmitted: 20},
		{nViews: 3, nHeld: 12, nPaid: 12, nSold: 40},
		{},
	} {
		before := int64(1 << 60)
		for i, step := range funnelOf(c, testEvent).Steps {
			if step.Count > before || step.Rate > 1 || i > 0 && before > 0 &&
				step.Rate != float64(step.Count)/float64(before) {
				t.Errorf("%v: %+v after %d", c, step, before)
			}
			before = step.Count
		}
	}
	s := filled(t, testStart, testStart) // two orders are paid that were neither looked at nor held
	sum, err := s.summary(admin(), &api.EventRef{ID: testEvent})
	if err != nil || sum.Conversion > 1 {
		t.Errorf("conversion %v, %v", sum, err)
	}
}

// A free order is paid at once: it counts as held, too, once, whatever comes first.
func TestFreeOrder(t *testing.T) {
	s, err := bare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	order := api.Order{ID: ids.Derive[ids.OrderKind]("free"), EventID: testEvent, CreatedAt: testStart}
	for i, f := range []published{publish(api.OrderWasPaid.Subject, api.OrderEvent{Order: order}),
		publish(api.OrderWasHeld.Subject, api.OrderEvent{Order: order})} {
		c, err := new(reader).read(f.subject, f.data, testStart)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.commit(toEvents, uint64(i), []message{{seq: uint64(i + 1), change: c}}); err != nil {
			t.Fatal(err)
		}
		err = s.db.View(func(tx *bolt.Tx) error {
			if c := total(tx, testEvent, byEvent, ""); c[nHeld] != 1 || c[nPaid] != 1 {
				t.Errorf("after %s %v", f.subject, c)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
