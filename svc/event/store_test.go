package event

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
)

// onBoth runs a test of the store on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, b eventStore)) {
	testkit.DB(t, "event", Migrations(), func(t *testing.T, db *store.DB) {
		now := testkit.NewClock(time.Time{}).Now
		test(t, eventStore{db: db, now: now, organizers: organizer.New(organizer.Deps{DB: db, Now: now})})
	})
}

// keep stores an event made from the usual draft.
func keep(t testing.TB, b eventStore, edit func(*record)) *record {
	t.Helper()
	r := recordOf(draftOf("Quartet"))
	now := store.Time(b.now())
	r.Event.OrganizerID, r.Event.Status, r.Event.Revision, r.Event.CreatedAt, r.Event.UpdatedAt = api.OrganizerOf(anna.User),
		api.EventPublished, 1, now, now
	r.Team = []api.TeamMember{}
	edit(r)
	r.normalize()
	owner := ids.Twin[ids.UserKind](r.Event.OrganizerID)
	if err := b.insert(t.Context(), change{Next: r, Subject: api.EventCreated.Subject, Owner: owner}, anyTeam); err != nil {
		t.Fatal(err)
	}
	r.Organizer = api.OwnTeam(owner)
	r.Organizer.Revision = 1
	return r
}

// anyTeam lets every organizer have an event.
func anyTeam(*api.OrganizerTeam) error { return nil }

func next(r *record, edit func(*record)) change {
	c := change{Next: r.clone(), Subject: api.EventUpdated.Subject}
	c.Next.Event.Revision++
	edit(c.Next)
	return c
}

func outbox(t testing.TB, b eventStore) (subjects []string) {
	t.Helper()
	if err := b.db.Read().NewRaw("SELECT subject FROM outbox WHERE subject LIKE 'ev.event.event.%' ORDER BY seq").Scan(t.Context(), &subjects); err != nil {
		t.Fatal(err)
	}
	return subjects
}

func TestStoreKeepsAll(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		berlin := time.FixedZone("", 2*3600)
		want := keep(t, b, func(r *record) {
			r.Event.StartsAt = time.Date(2030, 6, 1, 20, 0, 0, 123456789, berlin)
			r.Event.Location = api.Location{Name: "Häuschen", Address: "Straße 1 ?", City: "Zürich", Country: "CH",
				Latitude: at(47.37), Longitude: at(8.54)}
			r.Event.TicketTypes[0].SalesStart = at(time.Date(2030, 1, 1, 0, 0, 0, 0, berlin))
			r.AutoCapacity = true
		})
		got, err := b.load(t.Context(), want.Event.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !sameOffer(got.Offer, want.Offer) || !got.AutoCapacity {
			t.Errorf("read\n%+v, wrote\n%+v", got.record, want)
		}
		if got.Event.StartsAt.Location() != time.UTC || got.Event.StartsAt.Nanosecond() != 123456000 {
			t.Errorf("start is %v, want UTC and microseconds", got.Event.StartsAt)
		}
		_, err = b.load(t.Context(), ids.New[ids.EventKind](time.Now()))
		wantCode(t, err, fault.NotFound)
	})
}

// sameOffer compares by what a reader gets.
func sameOffer(a, b api.Offer) bool { return jsonOf(a) == jsonOf(b) }

func TestStoreReplacesOnlyWhatItKnows(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		r := keep(t, b, func(*record) {})
		before := storedEvent{record: r}
		first := next(r, func(n *record) {
			n.Event.Name = "First"
			n.Team = []api.TeamMember{{UserID: anna.User, Role: api.RoleDoor},
				{UserID: ben.User, Role: api.RoleManager}}
		})
		if ok, err := b.replace(t.Context(), before, first); !ok || err != nil {
			t.Fatalf("replace: %v %v", ok, err)
		}
		if ok, err := b.replace(t.Context(), before, next(r, func(n *record) { n.Event.Name = "Second" })); ok ||
			err != nil {
			t.Fatalf("an old revision was replaced: %v %v", ok, err)
		}
		got, err := b.load(t.Context(), r.Event.ID)
		if err != nil || !sameOffer(got.Offer, first.Next.Offer) {
			t.Fatalf("read %+v %v, wrote %+v", got.record, err, first.Next)
		}
		second := next(got.record, func(n *record) {
			n.Team = []api.TeamMember{{UserID: ben.User,
				Role: api.RoleDoor}}
		})
		if ok, err := b.replace(t.Context(), got, second); !ok || err != nil {
			t.Fatalf("replace: %v %v", ok, err)
		}
		if got, err = b.load(t.Context(), r.Event.ID); err != nil || !slices.Equal(got.Team, second.Next.Team) {
			t.Errorf("team %v %v, want %v", got.Team, err, second.Next.Team)
		}
		gone := next(got.record, func(*record) {})
		gone.Delete, gone.Subject = true, api.EventDeleted.Subject
		if ok, err := b.replace(t.Context(), got, gone); !ok || err != nil {
			t.Fatalf("delete: %v %v", ok, err)
		}
		_, err = b.load(t.Context(), r.Event.ID)
		wantCode(t, err, fault.NotFound)
		var members int
		if err := b.db.Read().NewRaw("SELECT count(*) FROM team").Scan(t.Context(), &members); err != nil ||
			members != 0 {
			t.Errorf("%d members are left, %v", members, err)
		}
		want := []string{api.EventCreated.Subject, api.EventUpdated.Subject, api.EventUpdated.Subject,
			api.EventDeleted.Subject}
		if got := outbox(t, b); !slices.Equal(got, want) {
			t.Errorf("outbox %v, want %v", got, want)
		}
	})
}

func TestStorePendingChangeBarsOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		r := keep(t, b, func(*record) {})
		before := storedEvent{record: r}
		if ok, err := b.prepare(t.Context(), before, next(r, func(*record) {}), "note"); !ok || err != nil {
			t.Fatalf("prepare: %v %v", ok, err)
		}
		if ok, _ := b.prepare(t.Context(), before, next(r, func(*record) {}), "other"); ok {
			t.Error("two changes are pending")
		}
		if ok, _ := b.replace(t.Context(), before, next(r, func(*record) {})); ok {
			t.Error("the event was changed beside a pending change")
		}
		if found, err := b.unfinished(t.Context(), b.now().Add(time.Second)); err != nil ||
			!slices.Equal(found, []ids.Event{r.Event.ID}) {
			t.Errorf("unfinished %v %v", found, err)
		}
		if found, err := b.unfinished(t.Context(), b.now()); err != nil || len(found) != 0 {
			t.Errorf("unfinished already %v %v", found, err)
		}
		if err := b.withdraw(t.Context(), r.Event.ID, "other"); err != nil {
			t.Fatal(err)
		}
		k, err := b.load(t.Context(), r.Event.ID)
		if err != nil || k.pending != "note" || !k.pendingAt.Equal(b.now()) {
			t.Fatalf("pending %q at %v, %v", k.pending, k.pendingAt, err)
		}
		if ok, err := b.replace(t.Context(), k, next(r, func(*record) {})); !ok || err != nil {
			t.Fatalf("the owner of the pending change may not make it: %v %v", ok, err)
		}
		if k, err = b.load(t.Context(), r.Event.ID); err != nil || k.pending != "" {
			t.Errorf("pending %q %v", k.pending, err)
		}
	})
}

func TestStoreSearch(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		names := []string{"Rock'n'Roll Night: AC/DC", "Café Müller", "Ночь музыки", "東京 ジャズ", `"quoted" AND (or) NOT *`,
			"user@example.com v2.15.2",
			"大阪交響楽団定期演奏会", "เทศกาลดนตรีกรุงเทพ", "서울국제음악제에서", "AKB48劇場公演", "Łódź Swing", "København synger",
			"IĞDIR Şenliği", "東京から京都へ", "市民ホール"}
		for _, name := range names {
			keep(t, b, func(r *record) { r.Event.Name, r.Event.Description = name, "" })
		}
		keep(t, b, func(r *record) {
			r.Event.Name, r.Event.Category, r.Event.Location.Name = "plain", "jazz", "Elbphilharmonie"
		})
		find := func(q string) []string {
			t.Helper()
			events, err := b.list(t.Context(), filter{terms: terms(q), status: api.EventPublished, limit: 50})
			if err != nil {
				t.Fatalf("%q: %v", q, err)
			}
			var found []string
			for _, e := range events {
				found = append(found, e.Name)
			}
			return found
		}
		for q, want := range map[string]string{
			"dc": names[0], "roll night": names[0], "NIGHT ro": names[0], "cafe": names[1], "MULLER": names[1],
			"mül":  names[1],
			"ночь": names[2], "музыки НО": names[2], "東京 ジャ": names[3], `quoted" AND`: names[4], "* not": names[4],
			"交響楽団": names[6], "大阪交響楽団定期演奏会": names[6], "大阪": names[6], "会": names[6], "定期 大阪": names[6],
			"ดนตรี": names[7], "กรุงเทพ": names[7], "음악제": names[8], "국제": names[8], "劇場": names[9], "akb48": names[9],
			"AKB48劇場": names[9],
			"Lodz":    names[10], "łódź": names[10], "Kobenhavn": names[11], "ığdır": names[12], "senligi": names[12],
			"igdir": names[12],
			"京都へ":   names[13], "ホール": names[14], "東京ジャズ": names[3],
			"example": names[5], "15": names[5], "elbphil": "plain", "jaz": "plain",
		} {
			if got := find(q); !slices.Equal(got, []string{want}) {
				t.Errorf("%q finds %q, want %q", q, got, want)
			}
		}
		for _, q := range []string{"ight", "rock opera", "nothing", "roll OR cafe", "東京都", "ボール", "楽団交響", "k48"} {
			if got := find(q); got != nil {
				t.Errorf("%q finds %q", q, got)
			}
		}
		// The index follows a change.
		events, _ := b.list(t.Context(), filter{terms: terms("cafe"), status: api.EventPublished, limit: 1})
		k, err := b.load(t.Context(), events[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := b.replace(t.Context(), k, next(k.record, func(n *record) { n.Event.Name = "Teehaus" })); !ok ||
			err != nil {
			t.Fatal(ok, err)
		}
		if got := find("cafe"); got != nil {
			t.Errorf("the old name still finds %q", got)
		}
		if got := find("teehaus"); len(got) != 1 {
			t.Errorf("the new name finds %q", got)
		}
	})
}

func TestStoreFilters(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		day := func(n int) time.Time { return time.Date(2030, 7, n, 20, 0, 0, 0, time.UTC) }
		make := func(name string, n int, edit func(*record)) {
			keep(t, b, func(r *record) {
				r.Event.Name, r.Event.StartsAt, r.Event.EndsAt = name, day(n), day(n).Add(2*time.Hour)
				r.Event.TicketTypes = nil
				edit(r)
			})
		}
		make("a", 1, func(r *record) { r.Event.Category = "jazz" })
		make("b", 2, func(r *record) { r.Event.Location.City = "ZÜRICH"; r.Event.Location.Country = "CH" })
		make("c", 3, func(r *record) { r.Event.OrganizerID = api.OrganizerOf(ben.User) })
		make("d", 4, func(r *record) { r.Event.Status = api.EventDraft })
		keepTeam(t, b, "e", day(5))
		for _, c := range []struct {
			what string
			f    filter
			want string
		}{
			{"all", filter{}, "abce"},
			{"category", filter{category: "jazz"}, "a"},
			{"city", filter{cityKey: text.Fold("zürich")}, "b"},
			{"country", filter{country: "CH"}, "b"},
			{"organizer", filter{organizer: api.OrganizerOf(ben.User)}, "c"},
			{"running at from", filter{from: day(3).Add(time.Hour)}, "ce"},
			{"ending at from", filter{from: day(3).Add(2 * time.Hour)}, "ce"},
			{"over by from", filter{from: day(3).Add(2*time.Hour + time.Microsecond)}, "e"},
			{"starting at to", filter{to: day(2)}, "a"},
			{"starting before to", filter{to: day(2).Add(time.Microsecond)}, "ab"},
			{"between", filter{from: day(2), to: day(4)}, "bc"},
			{"status", filter{status: api.EventDraft}, "d"},
			{"own drafts", filter{status: api.EventDraft, of: anna.User}, "d"},
			{"foreign drafts", filter{status: api.EventDraft, of: ben.User}, ""},
			{"run or worked for", filter{of: ben.User}, "ce"},
			{"limit", filter{limit: 2}, "ab"},
		} {
			if c.f.status == "" {
				c.f.status = api.EventPublished
			}
			if c.f.limit == 0 {
				c.f.limit = 50
			}
			events, err := b.list(t.Context(), c.f)
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			var got strings.Builder
			for _, e := range events {
				got.WriteString(e.Name)
			}
			if got.String() != c.want {
				t.Errorf("%s: got %q, want %q", c.what, got.String(), c.want)
			}
		}
	})
}

// keepTeam stores an event for which ben works.
func keepTeam(t testing.TB, b eventStore, name string, start time.Time) {
	r := keep(t, b, func(r *record) {
		r.Event.Name, r.Event.StartsAt, r.Event.EndsAt = name, start, start.Add(time.Hour)
		r.Event.TicketTypes = nil
	})
	ok, err := b.replace(t.Context(), storedEvent{record: r}, next(r, func(n *record) {
		n.Team = []api.TeamMember{{UserID: ben.User, Role: api.RoleDoor}}
	}))
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
}

func TestStorePagesInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		const n = 23
		var want []ids.Event
		for range n { // many share a start
			start := time.Date(2030, 7, 1+rand.IntN(4), 20, 0, 0, rand.IntN(2)*1000, time.UTC)
			r := keep(t, b, func(r *record) { r.Event.StartsAt, r.Event.EndsAt = start, start.Add(time.Hour) })
			want = append(want, r.Event.ID)
		}
		var got []ids.Event
		f := filter{status: api.EventPublished, limit: 5}
		for {
			page, err := b.list(context.Background(), f)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range page {
				if i > 0 && (e.StartsAt.Before(page[i-1].StartsAt) || e.StartsAt.Equal(page[i-1].StartsAt) &&
					e.ID <= page[i-1].ID) {
					t.Fatalf("%s %v stands behind %s %v", e.ID, e.StartsAt, page[i-1].ID, page[i-1].StartsAt)
				}
				got = append(got, e.ID)
			}
			if len(page) < f.limit {
				break
			}
			last := page[len(page)-1]
			if f.afterStart, f.after, err = decodeCursor(encodeCursor(last.StartsAt, last.ID)); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("the pages have %d events, want each of %d once", len(got), n)
		}
	})
}

// What an older version wrote is found in the new way after a start.
func TestReindex(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		const many = reindexSize + 1
		for range many {
			keep(t, b, func(r *record) { r.Event.Name, r.Event.Location.City = "大阪交響楽団", "Łódź" })
		}
		err := b.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx,
				"UPDATE events SET search_text = '大阪交響楽団 łodz', city_key = 'łodz', search_version = 1")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		found := func() int {
			t.Helper()
			events, err := b.list(t.Context(),
				filter{terms: terms("楽団"), cityKey: text.Fold("Lodz"), status: api.EventPublished, limit: many + 1})
			if err != nil {
				t.Fatal(err)
			}
			return len(events)
		}
		if n := found(); n != 0 {
			t.Errorf("%d events are found before", n)
		}
		s := &Service{store: b, log: testkit.Log(t)}
		if err := s.reindex(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := found(); n != many {
			t.Errorf("%d events are found, want %d", n, many)
		}
		if n, err := b.reindex(t.Context()); n != 0 || err != nil {
			t.Errorf("%d events were written again: %v", n, err)
		}
	})
}
