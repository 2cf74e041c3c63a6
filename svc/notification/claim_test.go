package notification_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

// another starts one more instance on the same database.
func (b *box) another() {
	b.t.Helper()
	deps := b.deps
	deps.Metrics, deps.Client = observe.NewRegistry(), b.client("notification")
	second, err := notification.New(b.t.Context(), deps)
	if err != nil {
		b.t.Fatal(err)
	}
	b.start("notification", second, b.db)
}

// logged waits until something was logged so many times.
func (b *box) logged(what string, n int) {
	b.t.Helper()
	testkit.Eventually(b.t, 30*time.Second, func() error {
		if got := strings.Count(b.log.String(), what); got < n {
			return fmt.Errorf("%q was logged %d times, want %d; the log is\n%s", what, got, n, b.log.String())
		}
		return nil
	})
}

// taken waits until a mail server has taken mails, and returns them.
func taken(t *testing.T, server *testkit.MailServer, n int) []string {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, func() error {
		if got := len(server.Mails()); got < n {
			return fmt.Errorf("%d mails were taken, want %d", got, n)
		}
		return nil
	})
	return server.Mails()
}

// A mail that a slow server has taken and not acknowledged yet is in hand: its job, delivered again to the same instance
// and to another one, sends nothing, and neither does one that comes when the mail is written down.
func TestOneMailFromASlowServer(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		b := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		b.another()
		server.SilenceAfter("DATA")
		b.join("ada")
		taken(t, server, 1)
		job := api.NotificationJob{Channel: api.ChannelEmail}
		if err := db.Read().NewRaw("SELECT id FROM messages").Scan(t.Context(), &job.MessageID); err != nil {
			t.Fatal(err)
		}
		const again = 6 // over two instances
		for i := range again {
			b.publish(api.NotifyEmailUrgent, fmt.Sprint("again ", i), job)
		}
		b.refused(again)
		server.Silence(false)
		b.settled()
		b.delivered(api.ChannelEmail, "sent", 1)
		if got := server.Mails(); len(got) != 1 {
			t.Errorf("the server was given %d mails, want 1", len(got))
		}
		var left int
		if err := db.Read().NewRaw("SELECT COUNT(*) FROM claims").Scan(t.Context(), &left); err != nil || left != 0 {
			t.Errorf("%d claims are left, %v", left, err)
		}
	})
}

// A mail that has left is written down even when the database does not take it at first.
func TestSentIsWrittenDown(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		b := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		server.SilenceAfter("DATA")
		b.join("ada")
		taken(t, server, 1)
		rename := func(from, to string) {
			t.Helper()
			err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "ALTER TABLE "+from+" RENAME TO "+to)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		rename("deliveries", "broken")
		server.Silence(false)
		b.logged("cannot be written down", 1)
		rename("broken", "deliveries")
		b.settled()
		b.delivered(api.ChannelEmail, "sent", 1)
		if got := server.Mails(); len(got) != 1 {
			t.Errorf("the server was given %d mails, want 1", len(got))
		}
	})
}

// The claim of an instance that died is over by itself; that of one that lives is not.
func TestClaimsOfDeadInstances(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		b := open(t, db)
		ada := b.join("ada")
		b.settled()
		b.mails("welcome", 1)
		claim := func(id string, until int64) {
			t.Helper()
			err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO claims (message_id, channel, target, owner, until) VALUES (?, 'email', '', 'another', ?)", id, until)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		b.publish(api.PasswordChanged.Subject, "c", api.UserEvent{UserID: ada.ID})
		m := b.mails("password_changed", 1)[0]
		_, rest, _ := strings.Cut(m.header.Get("Message-Id"), "password_changed.")
		id, _, ok := strings.Cut(rest, "@")
		if !ok {
			t.Fatal(errors.New(m.header.Get("Message-Id")))
		}
		b.settled()
		claim(id, time.Now().Add(time.Hour).UnixMilli())
		b.reopen(id)
		b.refused(1)
		var count int
		if err := db.Read().NewRaw("SELECT COUNT(*) FROM deliveries WHERE message_id = ?", id).Scan(t.Context(), &count); err != nil || count != 0 {
			t.Errorf("%d deliveries of what another instance is sending, %v", count, err)
		}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE claims SET until = ?", time.Now().Add(-time.Minute).UnixMilli())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		b.settled()
		b.delivered(api.ChannelEmail, "sent", 2)
	})
}

// refused waits until so many jobs were left alone because their messages are being sent.
func (b *box) refused(n int) { b.logged(`a job came again while its message is being sent`, n) }
