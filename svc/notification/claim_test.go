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
func (h *harness) another() {
	h.t.Helper()
	deps := h.deps
	deps.Metrics, deps.Client = observe.NewRegistry(), h.client("notification")
	second, err := notification.New(h.t.Context(), deps)
	if err != nil {
		h.t.Fatal(err)
	}
	h.start("notification", second, h.db)
}

// logged waits until something was logged so many times.
func (h *harness) logged(what string, n int) {
	h.t.Helper()
	testkit.Eventually(h.t, 30*time.Second, func() error {
		if got := strings.Count(h.log.String(), what); got < n {
			return fmt.Errorf("%q was logged %d times, want %d; the log is\n%s", what, got, n, h.log.String())
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

// A mail that a slow server has taken and not acknowledged yet is in progress: its job, redelivered to the same instance
// and to another one, sends nothing, and neither does one that comes when the outcome is stored.
func TestOneMailFromASlowServer(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		h := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		h.another()
		server.SilenceAfter("DATA")
		h.join("ada")
		taken(t, server, 1)
		job := api.NotificationJob{Channel: api.ChannelEmail}
		if err := db.Read().NewRaw("SELECT id FROM messages").Scan(t.Context(), &job.MessageID); err != nil {
			t.Fatal(err)
		}
		const again = 6 // over two instances
		for i := range again {
			h.publish(api.NotifyEmailUrgent, fmt.Sprint("again ", i), job)
		}
		h.refused(again)
		server.Silence(false)
		h.settled()
		h.delivered(api.ChannelEmail, "sent", 1)
		if got := server.Mails(); len(got) != 1 {
			t.Errorf("the server was given %d mails, want 1", len(got))
		}
		var left int
		if err := db.Read().NewRaw("SELECT COUNT(*) FROM claims").Scan(t.Context(), &left); err != nil || left != 0 {
			t.Errorf("%d claims are left, %v", left, err)
		}
	})
}

// The outcome of a mail that was sent is stored even when the database refuses it at first.
func TestOutcomeIsStored(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		h := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		server.SilenceAfter("DATA")
		h.join("ada")
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
		h.logged("cannot be stored", 1)
		rename("broken", "deliveries")
		h.settled()
		h.delivered(api.ChannelEmail, "sent", 1)
		if got := server.Mails(); len(got) != 1 {
			t.Errorf("the server was given %d mails, want 1", len(got))
		}
	})
}

// The claim of an instance that died expires; that of a running one does not.
func TestClaimsOfDeadInstances(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		h := open(t, db)
		ada := h.join("ada")
		h.settled()
		h.mails("welcome", 1)
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
		h.publish(api.PasswordChanged.Subject, "c", api.UserEvent{UserID: ada.ID})
		m := h.mails("password_changed", 1)[0]
		_, rest, _ := strings.Cut(m.header.Get("Message-Id"), "password_changed.")
		id, _, ok := strings.Cut(rest, "@")
		if !ok {
			t.Fatal(errors.New(m.header.Get("Message-Id")))
		}
		h.settled()
		claim(id, time.Now().Add(time.Hour).UnixMilli())
		h.reopen(id)
		h.refused(1)
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
		h.settled()
		h.delivered(api.ChannelEmail, "sent", 2)
	})
}

// refused waits until so many jobs were left alone because their messages are being sent.
func (h *harness) refused(n int) {
	h.logged(`a job was redelivered while its message is being sent`, n)
}
