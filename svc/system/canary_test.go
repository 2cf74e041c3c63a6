package system_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// canaries are texts that nobody but one person has.
var canaries = []string{"Zerlina", "Quixonne", "zq-canary", "zq-second", "51123456789", "Quittengasse", "Quixby", "push-zq"}

const reason = "Zerlina is ill"

// leaver is a person who does everything there is to do and then leaves.
type leaver struct {
	*systemtest.Hall
	admin, friend, token string
	person               api.User
	order                api.Order
}

// everything walks through what has her name, her addresses, or what she wrote.
func (p *leaver) everything(t *testing.T) {
	t.Helper()
	hub, mail := p.Hub, "zq-canary@canary.example"
	team := p.At("/team")
	systemtest.Call[api.TeamMember](hub, 201, "POST", team, p.Owner, api.Invite{Email: mail, Role: api.RoleDoor})
	systemtest.Call[api.TeamMember](hub, 201, "POST", "/v1/organizers/"+p.Event.OrganizerID.String()+"/members", p.Owner,
		map[string]string{"email": mail, "role": api.RoleDoor})
	p.person = systemtest.Call[api.User](hub, 201, "POST", "/v1/users", "", api.Register{Email: mail, Password: systemtest.Password, Name: "Zerlina Quixonne"})
	p.token = hub.Login(mail)
	hub.Confirm(p.Cfg, mail)
	systemtest.Call[any](hub, 200, "PATCH", "/v1/me", p.token, map[string]any{"profile": map[string]any{"phone": "+4951123456789",
		"city": "Quixby", "country": "DE", "birth_year": 1980, "share_demographics": true}})
	systemtest.Call[any](hub, 200, "PATCH", "/v1/me", p.token, map[string]any{"email": "zq-second@canary.example", "current_password": systemtest.Password})
	systemtest.Call[any](hub, 202, "POST", "/v1/password-resets", "", api.RequestReset{Email: mail})
	hub.Refused("unauthenticated", "POST", "/v1/sessions", "", api.Login{Email: mail, Password: "not Quixonne at all"})
	systemtest.Call[any](hub, 201, "POST", "/v1/me/push-subscriptions", p.token, map[string]any{"endpoint": "https://push.canary.example/push-zq",
		"keys": map[string]string{"p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "auth": "BTBZMqHH6r4Tts7J_aSIgg"}})
	systemtest.Call[any](hub, 200, "GET", "/v1/events?q=Zerlina+Quixonne", "", nil)

	o := systemtest.Call[api.Organizer](hub, 201, "POST", "/v1/organizers", p.token, api.NewOrganizer{Name: "Zerlina Quixonne", LegalName: "Zerlina Quixonne",
		Address: "Quittengasse 7", Email: mail, Phone: "+4951123456789", Slug: "zq-canary"})
	systemtest.Call[any](hub, 200, "PATCH", "/v1/organizers/"+o.ID.String(), p.token, map[string]any{"name": "Quixonne", "address": "Quittengasse 8", "website": "https://zq-canary.example"})

	zerlina := api.Attendee{Name: "Zerlina Quixonne", Email: mail}
	order := systemtest.Seats(p.Event, 3)
	order.Attendees = []api.Attendee{zerlina}
	got, err := hub.Send("POST", "/v1/orders", p.token, order, "Idempotency-Key", "zq-canary-1", "User-Agent", "QuixPhone")
	if err != nil || got.Status != 201 {
		t.Fatalf("%d %s %v", got.Status, got.Body, err)
	}
	if err := json.Unmarshal(got.Body, &p.order); err != nil {
		t.Fatal(err)
	}
	tickets := hub.Pay(p.token, p.order)
	p.order = systemtest.Call[api.Order](hub, 200, "GET", "/v1/orders/"+p.order.ID.String(), p.token, nil)
	systemtest.Call[api.Ticket](hub, 200, "PATCH", "/v1/tickets/"+tickets[1].ID.String(), p.token, map[string]any{"holder": zerlina})
	systemtest.Call[api.Ticket](hub, 200, "POST", "/v1/tickets/"+tickets[2].ID.String()+"/transfer", p.token,
		api.Transfer{Email: "zq-third@canary.example", Name: "Zerlina Quixonne"})
	refund(hub, p.Owner, p.order, api.NewRefund{Amount: &api.Money{Amount: 1, Currency: "EUR"}, Reason: reason})
	systemtest.Call[api.Cancellation](hub, 201, "POST", "/v1/orders/"+p.order.ID.String()+"/cancellations", p.token, map[string]any{"reason": "Quixonne is ill"})
	systemtest.Call[api.Order](hub, 200, "PATCH", p.At("/orders/"+p.order.ID.String()), p.Owner, map[string]any{"note": "Quixonne calls again",
		"holders": []api.TicketHolder{{TicketID: tickets[0].ID, Holder: zerlina}}})

	// What others say of her.
	theirs := systemtest.Call[api.Order](hub, 201, "POST", "/v1/orders", p.friend, api.NewOrder{EventID: p.Event.ID, Attendees: []api.Attendee{zerlina},
		Items: []api.NewOrderItem{{TicketTypeID: p.Event.TicketTypes[0].ID, Quantity: 3}}})
	given := hub.Pay(p.friend, theirs)
	systemtest.Call[api.Ticket](hub, 200, "POST", "/v1/tickets/"+given[1].ID.String()+"/transfer", p.friend, api.Transfer{Email: mail})
	systemtest.Call[api.Ticket](hub, 200, "POST", "/v1/tickets/"+given[2].ID.String()+"/transfer", p.friend, api.Transfer{Email: "zq-third@canary.example"})
	sale := p.Sale(1)
	sale.Attendees = []api.Attendee{zerlina}
	for _, s := range []*systemtest.Site{hub, p.Edge} {
		token := map[*systemtest.Site]string{hub: p.Owner, p.Edge: p.Pass}[s]
		got, err := s.Send("POST", "/v1/box-office/sales", token, sale, "Idempotency-Key", "zq-1")
		if err != nil || got.Status != 201 {
			t.Fatalf("%d %s %v", got.Status, got.Body, err)
		}
	}
	systemtest.Call[any](hub, 202, "POST", p.At("/announcements"), p.Owner, api.NewAnnouncement{Subject: "Doors", Text: "They open at six."})
	systemtest.Call[any](hub, 200, "PUT", "/v1/users/"+p.person.ID.String()+"/lock", p.admin, nil)
	systemtest.Call[any](hub, 200, "DELETE", "/v1/users/"+p.person.ID.String()+"/lock", p.admin, nil)
	p.token = hub.Login(mail)
	testkit.Eventually(t, 30*time.Second, func() error { // once the venue knows the ticket
		if got := p.AtVenue(t, given[0]); got != api.Admitted && got != api.AlreadyAdmitted {
			return fmt.Errorf("at the venue: %s", got)
		}
		return nil
	})
	systemtest.Call[any](hub, 200, "GET", "/v1/me/export", p.token, nil)
	for _, path := range []string{p.At("/attendees.csv"), p.At("/orders.csv")} {
		if got, err := hub.Send("GET", path, p.Owner, nil); err != nil || got.Status != 200 || !strings.Contains(string(got.Body), "Quixonne") {
			t.Fatalf("%s: %d %s %v", path, got.Status, got.Body, err)
		}
	}
}

// Nothing of a person is left who has deleted the account, but what others have said of her until it is due to go, and
// then not that either: in no table, no stream, no bucket and no file. What stays are ids: orders, money, the audit log.
func TestAPersonLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(testing.TB) string{store.SQLite: func(testing.TB) string { return "" }, store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := systemtest.Config(t.TempDir())
			cfg.Leaf, cfg.Sandbox, cfg.DatabaseURL = "127.0.0.1:0", true, url(t)
			hub, sys, stop := systemtest.Start(t, cfg)
			hub.Keys = true
			p := &leaver{admin: hub.Login(systemtest.AdminEmail)}
			hub.Unlimited(p.admin)
			_, owner := hub.Join("owner@example.org")
			_, p.friend = hub.Join("friend@example.org")
			hub.Confirm(cfg, "friend@example.org")
			connect := systemtest.Operator(t, "admin", sys.NATSURL(), filepath.Join(cfg.Data, "creds"))
			p.Hall = &systemtest.Hall{Hub: hub, Owner: owner, Event: hub.Concert(owner, 100, 1000), Cfg: cfg, Connect: connect}
			leaf := strings.TrimPrefix(systemtest.LeafURL(t, sys), "nats-leaf://")
			p.Open(t, leaf)
			systemtest.Call[api.Lease](hub, 201, "POST", p.At("/leases"), owner, api.NewLease{VenueID: p.Venue.ID, TicketTypeID: p.Event.TicketTypes[0].ID, Quantity: 5})
			at := testkit.FreeAddress(t)
			p.P = systemtest.Spawn(t, "starlight", nil, "edge", "--venue", p.Venue.ID.String(), "--hub", "nats-leaf://"+p.Line.Addr, "--creds", p.Creds,
				"--data", p.Folder, "--http", at)
			p.Edge = &systemtest.Site{T: t, URL: "http://" + at}
			p.Take(t)
			p.everything(t)
			if found := p.tables(t); len(found) < 20 {
				t.Fatalf("the search finds too little: %q", found)
			}
			testkit.Eventually(t, 30*time.Second, func() error { // the messages about what has just happened
				js, done, err := connect(t.Context())
				if err != nil {
					return err
				}
				defer done()
				return drained(t.Context(), js)
			})
			systemtest.Call[any](hub, 204, "DELETE", "/v1/me", p.token, api.DeleteAccount{Password: systemtest.Password})

			// Others have said of her that she comes.
			said := []string{"ticketing.orders.", "ticketing.tickets.", "ticketing.venue_sales.", "ticketing.ticket_offers.",
				"ticketing.refunds.reason", "payment.payment_refunds.reason", "ticketing.answers.", "payment.answers."}
			testkit.Eventually(t, 60*time.Second, func() error {
				return nothing(slices.DeleteFunc(p.tables(t), func(found string) bool {
					return slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(found, s) })
				}))
			})
			if err := nothing(p.streams(t)); err != nil {
				t.Error(err)
			}

			// All of that was long ago.
			stop()
			for service, query := range map[string]string{"ticketing": "UPDATE offers SET ends_at = ?",
				"payment": "UPDATE payment_refunds SET updated_at = ?"} {
				p.update(t, service, query)
				p.update(t, service, "UPDATE answers SET at = ?")
			}
			p.Cfg.NATS = strings.TrimPrefix(sys.NATSURL(), "nats://")
			p.Cfg.Leaf = leaf
			p.Hub, _, stop = systemtest.Start(t, p.Cfg)
			testkit.Eventually(t, 60*time.Second, func() error { return nothing(p.tables(t)) })
			if err := nothing(p.streams(t)); err != nil {
				t.Error(err)
			}
			testkit.Eventually(t, 60*time.Second, func() error { // the venue reads it by its line
				got, err := p.Edge.Send("GET", p.At("/attendees?q=Quix"), p.Pass, nil)
				if err == nil && strings.Contains(string(got.Body), "Quix") {
					err = fmt.Errorf("%d %s", got.Status, got.Body)
				}
				return err
			})
			stop()
			p.P.Kill()
			if err := nothing(append(files(t, p.Cfg.Data), files(t, p.Folder)...)); err != nil {
				t.Error(err)
			}
		})
	}
}

// database is where the tables are.
func (p *leaver) database() string {
	if p.Cfg.DatabaseURL != "" {
		return p.Cfg.DatabaseURL
	}
	return "sqlite:" + filepath.Join(p.Cfg.Data, "sql")
}

// update sets times of a database to half a year ago.
func (p *leaver) update(t *testing.T, service, query string) {
	t.Helper()
	db, err := store.Open(t.Context(), p.database(), service, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, query, store.Time(time.Now().AddDate(0, -7, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tables returns where the databases of all services have something of hers.
func (p *leaver) tables(t *testing.T) (found []string) {
	t.Helper()
	for _, service := range []string{"user", "event", "ticketing", "payment", "notification", "audit", "venue"} {
		db, err := store.Open(t.Context(), p.database(), service, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range testkit.Search(t, db, canaries...) {
			found = append(found, service+"."+f)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// streams returns where streams and buckets have something of hers.
func (p *leaver) streams(t *testing.T) (found []string) {
	t.Helper()
	js, done, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	var streams []*jetstream.StreamInfo
	all := js.ListStreams(t.Context())
	for s := range all.Info() { // its time runs while they are taken, so they are searched afterwards
		streams = append(streams, s)
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	messages := 0
	for _, s := range streams {
		if s.State.Msgs == 0 {
			continue
		}
		c, err := js.OrderedConsumer(t.Context(), s.Config.Name, jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			m, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
			if err != nil {
				t.Fatalf("%s: %v", s.Config.Name, err)
			}
			messages++
			text := fmt.Sprint(m.Subject(), m.Headers(), string(m.Data()))
			if strings.HasSuffix(m.Subject(), ".refund_due") || strings.HasPrefix(m.Subject(), "ev.payment.refund.") {
				text = strings.ReplaceAll(text, reason, "") // ages out
			}
			found = append(found, has(s.Config.Name+" "+m.Subject(), text)...)
			if meta, err := m.Metadata(); err != nil || meta.NumPending == 0 {
				break
			}
		}
	}
	if messages < 100 {
		t.Errorf("only %d messages were searched", messages)
	}
	return found
}

// has names what of hers a text has.
func has(place, text string) (found []string) {
	for _, c := range canaries {
		if strings.Contains(strings.ToLower(text), strings.ToLower(c)) {
			found = append(found, fmt.Sprintf("%s has %s: %.400q", place, c, text))
		}
	}
	return found
}

func nothing(found []string) error {
	if len(found) == 0 {
		return nil
	}
	return errors.New("left:\n" + strings.Join(found, "\n"))
}

// files returns which files of a folder have something of hers: read models by what is in them, and all others but the
// streams and databases, which are searched by their contents, and the mails that were sent.
func files(t *testing.T, dir string) (found []string) {
	t.Helper()
	read := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"outbox", "sql", "jetstream"}, name):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		read++
		if strings.HasSuffix(path, ".bolt") {
			found = append(found, inBolt(t, path)...)
			return nil
		}
		text, err := os.ReadFile(path)
		found = append(found, has(path, string(text))...)
		return err
	})
	if err != nil || read == 0 {
		t.Fatal(read, err)
	}
	return found
}

// inBolt searches a bbolt file.
func inBolt(t *testing.T, path string) (found []string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var walk func(place string, b *bolt.Bucket) error
	walk = func(place string, b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return walk(place+"/"+string(k), b.Bucket(k))
			}
			if place == "/totals" && bytes.Contains(k, []byte("\x00yQuixby")) || place == "/journal" || place == "/answers" {
				return nil // numbers by city; and what the venue decided, and answered, which ages out
			}
			found = append(found, has(path+place, string(bytes.Join([][]byte{k, v}, []byte(" "))))...)
			return nil
		})
	}
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return walk("/"+string(name), b) })
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// drained returns an error while a consumer of the domain events has something left to do.
func drained(ctx context.Context, js jetstream.JetStream) error {
	s, err := js.Stream(ctx, api.EventsStream)
	if err != nil {
		return err
	}
	for c := range s.ListConsumers(ctx).Info() {
		if c.NumPending > 0 || c.NumAckPending > 0 {
			return fmt.Errorf("%s has %d to do", c.Name, c.NumPending+uint64(c.NumAckPending))
		}
	}
	return nil
}
