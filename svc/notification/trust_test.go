package notification_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

// free publishes an order of tickets that cost nothing.
func (h *harness) free(u api.User, e api.Event) api.Order {
	h.t.Helper()
	now := h.clock.Now()
	o := api.Order{ID: ids.New[ids.OrderKind](now), EventID: e.ID, UserID: u.ID, Status: api.OrderPaid, PaidAt: &now, UpdatedAt: now,
		Total: api.Money{Currency: "EUR"}, Items: []api.OrderItem{{TicketTypeID: aType, Name: "Free", Quantity: 1, UnitPrice: api.Money{Currency: "EUR"}}}}
	id := ids.New[ids.TicketKind](now)
	h.mu.Lock()
	h.held[u.ID] = append(h.held[u.ID], api.Ticket{ID: id, Code: "ST1." + id.String(), EventID: e.ID, OrderID: o.ID, OwnerID: u.ID, TicketTypeID: aType})
	h.mu.Unlock()
	h.publish(api.OrderWasPaid.Subject, "paid-"+o.ID.String(), api.OrderEvent{Order: o, Tickets: []ids.Ticket{id}})
	return o
}

// mailsTo returns the templates of all mails that were sent to somebody.
func (h *harness) mailsTo(address string) (names []string) {
	h.t.Helper()
	for _, name := range []string{"welcome", "order_paid", "order_due", "order_expired", "order_cancelled", "payment_failed", "order_refunded", "announcement", "cancellation_declined",
		"event_changed", "event_cancelled", "reminder", "password_changed", "logins_failed", "phone_changed", "ticket_received"} {
		files, err := h.readMails(name)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, m := range files {
			if strings.Contains(m.header.Get("To"), address) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Nothing but what confirms it goes to an address that nobody has confirmed, and what was paid for. What a person wrote
// is not in it. Tickets that cost nothing follow once it is confirmed.
func TestUnconfirmedAddresses(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		eve := h.join("eve")
		victim := h.register("Win.Money")
		e := h.concert(eve)
		h.settled()
		if m := h.mails("welcome", 2); strings.Contains(m[0].text()+m[1].text(), "Win.Money,") {
			t.Errorf("the name that somebody chose is in %s", m[1].text())
		}
		for range 3 {
			h.free(victim, e)
		}
		h.publish(api.PasswordChanged.Subject, "p", api.UserEvent{UserID: victim.ID})
		h.publish(api.LoginsHaveFailed.Subject, "l", api.UserEvent{UserID: victim.ID})
		declined := api.CancellationEvent{ID: ids.New[ids.CancellationKind](h.clock.Now()), EventID: e.ID, UserID: victim.ID,
			OrderID: ids.New[ids.OrderKind](h.clock.Now()), Total: api.Money{Currency: "EUR"}, Answer: "Buy my pills"}
		h.publish(api.CancellationWasDeclined.Subject, "free", declined)
		h.settled()
		for range 5 {
			call(h, eve, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Buy", Text: "my pills"})
		}
		moved := e
		moved.Revision, moved.Location.Name = 2, "Elsewhere"
		h.change(api.EventUpdated.Subject, moved)
		h.settled()
		h.clock.Advance(time.Hour)
		h.posted("event_changed", 1)
		h.settled()
		if got := h.mailsTo("@example.org"); len(got) != 2 { // the welcomes
			t.Fatalf("mails %v", got)
		}
		if inbox := call(h, victim, api.ListNotifications, &api.NotificationQuery{}); len(inbox.Items) != 13 {
			t.Errorf("%d messages in the inbox", len(inbox.Items))
		}
		// What was paid for.
		h.buys(victim, e, 1)
		h.mails("order_paid", 1)
		declined.ID, declined.Total.Amount = ids.New[ids.CancellationKind](h.clock.Now()), 5000
		h.publish(api.CancellationWasDeclined.Subject, "paid", declined)
		if m := h.mails("cancellation_declined", 1)[0]; strings.Contains(m.text(), "pills") || strings.Contains(m.text(), "Win.Money") {
			t.Errorf("a stranger is written\n%s", m.text())
		}
		off := moved
		off.Revision, off.Status, off.CancelReason = 3, api.EventCancelled, "Buy my pills"
		h.change(api.EventWasCancelled.Subject, off)
		if m := h.mails("event_cancelled", 1)[0]; strings.Contains(m.text(), "pills") || strings.Contains(m.text(), "Win.Money") {
			t.Errorf("a stranger is written\n%s", m.text())
		}
		h.settled()
		token := regexp.MustCompile(`ec_[A-Za-z0-9_-]{43}`)
		for _, m := range h.mails("welcome", 2) {
			if strings.Contains(strings.ToLower(m.header.Get("To")), "win.money@") {
				call(h, api.User{}, api.ConfirmEmailAddress, &api.ConfirmEmail{Token: token.FindString(m.text())})
			}
		}
		h.mails("order_paid", 4)
		h.settled()
		h.publish(api.UserUpdated.Subject, "again", api.UserEvent{UserID: victim.ID})
		h.settled()
		h.mails("order_paid", 4)
	})
}

// A person gets so many mails a day that others cause. What has to be known comes all the same.
func TestMailsOfOthersAreLimited(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		if err := h.live.Change(api.MailsPerPerson.Is(3)); err != nil {
			t.Fatal(err)
		}
		ada, eve := h.join("ada"), h.join("eve")
		for i := range 5 {
			e := h.concert(eve)
			h.settled()
			h.buys(ada, e, 1)
			h.settled()
			call(h, eve, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Doors", Text: fmt.Sprint(i)})
			h.settled()
		}
		h.mails("announcement", 3)
		h.mails("order_paid", 5)
		h.posted("announcement", 5) // all are in the inbox
		h.clock.Advance(24 * time.Hour)
		e := h.concert(eve)
		h.settled()
		h.buys(ada, e, 1)
		h.settled()
		call(h, eve, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Doors", Text: "A new day"})
		h.mails("announcement", 4)
	})
}

// Announcements are limited for each event, and so are the people whom an organizer writes to in a day.
func TestAnnouncementsAreLimited(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		eve := h.join("eve")
		e := h.concert(eve)
		h.settled()
		announce := func(e api.Event) error {
			_, err := rpc.Call(h.as(eve), h.gateway, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Doors", Text: "early"})
			return err
		}
		var sent, refused int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() {
				err := announce(e)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					sent++
				case fault.Is(err, fault.RateLimited) && strings.Contains(err.Error(), "at most 5 announcements a day"):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if sent != 5 || refused != 55 {
			t.Errorf("%d were sent, %d refused", sent, refused)
		}
		if err := h.live.Change(api.MailsPerOrganizer.Is(3)); err != nil {
			t.Fatal(err)
		}
		other := h.concert(eve)
		for _, name := range []string{"ada", "bob"} {
			h.buys(h.join(name), other, 1)
		}
		h.settled()
		if err := announce(other); err != nil {
			t.Fatal(err)
		}
		if err := announce(other); !fault.Is(err, fault.RateLimited) || !strings.Contains(err.Error(), "would reach 2 people") {
			t.Errorf("the organizer writes to 4 of 3: %v", err)
		}
		h.clock.Advance(24 * time.Hour)
		if err := announce(other); err != nil {
			t.Error(err)
		}
	})
}

// smsService is a provider of text messages.
type smsService struct {
	*httptest.Server
	mu  sync.Mutex
	got []url.Values
}

func openSMSService(t *testing.T) *smsService {
	p := &smsService{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.got = append(p.got, r.PostForm)
		w.WriteHeader(201)
	}))
	t.Cleanup(p.Close)
	return p
}

// messages waits for so many messages.
func (p *smsService) messages(t *testing.T, n int) []url.Values {
	t.Helper()
	var got []url.Values
	testkit.Eventually(t, 30*time.Second, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if got = slices.Clone(p.got); len(got) != n {
			return fmt.Errorf("%d text messages, want %d", len(got), n)
		}
		return nil
	})
	return got
}

func withSMS(t *testing.T, test func(t *testing.T, h *harness, p *smsService)) {
	t.Helper()
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		p := openSMSService(t)
		test(t, open(t, db, func(d *notification.Deps) {
			d.SMSURL = strings.Replace(p.URL, "http://", "http://AC1:secret@", 1) + "?from=%2B4930123456"
		}), p)
	})
}

// A number is confirmed by a code, which is in the text message alone, before anything else goes there. No messages go to
// numbers that cost much, or to countries that are not allowed, and only so many to one person and to all.
func TestTextMessages(t *testing.T) {
	withSMS(t, func(t *testing.T, h *harness, p *smsService) {
		ada := h.join("ada")
		tokens, err := rpc.Call(t.Context(), h.gateway, api.CreateSession, &api.Login{Email: ada.Email, Password: "correct horse battery"})
		if err != nil {
			t.Fatal(err)
		}
		as := h.signedIn(ada, tokens.Tokens)
		call(h, ada, api.PutPreferences, &api.Preferences{Kinds: []api.Preference{{Kind: api.AboutAccount, Email: true, SMS: true, Inbox: true}}})
		ask := func() error {
			_, err := rpc.Call(as, h.gateway, api.RequestPhoneConfirmation, &rpc.None{})
			return err
		}
		for _, number := range []string{"", "+4990012345678", "+449012345678", "+12125550123", "+493012345678"} {
			h.setProfile(ada, api.Profile{Phone: number})
			if err := ask(); !fault.Is(err, fault.Conflict) {
				t.Errorf("a code goes to %q: %v", number, err)
			}
		}
		h.setProfile(ada, api.Profile{Phone: "+4915112345678"})
		h.publish(api.PasswordChanged.Subject, "p", api.UserEvent{UserID: ada.ID})
		h.settled()
		p.messages(t, 0)
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		m := p.messages(t, 1)[0]
		code := regexp.MustCompile(`[0-9]{6}`).FindString(m.Get("Body"))
		if m.Get("To") != "+4915112345678" || code == "" {
			t.Fatalf("message %v", m)
		}
		if log := h.log.String(); strings.Contains(log, code) || strings.Contains(log, "+49151") {
			t.Error("the log has the code or the number")
		}
		if _, err := rpc.Call(as, h.gateway, api.ConfirmPhoneNumber, &api.ConfirmPhone{Code: code}); err != nil {
			t.Fatal(err)
		}
		// One message was the code: nine are left.
		for i := range 12 {
			h.publish(api.PasswordChanged.Subject, fmt.Sprint(i), api.UserEvent{UserID: ada.ID})
		}
		h.posted("password_changed", 13)
		h.settled()
		p.messages(t, 10)
		h.clock.Advance(24 * time.Hour)
		if err := h.live.Change(api.SMSPerDay.Is(2)); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			h.publish(api.PasswordChanged.Subject, fmt.Sprint("b", i), api.UserEvent{UserID: ada.ID})
		}
		h.posted("password_changed", 18)
		h.settled()
		p.messages(t, 12)
		if n := h.count("SELECT COUNT(*) FROM messages WHERE title || text || facts LIKE ?", "%"+code+"%"); n != 0 {
			t.Error("the code is stored")
		}
		// Another number is told by mail.
		h.setProfile(ada, api.Profile{Phone: "+4915112345679"})
		h.mails("phone_changed", 6)
	})
}

// The token of an offered ticket is mailed to its address, without a word that the giver has written, and stands nowhere
// else. The giver is told how it ended.
func TestOffersAreMailed(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("Win.Money")
		e := h.concert(ada)
		h.settled()
		offer := api.OfferEvent{OfferID: ids.New[ids.TicketOfferKind](h.clock.Now()), TicketID: ids.New[ids.TicketKind](h.clock.Now()), EventID: e.ID, OwnerID: ada.ID, At: h.clock.Now()}
		h.mu.Lock()
		h.offered[offer.OfferID] = "stranger@corp.example"
		h.mu.Unlock()
		h.publish(api.TicketOffered.Subject, "made", offer)
		m := h.mails("ticket_offer", 1)[0]
		if m.header.Get("To") != "<stranger@corp.example>" || !strings.Contains(m.text(), "to_SECRET") || strings.Contains(m.text(), "Win.Money") {
			t.Errorf("to %s:\n%s", m.header.Get("To"), m.text())
		}
		gone := offer
		gone.OfferID = ids.New[ids.TicketOfferKind](h.clock.Now().Add(time.Second))
		h.publish(api.TicketOffered.Subject, "gone", gone) // taken back before its mail was written
		for outcome, name := range map[string]string{api.OfferAccepted: "offer_accepted", api.OfferRefused: "offer_refused"} {
			offer.Outcome = outcome
			h.publish(api.TicketOfferEnded.Subject, outcome, offer)
			if m := h.mails(name, 1)[0]; !strings.Contains(strings.ToLower(m.header.Get("To")), "win.money@example.org") {
				t.Errorf("%s is told to %s", name, m.header.Get("To"))
			}
		}
		offer.Outcome = api.OfferWithdrawn
		h.publish(api.TicketOfferEnded.Subject, "back", offer)
		h.settled()
		h.mails("ticket_offer", 1)
		if n := h.count("SELECT COUNT(*) FROM messages WHERE facts || title || text LIKE '%SECRET%' OR facts LIKE '%stranger%'"); n != 0 {
			t.Error("the token or the address is stored")
		}
		if inbox := call(h, ada, api.ListNotifications, &api.NotificationQuery{}); len(inbox.Items) != 3 {
			t.Errorf("inbox %+v", inbox.Items)
		}
	})
}
