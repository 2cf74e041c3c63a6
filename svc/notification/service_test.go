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
	onBoth(t, func(t *testing.T, b *box) {
		ada := b.join("ada")
		if m := b.mails("welcome", 1)[0]; m.header.Get("To") != `"ada" <ada@example.org>` || !strings.Contains(m.text(), "Hello ada,") {
			t.Errorf("welcome %+v", m)
		}
		for _, email := range []string{"nobody@example.org", "ada@example.org"} {
			if _, err := rpc.Call(t.Context(), b.gateway, api.RequestPasswordReset, &api.RequestReset{Email: email}); err != nil {
				t.Fatal(err)
			}
		}
		m := b.mails("password_reset", 1)[0]
		token := regexp.MustCompile(`pr_[A-Za-z0-9_-]{43}`).FindString(m.text())
		if token == "" || !strings.Contains(m.text(), "17 May 2030, 15:00 UTC") || !strings.Contains(m.parts["text/html"], token) {
			t.Fatalf("the message is %+v", m)
		}
		b.settled()
		b.mails("password_reset", 1)
		for _, stream := range []string{"EVENTS", "NOTIFICATIONS", "DEAD"} {
			for _, msg := range b.nats.Messages(stream) {
				if strings.Contains(msg.Subject+string(msg.Data)+fmt.Sprint(msg.Header), token[3:]) {
					t.Error("the token is in the stream", stream)
				}
			}
		}
		var stored string
		if err := b.db.Read().NewRaw("SELECT facts || title || text FROM messages WHERE name = 'password_reset'").Scan(t.Context(), &stored); err != nil || strings.Contains(stored, token[3:]) {
			t.Errorf("stored %q, %v", stored, err)
		}
		if log := b.log.String(); strings.Contains(log, token[3:]) || strings.Contains(log, "ada@") {
			t.Errorf("the log is\n%s", log)
		}
		for _, n := range call(b, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
			if n.Name != "welcome" {
				t.Errorf("in the inbox: %+v", n)
			}
		}
		if _, err := rpc.Call(t.Context(), b.gateway, api.ConfirmPasswordReset, &api.ConfirmReset{Token: token, NewPassword: "another password"}); err != nil {
			t.Fatal(err)
		}
		b.mails("password_changed", 1)
	})
}

// Somebody without a language in the account is welcomed in the one that the browser asked for.
func TestWelcomeFollowsTheRegistration(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		for name, speaks := range map[string]string{"fleur": "ja, fr-CA;q=0.8, en;q=0.5", "max": "de", "ann": "", "bad": ";;=", "kei": "ja"} {
			_, err := rpc.Call(t.Context(), b.gateway, api.RegisterUser, &api.Register{Email: name + "@example.org", Password: "correct horse battery", Name: name, Speaks: speaks})
			if err != nil {
				t.Fatal(err)
			}
		}
		hello := map[string]string{"fleur": "fr", "max": "de", "ann": "en", "bad": "en", "kei": "en"}
		for _, m := range b.mails("welcome", len(hello)) {
			to, err := m.header.AddressList("To")
			if err != nil {
				t.Fatal(err)
			}
			if got := m.header.Get("Content-Language"); got != hello[to[0].Name] {
				t.Errorf("%s is welcomed in %q", to[0].Name, got)
			}
		}
	})
}

func TestTicketsOfAnOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada := b.join("ada")
		b.speaks(ada, api.Profile{Language: "de-AT"})
		e := b.concert(ada)
		b.settled()
		b.clock.Advance(time.Second) // so that the inbox has an order
		o, tickets := b.buys(ada, e, 2)
		// The same fact again, as another message; somebody who is gone; and poison.
		paid := api.OrderEvent{Order: o, Tickets: tickets}
		b.publish(api.OrderWasPaid.Subject, "again", paid)
		gone := paid
		gone.Order.UserID, gone.Order.ID, gone.Tickets = ids.New[ids.UserKind](time.Now()), ids.New[ids.OrderKind](time.Now()), nil
		b.publish(api.OrderWasPaid.Subject, "gone", gone)
		b.publish(api.OrderWasPaid.Subject, "bad", "poison")
		b.settled()
		m := b.mails("order_paid", 1)[0]
		for _, want := range []string{"Hallo ada,", "Nocturne & more", o.ID.String(), "50,00 EUR", "2 × Parkett  links, 25,00 EUR",
			"24. Mai 2030, 16:00–19:00 CEST", "Hall, Berlin, DE", "https://tickets.example/v1/orders/" + o.ID.String() + "/tickets"} {
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
		blob := call(b, ada, api.GetTicketPages, &api.OrderRef{ID: o.ID})
		if blob.ContentType != "application/pdf" || !strings.HasPrefix(string(blob.Data), "%PDF-") {
			t.Errorf("tickets to print: %s %.20q", blob.ContentType, blob.Data)
		}
		inbox := call(b, ada, api.ListNotifications, &api.NotificationQuery{Page: api.Page{Limit: 1}})
		if len(inbox.Items) != 1 || inbox.Items[0].Title != "Ihre Tickets: Nocturne & more" || inbox.Items[0].OrderID != o.ID || inbox.Unread != 2 || inbox.NextCursor == "" {
			t.Errorf("inbox %+v", inbox)
		}
		rest := call(b, ada, api.ListNotifications, &api.NotificationQuery{Page: api.Page{Cursor: inbox.NextCursor}})
		if len(rest.Items) != 1 || rest.Items[0].Name != "welcome" || rest.NextCursor != "" {
			t.Errorf("the rest %+v", rest)
		}
		eve := b.join("eve")
		if got := call(b, eve, api.MarkNotificationsRead, &api.MarkRead{IDs: []ids.Notification{inbox.Items[0].ID}}); got.Unread > 1 {
			t.Errorf("eve has %d", got.Unread)
		}
		if got := call(b, ada, api.MarkNotificationsRead, &api.MarkRead{IDs: []ids.Notification{inbox.Items[0].ID}}); got.Unread != 1 {
			t.Errorf("%d unread, want 1", got.Unread)
		}
		if left := call(b, ada, api.ListNotifications, &api.NotificationQuery{Unread: true}); len(left.Items) != 1 || left.Items[0].Name != "welcome" {
			t.Errorf("unread %+v", left)
		}
	})
}

// Everything that can happen to an order, a ticket or a payment tells the right person, once.
func TestWhatIsTold(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada, bob := b.join("ada"), b.join("bob")
		e := b.concert(ada)
		b.settled()
		o, tickets := b.buys(ada, e, 2)
		b.settled()
		b.publish(api.OrderHasExpired.Subject, "1", api.OrderEvent{Order: o})
		b.publish(api.OrderWasCancelled.Subject, "2", api.OrderEvent{Order: o})
		payment := api.Payment{ID: ids.New[ids.PaymentKind](time.Now()), OrderID: ids.New[ids.OrderKind](time.Now()), UserID: ada.ID,
			Amount: api.Money{Amount: 5000, Currency: "EUR"}, FailureReason: api.FailureDeclined}
		b.publish(api.PaymentHasFailed.Subject, "3", api.PaymentEvent{Payment: payment})
		b.publish(api.RefundHasSucceeded.Subject, "4", api.RefundEvent{Payment: payment, Refund: api.Refund{ID: ids.New[ids.RefundKind](time.Now()), OrderID: o.ID, PaymentID: payment.ID, Amount: api.Money{Amount: 1250, Currency: "EUR"}, Reason: "for your patience"}})
		b.mu.Lock()
		b.held[bob.ID] = []api.Ticket{{ID: tickets[1], Code: "ST1.x", OwnerID: bob.ID, TicketTypeID: aType, EventID: e.ID, OrderID: o.ID}}
		b.mu.Unlock()
		b.publish(api.TicketTransferred.Subject, "5", api.TicketEvent{TicketTypeID: aType, TicketID: tickets[1], EventID: e.ID, OwnerID: bob.ID, At: b.clock.Now().Add(time.Second)})
		b.settled()
		for name, want := range map[string]string{"order_expired": "Nocturne", "order_cancelled": o.ID.String(), "payment_failed": "did not go through: the bank declined it.", "order_refunded": "Reason: for your patience", "ticket_received": "Nocturne"} {
			m := b.mails(name, 1)[0]
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

// An order that has ended is not told to try again: not for a payment that ended with it, not for one that failed before
// and is heard of later, and not by a mail that waited until then. One cause is one mail.
func TestEndedOrdersAreNotToBePaid(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		server := testkit.NewMailServer(t, "127.0.0.1:0")
		b := open(t, db, func(d *notification.Deps) { d.SMTPURL = "smtp://" + server.Addr })
		ada := b.join("ada")
		e := b.concert(ada)
		b.settled()
		failed := func(order, cause, reason string) {
			t.Helper()
			p := api.Payment{ID: ids.Derive[ids.PaymentKind](order, cause), OrderID: ids.Derive[ids.OrderKind](order), UserID: ada.ID, Amount: api.Money{Amount: 5000, Currency: "EUR"}, FailureReason: reason}
			b.publish(api.PaymentHasFailed.Subject, "failed-"+p.ID.String(), api.PaymentEvent{Payment: p})
		}
		ended := func(subject, order string) {
			t.Helper()
			b.publish(subject, subject+order, api.OrderEvent{Order: api.Order{ID: ids.Derive[ids.OrderKind](order), EventID: e.ID, UserID: ada.ID, Total: api.Money{Amount: 5000, Currency: "EUR"}}})
			b.settled()
		}
		server.Answer("MAIL", "451 4.3.0 later")
		failed("one", "bank", api.FailureFunds) // its mail waits
		testkit.Eventually(t, 20*time.Second, func() error {
			if server.LastCommand() != "RSET" {
				return errors.New("nothing was tried")
			}
			return nil
		})
		b.posted("payment_failed", 1)
		b.publish(api.OrderHasExpired.Subject, "expired one", api.OrderEvent{Order: api.Order{ID: ids.Derive[ids.OrderKind]("one"), EventID: e.ID, UserID: ada.ID, Total: api.Money{Amount: 5000, Currency: "EUR"}}})
		b.posted("order_expired", 1)
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
		b.settled()

		failed("two", "end", api.FailureOrderEnded)
		ended(api.OrderHasExpired.Subject, "two")
		ended(api.OrderWasCancelled.Subject, "three")
		failed("three", "late", api.FailureDeclined)
		b.settled()
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
		b.posted("payment_failed", 1)
	})
}

func TestEventsThatMove(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada, bob, eve := b.join("ada"), b.join("bob"), b.join("eve")
		e := b.concert(eve)
		b.settled()
		b.buys(ada, e, 1)
		_, tickets := b.buys(bob, e, 1)
		b.settled()
		same := e
		same.Revision, same.Description = 2, "Another text"
		b.tell(api.EventUpdated.Subject, same)
		b.settled()
		b.mails("event_changed", 0)

		b.publish(api.TicketWasRevoked.Subject, "r", api.TicketEvent{TicketTypeID: aType, TicketID: tickets[0], EventID: e.ID, OwnerID: bob.ID, At: b.clock.Now()})
		b.settled()
		moved := e
		moved.Revision, moved.StartsAt, moved.EndsAt = 3, e.StartsAt.Add(time.Hour), e.EndsAt.Add(time.Hour)
		b.tell(api.EventUpdated.Subject, moved)
		b.tell(api.EventUpdated.Subject, same) // late: older than what is known
		b.settled()
		m := b.mails("event_changed", 1)[0]
		if !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.text(), "New time: 24 May 2030, 17:00–20:00 CEST\nBefore: 24 May 2030, 16:00–19:00 CEST") ||
			strings.Contains(m.text(), "New place") {
			t.Errorf("to %s:\n%s", m.header.Get("To"), m.text())
		}

		// The cancellation revokes the tickets, perhaps before the mailing begins: their holders hear of it all the same.
		b.clock.Advance(time.Minute)
		off := moved
		off.Revision, off.Status, off.CancelReason, off.UpdatedAt = 4, api.EventCancelled, "Rain", b.clock.Now()
		for _, id := range b.held[ada.ID] {
			b.publish(api.TicketWasRevoked.Subject, "r-"+id.ID.String(), api.TicketEvent{TicketTypeID: aType, TicketID: id.ID, EventID: e.ID, OwnerID: ada.ID, Cause: api.RevokedByCancellation, At: b.clock.Now()})
		}
		b.settled()
		b.tell(api.EventWasCancelled.Subject, off)
		b.settled()
		if m := b.mails("event_cancelled", 1)[0]; !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.text(), "The organizer writes: Rain") {
			t.Errorf("to %s:\n%s", m.header.Get("To"), m.text())
		} else if ics := m.parts[e.ID.String()+".ics"]; !strings.Contains(ics, "method=CANCEL") || !strings.Contains(ics, "METHOD:CANCEL") {
			t.Errorf("the calendar entry is not taken back: %q", ics)
		}
		b.clock.Set(moved.StartsAt.Add(-time.Hour)) // no reminder of what does not take place
		b.sweeps()
		b.mails("reminder", 0)
	})
}

func TestReminders(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada, bob, eve := b.join("ada"), b.join("bob"), b.join("eve")
		e := b.concert(eve)
		b.settled()
		b.buys(ada, e, 1)
		b.buys(bob, e, 1)
		b.settled()
		moved := e
		moved.Revision, moved.StartsAt, moved.EndsAt = 2, e.StartsAt.Add(48*time.Hour), e.EndsAt.Add(48*time.Hour)
		b.tell(api.EventUpdated.Subject, moved)
		b.settled()
		b.clock.Set(e.StartsAt.Add(-time.Hour)) // both times of the old date are over
		b.sweeps()
		b.mails("reminder", 0)

		b.stop() // nobody runs at the moment when the reminder is due
		b.clock.Set(moved.StartsAt.Add(-23 * time.Hour))
		b.mu.Lock()
		b.held[bob.ID] = nil // refunded a second ago; the domain event is still on its way
		b.mu.Unlock()
		b.run()
		b.sweeps()
		m := b.mails("reminder", 1)[0]
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
		page := call(b, api.User{}, api.GetUnsubscribePage, &api.UnsubscribePage{Token: token})
		if !strings.Contains(string(page.Data), `<form method="post">`) {
			t.Errorf("page %s", page.Data)
		}
		if p := call(b, ada, api.GetPreferences, &rpc.None{}); !wants(p, api.AboutReminders).Email {
			t.Error("opening the link was enough")
		}
		call(b, api.User{}, api.Unsubscribe, &api.Unsubscription{Token: token, Body: []byte("List-Unsubscribe=One-Click")})
		p := call(b, ada, api.GetPreferences, &rpc.None{})
		if wants(p, api.AboutReminders).Email || !wants(p, api.AboutReminders).Inbox || !wants(p, api.AboutAnnouncements).Email {
			t.Errorf("preferences %+v", p)
		}
		for _, bad := range []string{"", token + "x", strings.Replace(token, "reminders", "announcements", 1), "a.b.c.d"} {
			if _, err := rpc.Call(t.Context(), b.gateway, api.Unsubscribe, &api.Unsubscription{Token: bad}); !fault.Is(err, fault.NotFound) {
				t.Errorf("token %q: %v", bad, err)
			}
		}
		b.clock.Set(moved.StartsAt.Add(-time.Hour))
		b.sweeps()
		b.mails("reminder", 1)
		seen := 0
		for _, n := range call(b, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
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
func (b *box) sweeps() {
	b.t.Helper()
	err := b.db.Tx(b.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO reminders (event_id, hours, due_at) VALUES ('', 0, ?)", b.clock.Now())
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	testkit.Eventually(b.t, 30*time.Second, func() error {
		var due int
		err := b.db.Read().NewRaw("SELECT COUNT(*) FROM reminders WHERE due_at <= ?", b.clock.Now()).Scan(b.t.Context(), &due)
		if err == nil && due > 0 {
			err = fmt.Errorf("%d reminders are due", due)
		}
		return err
	})
	b.settled()
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
	onBoth(t, func(t *testing.T, b *box) {
		ada, bob, eve := b.join("ada"), b.join("bob"), b.join("eve")
		e := b.concert(eve)
		b.settled()
		b.buys(ada, e, 2)
		b.buys(bob, e, 1)
		b.settled()
		req := &api.NewAnnouncement{EventID: e.ID, Subject: "Doors open early", Text: "Come <early>.\n\nThere is music."}
		if _, err := rpc.Call(b.as(ada), b.gateway, api.CreateAnnouncement, req); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a ticket holder announces: %v", err)
		}
		for subject, text := range map[string]string{"a\r\nb": "Come.", "Doors": "", "Doors \u202e": "Come.", "\u200b": "Come.", "Late doors": "\x1b[2J",
			strings.Repeat("ü", 201): "Come.", "Doors\a": "Come.", "Early doors": "a\u2028b"} {
			if _, err := rpc.Call(b.as(eve), b.gateway, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: subject, Text: text}); !fault.Is(err, fault.Invalid) {
				t.Errorf("a bad announcement, %q %q: %v", subject, text, err)
			}
		}
		p := call(b, bob, api.GetPreferences, &rpc.None{})
		for i := range p.Kinds {
			if p.Kinds[i].Kind == api.AboutAnnouncements {
				p.Kinds[i].Email = false
			}
		}
		call(b, bob, api.PutPreferences, p)
		a := call(b, eve, api.CreateAnnouncement, req)
		b.settled()
		m := b.mails("announcement", 1)[0]
		if !strings.Contains(m.header.Get("To"), "ada@") || !strings.Contains(m.parts["text/html"], "Come &lt;early&gt;.") || !strings.Contains(m.text(), "Come <early>.") {
			t.Errorf("to %s:\n%s\n%s", m.header.Get("To"), m.text(), m.parts["text/html"])
		}
		list := call(b, eve, api.ListAnnouncements, &api.EventPage{EventID: e.ID})
		if len(list.Items) != 1 || list.Items[0].ID != a.ID || list.Items[0].Status != "sent" || list.Items[0].Recipients != 2 {
			t.Errorf("announcements %+v", list)
		}
		if inbox := call(b, bob, api.ListNotifications, &api.NotificationQuery{}); len(inbox.Items) != 3 {
			t.Errorf("bob's inbox %+v", inbox.Items)
		}
		p.Kinds[0].Email = false // about the account
		if _, err := rpc.Call(b.as(bob), b.gateway, api.PutPreferences, p); !fault.Is(err, fault.Invalid) {
			t.Errorf("mails about the account can be switched off: %v", err)
		}
	})
}

// A mailing is posted in pieces, and goes on where it was when the process ended.
func TestMailingGoesOn(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		var b *box
		reached := func() (who string, done bool) {
			err := db.Read().NewRaw("SELECT COALESCE(MAX(reached), ''), COUNT(done_at) > 0 FROM mailings").Scan(context.Background(), &who, &done)
			if err != nil {
				t.Error(err)
			}
			return who, done
		}
		var armed atomic.Bool
		db.AroundCommit(func(done bool) { // the process is told to end as soon as a piece is posted
			if !done || !armed.Load() {
				return
			}
			if who, _ := reached(); who != "" {
				b.cancel()
			}
		})
		b = open(t, db)
		eve := b.join("eve")
		e := b.concert(eve)
		b.settled()
		const people = 801
		o := api.Order{ID: ids.New[ids.OrderKind](time.Now()), EventID: e.ID, UserID: eve.ID, UpdatedAt: b.clock.Now()}
		for i := range people { // accounts that are gone: only how far it gets counts
			o.UserID = ids.Derive[ids.UserKind](fmt.Sprint(i))
			b.publish(api.OrderWasPaid.Subject, fmt.Sprint("p", i), api.OrderEvent{Order: o, Tickets: []ids.Ticket{ids.Derive[ids.TicketKind](fmt.Sprint(i))}})
		}
		b.buys(eve, e, 1)
		b.settled()
		armed.Store(true)
		call(b, eve, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Hello", Text: "All"})
		var before string
		testkit.Eventually(t, 30*time.Second, func() error {
			if before, _ = reached(); before == "" {
				return errors.New("no piece is posted")
			}
			return nil
		})
		b.stop()
		if _, done := reached(); done {
			t.Error("the mailing was over before the process was")
		}
		armed.Store(false)
		b.run()
		b.settled()
		if after, done := reached(); !done || after <= before {
			t.Errorf("reached %q, then %q; done: %v", before, after, done)
		}
		b.mails("announcement", 1)
	})
}

func TestDeletedAccountsAreForgotten(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada := b.join("ada")
		b.settled()
		call(b, ada, api.PutPreferences, &api.Preferences{Kinds: []api.Preference{{Kind: api.AboutReminders, Email: true, SMS: true}}})
		b.publish(api.UserDeleted.Subject, "d", api.UserEvent{UserID: ada.ID})
		b.settled()
		var left int
		err := b.db.Read().NewRaw("SELECT (SELECT COUNT(*) FROM messages) + (SELECT COUNT(*) FROM deliveries) + (SELECT COUNT(*) FROM preferences)").Scan(t.Context(), &left)
		if err != nil || left != 0 {
			t.Errorf("%d rows are left, %v", left, err)
		}
	})
}

// Live: the snapshot, and what comes later.
func TestLiveInbox(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada := b.join("ada")
		b.settled()
		snapshot := call(b, ada, api.FollowNotifications, &rpc.None{})
		if snapshot.Unread != 1 || len(snapshot.Items) != 1 || snapshot.UserID != ada.ID {
			t.Fatalf("snapshot %+v", snapshot)
		}
		sub, err := b.nats.Conn.SubscribeSync(snapshot.LiveSubject())
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		b.publish(api.PasswordChanged.Subject, "c", api.UserEvent{UserID: ada.ID})
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
	onBoth(t, func(t *testing.T, b *box) {
		root := b.join("root")
		root.Roles = []string{rpc.RoleAdmin}
		b.settled()
		b.publish(api.UserRegistered.Subject, "poison", 5)
		var list *api.List[api.DeadLetter]
		testkit.Eventually(t, 20*time.Second, func() error {
			if list = call(b, root, api.ListDeadLetters, &api.Page{}); len(list.Items) != 1 {
				return errors.New("no dead letter")
			}
			return nil
		})
		l := list.Items[0]
		if l.Consumer != "notification" || l.Subject != api.UserRegistered.Subject || l.MessageID != "poison" || l.Payload != "5" || l.Reason == "" {
			t.Errorf("letter %+v", l)
		}
		call(b, root, api.ReplayDeadLetter, &api.DeadLetterRef{ID: l.ID})
		testkit.Eventually(t, 20*time.Second, func() error { // it fails again, and is back under another id
			list = call(b, root, api.ListDeadLetters, &api.Page{})
			if len(list.Items) != 1 || list.Items[0].ID == l.ID {
				return fmt.Errorf("letters %+v", list.Items)
			}
			return nil
		})
		if again := list.Items[0]; again.Consumer != l.Consumer || again.Subject != l.Subject || again.MessageID != l.MessageID || again.Stream != "EVENTS" {
			t.Errorf("letter %+v, before %+v", again, l)
		}
		for _, id := range []string{"0", "x", "999", l.ID} {
			if _, err := rpc.Call(b.as(root), b.gateway, api.ReplayDeadLetter, &api.DeadLetterRef{ID: id}); !fault.Is(err, fault.NotFound) {
				t.Errorf("replay of %s: %v", id, err)
			}
		}
	})
}

func TestExportPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, b *box) {
		ada, eve := b.join("ada"), b.join("eve")
		e := b.concert(eve)
		b.settled()
		b.buys(ada, e, 1)
		b.settled()
		user := b.client("user")
		ctx := b.t.Context()
		page, err := rpc.Call(ctx, user, api.ExportMessages, &api.PersonRef{UserID: ada.ID})
		if err != nil {
			t.Fatal(err)
		}
		inbox := call(b, ada, api.ListNotifications, &api.NotificationQuery{})
		if len(page.Items) == 0 || len(page.Items) != len(inbox.Items) || page.Items[0].ID != inbox.Items[0].ID || page.NextCursor != "" {
			t.Errorf("exported %+v, the inbox is %+v", page, inbox)
		}
		choices, err := rpc.Call(ctx, user, api.ExportChoices, &api.PersonRef{UserID: ada.ID})
		if err != nil || len(choices.Preferences.Kinds) != 5 || choices.PushSubscriptions == nil {
			t.Errorf("exported %+v, %v", choices, err)
		}
	})
}
