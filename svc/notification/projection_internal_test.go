package notification

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// withProjection runs a test on both databases with a service that has nothing but the projection, with one event.
func withProjection(t *testing.T, test func(t *testing.T, s *Service, clock *testkit.Clock, e api.Event)) {
	t.Helper()
	testkit.DB(t, "notification", Migrations(), func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(time.Time{})
		start := clock.Now().Add(7 * 24 * time.Hour)
		e := api.Event{ID: ids.New[ids.EventKind](start), Status: api.EventPublished, Name: "Nocturne", StartsAt: start, EndsAt: start.Add(3 * time.Hour),
			Timezone: "Europe/Berlin", Location: api.Location{Name: "Hall"}, Revision: 1, UpdatedAt: clock.Now()}
		s := &Service{Deps: Deps{DB: db, Now: clock.Now}}
		s.applied(t, e)
		test(t, s, clock, e)
	})
}

func (s *Service) applied(t *testing.T, e api.Event) {
	t.Helper()
	if err := s.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return s.applyEvent(ctx, tx, e, false) }); err != nil {
		t.Fatal(err)
	}
}

// mailings returns the causes of all mailings.
func (s *Service) mailings(t *testing.T) (causes []string) {
	t.Helper()
	if err := s.DB.Read().NewRaw("SELECT cause FROM mailings ORDER BY cause").Scan(t.Context(), &causes); err != nil {
		t.Fatal(err)
	}
	return causes
}

// A change of an event in the moment in which a reminder is due does not cost the reminder, and it is sent once.
func TestDueRemindersStay(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, clock *testkit.Clock, e api.Event) {
		clock.Set(e.StartsAt.Add(-24*time.Hour + time.Millisecond))
		for range 2 {
			e.Revision++
			e.Description = "with an encore"
			s.applied(t, e)
			if err := s.sweepReminders(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := "reminder." + e.ID.String() + ".24."
			if got := s.mailings(t); len(got) != 1 || got[0][:len(want)] != want {
				t.Fatalf("after revision %d the mailings are %v", e.Revision, got)
			}
		}
		// One of the old date is not sent, and both of the new one are.
		clock.Set(e.StartsAt.Add(-2*time.Hour + time.Millisecond))
		e.Revision, e.StartsAt, e.EndsAt = e.Revision+1, e.StartsAt.Add(48*time.Hour), e.EndsAt.Add(48*time.Hour)
		s.applied(t, e)
		if err := s.sweepReminders(t.Context()); err != nil {
			t.Fatal(err)
		}
		var hours []int
		if err := s.DB.Read().NewRaw("SELECT hours FROM reminders ORDER BY hours").Scan(t.Context(), &hours); err != nil || !slices.Equal(hours, []int{2, 24}) {
			t.Errorf("reminders %v hours before, %v", hours, err)
		}
		clock.Advance(10 * time.Minute)
		if err := s.sweepChanges(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.mailings(t); len(got) != 2 { // the first reminder, and the move
			t.Errorf("mailings %v", got)
		}
	})
}

// Two instances consume two changes of an event at the same moment. Only the first is a move, and it has one mailing.
func TestOneMoveIsOneMailing(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, clock *testkit.Clock, e api.Event) {
		moved, described := e, e
		moved.Revision, moved.Location.Name = 2, "Another hall"
		described.Revision, described.Location.Name, described.Description = 3, "Another hall", "with an encore"
		second := make(chan error, 1)
		err := s.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if err := s.applyEvent(ctx, tx, moved, false); err != nil {
				return err
			}
			go func() {
				second <- s.DB.Tx(context.WithoutCancel(t.Context()), func(ctx context.Context, tx bun.Tx) error { return s.applyEvent(ctx, tx, described, false) })
			}()
			if !s.DB.Postgres() { // it waits for the one writer
				return nil
			}
			testkit.Eventually(t, 20*time.Second, func() error {
				var waits bool
				err := s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)").Scan(context.WithoutCancel(t.Context()), &waits)
				if err == nil && !waits {
					err = errors.New("the second instance does not wait for the first")
				}
				return err
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		clock.Advance(10 * time.Minute)
		var both [2]error
		var sweeps sync.WaitGroup
		for i := range both {
			sweeps.Go(func() { both[i] = s.sweepChanges(t.Context()) })
		}
		sweeps.Wait()
		if err := errors.Join(both[:]...); err != nil {
			t.Fatal(err)
		}
		if got, want := s.mailings(t), []string{"event_changed." + e.ID.String() + ".3"}; !slices.Equal(got, want) {
			t.Errorf("mailings %v, want %v", got, want)
		}
		row, _, err := knownEvent(t.Context(), s.DB.Read(), e.ID)
		if err != nil || row.Revision != 3 {
			t.Errorf("known is revision %d, %v", row.Revision, err)
		}
	})
}

// Ticketing's clock may be behind that of the event service, or ahead of it: whom a cancellation concerns depends on why the
// tickets were revoked, and on no time.
func TestCancellationsReachHoldersWhateverTheClocks(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, clock *testkit.Clock, e api.Event) {
		person := func(name string) ids.User { return ids.Derive[ids.UserKind](name) }
		revoked := func(name, cause string, at time.Time) {
			t.Helper()
			err := s.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				ticket := ids.Derive[ids.TicketKind](name)
				o := api.Order{ID: ids.Derive[ids.OrderKind](name), EventID: e.ID, UserID: person(name), UpdatedAt: clock.Now()}
				if err := insertHolders(ctx, tx, api.OrderEvent{Order: o, Tickets: []ids.Ticket{ticket}}); err != nil {
					return err
				}
				return revokeHolder(ctx, tx, api.TicketEvent{TicketID: ticket, EventID: e.ID, OwnerID: o.UserID, Cause: cause, At: at})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		revoked("behind", api.RevokedByCancellation, clock.Now().Add(-3*time.Second))
		revoked("ahead", api.RevokedByCancellation, clock.Now().Add(3*time.Second))
		revoked("refunded before", "", clock.Now().Add(3*time.Second))
		for mailing, want := range map[string]int{"event_cancelled": 2, "announcement": 0} {
			people, err := s.recipients(t.Context(), mailingRow{Name: mailing, EventID: e.ID})
			if err != nil || len(people) != want || slices.Contains(people, recipient{UserID: person("refunded before")}) {
				t.Errorf("%s goes to %v, %v", mailing, people, err)
			}
		}
	})
}

// Of two transfers the one later in the stream counts, whatever their times.
func TestTransfersByTheirOrder(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, clock *testkit.Clock, e api.Event) {
		ticket := ids.Derive[ids.TicketKind]("one")
		move := func(to string, sequence uint64, at time.Time) {
			t.Helper()
			err := s.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				return changeHolder(ctx, tx, api.TicketEvent{TicketID: ticket, EventID: e.ID, OwnerID: ids.Derive[ids.UserKind](to), At: at}, sequence)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		move("bob", 7, clock.Now())
		move("eve", 9, clock.Now().Add(-3*time.Second))
		move("bob", 7, clock.Now())
		people, err := s.recipients(t.Context(), mailingRow{Name: "announcement", EventID: e.ID})
		if err != nil || !slices.Equal(people, []recipient{{UserID: ids.Derive[ids.UserKind]("eve")}}) {
			t.Errorf("the ticket is held by %v, %v", people, err)
		}
	})
}

// Changes of an event are one mailing, ten minutes after the last of them, which says what is not as it was at the mailing
// before. Whatever was put back is no change.
func TestChangesAreGathered(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, clock *testkit.Clock, e api.Event) {
		first := e
		sweep := func(want int) {
			t.Helper()
			if err := s.sweepChanges(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.mailings(t); len(got) != want {
				t.Fatalf("mailings %v, want %d", got, want)
			}
		}
		move := func(by time.Duration) {
			t.Helper()
			e.Revision++
			e.StartsAt, e.EndsAt = e.StartsAt.Add(by), e.EndsAt.Add(by)
			s.applied(t, e)
		}
		for range 40 {
			move(time.Hour)
			sweep(0)
			clock.Advance(time.Minute)
		}
		clock.Advance(10 * time.Minute)
		sweep(1)
		var facts string
		if err := s.DB.Read().NewRaw("SELECT facts FROM mailings").Scan(t.Context(), &facts); err != nil {
			t.Fatal(err)
		}
		m := messageRow{Facts: facts}
		if f, err := m.decodeFacts(); err != nil || !f.Was.StartsAt.Equal(first.StartsAt) || !f.Event.StartsAt.Equal(first.StartsAt.Add(40*time.Hour)) {
			t.Errorf("facts %s, %v", facts, err)
		}
		move(time.Hour)
		move(-time.Hour)
		clock.Advance(time.Hour)
		sweep(1)       // as it was
		for range 70 { // it never comes to rest
			move(time.Hour)
			clock.Advance(time.Minute)
			if err := s.sweepChanges(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sweep(2)
		clock.Set(e.StartsAt.Add(-4 * time.Minute)) // who is about to leave is told soon
		move(time.Minute)
		clock.Advance(time.Minute)
		sweep(3)
		move(time.Minute)
		e.Revision, e.Status = e.Revision+1, api.EventCancelled
		s.applied(t, e)
		clock.Advance(time.Hour)
		sweep(4) // the cancellation, and no change
	})
}

// Of a quota that many instances use at the same moment, no more is taken than there is.
func TestQuotasAreExact(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, clock *testkit.Clock, _ api.Event) {
		const limit, tries = 20, 40
		var taken atomic.Int64
		var all sync.WaitGroup
		take := func(i int) {
			err := s.DB.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				keys := []string{"b", "a"}
				if i%2 == 0 {
					keys = []string{"a", "b"}
				}
				got, err := s.use(ctx, tx, keys, 1, limit)
				if err == nil && got["a"] != got["b"] {
					err = errors.New("the keys were used alike")
				}
				if err == nil && got["a"] {
					taken.Add(1)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		for i := range tries {
			all.Go(func() { take(i) })
		}
		all.Wait()
		if n := taken.Load(); n != limit {
			t.Errorf("%d of %d were taken", n, limit)
		}
		clock.Advance(24 * time.Hour)
		take(0)
		if n := taken.Load(); n != limit+1 {
			t.Error("the next day has no quota of its own")
		}
	})
}

// What is known of an event has its names, those of its newest revision, and each reader gets the own.
func TestAnEventIsCalledByItsNameInALanguage(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, _ *testkit.Clock, e api.Event) {
		e.Revision++
		e.Name, e.Translations = "The Magic Flute", []api.Translation{{Language: "de", Name: "Die Zauberflöte"}}
		s.applied(t, e)
		fonts, err := document.NewFonts(document.FontConfig{Log: testkit.Log(t)})
		if err != nil {
			t.Fatal(err)
		}
		if s.texts, err = render.New(fonts, "Tickets"); err != nil {
			t.Fatal(err)
		}
		called := func(want map[string]string) {
			t.Helper()
			row, known, err := knownEvent(t.Context(), s.DB.Read(), e.ID)
			if err != nil || !known {
				t.Fatal(known, err)
			}
			for lang, name := range want {
				if v := s.texts.View(lang, "", render.Facts{Event: row.event()}); v.Event.Name != name {
					t.Errorf("in %s it is called %q, want %q", lang, v.Event.Name, name)
				}
			}
		}
		called(map[string]string{"de": "Die Zauberflöte", "en": "The Magic Flute", "fr": "The Magic Flute"})
		e.Revision++
		e.Translations = []api.Translation{{Language: "fr", Name: "La Flûte enchantée"}}
		s.applied(t, e)
		called(map[string]string{"de": "The Magic Flute", "fr": "La Flûte enchantée"})
	})
}

// Messages that name ticket types know what these are called in other languages, as the newest revision has it; those
// that do not carry none of it.
func TestTicketTypesAreCalledByTheirNamesInALanguage(t *testing.T) {
	withProjection(t, func(t *testing.T, s *Service, _ *testkit.Clock, e api.Event) {
		e.Language, e.TicketTypes = "en", []api.TicketType{{ID: "tty_a", Name: "Adult",
			Translations: []api.TypeTranslation{{Language: "de", Name: "Kind"}}}}
		for _, name := range []string{"Groß", "Erwachsene"} {
			e.Revision++
			e.TicketTypes[0].Translations[0].Name = name
			s.applied(t, e)
		}
		got, err := s.eventAndTypes(t.Context(), e.ID)
		if err != nil || got.Called.Type("de", "tty_a", "") != "Erwachsene" || got.Called.Type("fr", "tty_a", "Adult") != "Adult" {
			t.Errorf("%v, %+v", err, got)
		}
		if got, err := s.eventOf(t.Context(), e.ID); err != nil || got.Called != nil {
			t.Errorf("%v, %+v", err, got)
		}
	})
}
