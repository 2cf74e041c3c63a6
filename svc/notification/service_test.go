package notification_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
	"github.com/starlightsymphony/starlight/svc/user"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// records is a log that may be read while it is written.
type records struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// system is the notification service beside the user service, on real NATS and SQL.
type system struct {
	t       *testing.T
	nats    *testkit.NATSServer
	clock   *testkit.Clock
	outbox  string
	log     *records
	users   *store.DB
	gateway *rpc.Client
}

type service interface {
	Register(*rpc.Server)
	Run(context.Context) error
}

func newSystem(t *testing.T, db *store.DB) *system {
	t.Helper()
	s := &system{t: t, nats: testkit.NATS(t), clock: testkit.NewClock(time.Time{}), outbox: filepath.Join(t.TempDir(), "outbox"), log: &records{}}
	s.nats.Stream("EVENTS", "ev.>")
	s.nats.Stream("DEAD", "dead.>")
	s.gateway = rpc.NewClient(s.nats.Conn, rpc.ClientConfig{Name: "gateway"})
	s.users = testkit.Open(t, testkit.SQLite(t), "user", user.Migrations())
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	people, err := user.New(t.Context(), user.Deps{DB: s.users, JS: s.nats.JS, Client: s.client("user"), Log: log, Metrics: observe.NewRegistry(), Now: s.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	s.start("user", people, s.users)
	messages, err := notification.New(t.Context(), notification.Deps{DB: db, JS: s.nats.JS, Client: s.client("notification"), Log: log, Metrics: observe.NewRegistry(),
		Now: s.clock.Now, OutboxDir: s.outbox, PublicURL: "https://tickets.example"})
	if err != nil {
		t.Fatal(err)
	}
	s.start("notification", messages, db)
	return s
}

func (s *system) client(name string) *rpc.Client {
	return rpc.NewClient(s.nats.Connect(), rpc.ClientConfig{Name: name})
}

func (s *system) start(name string, svc service, db *store.DB) {
	s.t.Helper()
	srv := rpc.NewServer(s.nats.Connect(), rpc.ServerConfig{Service: name, Log: testkit.Log(s.t), Registry: observe.NewRegistry(), Answers: db.Answers()})
	svc.Register(srv)
	if err := srv.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
		if err := srv.Drain(context.Background()); err != nil {
			s.t.Error(err)
		}
	})
}

type received struct {
	file, to, id, text string
}

// mails returns the messages of a kind, once there are at least n.
func (s *system) mails(kind string, n int) (mails []received) {
	s.t.Helper()
	testkit.Eventually(s.t, 20*time.Second, func() error {
		mails = nil
		files, err := filepath.Glob(filepath.Join(s.outbox, "*_"+kind+".*.eml"))
		if err != nil {
			return err
		}
		for _, file := range files {
			m, err := read(file)
			if err != nil {
				return err
			}
			mails = append(mails, m)
		}
		if len(mails) < n {
			return fmt.Errorf("%d messages %s, want %d", len(mails), kind, n)
		}
		return nil
	})
	return mails
}

func read(file string) (received, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return received{}, err
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return received{}, err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	return received{file: filepath.Base(file), to: m.Header.Get("To"), id: m.Header.Get("Message-Id"), text: string(text)}, err
}

func (s *system) register(email string) *api.User {
	s.t.Helper()
	u, err := rpc.Call(s.t.Context(), s.gateway, api.RegisterUser, &api.Register{Email: email, Password: "correct horse battery", Name: "Ada Lovelace"})
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// publish puts an event on the stream.
func (s *system) publish(subject, id string, payload any) {
	s.t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	msg := nats.NewMsg(subject)
	msg.Data = raw
	msg.Header.Set(nats.MsgIdHdr, id)
	if _, err := s.nats.JS.PublishMsg(s.t.Context(), msg); err != nil {
		s.t.Fatal(err)
	}
}

func onBoth(t *testing.T, test func(t *testing.T, s *system)) {
	t.Helper()
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) { test(t, newSystem(t, db)) })
}

func TestPasswordReset(t *testing.T) {
	onBoth(t, func(t *testing.T, s *system) {
		ada := s.register("ada@example.org")
		if m := s.mails("welcome", 1)[0]; m.to != `"Ada Lovelace" <ada@example.org>` || m.id != "<welcome."+ada.ID.String()+"@tickets.example>" {
			t.Errorf("welcome %+v", m)
		}
		for _, email := range []string{"nobody@example.org", "ada@example.org"} {
			if _, err := rpc.Call(t.Context(), s.gateway, api.RequestPasswordReset, &api.RequestReset{Email: email}); err != nil {
				t.Fatal(err)
			}
		}
		m := s.mails("reset", 1)[0]
		token := regexp.MustCompile(`pr_[A-Za-z0-9_-]{43}`).FindString(m.text)
		if token == "" || !strings.Contains(m.text, "17 May 2030 15:00 UTC") || !strings.Contains(m.to, "ada@example.org") {
			t.Fatalf("the message is %+v", m)
		}
		for _, msg := range s.nats.Messages("EVENTS") {
			if strings.Contains(msg.Subject+string(msg.Data)+fmt.Sprint(msg.Header), token[3:]) {
				t.Error("the token is in the stream")
			}
		}
		if log := s.log.String(); strings.Contains(log, token[3:]) || strings.Contains(log, "ada@") || !strings.Contains(log, "in the outbox") {
			t.Errorf("the log is\n%s", log)
		}
		if _, err := rpc.Call(t.Context(), s.gateway, api.ConfirmPasswordReset, &api.ConfirmReset{Token: token, NewPassword: "another password"}); err != nil {
			t.Fatal(err)
		}
		if _, err := rpc.Call(t.Context(), s.gateway, api.CreateSession, &api.Login{Email: "ada@example.org", Password: "another password"}); err != nil {
			t.Fatal(err)
		}
		if n := len(s.mails("*", 2)); n != 2 {
			t.Errorf("%d messages, want 2", n)
		}
	})
}

func TestTicketsOfAnOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, s *system) {
		ada := s.register("ada@example.org")
		s.mails("welcome", 1)
		paid := s.clock.Now()
		order := api.Order{ID: ids.New[ids.OrderKind](paid), EventID: ids.New[ids.EventKind](paid), UserID: ada.ID, Status: api.OrderPaid, PaidAt: &paid,
			Total: api.Money{Amount: 5000, Currency: "EUR"}, Items: []api.OrderItem{{TicketTypeID: ids.New[ids.TicketTypeKind](paid), Name: "Parkett\r\nlinks",
				Quantity: 2, UnitPrice: api.Money{Amount: 2500, Currency: "EUR"}}}}
		tickets := []ids.Ticket{ids.New[ids.TicketKind](paid), ids.New[ids.TicketKind](paid)}
		e := api.OrderEvent{Order: order, Tickets: tickets}
		// The same fact, published twice: once more as the same message and once as another.
		s.publish(api.OrderWasPaid.Subject, "msg-1", e)
		s.publish(api.OrderWasPaid.Subject, "msg-1", e)
		s.publish(api.OrderWasPaid.Subject, "msg-2", e)

		// Somebody who is gone gets nothing, and holds up nobody.
		gone := e
		gone.Order.UserID = ids.New[ids.UserKind](paid)
		gone.Order.ID = ids.New[ids.OrderKind](paid)
		s.publish(api.OrderWasPaid.Subject, "msg-3", gone)
		s.publish(api.OrderWasPaid.Subject, "msg-4", "poison")
		testkit.Eventually(t, 20*time.Second, func() error {
			log := s.log.String()
			if strings.Count(log, "in the outbox") < 3 || !strings.Contains(log, "is dropped") {
				return errors.New("not all are handled")
			}
			if len(s.nats.Messages("DEAD")) == 0 {
				return errors.New("the unreadable one is not among the dead letters")
			}
			return nil
		})
		mails := s.mails("order-paid", 1)
		if len(mails) != 1 {
			t.Fatalf("%d messages, want 1", len(mails))
		}
		m := mails[0]
		if m.id != "<order-paid."+order.ID.String()+"@tickets.example>" || !strings.HasPrefix(m.file, "20300517T140000.000000Z_order-paid.") {
			t.Errorf("message %+v", m)
		}
		for _, want := range []string{order.ID.String(), "50.00 EUR", "2 × Parkett  links, 25.00 EUR each", tickets[0].String(),
			"https://tickets.example/v1/tickets/" + tickets[1].String() + "/qr.png"} {
			if !strings.Contains(m.text, want) {
				t.Errorf("%q is not in\n%s", want, m.text)
			}
		}
	})
}

// A message for somebody whose account was deleted is dropped; one that cannot be sent yet waits.
func TestUserServiceAwayForAMoment(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		n := testkit.NATS(t)
		n.Stream("EVENTS", "ev.>")
		s := &system{t: t, nats: n, clock: testkit.NewClock(time.Time{}), outbox: t.TempDir(), log: &records{}}
		messages, err := notification.New(t.Context(), notification.Deps{DB: db, JS: n.JS, Client: s.client("notification"), Log: slog.New(slog.DiscardHandler),
			Metrics: observe.NewRegistry(), Now: s.clock.Now, OutboxDir: s.outbox, PublicURL: "http://127.0.0.1:8080"})
		if err != nil {
			t.Fatal(err)
		}
		s.start("notification", messages, db)
		id := ids.New[ids.UserKind](s.clock.Now())
		s.publish(api.UserRegistered.Subject, "msg-1", api.UserEvent{UserID: id, At: s.clock.Now()})
		var tries atomic.Int32
		srv := rpc.NewServer(n.Connect(), rpc.ServerConfig{Service: "user", Log: testkit.Log(t), Registry: observe.NewRegistry()})
		rpc.Handle(srv, api.GetContact, func(_ context.Context, req *api.GetContactOf) (*api.Contact, error) {
			if tries.Add(1) < 3 {
				return nil, fault.New(fault.Unavailable, "the database is away")
			}
			return &api.Contact{ID: req.ID, Email: "ada@example.org", Name: "Ada"}, nil
		})
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer srv.Drain(context.Background())
		if m := s.mails("welcome", 1)[0]; m.id != "<welcome."+id.String()+"@127.0.0.1>" {
			t.Errorf("message %+v", m)
		}
	})
}
