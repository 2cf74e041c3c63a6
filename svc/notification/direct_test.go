package notification_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

// queued returns the messages whose jobs are in the stream, and how often each is.
func (h *harness) queued(subject string) map[string]int {
	h.t.Helper()
	found := map[string]int{}
	for _, m := range h.nats.Messages("NOTIFICATIONS") {
		if m.Subject == subject {
			found[string(m.Data)]++
		}
	}
	return found
}

// A mail that is sent at once takes two commits, and its job is never in the stream.
func TestMailsAreSentWithoutTheStream(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		h.publish(api.PasswordChanged.Subject, "c", api.UserEvent{UserID: ada.ID})
		h.settled()
		h.mails("welcome", 1)
		h.mails("password_changed", 1)
		h.delivered(api.ChannelEmail, "sent", 2)
		if jobs := h.queued(api.NotifyEmailUrgent); len(jobs) != 0 {
			t.Errorf("jobs in the stream: %v", jobs)
		}
	})
}

// The job of a mail that is not taken at first is in the stream, once, and the mail is sent from there.
func TestFailedMailsGoThroughTheStream(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		h := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		server.Answer("MAIL", "451 4.3.0 later")
		h.join("ada")
		testkit.Eventually(t, 30*time.Second, func() error {
			if jobs := h.queued(api.NotifyEmailUrgent); len(jobs) != 1 {
				return fmt.Errorf("jobs in the stream: %v", jobs)
			}
			return nil
		})
		server.Answer("MAIL", "")
		taken(t, server, 1)
		h.settled()
		h.delivered(api.ChannelEmail, "sent", 1)
		for job, n := range h.queued(api.NotifyEmailUrgent) {
			if n != 1 {
				t.Errorf("the job %s is %d times in the stream", job, n)
			}
		}
		if mails := server.Mails(); len(mails) != 1 {
			t.Errorf("%d mails were taken, want 1", len(mails))
		}
	})
}

// A mail whose instance died after its plan is sent by another one, as soon as the claim has expired and not before.
func TestMailsOfDeadInstances(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		h := open(t, db)
		ada := h.join("ada")
		h.settled()
		h.mails("welcome", 1)
		h.stop()
		claim := func(cause string, until time.Time) {
			t.Helper()
			err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO messages (id, user_id, kind, name, facts, title, text, event_id, order_id, inbox, created_at)
					VALUES (?, ?, 'account', 'password_changed', '{}', '', '', '', '', FALSE, ?)`, cause, ada.ID, h.clock.Now())
				if err != nil {
					return err
				}
				_, err = tx.ExecContext(ctx, `INSERT INTO claims (message_id, channel, target, owner, until, queued)
					VALUES (?, 'email', '', 'another', ?, FALSE)`, cause, until.UnixMilli())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		claim("ntf_01hzzzzzzzzzzzzzzzzzzzzzz1", time.Now().Add(-time.Second))
		claim("ntf_01hzzzzzzzzzzzzzzzzzzzzzz2", time.Now().Add(time.Hour))
		h.run()
		h.mails("password_changed", 1)
		h.delivered(api.ChannelEmail, "sent", 2)
		var left int
		if err := db.Read().NewRaw("SELECT COUNT(*) FROM claims").Scan(t.Context(), &left); err != nil || left != 1 {
			t.Errorf("%d claims are left, want that of the running instance, %v", left, err)
		}
	})
}

// The calendar file of an event is asked for once in each revision, whatever number of mails have it.
func TestCalendarFilesAreCachedByRevision(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		h := open(t, db)
		ada := h.join("ada")
		e := h.concert(ada)
		h.settled()
		want := 0
		bought := func(method string) {
			t.Helper()
			for range 3 {
				h.buys(ada, e, 1)
				h.settled() // the mails are not written side by side
			}
			want += 3
			for _, m := range h.mails("order_paid", want)[want-3:] {
				if ics := m.parts[e.ID.String()+".ics"]; !strings.Contains(ics, "SEQUENCE:"+fmt.Sprint(e.Revision)) || !strings.Contains(ics, method) {
					t.Errorf("the calendar file of revision %d is %q", e.Revision, ics)
				}
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if got := h.calendarCalls; got != int(e.Revision) {
				t.Errorf("the event service was asked %d times for files of %d revisions", got, e.Revision)
			}
		}
		bought("METHOD:PUBLISH")
		h.clock.Advance(time.Second) // the names of mails are in order
		e.Revision, e.Description = 2, "with an encore"
		h.change(api.EventUpdated.Subject, e)
		h.settled()
		bought("METHOD:PUBLISH")
	})
}

// A process that is asked to stop leaves the jobs of mails that wait in the stream, for another instance or the next start.
func TestWaitingMailsSurviveTheStop(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		h := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		server.SilenceAfter("DATA")
		ada := h.join("ada")
		const mails = 12 // more than are sent at a time
		for i := range mails {
			h.publish(api.PasswordChanged.Subject, fmt.Sprint("c", i), api.UserEvent{UserID: ada.ID})
		}
		h.posted("password_changed", mails)
		taken(t, server, 8)
		h.cancel()
		server.Silence(false)
		h.stop()
		h.run()
		h.settled()
		h.delivered(api.ChannelEmail, "sent", mails+1)
		if got := len(server.Mails()); got != mails+1 {
			t.Errorf("%d mails were taken, want %d", got, mails+1)
		}
	})
}
