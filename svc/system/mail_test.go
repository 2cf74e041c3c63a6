package system_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// Tickets come by mail as they are at the API: the codes to be scanned, and the event for the calendar.
func TestTicketsByMail(t *testing.T) {
	t.Parallel()
	smtp, web := testkit.Port(t), testkit.Port(t)
	mails, _ := testkit.Maildev(t, smtp, web)
	cfg := systemtest.Config(t.TempDir())
	cfg.SMTPURL = "smtp://127.0.0.1:" + smtp
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	event := s.Concert(admin, 100, 0)
	_, ada := s.Join("ada@example.org")
	testkit.Eventually(t, 30*time.Second, func() error { // tickets that cost nothing go to addresses that are confirmed
		all, err := mails()
		for _, m := range all {
			if token := regexp.MustCompile(`ec_[A-Za-z0-9_-]{43}`).FindString(m.Text); token != "" {
				systemtest.Call[struct{}](s, 204, "POST", "/v1/email-confirmations/confirm", "", api.ConfirmEmail{Token: token})
				return err
			}
		}
		return errors.Join(errors.New("the welcome has not arrived"), err)
	})
	o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", ada, systemtest.Seats(event, 2))
	var m testkit.Mail
	testkit.Eventually(t, 30*time.Second, func() error {
		all, err := mails()
		for _, m = range all {
			if strings.Contains(m.Text, o.ID.String()) {
				return err
			}
		}
		return errors.Join(errors.New("the tickets have not arrived"), err)
	})
	if len(m.To) != 1 || m.To[0].Address != "ada@example.org" || !strings.HasPrefix(m.Subject, "Your tickets") || len(m.Attachments) != 4 {
		t.Fatalf("mail %+v", m)
	}
	enclosed := func(name string) []byte {
		t.Helper()
		for _, a := range m.Attachments {
			if a.FileName != name {
				continue
			}
			resp, err := http.Get("http://127.0.0.1:" + web + "/email/" + m.ID + "/attachment/" + a.GeneratedFileName)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %d, %v", name, resp.StatusCode, err)
			}
			return data
		}
		t.Fatalf("%s is not among %+v", name, m.Attachments)
		return nil
	}
	tickets := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", ada, nil).Items
	for i, ticket := range tickets {
		code, err := s.Send("GET", "/v1/tickets/"+ticket.ID.String()+"/qr.png", ada, nil)
		if err != nil || code.Status != 200 || !bytes.Equal(enclosed(fmt.Sprintf("ticket-%d-%s.png", i+1, ticket.ID)), code.Body) {
			t.Errorf("the code of ticket %d is another one than at the API: %d, %v", i, code.Status, err)
		}
	}
	pages, err := s.Send("GET", "/v1/orders/"+o.ID.String()+"/tickets.pdf", ada, nil)
	if mailed := enclosed("tickets-" + o.ID.String() + ".pdf"); err != nil || pages.Status != 200 || !bytes.HasPrefix(mailed, []byte("%PDF-")) || len(pages.Body) != len(mailed) {
		t.Errorf("%d bytes of tickets by mail, %d at the API, %d, %v", len(mailed), len(pages.Body), pages.Status, err)
	}
	if other, err := s.Send("GET", "/v1/orders/"+o.ID.String()+"/tickets.pdf", admin, nil); err != nil || other.Status != 404 {
		t.Errorf("tickets of somebody else: %d, %v", other.Status, err)
	}
	calendar, err := s.Send("GET", "/v1/events/"+event.ID.String()+"/calendar.ics", "", nil)
	if got := enclosed(event.ID.String() + ".ics"); err != nil || calendar.Status != 200 || !bytes.Equal(got, calendar.Body) {
		t.Errorf("the calendar file is\n%s, at the API it is\n%s, %v", got, calendar.Body, err)
	}
}

// The process is killed before and after every commit on the way from an order, or an announcement, to the mail. Whatever
// the moment, the mail arrives; it arrives twice only after a crash, and then under one Message-ID.
func TestMailAtEveryStep(t *testing.T) {
	t.Parallel()
	smtp, web := testkit.Port(t), testkit.Port(t)
	mails, _ := testkit.Maildev(t, smtp, web)
	s := systemtest.StartMortal(t, "smtp://127.0.0.1:"+smtp)
	event := s.Concert(s.Admin, 10000, 0)
	s.Set(s.Admin, api.AnnouncementsPerEvent.Key(), "0")
	// about returns the mails that speak of something.
	about := func(text string) (found []testkit.Mail, err error) {
		all, err := mails()
		for _, m := range all {
			if strings.Contains(m.Text, text) {
				found = append(found, m)
			}
		}
		if len(found) == 0 {
			err = errors.Join(err, fmt.Errorf("no mail speaks of %s", text))
		}
		return found, err
	}
	died := map[string]bool{} // by what the mail speaks of
	previous := ""            // what the mail before spoke of
	post := func(path, key string, body any, want int, answer any) error {
		got, err := s.Send("POST", path, s.Admin, body, "Idempotency-Key", key)
		if err == nil {
			err = got.Is(want, "")
		}
		if err == nil {
			err = json.Unmarshal(got.Body, answer)
		}
		return err
	}
	// commit makes the notification service commit something, and with it what rides on the next commit.
	commit := func() error {
		got, err := s.Send("PUT", "/v1/me/notification-preferences", s.Admin,
			api.Preferences{Kinds: []api.Preference{{Kind: api.AboutReminders, Email: true, Push: true, Inbox: true}}})
		if err == nil {
			err = got.Is(200, "")
		}
		return err
	}
	killed := func(what string, least int, act func(key string) (text string, err error)) {
		t.Helper()
		s.Moments("the way from "+what+" to the mail", least, func(_, point int) bool {
			var text string
			dead := s.Survive("notification", point, func() (err error) {
				text, err = act(fmt.Sprintf("%s %d", what, point))
				return err
			}, func() error {
				if _, err := about(text); err != nil {
					return err
				}
				return commit()
			})
			if died[text] = dead; dead && previous != "" { // its mail may have been sent, and not yet written down as sent
				died[previous] = true
			}
			previous = text
			return dead
		})
	}
	killed("an order", 4, func(key string) (string, error) {
		var o api.Order
		err := post("/v1/orders", key, systemtest.Seats(event, 1), 201, &o)
		return o.ID.String(), err
	})
	killed("an announcement", 6, func(key string) (string, error) {
		var a api.Announcement
		return "This is " + key + ".", post("/v1/events/"+event.ID.String()+"/announcements", key, api.NewAnnouncement{Subject: "News", Text: "This is " + key + "."}, 202, &a)
	})
	// What a killed process had in hand comes again when its time is over.
	js, done, err := systemtest.Ops(t, "nats://"+s.Cfg.NATS, filepath.Join(s.Cfg.Data, "creds"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	testkit.Eventually(t, 240*time.Second, func() error {
		jobs, err := js.Stream(t.Context(), api.NotificationsStream)
		if err != nil {
			return err
		}
		for c := range jobs.ListConsumers(t.Context()).Info() {
			if c.NumAckPending+int(c.NumPending) > 0 {
				return fmt.Errorf("%s has %d jobs in hand", c.Name, c.NumAckPending)
			}
		}
		return nil
	})
	again := 0
	for text, dead := range died {
		found, err := about(text)
		if err != nil {
			t.Error(err)
		}
		for _, m := range found[1:] {
			again++
			if !dead || m.MessageID == "" || m.MessageID != found[0].MessageID {
				t.Errorf("a second mail of %s: %s after %s; died: %v", text, m.MessageID, found[0].MessageID, dead)
			}
		}
	}
	t.Logf("%d of %d mails came twice", again, len(died))
	if again == 0 && systemtest.EveryMoment() {
		t.Error("no moment was between the sending and its record")
	}
}

// While the mail server says nothing, refuses, or is not there, people buy as if nothing were. Afterwards every mail
// arrives, once.
func TestCheckoutWithoutMailServer(t *testing.T) {
	t.Parallel()
	smtp, web := testkit.Port(t), testkit.Port(t)
	trouble := testkit.NewMailServer(t, "127.0.0.1:"+smtp)
	trouble.Silence(true)
	cfg := systemtest.Config(t.TempDir())
	cfg.SMTPURL = "smtp://127.0.0.1:" + smtp
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 1000, 1500)
	_, ada := s.Join("ada@example.org")
	var orders []api.Order
	buy := func() {
		t.Helper()
		for range 4 {
			o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", ada, systemtest.Seats(event, 1))
			s.Pay(ada, o)
			orders = append(orders, o)
		}
	}
	tried := func(what string, n func() int) {
		t.Helper()
		testkit.Eventually(t, 30*time.Second, func() error {
			if n() == 0 {
				return errors.New("no delivery was tried while the server " + what)
			}
			return nil
		})
	}
	buy()
	tried("says nothing", trouble.Dials)
	trouble.Answer("MAIL", "451 4.3.0 later")
	trouble.Silence(false)
	buy()
	trouble.Answer("MAIL", "")
	trouble.Answer("DATA", "452 4.3.1 disk full")
	buy()
	if got := trouble.Mails(); len(got) != 0 {
		t.Fatalf("it took %d mails", len(got))
	}
	trouble.Stop()
	buy()
	mails, _ := testkit.Maildev(t, smtp, web)
	testkit.Eventually(t, 120*time.Second, func() error {
		all, err := mails()
		if err != nil {
			return err
		}
		for _, o := range orders {
			n := 0
			for _, m := range all {
				if strings.Contains(m.Text, o.ID.String()) {
					n++
				}
			}
			if n != 1 {
				return fmt.Errorf("%d mails with the tickets of an order; %d in all", n, len(all))
			}
		}
		return nil
	})
}

// A mail server takes a mail and is slow to say so. Meanwhile the stream delivers the job again, and again: the mail
// is sent once all the same.
func TestMailIsSentOnceThoughDeliveredAgain(t *testing.T) {
	t.Parallel()
	slow := testkit.NewMailServer(t, "127.0.0.1:0")
	cfg := systemtest.Config(t.TempDir())
	cfg.SMTPURL = "smtp://" + slow.Addr
	s, sys, _ := systemtest.Start(t, cfg)
	js, done, err := systemtest.Operator(t, "admin", sys.NATSURL(), filepath.Join(cfg.Data, "creds"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	jobs, err := js.Consumer(t.Context(), api.NotificationsStream, api.NotificationDurable(api.NotifyEmailUrgent))
	if err != nil {
		t.Fatal(err)
	}
	impatient := jobs.CachedInfo().Config
	impatient.AckWait = 500 * time.Millisecond
	if jobs, err = js.UpdateConsumer(t.Context(), api.NotificationsStream, impatient); err != nil {
		t.Fatal(err)
	}
	slow.SilenceAfter("DATA")
	const people = 3
	for i := range people {
		s.Join(fmt.Sprintf("slow%d@example.org", i))
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		info, err := jobs.Info(t.Context())
		if err == nil && (len(slow.Mails()) < people || info.Delivered.Consumer < 4*people) {
			err = fmt.Errorf("%d mails were taken, of %d deliveries", len(slow.Mails()), info.Delivered.Consumer)
		}
		return err
	})
	slow.Silence(false)
	testkit.Eventually(t, 60*time.Second, func() error {
		info, err := jobs.Info(t.Context())
		if err == nil && info.NumAckPending+int(info.NumPending) > 0 {
			err = fmt.Errorf("%d jobs are not done", info.NumAckPending)
		}
		return err
	})
	times := map[string]int{}
	for _, m := range slow.Mails() {
		parsed, err := mail.ReadMessage(strings.NewReader(m))
		if err != nil {
			t.Fatal(err)
		}
		times[parsed.Header.Get("Message-Id")]++
	}
	if len(times) < people {
		t.Errorf("%d mails, want %d", len(times), people)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("mail %s was sent %d times", id, n)
		}
	}
}
