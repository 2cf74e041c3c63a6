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
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
	"github.com/starlightsymphony/starlight/svc/user"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// box is the notification service beside the user service, on real NATS and SQL. What ticketing and the event service are
// asked is answered from its fields.
type box struct {
	t       *testing.T
	nats    *testkit.NATSServer
	clock   *testkit.Clock
	outbox  string
	log     *testkit.Buffer
	db      *store.DB
	gateway *rpc.Client
	stop    func() // ends the notification service
	cancel  func() // tells it to end
	deps    notification.Deps

	mu     sync.Mutex
	offers map[ids.Event]api.Offer
	held   map[ids.User][]api.Ticket
}

type service interface {
	Register(*rpc.Server)
	Run(context.Context) error
}

// open starts a box. Change may change what the service runs on.
func open(t *testing.T, db *store.DB, change ...func(*notification.Deps)) *box {
	t.Helper()
	b := &box{t: t, nats: testkit.NATS(t), clock: testkit.NewClock(time.Time{}), outbox: filepath.Join(t.TempDir(), "outbox"), log: &testkit.Buffer{}, db: db,
		offers: map[ids.Event]api.Offer{}, held: map[ids.User][]api.Ticket{}}
	b.nats.Stream("EVENTS", "ev.>")
	b.nats.Stream("DEAD", "dead.>")
	_, err := b.nats.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NOTIFICATIONS", Subjects: []string{"notify.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	b.gateway = rpc.NewClient(b.nats.Conn, rpc.ClientConfig{Name: "gateway"})
	log := slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	users := testkit.Open(t, testkit.SQLite(t), "user", user.Migrations())
	people, err := user.New(t.Context(), user.Deps{DB: users, JS: b.nats.JS, Client: b.client("user"), Log: log, Metrics: observe.NewRegistry(), Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	b.start("user", people, users)
	b.neighbours()
	b.deps = notification.Deps{DB: db, NATS: b.nats.Conn, JS: b.nats.JS, Client: b.client("notification"), Log: log, Metrics: observe.NewRegistry(),
		Now: b.clock.Now, OutboxDir: b.outbox, PublicURL: "https://tickets.example", Pauses: []time.Duration{50 * time.Millisecond}}
	for _, f := range change {
		f(&b.deps)
	}
	b.run()
	return b
}

// run starts the notification service.
func (b *box) run() {
	b.t.Helper()
	messages, err := notification.New(b.t.Context(), b.deps)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cancel, b.stop = b.start("notification", messages, b.db)
}

func (b *box) client(name string) *rpc.Client {
	return rpc.NewClient(b.nats.Connect(), rpc.ClientConfig{Name: name})
}

func (b *box) start(name string, svc service, db *store.DB) (cancel, stop func()) {
	b.t.Helper()
	srv := rpc.NewServer(b.nats.Connect(), rpc.ServerConfig{Service: name, Log: testkit.Log(b.t), Registry: observe.NewRegistry(), Answers: idempotency.In(db)})
	svc.Register(srv)
	if err := srv.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
		if err := srv.Drain(context.Background()); err != nil {
			b.t.Error(err)
		}
		if c, ok := svc.(interface{ Close() }); ok {
			c.Close()
		}
	})
	b.t.Cleanup(stop)
	return cancel, stop
}

// neighbours answer for the event service and ticketing.
func (b *box) neighbours() {
	b.t.Helper()
	cfg := func(name string) rpc.ServerConfig {
		return rpc.ServerConfig{Service: name, Log: testkit.Log(b.t), Registry: observe.NewRegistry(), Answers: idempotency.In(b.db)}
	}
	events := rpc.NewServer(b.nats.Connect(), cfg("event"))
	rpc.Handle(events, api.GetOffer, func(_ context.Context, req *api.OfferRequest) (*api.Offer, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		offer, ok := b.offers[req.EventID]
		if !ok {
			return nil, fault.New(fault.NotFound, "there is no such event")
		}
		return &offer, nil
	})
	rpc.Handle(events, api.GetCalendarFile, func(_ context.Context, req *api.OfferRequest) (*rpc.Blob, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		method := "PUBLISH"
		if b.offers[req.EventID].Event.Status == api.EventCancelled {
			method = "CANCEL"
		}
		return &rpc.Blob{ContentType: "text/calendar", Data: []byte("BEGIN:VCALENDAR\r\nMETHOD:" + method + "\r\nEND:VCALENDAR\r\n")}, nil
	})
	office := rpc.NewServer(b.nats.Connect(), cfg("ticketing"))
	rpc.Handle(office, api.GetHeldTickets, func(_ context.Context, req *api.HeldTickets) (*api.List[api.Ticket], error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return &api.List[api.Ticket]{Items: b.held[req.UserID]}, nil
	})
	for _, s := range []*rpc.Server{events, office} {
		if err := s.Start(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { s.Drain(context.Background()) })
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
func (b *box) mails(name string, n int) (found []mailFile) {
	b.t.Helper()
	defer func() {
		if b.t.Failed() {
			b.t.Log(b.log.String())
		}
	}()
	testkit.Eventually(b.t, 30*time.Second, func() error {
		found = nil
		files, err := filepath.Glob(filepath.Join(b.outbox, "*_"+name+".*.eml"))
		if err != nil {
			return err
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			m, err := parse(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			m.file = filepath.Base(file)
			found = append(found, m)
		}
		if len(found) != n {
			return fmt.Errorf("%d mails %s, want %d", len(found), name, n)
		}
		return nil
	})
	return found
}

// join makes an account, and returns when its welcome is on its way.
func (b *box) join(name string) api.User {
	b.t.Helper()
	u, err := rpc.Call(b.t.Context(), b.gateway, api.RegisterUser, &api.Register{Email: name + "@example.org", Password: "correct horse battery", Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	testkit.Eventually(b.t, 30*time.Second, func() error {
		var known bool
		err := b.db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM messages WHERE user_id = ?)", u.ID).Scan(context.Background(), &known)
		if err == nil && !known {
			err = errors.New("the account is not heard of")
		}
		return err
	})
	return *u
}

// speaks sets the language of somebody.
func (b *box) speaks(u api.User, p api.Profile) {
	b.t.Helper()
	tokens, err := rpc.Call(b.t.Context(), b.gateway, api.CreateSession, &api.Login{Email: u.Email, Password: "correct horse battery"})
	if err != nil {
		b.t.Fatal(err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(tokens.AccessToken, ".")[1])
	if err != nil {
		b.t.Fatal(err)
	}
	var session struct {
		ID ids.Session `json:"sid"`
	}
	if err := json.Unmarshal(claims, &session); err != nil {
		b.t.Fatal(err)
	}
	ctx := rpc.WithMeta(b.t.Context(), rpc.Meta{Principal: rpc.Principal{User: u.ID, Session: session.ID}})
	if _, err := rpc.Call(ctx, b.gateway, api.UpdateMe, &api.UpdateProfile{Profile: codec.To(p)}); err != nil {
		b.t.Fatal(err)
	}
}

// as is a request of somebody.
func (b *box) as(u api.User) context.Context {
	return rpc.WithMeta(b.t.Context(), rpc.Meta{Principal: rpc.Principal{User: u.ID, Session: ids.New[ids.SessionKind](time.Now()), Roles: u.Roles}})
}

// call asks an endpoint as somebody.
func call[Req, Resp any](b *box, u api.User, ep rpc.Endpoint[Req, Resp], req *Req) *Resp {
	b.t.Helper()
	resp, err := rpc.Call(b.as(u), b.gateway, ep, req)
	if err != nil {
		b.t.Fatalf("%s: %v", ep.Subject(), err)
	}
	return resp
}

// publish puts an event on the stream.
func (b *box) publish(subject, id string, payload any) {
	b.t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		b.t.Fatal(err)
	}
	msg := nats.NewMsg(subject)
	msg.Data = raw
	msg.Header.Set(nats.MsgIdHdr, id)
	if _, err := b.nats.JS.PublishMsg(b.t.Context(), msg); err != nil {
		b.t.Fatal(err)
	}
}

// settled waits until every domain event is dealt with, every job of it posted, and every job done: what has not come by
// then does not come.
func (b *box) settled() {
	b.t.Helper()
	testkit.Eventually(b.t, 30*time.Second, func() error {
		if err := b.consumed("EVENTS"); err != nil {
			return err
		}
		var open int
		err := b.db.Read().NewRaw("SELECT (SELECT COUNT(*) FROM mailings WHERE done_at IS NULL) + (SELECT COUNT(*) FROM outbox)").
			Scan(context.Background(), &open)
		if err == nil && open > 0 {
			err = fmt.Errorf("%d things are open", open)
		}
		if err != nil {
			return err
		}
		return b.consumed("NOTIFICATIONS")
	})
}

// consumed reports whether every consumer has dealt with the last message of each of its subjects. That a consumer has
// none pending does not say so: it may not have noticed the message yet.
func (b *box) consumed(name string) error {
	ctx := context.Background()
	s, err := b.nats.JS.Stream(ctx, name)
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
				return fmt.Errorf("%s is at %d with %d in hand, %s at %d", c.Name, c.Delivered.Stream, c.NumAckPending, subject, last.Sequence)
			}
		}
	}
	return nil
}

// concert is a published event of somebody, a week from now.
func (b *box) concert(by api.User) api.Event {
	b.t.Helper()
	start := b.clock.Now().Add(7 * 24 * time.Hour)
	e := api.Event{ID: ids.New[ids.EventKind](start), Organizer: by.ID, Status: api.EventPublished, Name: "Nocturne & more", StartsAt: start, EndsAt: start.Add(3 * time.Hour),
		Timezone: "Europe/Berlin", Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Revision: 1, UpdatedAt: b.clock.Now()}
	b.tell(api.EventWasPublished.Subject, e)
	return e
}

// tell publishes an event as it is now.
func (b *box) tell(subject string, e api.Event) {
	b.t.Helper()
	offer := api.Offer{Event: e}
	b.mu.Lock()
	b.offers[e.ID] = offer
	b.mu.Unlock()
	b.publish(subject, fmt.Sprintf("%s-%s-%d", subject, e.ID, e.Revision), offer)
}

const aType = ids.TicketType("tty_01hzzzzzzzzzzzzzzzzzzzzzzz")

// buys gives somebody tickets of an event.
func (b *box) buys(u api.User, e api.Event, n int) (api.Order, []ids.Ticket) {
	b.t.Helper()
	now := b.clock.Now()
	o := api.Order{ID: ids.New[ids.OrderKind](now), EventID: e.ID, UserID: u.ID, Status: api.OrderPaid, PaidAt: &now, UpdatedAt: now, Total: api.Money{Amount: int64(2500 * n), Currency: "EUR"},
		Items: []api.OrderItem{{TicketTypeID: aType, Name: "Parkett\r\nlinks", Quantity: n, UnitPrice: api.Money{Amount: 2500, Currency: "EUR"}}}}
	var tickets []ids.Ticket
	b.mu.Lock()
	for range n {
		id := ids.New[ids.TicketKind](now)
		tickets = append(tickets, id)
		b.held[u.ID] = append(b.held[u.ID], api.Ticket{ID: id, Code: "ST1." + id.String(), EventID: e.ID, OrderID: o.ID, OwnerID: u.ID, TicketTypeID: aType})
	}
	b.mu.Unlock()
	b.publish(api.OrderWasPaid.Subject, "paid-"+o.ID.String(), api.OrderEvent{Order: o, Tickets: tickets})
	return o, tickets
}

func onBoth(t *testing.T, test func(t *testing.T, b *box)) {
	t.Helper()
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) { test(t, open(t, db)) })
}

// delivered waits until so many deliveries on a channel have the status.
func (b *box) delivered(channel, status string, n int) {
	b.t.Helper()
	testkit.Eventually(b.t, 30*time.Second, func() error {
		var got int
		err := b.db.Read().NewRaw("SELECT COUNT(*) FROM deliveries WHERE channel = ? AND status = ?", channel, status).Scan(context.Background(), &got)
		if err == nil && got != n {
			err = fmt.Errorf("%d deliveries by %s are %s, want %d; the log is\n%s", got, channel, status, n, b.log.String())
		}
		return err
	})
}

// posted waits until there are so many messages of a template.
func (b *box) posted(name string, n int) {
	b.t.Helper()
	testkit.Eventually(b.t, 30*time.Second, func() error {
		var got int
		err := b.db.Read().NewRaw("SELECT COUNT(*) FROM messages WHERE name = ?", name).Scan(context.Background(), &got)
		if err == nil && got != n {
			err = fmt.Errorf("%d messages are %s, want %d", got, name, n)
		}
		return err
	})
}

// reopen makes a message look as if nobody had written down that its mail was sent.
func (b *box) reopen(id string) {
	b.t.Helper()
	err := b.db.Tx(b.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM deliveries WHERE message_id = ?", id)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.publish(api.NotifyEmailUrgent, "again "+id, map[string]string{"message_id": id, "channel": "email"})
}
