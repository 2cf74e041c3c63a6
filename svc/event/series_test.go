package event

import (
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// weekly makes a series of three Thursdays over the end of summer time, at 20:00 in Berlin, and returns its events.
func (w *harness) weekly() (*api.EventSeries, []*api.Event) {
	w.t.Helper()
	req := draftOf("Weekly")
	req.StartsAt = time.Date(2030, 10, 17, 18, 0, 0, 0, time.UTC)
	req.EndsAt = req.StartsAt.Add(3 * time.Hour)
	req.Quotas = []api.NewQuota{{Name: "Hall", Capacity: 100}}
	req.TicketTypes[0].Quotas = []string{"Hall"}
	e := must(w, anna, api.CreateEvent, req)
	s := must(w, anna, api.CreateSeries, api.NewSeries{ID: e.ID, Rule: "FREQ=WEEKLY", Count: 3})
	return s, w.dates(s)
}

func (w *harness) dates(s *api.EventSeries) (all []*api.Event) {
	w.t.Helper()
	for _, d := range s.Dates {
		all = append(all, must(w, anna, api.GetEvent, api.EventRef{ID: d.EventID}))
	}
	return all
}

func TestSeries(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		s, all := w.weekly()
		if len(all) != 3 || s.ID == "" {
			t.Fatalf("the series is %+v", s)
		}
		quotas := map[ids.Quota]bool{}
		for i, e := range all {
			want := time.Date(2030, 10, 17+7*i, 18, 0, 0, 0, time.UTC)
			if i == 2 {
				want = want.Add(time.Hour) // winter time
			}
			if !e.StartsAt.Equal(want) || !e.EndsAt.Equal(want.Add(3*time.Hour)) || e.SeriesID != s.ID || e.Status != api.EventDraft {
				t.Errorf("date %d is %+v", i, e)
			}
			quotas[e.Quotas[0].ID] = true
		}
		if len(quotas) != 3 {
			t.Errorf("the dates share quotas: %v", quotas)
		}

		// A preview makes nothing; a second rule adds what is not there.
		more := api.NewSeries{ID: all[0].ID, Rule: "FREQ=WEEKLY;COUNT=5", Except: []time.Time{time.Date(2030, 11, 7, 19, 0, 0, 0, time.UTC)}, DryRun: true}
		if p := must(w, anna, api.CreateSeries, more); p.ID != "" || len(p.Dates) != 4 || p.Dates[3].EventID != "" || p.Dates[0].EventID != all[0].ID {
			t.Errorf("the preview is %+v", p)
		}
		list := func(q api.EventQuery) int { t.Helper(); return len(must(w, anna, api.ListEvents, q).Items) }
		if n := list(api.EventQuery{Series: s.ID, Status: api.EventDraft}); n != 3 {
			t.Errorf("after a preview there are %d dates", n)
		}
		more.DryRun = false
		again := must(w, anna, api.CreateSeries, more)
		if again.ID != s.ID || len(again.Dates) != 4 || list(api.EventQuery{Series: s.ID, Status: api.EventDraft}) != 4 {
			t.Errorf("with more dates it is %+v", again)
		}

		// All are published at once, and a list has the next of them alone if it is asked to.
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: all[1].ID, Scope: api.ScopeAll})
		w.published("Another")
		if n := list(api.EventQuery{Series: s.ID}); n != 4 {
			t.Errorf("%d dates are published", n)
		}
		next := must(w, nob, api.ListEvents, api.EventQuery{Dates: "next"}).Items
		if len(next) != 2 || next[1].ID != all[0].ID {
			t.Errorf("next are %+v", next)
		}
		w.clock.Set(all[0].EndsAt.Add(time.Minute))
		if next = must(w, nob, api.ListEvents, api.EventQuery{Dates: "next"}).Items; len(next) != 1 || next[0].ID != all[1].ID {
			t.Errorf("after the first date, next are %+v", next)
		}
	})
}

func TestChangesOfASeries(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		s, all := w.weekly()
		patch := func(i int, scope string, req api.PatchEvent) (*api.Event, error) {
			req.ID, req.Scope = all[i].ID, scope
			return call(w, anna, api.UpdateEvent, req)
		}
		// Half an hour later, by the clocks, from the second date on.
		got, err := patch(1, api.ScopeLater, api.PatchEvent{StartsAt: at(all[1].StartsAt.Add(30 * time.Minute)),
			EndsAt: at(all[1].EndsAt.Add(time.Hour)), Name: at("Renamed"), Fees: codec.To([]api.Fee{{Name: "Post", Per: api.FeePerOrder, Percent: "1"}})})
		if err != nil {
			t.Fatal(err)
		}
		now := w.dates(s)
		if now[0].Revision != all[0].Revision || now[0].Name != "Weekly" || got.Revision != all[1].Revision+1 {
			t.Errorf("the first is %+v, the named one %+v", now[0], got)
		}
		for i, e := range now[1:] {
			old := all[i+1]
			if e.Name != "Renamed" || !e.StartsAt.Equal(old.StartsAt.Add(30*time.Minute)) || !e.EndsAt.Equal(old.EndsAt.Add(time.Hour)) || len(e.Fees) != 1 {
				t.Errorf("a later one is %+v", e)
			}
		}

		// All or nothing: the last date is in the way.
		must(w, anna, api.UpdateEvent, api.PatchEvent{ID: all[2].ID, Capacity: codec.To(1000)})
		must(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: all[2].ID, ID: all[2].TicketTypes[0].ID,
			SalesEnd: codec.To(now[2].EndsAt)})
		before := w.dates(s)
		_, err = patch(0, api.ScopeAll, api.PatchEvent{EndsAt: at(all[0].EndsAt.Add(-time.Hour)), Name: at("Never")})
		wantCode(t, err, fault.Invalid)
		for i, e := range w.dates(s) {
			if e.Revision != before[i].Revision {
				t.Errorf("date %d has changed: %+v", i, e)
			}
		}
		_, err = patch(0, api.ScopeAll, api.PatchEvent{Capacity: codec.To(5), Timezone: at("UTC"), Quotas: codec.Clear[[]api.Quota]()})
		wantCode(t, err, fault.Invalid)
		if got := fields(err); !slices.Equal(got, []string{"capacity", "quotas", "timezone"}) {
			t.Errorf("at fault are %v", got)
		}
		_, err = patch(0, "some", api.PatchEvent{Name: at("Never")})
		wantCode(t, err, fault.Invalid)

		// Cancelling later dates leaves the earlier, and what was never on sale.
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: all[0].ID})
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: all[1].ID})
		must(w, anna, api.CancelEvent, api.CancelEventRequest{ID: all[1].ID, Scope: api.ScopeLater, Reason: "Ill"})
		var states []string
		for _, e := range w.dates(s) {
			states = append(states, e.Status)
		}
		if !slices.Equal(states, []string{api.EventPublished, api.EventCancelled, api.EventDraft}) {
			t.Errorf("the dates are %v", states)
		}

		_, err = call(w, ben, api.CreateSeries, api.NewSeries{ID: all[0].ID, Rule: "FREQ=DAILY;COUNT=2"})
		wantCode(t, err, fault.Forbidden)
		_, err = call(w, anna, api.CreateSeries, api.NewSeries{ID: all[0].ID, Rule: "FREQ=DAILY;COUNT=400"})
		wantCode(t, err, fault.Invalid)
	})
}

// Of two callers who make the same series at once, one makes it, and the other finds it.
func TestSeriesAtOnce(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		e := w.draft("Twice")
		atOnce := func(req api.NewSeries) {
			t.Helper()
			done := make(chan error, 4)
			for range cap(done) {
				go func() {
					_, err := call(w, anna, api.CreateSeries, req)
					done <- err
				}()
			}
			for range cap(done) {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		atOnce(api.NewSeries{ID: e.ID, Rule: "FREQ=WEEKLY;COUNT=2"})
		atOnce(api.NewSeries{ID: e.ID, Rule: "FREQ=WEEKLY;COUNT=4"})
		id := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}).SeriesID
		if list := must(w, anna, api.ListEvents, api.EventQuery{Series: id, Status: api.EventDraft}); len(list.Items) != 4 {
			t.Errorf("there are %d dates", len(list.Items))
		}
		if list := must(w, anna, api.ListEvents, api.EventQuery{Status: api.EventDraft}); len(list.Items) != 4 {
			t.Errorf("there are %d drafts", len(list.Items))
		}
	})
}

// A year of days is one step, too.
func TestLongSeries(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		e := w.draft("Daily")
		begun := time.Now()
		s := must(w, anna, api.CreateSeries, api.NewSeries{ID: e.ID, Rule: "FREQ=DAILY;COUNT=366"})
		made := time.Since(begun)
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID, Scope: api.ScopeAll})
		t.Logf("%d dates made in %s, published in %s", len(s.Dates), made, time.Since(begun)-made)
		if list := must(w, anna, api.ListEvents, api.EventQuery{Series: s.ID, Page: api.Page{Limit: 200}}); len(list.Items) != 200 || list.NextCursor == "" {
			t.Errorf("%d dates are on the first page", len(list.Items))
		}
		_, err := call(w, anna, api.CreateSeries, api.NewSeries{ID: e.ID, Rule: "FREQ=DAILY;INTERVAL=2;COUNT=366"})
		wantCode(t, err, fault.Invalid)
	})
}
