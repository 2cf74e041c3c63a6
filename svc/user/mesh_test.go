package user_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/shared/token"
	"github.com/starlightsymphony/starlight/svc/user"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// harness is the user service on real NATS and SQL, with its callers.
type harness struct {
	t       *testing.T
	db      *store.DB
	nats    *testkit.NATSServer
	clock   *testkit.Clock
	live    *settings.Live
	log     *testkit.Buffer
	metrics *observe.Registry
	service *user.Service
	gateway *rpc.Client
}

func newHarness(t *testing.T, db *store.DB) *harness {
	t.Helper()
	m := &harness{t: t, db: db, nats: testkit.NATS(t), clock: testkit.NewClock(time.Time{}), log: &testkit.Buffer{},
		metrics: observe.NewRegistry(),
		live: settings.Fixed(api.AccessTTL.Is(15*time.Minute), api.RefreshTTL.Is(24*time.Hour), api.SMSCountries.Is(""),
			api.SessionTTL.Is(api.SessionTTL.Default()), api.MaxSessions.Is(api.MaxSessions.Default()),
			api.AdminFactor.Is(false), api.RelyingParty.Is("localhost"),
			api.RelyingPartyOrigins.Is("http://localhost:8080"))}
	m.nats.Stream("EVENTS", "ev.>")
	m.nats.Stream(api.AuditStream, api.AuditSubjects)
	m.nats.Stream(api.RevocationsStream, revocation.Subjects)
	m.gateway = rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "gateway"})
	logger := slog.New(slog.NewJSONHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m.service = m.newService(m.metrics, logger)
	srv := rpc.NewServer(m.nats.Connect(),
		rpc.ServerConfig{Service: "user", Log: logger, Registry: m.metrics, Answers: idempotency.In(db)})
	m.service.Register(srv)
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.service.Run(ctx) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Drain(ctx); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m
}

// newService returns one more instance of the service, on the same database.
func (m *harness) newService(metrics *observe.Registry, log *slog.Logger) *user.Service {
	m.t.Helper()
	s, err := user.New(m.t.Context(), user.Deps{DB: m.db, JS: m.nats.JS,
		Client: rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "user"}),
		Live:   m.live, Log: log, Metrics: metrics, Now: m.clock.Now, Hashers: 2,
		Keys: sealKeys(m.t)})
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// anonymous is the context of a request without an identity, from an address.
func (m *harness) anonymous(address string) context.Context {
	return rpc.WithMeta(m.t.Context(), rpc.Meta{Address: address})
}

// as is a context of a request with an access token, as the gateway makes it.
func (m *harness) as(tokens *api.Tokens) context.Context {
	m.t.Helper()
	c, err := token.Verify(tokens.AccessToken, m.keys(), m.clock.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	return rpc.WithMeta(m.t.Context(), rpc.Meta{Address: "192.0.2.1",
		Principal: rpc.Principal{User: c.User, Session: c.Session, Roles: c.Roles, Fresh: true}})
}

func (m *harness) register(email, password string) *api.User {
	m.t.Helper()
	return must(rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.RegisterUser,
		&api.Register{Email: email, Password: password, Name: "Ada"}))(m.t)
}

func (m *harness) tryLogin(address, email, password string) (*api.Tokens, error) {
	answer, err := rpc.Call(m.anonymous(address), m.gateway, api.CreateSession, &api.Login{Email: email, Password: password})
	if err != nil {
		return nil, err
	}
	return answer.Tokens, nil
}

func (m *harness) login(email, password string) *api.Tokens {
	m.t.Helper()
	return must(m.tryLogin("192.0.2.1", email, password))(m.t)
}

func (m *harness) refresh(refresh string) (*api.Tokens, error) {
	return rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.RefreshSession, &api.Refresh{RefreshToken: refresh})
}

// admin makes the first administrator and signs in.
func (m *harness) admin() (*api.Tokens, *api.User) {
	m.t.Helper()
	const password = "the first of them"
	if _, _, err := m.service.EnsureAdmin(m.t.Context(), "root@example.org", password); err != nil {
		m.t.Fatal(err)
	}
	tokens := m.login("root@example.org", password)
	return tokens, must(rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{}))(m.t)
}

// post sends a request in its wire form, with an idempotency key.
func (m *harness) post(spec rpc.Spec, key string, body any) (*nats.Msg, error) {
	m.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		m.t.Fatal(err)
	}
	h := nats.Header{rpc.HeaderHTTP + rpc.IdempotencyKey: {key}}
	return m.gateway.Forward(m.t.Context(), spec, h, raw)
}

// events returns the events on a subject, once there are at least n.
func (m *harness) events(subject string, n int) (payloads []string) {
	m.t.Helper()
	testkit.Eventually(m.t, 10*time.Second, func() error {
		payloads = payloads[:0]
		for _, msg := range m.nats.Messages("EVENTS") {
			if msg.Subject == subject {
				payloads = append(payloads, string(msg.Data))
			}
		}
		if len(payloads) < n {
			return fault.New(fault.NotFound, "%d events on %s, want %d", len(payloads), subject, n)
		}
		return nil
	})
	return payloads
}

// hashes is how many password hashes the service has computed.
func (m *harness) hashes() uint64 {
	return m.metrics.Counter("starlight_user_password_hashes_total", "Password hashes that were computed.").Get()
}

// dump is everything the database holds, as text.
func (m *harness) dump() string {
	m.t.Helper()
	var all strings.Builder
	for _, table := range []string{"users", "sessions", "refresh_tokens", "password_resets", "login_failures",
		"second_factors", "recovery_codes", "login_challenges",
		"answers", "outbox", "processed"} {
		var rows []map[string]any
		if err := m.db.Read().NewSelect().Table(table).Scan(m.t.Context(), &rows); err != nil {
			m.t.Fatal(err)
		}
		for _, row := range rows {
			for column, v := range row {
				if b, ok := v.([]byte); ok {
					row[column] = string(b)
				}
			}
		}
		b, err := json.Marshal(rows)
		if err != nil {
			m.t.Fatal(err)
		}
		all.WriteString(table + ": ")
		all.Write(b)
		all.WriteByte('\n')
	}
	return all.String()
}

// must returns the value of a call that must not fail: must(f())(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantCode(t *testing.T, err error, code fault.Code) *fault.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	f := fault.From(err)
	if f.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	return f
}

// onBoth runs a test with a mesh on each database.
func onBoth(t *testing.T, test func(t *testing.T, m *harness)) {
	t.Helper()
	testkit.DB(t, "user", user.Migrations(), func(t *testing.T, db *store.DB) { test(t, newHarness(t, db)) })
}

func newUserID() ids.User { return ids.New[ids.UserKind](time.Now()) }

// keys are the public keys as the service publishes them.
func sealKeys(t *testing.T) *seal.Keys {
	t.Helper()
	return must(seal.Parse(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))))(t)
}

func (m *harness) keys() token.Keys {
	m.t.Helper()
	set := must(rpc.Call(m.t.Context(), m.gateway, api.GetKeys, &rpc.None{}))(m.t)
	return func(kid string) (ed25519.PublicKey, bool) {
		for _, k := range set.Keys {
			if k.ID == kid && k.KeyType == "OKP" && k.Curve == "Ed25519" && k.Algorithm == "EdDSA" && k.Use == "sig" {
				raw, err := base64.RawURLEncoding.DecodeString(k.X)
				return raw, err == nil && len(raw) == ed25519.PublicKeySize
			}
		}
		return nil, false
	}
}
