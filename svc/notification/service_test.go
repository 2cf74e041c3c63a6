package notification_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

func TestPasswordReset(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.register("ada")
		if m := h.mails("welcome", 1)[0]; m.header.Get("To") != "<ada@example.org>" || !strings.Contains(m.text(), "Hello,") {
			t.Errorf("welcome %+v", m)
		}
		for _, email := range []string{"nobody@example.org", "ada@example.org"} {
			if _, err := rpc.Call(t.Context(), h.gateway, api.RequestPasswordReset, &api.RequestReset{Email: email}); err != nil {
				t.Fatal(err)
			}
		}
		m := h.mails("password_reset", 1)[0]
		token := regexp.MustCompile(`pr_[A-Za-z0-9_-]{43}`).FindString(m.text())
		if token == "" || !strings.Contains(m.text(), "17 May 2030, 15:00 UTC") || !strings.Contains(m.parts["text/html"], token) {
			t.Fatalf("the message is %+v", m)
		}
		h.settled()
		h.mails("password_reset", 1)
		for _, stream := range []string{"EVENTS", "NOTIFICATIONS", "DEAD"} {
			for _, msg := range h.nats.Messages(stream) {
				if strings.Contains(msg.Subject+string(msg.Data)+fmt.Sprint(msg.Header), token[3:]) {
					t.Error("the token is in the stream", stream)
				}
			}
		}
		var stored string
		if err := h.db.Read().NewRaw("SELECT facts || title || text FROM messages WHERE name = 'password_reset'").Scan(t.Context(), &stored); err != nil || strings.Contains(stored, token[3:]) {
			t.Errorf("stored %q, %v", stored, err)
		}
		if log := h.log.String(); strings.Contains(log, token[3:]) || strings.Contains(log, "ada@") {
			t.Errorf("the log is\n%s", log)
		}
		for _, n := range call(h, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
			if n.Name != "welcome" {
				t.Errorf("in the inbox: %+v", n)
			}
		}
		if _, err := rpc.Call(t.Context(), h.gateway, api.ConfirmPasswordReset, &api.ConfirmReset{Token: token, NewPassword: "another long sentence"}); err != nil {
			t.Fatal(err)
		}
		h.mails("password_changed", 1)
		testkit.Eventually(t, 10*time.Second, func() error {
			var metrics strings.Builder
			if _, err := h.deps.Metrics.WriteTo(&metrics); err != nil {
				return err
			}
			if want := `starlight_notification_delay_seconds_count{consumer="notify-email-urgent"} 3`; !strings.Contains(metrics.String(), want) {
				return fmt.Errorf("the delay of three mails is not measured:\n%s", metrics.String())
			}
			return nil
		})
	})
}

// A user without a language in the account is welcomed in the one that the browser asked for.
func TestWelcomeFollowsTheRegistration(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		for name, speaks := range map[string]string{"fleur": "ja, fr-CA;q=0.8, en;q=0.5", "max": "de", "ann": "", "bad": ";;=", "kei": "ja"} {
			_, err := rpc.Call(t.Context(), h.gateway, api.RegisterUser, &api.Register{Email: name + "@example.org", Password: "correct horse battery", Name: name, Speaks: speaks})
			if err != nil {
				t.Fatal(err)
			}
		}
		hello := map[string]string{"fleur": "fr", "max": "de", "ann": "en", "bad": "en", "kei": "en"}
		for _, m := range h.mails("welcome", len(hello)) {
			to, err := m.header.AddressList("To")
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(to[0].Address, "@")
			if got := m.header.Get("Content-Language"); got != hello[name] {
				t.Errorf("%s is welcomed in %q", name, got)
			}
		}
	})
}

func TestTicketsOfAnOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		h.setProfile(ada, api.Profile{Language: "de-AT"})
		e := h.concert(ada)
		h.settled()
		h.clock.Advance(time.Second) // so that the inbox has an order
		o, tickets := h.buys(ada, e, 2)
		// The same event again, as another message; a deleted account; and poison.
		paid := api.OrderEvent{Order: o, Tickets: tickets}
		h.publish(api.OrderWasPaid.Subject, "again", paid)
		gone := paid
		gone.Order.UserID, gone.Order.ID, gone.Tickets = ids.New[ids.UserKind](time.Now()), ids.New[ids.OrderKind](time.Now()), nil
		h.publish(api.OrderWasPaid.Subject, "gone", gone)
		h.publish(api.OrderWasPaid.Subject, "bad", "poison")
		h.settled()
		m := h.mails("order_paid", 1)[0]
		for _, want := range []string{"Hallo ada,", "Nocturne & more", o.ID.String(), "50,00 EUR", "2 × Parkett  links, 25,00 EUR",
			"24. Mai 2030, 16:00–19:00 CEST", "Hall, Berlin, DE", "https://tickets.example/orders/" + o.ID.String()} {
			if !strings.Contains(m.text(), want) {
				t.Errorf("%q is not in\n%s", want, m.text())
			}
		}
		if !strings.Contains(m.parts["text/html"], "Nocturne &amp; more") || m.header.Get("List-Unsubscribe") != "" || m.header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("HTML or headers: %v\n%s", m.header, m.parts["text/html"])
		}
		for i, id := range tickets {
			if png := m.parts[fmt.Sprintf("ticket-%d-%s.png", i+1, id)]; !strings.HasPrefix(png, "image/png") || !strings.Contains(png, "\n\x89PNG") {
				t.Errorf("ticket %d is not attached: %.20q", i, png)
			}
		}
		if ics := m.parts[e.ID.String()+".ics"]; !strings.Contains(ics, "method=PUBLISH") || !strings.Contains(ics, "\nBEGIN:VCALENDAR") {
			t.Errorf("no calendar file among the parts: %q", ics)
		}
		if pages := m.parts["tickets-"+o.ID.String()+".pdf"]; !strings.HasPrefix(pages, "application/pdf") || !strings.Contains(pages, "\n%PDF-") {
			t.Errorf("no tickets to print: %.40q", pages)
		}
		blob := call(h, ada, api.GetTicketPages, &api.OrderRef{ID: o.ID})
		if blob.ContentType != "application/pdf" || !strings.HasPrefix(string(blob.Data), "%PDF-") {
			t.Errorf("tickets to print: %s %.20q", blob.ContentType, blob.Data)
		}
		inbox := call(h, ada, api.ListNotifications, &api.NotificationQuery{Page: api.Page{Limit: 1}})
		if len(inbox.Items) != 1 || inbox.Items[0].Title != "Ihre Tickets: Nocturne & more" || inbox.Items[0].OrderID != o.ID || inbox.Unread != 2 || inbox.NextCursor == "" {
			t.Errorf("inbox %+v", inbox)
		}
		rest := call(h, ada, api.ListNotifications, &api.NotificationQuery{Page: api.Page{Cursor: inbox.NextCursor}})
		if len(rest.Items) != 1 || rest.Items[0].Name != "welcome" || rest.NextCursor != "" {
			t.Errorf("the rest %+v", rest)
		}
		eve := h.join("eve")
		if got := call(h, eve, api.MarkNotificationsRead, &api.MarkRead{IDs: []ids.Notification{inbox.Items[0].ID}}); got.Unread > 1 {
			t.Errorf("eve has %d", got.Unread)
		}
		if got := call(h, ada, api.MarkNotificationsRead, &api.MarkRead{IDs: []ids.Notification{inbox.Items[0].ID}}); got.Unread != 1 {
			t.Errorf("%d unread, want 1", got.Unread)
		}
		if left := call(h, ada, api.ListNotifications, &api.NotificationQuery{Unread: true}); len(left.Items) != 1 || left.Items[0].Name != "welcome" {
			t.Errorf("unread %+v", left)
		}
	})
}

// Whatever happens to an order, a ticket or a payment is one message to the right person.
func TestMessagesOfAnOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, bob := h.join("ada"), h.join("bob")
		e := h.concert(ada)
		h.settled()
		o, tickets := h.buys(ada, e, 2)
		h.settled()
		h.publish(api.OrderHasExpired.Subject, "1", api.OrderEvent{Order: o})
		h.publish(api.OrderWasCancelled.Subject, "2", api.OrderEvent{Order: o})
		swap := o
		swap.ID, swap.ExchangeOf, swap.Due = ids.New[ids.OrderKind](time.Now()), o.ID, api.Money{Amount: 725, Currency: "EUR"}
		h.publish(api.OrderIsDue.Subject, "7", api.OrderEvent{Order: swap})
		payment := api.Payment{ID: ids.New[ids.PaymentKind](time.Now()), OrderID: ids.New[ids.OrderKind](time.Now()), UserID: ada.ID,
			Amount: api.Money{Amount: 5000, Currency: "EUR"}, FailureReason: api.FailureDeclined}
		h.publish(api.PaymentHasFailed.Subject, "3", api.PaymentEvent{Payment: payment})
		h.publish(api.RefundHasSucceeded.Subject, "4", api.RefundEvent{Payment: payment, Refund: api.Refund{ID: ids.New[ids.RefundKind](time.Now()), OrderID: o.ID, PaymentID: payment.ID, Amount: api.Money{Amount: 1250, Currency: "EUR"}, Reason: "for your patience"}})
		h.mu.Lock()
		h.held[bob.ID] = []api.Ticket{{ID: tickets[1], Code: "ST1.x", OwnerID: bob.ID, TicketTypeID: aType, EventID: e.ID, OrderID: o.ID}}
		h.mu.Unlock()
		h.publish(api.CancellationWasDeclined.Subject, "6", api.CancellationEvent{ID: ids.New[ids.CancellationKind](time.Now()), OrderID: o.ID,
			EventID: e.ID, UserID: ada.ID, Total: api.Money{Amount: 5000, Currency: "EUR"}, Answer: "nobody else wants them"})
		h.publish(api.TicketTransferred.Subject, "5", api.TicketEvent{TicketTypeID: aType, TicketID: tickets[1], EventID: e.ID, OwnerID: bob.ID, At: h.clock.Now().Add(time.Second)})
		h.settled()
		for name, want := range map[string]string{"order_expired": "Nocturne", "order_cancelled": o.ID.String(), "payment_failed": "did not go through: the bank declined it.", "order_refunded": "Reason: for your patience", "ticket_received": "Nocturne",
			"order_due": "7.25", "cancellation_declined": "The organizer says: nobody else wants them"} {
			m := h.mails(name, 1)[0]
			if name == "order_cancelled" && strings.Contains(m.text(), "charged") { // but it was paid
				t.Errorf("who has paid reads\n%s", m.text())
			}
			to := "ada@"
			if name == "ticket_received" {
				to = "bob@"
			}
			if !strings.Contains(m.header.Get("To"), to) || !strings.Contains(m.text(), want) {
				t.Errorf("%s to %s:\n%s", name, m.header.Get("To"), m.text())
			}
		}
	})
}

// The buyer of an order that has ended is not asked to pay again: not for a payment that ended with it, not for one that
// failed before and is consumed later, and not by a mail that waited until then. One cause is one mail.
func TestEndedOrdersAreNotToBePaid(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		h := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		ada := h.join("ada")
		e := h.concert(ada)
		h.settled()
		failed := func(order, cause, reason string) {
			t.Helper()
			p := api.Payment{ID: ids.Derive[ids.PaymentKind](order, cause), OrderID: ids.Derive[ids.OrderKind](order), UserID: ada.ID, Amount: api.Money{Amount: 5000, Currency: "EUR"}, FailureReason: reason}
			h.publish(api.PaymentHasFailed.Subject, "failed-"+p.ID.String(), api.PaymentEvent{Payment: p})
		}
		ended := func(subject, order string) {
			t.Helper()
			h.publish(subject, subject+order, api.OrderEvent{Order: api.Order{ID: ids.Derive[ids.OrderKind](order), EventID: e.ID, UserID: ada.ID, Total: api.Money{Amount: 5000, Currency: "EUR"}}})
			h.settled()
		}
		server.Answer("MAIL", "451 4.3.0 later")
		failed("one", "bank", api.FailureFunds) // its mail waits
		testkit.Eventually(t, 20*time.Second, func() error {
			if server.LastCommand() != "RSET" {
				return errors.New("nothing was tried")
			}
			return nil
		})
		h.posted("payment_failed", 1)
		h.publish(api.OrderHasExpired.Subject, "expired one", api.OrderEvent{Order: api.Order{ID: ids.Derive[ids.OrderKind]("one"), EventID: e.ID, UserID: ada.ID, Total: api.Money{Amount: 5000, Currency: "EUR"}}})
		h.posted("order_expired", 1)
		testkit.Eventually(t, 60*time.Second, func() error { // a try that began before that is refused, too
			var dropped int
			err := db.Read().NewRaw(`SELECT COUNT(*) FROM deliveries JOIN messages ON id = message_id
				WHERE name = 'payment_failed' AND status = 'dropped'`).Scan(t.Context(), &dropped)
			if err == nil && dropped != 1 {
				err = errors.New("the mail still waits")
			}
			return err
		})
		server.Answer("MAIL", "")
		h.settled()

		failed("two", "end", api.FailureOrderEnded)
		ended(api.OrderHasExpired.Subject, "two")
		ended(api.OrderWasCancelled.Subject, "three")
		failed("three", "late", api.FailureDeclined)
		h.settled()
		got := map[string]int{}
		for _, raw := range server.Mails() {
			m, err := parse([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(m.header.Get("Message-Id"), "<"), ".")
			got[name]++
		}
		if want := map[string]int{"welcome": 1, "order_expired": 2, "order_cancelled": 1}; !maps.Equal(got, want) {
			t.Errorf("mails %v, want %v", got, want)
		}
		h.posted("payment_failed", 1)
	})
}

func TestEventsThatMove(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, bob, eve := h.join("ada"), h.join("bob"), h.join("eve")
		e := h.concert(eve)
		h.settled()
		h.buys(ada, e, 1)
		_, tickets := h.buys(bob, e, 1)
		h.settled()
		same := e
		same.Revision, same.Description = 2, "Another text"
		h.change(api.EventUpdated.Subject, same)
		h.settled()
		h.mails("event_changed", 0)

		h.publish(api.TicketWasRevoked.Subject, "r", api.TicketEvent{TicketTypeID: aType, TicketID: tickets[0], EventID: e.ID, OwnerID: bob.ID, At: h.clock.Now()})
		h.settled()
		moved := e
		moved.Revision, moved.StartsAt, moved.EndsAt = 3, e.StartsAt.Add(time.Hour), e.EndsAt.Add(time.Hour)
		h.change(api.EventUpdated.Subject, moved)
		h.change(api.EventUpdated.Subject, same) // late: older than what is known
		h.settled()
		h.mails("event_changed", 0)
		h.clock.Advance(10 * time.Minute)
		m := h.mails("event_changed", 1)[0]
		if !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.text(), "New time: 24 May 2030, 17:00–20:00 CEST\nBefore: 24 May 2030, 16:00–19:00 CEST") ||
			strings.Contains(m.text(), "New place") {
			t.Errorf("to %s:\n%s", m.header.Get("To"), m.text())
		}

		// The cancellation revokes the tickets, perhaps before the mailing begins: it concerns their holders all the same.
		h.clock.Advance(time.Minute)
		off := moved
		off.Revision, off.Status, off.CancelReason, off.UpdatedAt = 4, api.EventCancelled, "Rain", h.clock.Now()
		for _, id := range h.held[ada.ID] {
			h.publish(api.TicketWasRevoked.Subject, "r-"+id.ID.String(), api.TicketEvent{TicketTypeID: aType, TicketID: id.ID, EventID: e.ID, OwnerID: ada.ID, Cause: api.RevokedByCancellation, At: h.clock.Now()})
		}
		h.settled()
		h.change(api.EventWasCancelled.Subject, off)
		h.settled()
		if m := h.mails("event_cancelled", 1)[0]; !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.text(), "The organizer writes: Rain") {
			t.Errorf("to %s:\n%s", m.header.Get("To"), m.text())
		} else if ics := m.parts[e.ID.String()+".ics"]; !strings.Contains(ics, "method=CANCEL") || !strings.Contains(ics, "METHOD:CANCEL") {
			t.Errorf("the calendar entry is not taken back: %q", ics)
		}
		h.clock.Set(moved.StartsAt.Add(-time.Hour)) // no reminder of what does not take place
		h.sweeps()
		h.mails("reminder", 0)
	})
}

func TestReminders(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, bob, eve := h.join("ada"), h.join("bob"), h.join("eve")
		e := h.concert(eve)
		h.settled()
		h.buys(ada, e, 1)
		h.buys(bob, e, 1)
		h.settled()
		moved := e
		moved.Revision, moved.StartsAt, moved.EndsAt = 2, e.StartsAt.Add(48*time.Hour), e.EndsAt.Add(48*time.Hour)
		h.change(api.EventUpdated.Subject, moved)
		h.settled()
		h.clock.Set(e.StartsAt.Add(-time.Hour)) // both times of the old date are over
		h.sweeps()
		h.mails("reminder", 0)

		h.stop() // no instance runs at the moment when the reminder is due
		h.clock.Set(moved.StartsAt.Add(-23 * time.Hour))
		h.mu.Lock()
		h.held[bob.ID] = nil // refunded a second ago; the domain event is still on its way
		h.mu.Unlock()
		h.run()
		h.sweeps()
		m := h.mails("reminder", 1)[0]
		if !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.text(), "tomorrow it is time") || !strings.Contains(m.text(), "26 May 2030, 16:00–19:00 CEST") ||
			m.header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
			t.Errorf("to %s, %v:\n%s", m.header.Get("To"), m.header, m.text())
		}
		// One click, and there is no second mail; the inbox still has it.
		link, err := url.Parse(strings.Trim(m.header.Get("List-Unsubscribe"), "<>"))
		if err != nil || link.Path != "/v1/unsubscribe" {
			t.Fatalf("link %v, %v", link, err)
		}
		token := link.Query().Get("token")
		page := call(h, api.User{}, api.GetUnsubscribePage, &api.UnsubscribePage{Token: token})
		if !strings.Contains(string(page.Data), `<form method="post">`) {
			t.Errorf("page %s", page.Data)
		}
		if p := call(h, ada, api.GetPreferences, &rpc.None{}); !wants(p, api.AboutReminders).Email {
			t.Error("opening the link was enough")
		}
		call(h, api.User{}, api.Unsubscribe, &api.Unsubscription{Token: token, Body: []byte("List-Unsubscribe=One-Click")})
		p := call(h, ada, api.GetPreferences, &rpc.None{})
		if wants(p, api.AboutReminders).Email || !wants(p, api.AboutReminders).Inbox || !wants(p, api.AboutAnnouncements).Email {
			t.Errorf("preferences %+v", p)
		}
		for _, bad := range []string{"", token + "x", strings.Replace(token, "reminders", "announcements", 1), "a.h.c.d"} {
			if _, err := rpc.Call(t.Context(), h.gateway, api.Unsubscribe, &api.Unsubscription{Token: bad}); !fault.Is(err, fault.NotFound) {
				t.Errorf("token %q: %v", bad, err)
			}
		}
		h.clock.Set(moved.StartsAt.Add(-time.Hour))
		h.sweeps()
		h.mails("reminder", 1)
		seen := 0
		for _, n := range call(h, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
			if n.Name == "reminder" {
				seen++
			}
		}
		if seen != 2 {
			t.Errorf("%d reminders in the inbox, want 2", seen)
		}
	})
}

// sweeps waits until the service has looked for reminders that are due by now, and sent them. One of an event that is not
// there shows that it has: it is the last of those that are due.
func (h *harness) sweeps() {
	h.t.Helper()
	err := h.db.Tx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO reminders (event_id, hours, due_at) VALUES ('', 0, ?)", h.clock.Now())
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	testkit.Eventually(h.t, 30*time.Second, func() error {
		var due int
		err := h.db.Read().NewRaw("SELECT COUNT(*) FROM reminders WHERE due_at <= ?", h.clock.Now()).Scan(h.t.Context(), &due)
		if err == nil && due > 0 {
			err = fmt.Errorf("%d reminders are due", due)
		}
		return err
	})
	h.settled()
}

func wants(p *api.Preferences, kind string) api.Preference {
	for _, k := range p.Kinds {
		if k.Kind == kind {
			return k
		}
	}
	return api.Preference{}
}

func TestAnnouncements(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, bob, eve := h.join("ada"), h.join("bob"), h.join("eve")
		e := h.concert(eve)
		h.settled()
		h.buys(ada, e, 2)
		h.buys(bob, e, 1)
		h.settled()
		req := &api.NewAnnouncement{EventID: e.ID, Subject: "Doors open early", Text: "Come <early>.\n\nThere is music."}
		if _, err := rpc.Call(h.as(ada), h.gateway, api.CreateAnnouncement, req); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a ticket holder announces: %v", err)
		}
		for subject, text := range map[string]string{"a\r\nb": "Come.", "Doors": "", "Doors \u202e": "Come.", "\u200b": "Come.", "Late doors": "\x1b[2J",
			strings.Repeat("ü", 201): "Come.", "Doors\a": "Come.", "Early doors": "a\u2028b"} {
			if _, err := rpc.Call(h.as(eve), h.gateway, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: subject, Text: text}); !fault.Is(err, fault.Invalid) {
				t.Errorf("a bad announcement, %q %q: %v", subject, text, err)
			}
		}
		p := call(h, bob, api.GetPreferences, &rpc.None{})
		for i := range p.Kinds {
			if p.Kinds[i].Kind == api.AboutAnnouncements {
				p.Kinds[i].Email = false
			}
		}
		call(h, bob, api.PutPreferences, p)
		if _, err := rpc.Call(h.as(ada), h.gateway, api.PreviewAnnouncement, req); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a ticket holder previews: %v", err)
		}
		seen := call(h, eve, api.PreviewAnnouncement, req)
		if seen.Recipients != 2 || !strings.Contains(seen.Subject, req.Subject) || !strings.Contains(seen.HTML, "Come &lt;early&gt;.") || !strings.Contains(seen.Text, "eve") {
			t.Errorf("preview %+v", seen)
		}
		a := call(h, eve, api.CreateAnnouncement, req)
		h.settled()
		m := h.mails("announcement", 1)[0]
		if !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.parts["text/html"], "Come &lt;early&gt;.") || !strings.Contains(m.text(), "Come <early>.") {
			t.Errorf("to %s:\n%s\n%s", m.header.Get("To"), m.text(), m.parts["text/html"])
		}
		list := call(h, eve, api.ListAnnouncements, &api.EventPage{EventID: e.ID})
		if len(list.Items) != 1 || list.Items[0].ID != a.ID || list.Items[0].Status != "sent" || list.Items[0].Recipients != 2 {
			t.Errorf("announcements %+v", list)
		}
		if inbox := call(h, bob, api.ListNotifications, &api.NotificationQuery{}); len(inbox.Items) != 3 {
			t.Errorf("bob's inbox %+v", inbox.Items)
		}
		p.Kinds[0].Email = false // about the account
		if _, err := rpc.Call(h.as(bob), h.gateway, api.PutPreferences, p); !fault.Is(err, fault.Invalid) {
			t.Errorf("mails about the account can be switched off: %v", err)
		}
	})
}

// A mailing is posted in pages, and goes on where it was when the process ended.
func TestMailingGoesOn(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		var h *harness
		reached := func() (who string, done bool) {
			err := db.Read().NewRaw("SELECT COALESCE(MAX(reached), ''), COUNT(done_at) > 0 FROM mailings").Scan(context.Background(), &who, &done)
			if err != nil {
				t.Error(err)
			}
			return who, done
		}
		var armed atomic.Bool
		db.AroundCommit(func(done bool) { // the process is asked to stop as soon as a page is posted
			if !done || !armed.Load() {
				return
			}
			if who, _ := reached(); who != "" {
				h.cancel()
			}
		})
		h = open(t, db)
		eve := h.join("eve")
		e := h.concert(eve)
		h.settled()
		const people = 801
		o := api.Order{ID: ids.New[ids.OrderKind](time.Now()), EventID: e.ID, UserID: eve.ID, UpdatedAt: h.clock.Now()}
		for i := range people { // accounts that are gone: only how far it gets counts
			o.UserID = ids.Derive[ids.UserKind](fmt.Sprint(i))
			h.publish(api.OrderWasPaid.Subject, fmt.Sprint("p", i), api.OrderEvent{Order: o, Tickets: []ids.Ticket{ids.Derive[ids.TicketKind](fmt.Sprint(i))}})
		}
		h.buys(eve, e, 1)
		h.settled()
		armed.Store(true)
		call(h, eve, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Hello", Text: "All"})
		var before string
		testkit.Eventually(t, 30*time.Second, func() error {
			if before, _ = reached(); before == "" {
				return errors.New("no page is posted")
			}
			return nil
		})
		h.stop()
		if _, done := reached(); done {
			t.Error("the mailing was over before the process was")
		}
		armed.Store(false)
		h.run()
		h.settled()
		if after, done := reached(); !done || after <= before {
			t.Errorf("reached %q, then %q; done: %v", before, after, done)
		}
		h.mails("announcement", 1)
	})
}

func TestDeletedAccountsAreForgotten(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		h.settled()
		call(h, ada, api.PutPreferences, &api.Preferences{Kinds: []api.Preference{{Kind: api.AboutReminders, Email: true, SMS: true}}})
		h.publish(api.UserDeleted.Subject, "d", api.UserEvent{UserID: ada.ID})
		h.settled()
		var left int
		err := h.db.Read().NewRaw("SELECT (SELECT COUNT(*) FROM messages) + (SELECT COUNT(*) FROM deliveries) + (SELECT COUNT(*) FROM preferences)").Scan(t.Context(), &left)
		if err != nil || left != 0 {
			t.Errorf("%d rows are left, %v", left, err)
		}
	})
}

// Live: the snapshot, and what comes later.
func TestLiveInbox(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		h.settled()
		snapshot := call(h, ada, api.FollowNotifications, &rpc.None{})
		if snapshot.Unread != 1 || len(snapshot.Items) != 1 || snapshot.UserID != ada.ID {
			t.Fatalf("snapshot %+v", snapshot)
		}
		sub, err := h.nats.Conn.SubscribeSync(snapshot.LiveSubject())
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		h.publish(api.PasswordChanged.Subject, "c", api.UserEvent{UserID: ada.ID})
		msg, err := sub.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var n api.Notification
		if err := json.Unmarshal(msg.Data, &n); err != nil || n.Name != "password_changed" || msg.Header.Get(live.HeaderEvent) != "notification" || msg.Header.Get(live.HeaderEventID) != n.ID.String() {
			t.Errorf("%v %s, %v", msg.Header, msg.Data, err)
		}
	})
}

func TestDeadLetters(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		root := h.join("root")
		root.Roles = []string{rpc.RoleAdmin}
		proven := rpc.WithPrincipal(t.Context(), rpc.Principal{User: root.ID, Roles: root.Roles, Fresh: true})
		h.settled()
		h.publish(api.UserRegistered.Subject, "poison", 5)
		var list *api.List[api.DeadLetter]
		testkit.Eventually(t, 20*time.Second, func() error {
			if list = call(h, root, api.ListDeadLetters, &api.Page{}); len(list.Items) != 1 {
				return errors.New("no dead letter")
			}
			return nil
		})
		l := list.Items[0]
		if l.Consumer != "notification" || l.Subject != api.UserRegistered.Subject || l.MessageID != "poison" || l.Payload != "5" || l.Reason == "" {
			t.Errorf("letter %+v", l)
		}
		call(h, root, api.ReplayDeadLetter, &api.DeadLetterRef{ID: l.ID})
		testkit.Eventually(t, 20*time.Second, func() error { // it fails again, and is back under another id
			list = call(h, root, api.ListDeadLetters, &api.Page{})
			if len(list.Items) != 1 || list.Items[0].ID == l.ID {
				return fmt.Errorf("letters %+v", list.Items)
			}
			return nil
		})
		if again := list.Items[0]; again.Consumer != l.Consumer || again.Subject != l.Subject || again.MessageID != l.MessageID || again.Stream != "EVENTS" {
			t.Errorf("letter %+v, before %+v", again, l)
		}
		for _, id := range []string{"0", "x", "999", l.ID} {
			if _, err := rpc.Call(h.as(root), h.gateway, api.ReplayDeadLetter, &api.DeadLetterRef{ID: id}); !fault.Is(err, fault.NotFound) {
				t.Errorf("replay of %s: %v", id, err)
			}
			if _, err := rpc.Call(proven, h.gateway, api.DropDeadLetter, &api.DeadLetterRef{ID: id}); !fault.Is(err, fault.NotFound) {
				t.Errorf("the end of %s: %v", id, err)
			}
		}
		last := list.Items[0].ID
		if _, err := rpc.Call(proven, h.gateway, api.DropDeadLetter, &api.DeadLetterRef{ID: last}); err != nil {
			t.Fatal(err)
		}
		if list = call(h, root, api.ListDeadLetters, &api.Page{}); len(list.Items) != 0 {
			t.Errorf("letters %+v", list.Items)
		}
		if _, err := rpc.Call(h.as(root), h.gateway, api.ReplayDeadLetter, &api.DeadLetterRef{ID: last}); !fault.Is(err, fault.NotFound) {
			t.Errorf("replay of what was given up: %v", err)
		}
	})
}

func TestExportPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, eve := h.join("ada"), h.join("eve")
		e := h.concert(eve)
		h.settled()
		h.buys(ada, e, 1)
		h.settled()
		user := h.client("user")
		ctx := h.t.Context()
		page, err := rpc.Call(ctx, user, api.ExportMessages, &api.PersonRef{UserID: ada.ID})
		if err != nil {
			t.Fatal(err)
		}
		inbox := call(h, ada, api.ListNotifications, &api.NotificationQuery{})
		if len(page.Items) == 0 || len(page.Items) != len(inbox.Items) || page.Items[0].ID != inbox.Items[0].ID || page.NextCursor != "" {
			t.Errorf("exported %+v, the inbox is %+v", page, inbox)
		}
		choices, err := rpc.Call(ctx, user, api.ExportChoices, &api.PersonRef{UserID: ada.ID})
		if err != nil || len(choices.Preferences.Kinds) != 5 || choices.PushSubscriptions == nil {
			t.Errorf("exported %+v, %v", choices, err)
		}
	})
}
