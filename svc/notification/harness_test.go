package notification_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
	"github.com/starlightsymphony/starlight/svc/user"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// harness is the notification service beside the user service, on real NATS and SQL. Ticketing and the event service are
// answered for from its fields.
type harness struct {
	t       *testing.T
	nats    *testkit.NATSServer
	clock   *testkit.Clock
	outbox  string
	log     *testkit.Buffer
	db      *store.DB
	users   *store.DB
	live    *settings.Live
	gateway *rpc.Client
	stop    func() // ends the notification service
	cancel  func() // asks it to stop
	deps    notification.Deps

	mu     sync.Mutex
	offers map[ids.Event]api.Offer
	held   map[ids.User][]api.Ticket

	offered map[ids.TicketOffer]string // by address
	guests  map[ids.User]api.Contact

	calendarCalls int // of the event service
}

type service interface {
	Register(*rpc.Server)
	Run(context.Context) error
}

// open starts a harness. Change may change what the service runs on.
func open(t *testing.T, db *store.DB, change ...func(*notification.Deps)) *harness {
	t.Helper()
	h := &harness{t: t, nats: testkit.NATS(t), clock: testkit.NewClock(time.Time{}), outbox: filepath.Join(t.TempDir(), "outbox"), log: &testkit.Buffer{}, db: db,
		offers: map[ids.Event]api.Offer{}, held: map[ids.User][]api.Ticket{}, offered: map[ids.TicketOffer]string{}, guests: map[ids.User]api.Contact{}}
	h.live = settings.Fixed(api.SMSCountries.Is("DE"), api.MailsPerPerson.Is(50), api.GuestMails.Is(5), api.SMSPerPerson.Is(10), api.SMSPerDay.Is(1000),
		api.AnnouncementsPerEvent.Is(5), api.MailsPerOrganizer.Is(1000))
	h.nats.Stream("EVENTS", "ev.>")
	h.nats.Stream("DEAD", "dead.>")
	h.nats.Stream(api.AuditStream, api.AuditSubjects)
	_, err := h.nats.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NOTIFICATIONS", Subjects: []string{"notify.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	h.gateway = rpc.NewClient(h.nats.Conn, rpc.ClientConfig{Name: "gateway"})
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	users := testkit.Open(t, testkit.SQLite(t), "user", user.Migrations())
	people, err := user.New(t.Context(), user.Deps{DB: users, JS: h.nats.JS, Client: h.client("user"), Live: h.live, Log: log, Metrics: observe.NewRegistry(), Now: h.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	h.users = users
	h.start("user", people, users)
	h.neighbours()
	h.deps = notification.Deps{DB: db, NATS: h.nats.Conn, JS: h.nats.JS, Client: h.client("notification"), Live: h.live, Log: log, Metrics: observe.NewRegistry(),
		Now: h.clock.Now, OutboxDir: h.outbox, PublicURL: "https://tickets.example", Pauses: []time.Duration{50 * time.Millisecond}}
	for _, f := range change {
		f(&h.deps)
	}
	h.run()
	return h
}

// run starts the notification service.
func (h *harness) run() {
	h.t.Helper()
	messages, err := notification.New(h.t.Context(), h.deps)
	if err != nil {
		h.t.Fatal(err)
	}
	h.cancel, h.stop = h.start("notification", messages, h.db)
}

func (h *harness) client(name string) *rpc.Client {
	return rpc.NewClient(h.nats.Connect(), rpc.ClientConfig{Name: name})
}

func (h *harness) start(name string, svc service, db *store.DB) (cancel, stop func()) {
	h.t.Helper()
	srv := rpc.NewServer(h.nats.Connect(), rpc.ServerConfig{Service: name, Log: testkit.Log(h.t), Registry: observe.NewRegistry(), Answers: idempotency.In(db)})
	svc.Register(srv)
	if err := srv.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		if err := srv.Drain(context.Background()); err != nil {
			h.t.Error(err)
		}
		if c, ok := svc.(interface{ Close() }); ok {
			c.Close()
		}
	})
	h.t.Cleanup(stop)
	return cancel, stop
}

// neighbours answers for the event service and ticketing.
func (h *harness) neighbours() {
	h.t.Helper()
	cfg := func(name string) rpc.ServerConfig {
		return rpc.ServerConfig{Service: name, Log: testkit.Log(h.t), Registry: observe.NewRegistry(), Answers: idempotency.In(h.db)}
	}
	events := rpc.NewServer(h.nats.Connect(), cfg("event"))
	rpc.Handle(events, api.GetOffer, func(_ context.Context, req *api.OfferRequest) (*api.Offer, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		offer, ok := h.offers[req.EventID]
		if !ok {
			return nil, fault.New(fault.NotFound, "there is no such event")
		}
		return &offer, nil
	})
	rpc.Handle(events, api.GetCalendarFile, func(_ context.Context, req *api.OfferRequest) (*rpc.Blob, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		method := "PUBLISH"
		if h.offers[req.EventID].Event.Status == api.EventCancelled {
			method = "CANCEL"
		}
		h.calendarCalls++
		file := fmt.Sprintf("BEGIN:VCALENDAR\r\nMETHOD:%s\r\nSEQUENCE:%d\r\nEND:VCALENDAR\r\n", method, h.offers[req.EventID].Event.Revision)
		return &rpc.Blob{ContentType: "text/calendar", Data: []byte(file)}, nil
	})
	ticketing := rpc.NewServer(h.nats.Connect(), cfg("ticketing"))
	rpc.Handle(ticketing, api.GetHeldTickets, func(_ context.Context, req *api.HeldTickets) (*api.List[api.Ticket], error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return &api.List[api.Ticket]{Items: h.held[req.UserID]}, nil
	})
	rpc.Handle(ticketing, api.MintOfferToken, func(_ context.Context, req *api.MintOffer) (*api.MintedOffer, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if to, ok := h.offered[req.OfferID]; ok {
			return &api.MintedOffer{Email: to, Token: "to_SECRET" + req.OfferID.String(), ExpiresAt: h.clock.Now().Add(time.Hour)}, nil
		}
		return nil, fault.New(fault.NotFound, "there is no such offer")
	})
	rpc.Handle(ticketing, api.GetGuests, func(_ context.Context, req *api.GetContactsOf) (*api.List[api.Contact], error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		list := &api.List[api.Contact]{}
		for _, id := range req.IDs {
			if c, ok := h.guests[id]; ok {
				list.Items = append(list.Items, c)
			}
		}
		return list, nil
	})
	rpc.Handle(ticketing, api.MintOrderLink, func(_ context.Context, req *api.MintLink) (*api.MintedLink, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if c, ok := h.guests[req.UserID]; ok {
			return &api.MintedLink{Contact: c, Token: api.OrderTokenPrefix + "SECRET" + req.UserID.String()}, nil
		}
		return nil, fault.New(fault.NotFound, "there is no such order")
	})
	for _, s := range []*rpc.Server{events, ticketing} {
		if err := s.Start(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { s.Drain(context.Background()) })
	}
}

// mailFile is a mail from the outbox.
type mailFile struct {
	file   string
	header mail.Header
	parts  map[string]string // by content type; files by their name, with their type on a line before them
}

// parse reads a mail with other code than that which wrote it.
func parse(raw []byte) (mailFile, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return mailFile{}, err
	}
	out := mailFile{header: m.Header, parts: map[string]string{}}
	return out, out.collect(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
}

func (m mailFile) collect(contentType, encoding string, body io.Reader) error {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	if strings.HasPrefix(media, "multipart/") {
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if p.FileName() != "" {
				data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
				if err != nil {
					return err
				}
				m.parts[p.FileName()] = p.Header.Get("Content-Type") + "\n" + string(data)
				continue
			}
			if err := m.collect(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p); err != nil {
				return err
			}
		}
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	m.parts[media] = strings.ReplaceAll(string(text), "\r\n", "\n")
	return err
}

func (m mailFile) text() string { return m.parts["text/plain"] }

// mails returns the mails of a template, once there are n.
func (h *harness) mails(name string, n int) (found []mailFile) {
	h.t.Helper()
	defer func() {
		if h.t.Failed() {
			h.t.Log(h.log.String())
		}
	}()
	testkit.Eventually(h.t, 30*time.Second, func() (err error) {
		if found, err = h.readMails(name); err != nil {
			return err
		}
		if len(found) != n {
			return fmt.Errorf("%d mails %s, want %d", len(found), name, n)
		}
		return nil
	})
	return found
}

// readMails returns the mails of a template that are there.
func (h *harness) readMails(name string) (found []mailFile, err error) {
	files, err := filepath.Glob(filepath.Join(h.outbox, "*_"+name+".*.eml"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parse(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		m.file = filepath.Base(file)
		found = append(found, m)
	}
	return found, nil
}

// join makes an account whose address is confirmed, and returns when its welcome is planned.
func (h *harness) join(name string) api.User {
	h.t.Helper()
	u := h.register(name)
	h.set(u, "email_verified = TRUE")
	return u
}

// set changes the row of an account.
func (h *harness) set(u api.User, change string) {
	h.t.Helper()
	err := h.users.Tx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE users SET "+change+" WHERE id = ?", u.ID)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// register makes an account, and returns when its welcome is planned.
func (h *harness) register(name string) api.User {
	h.t.Helper()
	u, err := rpc.Call(h.t.Context(), h.gateway, api.RegisterUser, &api.Register{Email: name + "@example.org", Password: "correct horse battery", Name: name})
	if err != nil {
		h.t.Fatal(err)
	}
	testkit.Eventually(h.t, 30*time.Second, func() error {
		var known bool
		err := h.db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM messages WHERE user_id = ?)", u.ID).Scan(context.Background(), &known)
		if err == nil && !known {
			err = errors.New("the welcome is not planned")
		}
		return err
	})
	return *u
}

// setProfile changes the profile of a user.
func (h *harness) setProfile(u api.User, p api.Profile) {
	h.t.Helper()
	h.updateMe(u, api.UpdateProfile{Profile: codec.To(p)})
}

// updateMe changes the account of a user.
func (h *harness) updateMe(u api.User, change api.UpdateProfile) {
	h.t.Helper()
	tokens, err := rpc.Call(h.t.Context(), h.gateway, api.CreateSession, &api.Login{Email: u.Email, Password: "correct horse battery"})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := rpc.Call(h.signedIn(u, tokens.Tokens), h.gateway, api.UpdateMe, &change); err != nil {
		h.t.Fatal(err)
	}
}

// signedIn returns the context of a request of a user with the session of tokens.
func (h *harness) signedIn(u api.User, tokens *api.Tokens) context.Context {
	h.t.Helper()
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(tokens.AccessToken, ".")[1])
	if err != nil {
		h.t.Fatal(err)
	}
	var session struct {
		ID ids.Session `json:"sid"`
	}
	if err := json.Unmarshal(claims, &session); err != nil {
		h.t.Fatal(err)
	}
	return rpc.WithMeta(h.t.Context(), rpc.Meta{Principal: rpc.Principal{User: u.ID, Session: session.ID}})
}

// as returns the context of a request of a user.
func (h *harness) as(u api.User) context.Context {
	return rpc.WithMeta(h.t.Context(), rpc.Meta{Principal: rpc.Principal{User: u.ID, Session: ids.New[ids.SessionKind](time.Now()), Roles: u.Roles}})
}

// call calls an endpoint as a user.
func call[Req, Resp any](h *harness, u api.User, ep rpc.Endpoint[Req, Resp], req *Req) *Resp {
	h.t.Helper()
	resp, err := rpc.Call(h.as(u), h.gateway, ep, req)
	if err != nil {
		h.t.Fatalf("%s: %v", ep.Subject(), err)
	}
	return resp
}

// publish puts an event on the stream.
func (h *harness) publish(subject, id string, payload any) {
	h.t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		h.t.Fatal(err)
	}
	msg := nats.NewMsg(subject)
	msg.Data = raw
	msg.Header.Set(nats.MsgIdHdr, id)
	if _, err := h.nats.JS.PublishMsg(h.t.Context(), msg); err != nil {
		h.t.Fatal(err)
	}
}

// settled waits until every domain event is consumed, every job of it published, and every job done: what has not been
// sent by then will not be.
func (h *harness) settled() {
	h.t.Helper()
	testkit.Eventually(h.t, 30*time.Second, func() error {
		if err := h.consumed("EVENTS"); err != nil {
			return err
		}
		var open int
		err := h.db.Read().NewRaw(`SELECT (SELECT COUNT(*) FROM mailings WHERE done_at IS NULL) + (SELECT COUNT(*) FROM outbox)
			+ (SELECT COUNT(*) FROM claims WHERE NOT queued)`).Scan(context.Background(), &open)
		if err == nil && open > 0 {
			err = fmt.Errorf("%d things are open", open)
		}
		if err != nil {
			return err
		}
		return h.consumed("NOTIFICATIONS")
	})
}

// consumed reports whether every consumer is done with the last message of each of its subjects. That a consumer has none
// pending does not say so: it may not have received the message yet.
func (h *harness) consumed(name string) error {
	ctx := context.Background()
	s, err := h.nats.JS.Stream(ctx, name)
	if err != nil {
		return err
	}
	for c := range s.ListConsumers(ctx).Info() {
		if c.Name == "user" {
			continue
		}
		for _, subject := range append([]string{c.Config.FilterSubject}, c.Config.FilterSubjects...) {
			last, err := s.GetLastMsgForSubject(ctx, subject)
			if subject == "" || errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if c.Delivered.Stream < last.Sequence || c.NumAckPending > 0 {
				return fmt.Errorf("%s is at %d with %d in progress, %s at %d", c.Name, c.Delivered.Stream, c.NumAckPending, subject, last.Sequence)
			}
		}
	}
	return nil
}

// concert publishes an event of a user, a week from now.
func (h *harness) concert(by api.User) api.Event {
	h.t.Helper()
	start := h.clock.Now().Add(7 * 24 * time.Hour)
	e := api.Event{ID: ids.New[ids.EventKind](start), OrganizerID: api.OrganizerOf(by.ID), Status: api.EventPublished, Name: "Nocturne & more", StartsAt: start, EndsAt: start.Add(3 * time.Hour),
		Timezone: "Europe/Berlin", Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Revision: 1, UpdatedAt: h.clock.Now()}
	h.change(api.EventWasPublished.Subject, e)
	return e
}

// change publishes an event as it is now.
func (h *harness) change(subject string, e api.Event) {
	h.t.Helper()
	offer := api.Offer{Organizer: api.OwnTeam(ids.Twin[ids.UserKind](e.OrganizerID)), Event: e}
	h.mu.Lock()
	h.offers[e.ID] = offer
	h.mu.Unlock()
	h.publish(subject, fmt.Sprintf("%s-%s-%d", subject, e.ID, e.Revision), offer)
}

const aType = ids.TicketType("tty_01hzzzzzzzzzzzzzzzzzzzzzzz")

// buys gives a user tickets of an event.
func (h *harness) buys(u api.User, e api.Event, n int) (api.Order, []ids.Ticket) {
	h.t.Helper()
	now := h.clock.Now()
	o := api.Order{ID: ids.New[ids.OrderKind](now), EventID: e.ID, UserID: u.ID, Status: api.OrderPaid, PaidAt: &now, UpdatedAt: now, Total: api.Money{Amount: int64(2500 * n), Currency: "EUR"},
		Items: []api.OrderItem{{TicketTypeID: aType, Name: "Parkett\r\nlinks", Quantity: n, UnitPrice: api.Money{Amount: 2500, Currency: "EUR"}}}}
	var tickets []ids.Ticket
	h.mu.Lock()
	for range n {
		id := ids.New[ids.TicketKind](now)
		tickets = append(tickets, id)
		h.held[u.ID] = append(h.held[u.ID], api.Ticket{ID: id, Code: "ST1." + id.String(), EventID: e.ID, OrderID: o.ID, OwnerID: u.ID, TicketTypeID: aType})
	}
	h.mu.Unlock()
	h.publish(api.OrderWasPaid.Subject, "paid-"+o.ID.String(), api.OrderEvent{Order: o, Tickets: tickets})
	return o, tickets
}

func onBoth(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) { test(t, open(t, db)) })
}

// delivered waits until so many deliveries on a channel have the status.
func (h *harness) delivered(channel, status string, n int) {
	h.t.Helper()
	testkit.Eventually(h.t, 30*time.Second, func() error {
		var got int
		err := h.db.Read().NewRaw("SELECT COUNT(*) FROM deliveries WHERE channel = ? AND status = ?", channel, status).Scan(context.Background(), &got)
		if err == nil && got != n {
			err = fmt.Errorf("%d deliveries by %s are %s, want %d; the log is\n%s", got, channel, status, n, h.log.String())
		}
		return err
	})
}

// posted waits until there are so many messages of a template.
func (h *harness) posted(name string, n int) {
	h.t.Helper()
	testkit.Eventually(h.t, 30*time.Second, func() error {
		var got int
		err := h.db.Read().NewRaw("SELECT COUNT(*) FROM messages WHERE name = ?", name).Scan(context.Background(), &got)
		if err == nil && got != n {
			err = fmt.Errorf("%d messages are %s, want %d", got, name, n)
		}
		return err
	})
}

// reopen makes a message look as if the outcome of its mail had not been stored.
func (h *harness) reopen(id string) {
	h.t.Helper()
	err := h.db.Tx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM deliveries WHERE message_id = ?", id)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.publish(api.NotifyEmailUrgent, "again "+id, map[string]string{"message_id": id, "channel": "email"})
}
