package notification

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Messages, what became of them, and mailings that are done go when notification.retention is over, by the setting as it
// is then; a mailing that is under way stays.
func TestOldMessagesAreDeleted(t *testing.T) {
	testkit.DB(t, "notification", Migrations(), func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(time.Time{})
		usual := api.MessageRetention.Default()
		s := &Service{Deps: Deps{DB: db, Now: clock.Now, Live: settings.Fixed(api.MessageRetention.Is(usual))}}
		at := store.Time(clock.Now())
		write := func(at time.Time) {
			t.Helper()
			err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				m := messageRow{ID: ids.New[ids.NotificationKind](at), UserID: "usr_1", Kind: "account", Name: "welcome", Facts: "{}",
					CreatedAt: at}
				if _, err := tx.NewInsert().Model(&m).Exec(ctx); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, `INSERT INTO deliveries (message_id, channel, target, status, reason, ended_at)
					VALUES (?, 'email', '', 'sent', '', ?)`, m.ID, at)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		write(at)
		write(at.Add(24 * time.Hour))
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for cause, done := range map[string]*time.Time{"done": &at, "under way": nil} {
				_, err := tx.ExecContext(ctx, `INSERT INTO mailings
					(cause, name, event_id, facts, by_user, reached, recipients, created_at, done_at)
					VALUES (?, 'announcement', '', '{}', '', '', 0, ?, ?)`, cause, at, done)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		left := func(messages, mailings int64) {
			t.Helper()
			if err := s.deleteOld(t.Context()); err != nil {
				t.Fatal(err)
			}
			for table, want := range map[string]int64{"messages": messages, "deliveries": messages, "mailings": mailings} {
				if n, err := db.Read().NewSelect().Table(table).Count(t.Context()); err != nil || n != want {
					t.Errorf("%d rows of %s are left, want %d (%v)", n, table, want, err)
				}
			}
		}
		clock.Advance(usual - time.Minute)
		left(2, 2)
		clock.Advance(2 * time.Minute)
		if err := s.Live.Change(api.MessageRetention.Is(2 * usual)); err != nil {
			t.Fatal(err)
		}
		left(2, 2)
		if err := s.Live.Change(api.MessageRetention.Is(usual)); err != nil {
			t.Fatal(err)
		}
		left(1, 1)
	})
}
