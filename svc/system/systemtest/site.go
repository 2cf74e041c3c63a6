// Package systemtest starts whole systems for tests, in this process and in others, and uses them from the outside: as
// clients of REST, as browsers, as operators, as venues.
package systemtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

const (
	AdminEmail = "root@example.org"
	Password   = "a long enough sentence"
)

// Site is a running system as a client sees it.
type Site struct {
	T       *testing.T
	URL     string
	Timeout time.Duration // of a request; 0 means none
	Keys    bool          // Call sends an Idempotency-Key with each request that makes something
	seen    *seenPages
}

// Config is that of a system of its own on free ports.
func Config(dir string) system.Config {
	return system.Config{
		Data:          dir,
		HTTP:          "127.0.0.1:0",
		Ops:           "127.0.0.1:0",
		NATS:          "127.0.0.1:0",
		AdminEmail:    AdminEmail,
		AdminPassword: Password,
		LogTo:         io.Discard,
	}
}

// Start starts a system that is stopped when the test ends, or by the returned function. No role may ask for what it is
// not allowed, whatever the test does.
func Start(t *testing.T, cfg system.Config) (*Site, *system.System, func()) {
	t.Helper()
	cfg.LogTo = io.MultiWriter(cfg.LogTo, denials{t})
	s, err := system.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() { once.Do(func() { closeSystem(t, s) }) }
	t.Cleanup(stop)
	return &Site{T: t, URL: s.URL(), seen: &seenPages{}}, s, stop
}

// denials fails a test for each line of a log that tells of a permission that is missing, or says something twice.
type denials struct{ t *testing.T }

func (d denials) Write(line []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(line), []byte("permissions violation")) {
		d.t.Errorf("refused: %s", line)
	}
	for _, key := range []string{"service", "instance", "component", "role", "request_id", "error"} {
		if bytes.Count(line, []byte(`,"`+key+`":`)) > 1 {
			d.t.Errorf("%s stands twice in %s", key, line)
		}
	}
	return len(line), nil
}

func closeSystem(t *testing.T, s *system.System) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// Answer is a HTTP response.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is the body of an error.
type Problem struct {
	Code      string `json:"code"`
	Status    int    `json:"status"`
	Title     string `json:"title"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Field string `json:"field"`
	} `json:"errors"`
}

// Send sends a request and returns whatever comes back.
func (s *Site) Send(method, path, token string, body any, headers ...string) (Answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return Answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	ctx := context.Background()
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, reader)
	if err != nil {
		return Answer{}, err
	}
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		text, err := firstEvent(resp.Body)
		return Answer{resp.StatusCode, resp.Header, text}, err
	}
	text, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, text}, err
}

// firstEvent reads a stream that has no end up to the data of its first event, and returns that.
func firstEvent(r io.Reader) ([]byte, error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			return data, nil
		}
	}
}

// Call sends a request that must succeed with the status, and decodes what comes back.
func Call[T any](s *Site, want int, method, path, token string, body any) T {
	s.T.Helper()
	var out T
	var headers []string
	if s.Keys && method == "POST" {
		headers = []string{rpc.IdempotencyKey, rand.Text()}
	}
	got, err := s.Send(method, path, token, body, headers...)
	if err != nil {
		s.T.Fatalf("%s %s: %v", method, path, err)
	}
	if got.Status != want {
		s.T.Fatalf("%s %s: %d %s, want %d", method, path, got.Status, got.Body, want)
	}
	if len(got.Body) > 0 && got.Header.Get("Content-Type") != "image/png" {
		if err := json.Unmarshal(got.Body, &out); err != nil {
			s.T.Fatalf("%s %s: %v in %s", method, path, err, got.Body)
		}
	}
	return out
}

// Refused sends a request that must fail with the code, as a documented problem.
func (s *Site) Refused(code string, method, path, token string, body any) Problem {
	s.T.Helper()
	got, err := s.Send(method, path, token, body)
	if err != nil {
		s.T.Fatalf("%s %s: %v", method, path, err)
	}
	var p Problem
	if err := json.Unmarshal(got.Body, &p); err != nil || got.Header.Get("Content-Type") != "application/problem+json" {
		s.T.Fatalf("%s %s: %d %s is no problem", method, path, got.Status, got.Body)
	}
	if p.Code != code || p.Status != got.Status || p.RequestID == "" || p.Title == "" {
		s.T.Fatalf("%s %s: %d %s, want code %s", method, path, got.Status, got.Body, code)
	}
	return p
}

// Login returns an access token. Who is told that it took too long, or hears nothing, asks again, as people do: beside
// other systems, one that just starts may need longer than a request has.
func (s *Site) Login(email string) string {
	s.T.Helper()
	var tokens api.Tokens
	testkit.Eventually(s.T, 20*time.Second, func() error {
		got, err := s.Send("POST", "/v1/sessions", "", api.Login{Email: email, Password: Password})
		if err != nil || got.Status == 504 {
			return fmt.Errorf("POST /v1/sessions: %v, %s", err, got.Body)
		}
		if got.Status != 201 {
			s.T.Fatalf("POST /v1/sessions: %d %s, want 201", got.Status, got.Body)
		}
		return json.Unmarshal(got.Body, &tokens)
	})
	return tokens.AccessToken
}

// Join makes an account and returns it with an access token.
func (s *Site) Join(email string) (api.User, string) {
	s.T.Helper()
	u := Call[api.User](s, 201, "POST", "/v1/users", "",
		api.Register{Email: email, Password: Password, Name: "Somebody"})
	return u, s.Login(email)
}

// Set changes a live setting, which is in force within a second.
func (s *Site) Set(admin, key, value string) {
	s.T.Helper()
	Call[api.Setting](s, 200, "PUT", "/v1/config/"+key, admin, map[string]string{"value": value})
}

// Concert publishes an event with one ticket type, and room for more.
func (s *Site) Concert(token string, quantity int, price int64) api.Event {
	s.T.Helper()
	start := time.Now().AddDate(0, 2, 0).UTC().Truncate(time.Second)
	e := Call[api.Event](s, 201, "POST", "/v1/events", token, api.NewEvent{
		Name: "Nocturne in Blue", Description: "Strings after dark.", Category: "concert",
		StartsAt: start, EndsAt: start.Add(2 * time.Hour), Timezone: "Europe/Berlin",
		Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Capacity: quantity + 10,
		TicketTypes: []api.NewTicketType{
			{Name: "Seat", Price: api.Money{Amount: price, Currency: "EUR"}, Quantity: quantity},
		},
	})
	return Call[api.Event](s, 200, "POST", "/v1/events/"+e.ID.String()+"/publish", token, nil)
}

// Seats is an order of n tickets of the first type of an event.
func Seats(e api.Event, n int) api.NewOrder {
	return api.NewOrder{EventID: e.ID, Items: []api.NewOrderItem{{TicketTypeID: e.TicketTypes[0].ID, Quantity: n}}}
}

// Pay pays an order at the sandbox and waits for its tickets.
func (s *Site) Pay(token string, o api.Order) []api.Ticket {
	s.T.Helper()
	p := Call[api.Payment](s, 201, "POST", "/v1/orders/"+o.ID.String()+"/payments", token,
		api.NewPayment{Provider: "sandbox"})
	Call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
	s.Await(token, o, api.OrderPaid)
	return Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", token, nil).Items
}

// Await waits until an order has the status.
func (s *Site) Await(token string, o api.Order, status string) {
	s.T.Helper()
	testkit.Eventually(s.T, 30*time.Second, func() error {
		got, err := s.Send("GET", "/v1/orders/"+o.ID.String(), token, nil)
		if err != nil {
			return err
		}
		if !strings.Contains(string(got.Body), `"status":"`+status+`"`) {
			return fmt.Errorf("want %s: %s", status, got.Body)
		}
		return nil
	})
}

// Left returns what is left of the first type of an event.
func (s *Site) Left(e api.Event) api.TypeAvailability {
	s.T.Helper()
	return Call[api.Availability](s, 200, "GET", "/v1/events/"+e.ID.String()+"/availability", "", nil).TicketTypes[0]
}

// MustAudit fails the test unless the records agree, now or when what a killed process had in its hands is delivered
// again.
func MustAudit(t *testing.T, cfg system.Config, connect func(context.Context) (jetstream.JetStream, func(), error)) {
	t.Helper()
	testkit.Eventually(t, 120*time.Second, func() error {
		findings, err := system.Audit(t.Context(),
			system.AuditConfig{Data: cfg.Data, DatabaseURL: cfg.DatabaseURL, Connect: connect})
		if err != nil {
			return err
		}
		compared := 0
		for _, f := range findings {
			compared += f.Compared
			if len(f.Broken) > 0 {
				return fmt.Errorf("%s: %v", f.Check, f.Broken)
			}
		}
		if compared == 0 {
			return errors.New("the audit compared nothing")
		}
		return nil
	})
}

// Ops connects to a running system as its operators do.
func Ops(t *testing.T, url, creds string) func(context.Context) (jetstream.JetStream, func(), error) {
	return Operator(t, "ops", url, creds)
}

// Operator connects with the credentials of ops or admin.
func Operator(t *testing.T, role, url, creds string) func(context.Context) (jetstream.JetStream, func(), error) {
	return func(ctx context.Context) (jetstream.JetStream, func(), error) {
		nc, err := natsconf.Dial(ctx, natsconf.DialConfig{URL: url, Role: role, Creds: creds})
		if err != nil {
			return nil, nil, err
		}
		js, err := jetstream.New(nc)
		return js, nc.Close, err
	}
}

// Stopped stands for a system that cannot be reached, so that its folder is opened.
func Stopped(context.Context) (jetstream.JetStream, func(), error) {
	return nil, nil, errors.New("the system is stopped")
}

// Unlimited takes the rate limits away. Nothing tells when a limit is gone, but a process takes over settings in the
// order in which they were written, so it waits for one that can be seen.
func (s *Site) Unlimited(admin string) {
	s.T.Helper()
	for _, key := range []string{"gateway.rate_per_address", "gateway.rate_per_person", "gateway.rate_login",
		"event.api_keys_per_organizer", "notification.webhooks_per_organizer", "notification.webhooks",
		"venue.venues_per_person", "user.max_sessions"} {
		s.Set(admin, key, "0")
	}
	s.AnyOrders(admin)
	s.Set(admin, "user.step_up_ttl", "24h") // a login counts as a fresh proof until the test ends
	s.Set(admin, "user.access_ttl", "777s")
	testkit.Eventually(s.T, 5*time.Second, func() error {
		got := Call[api.Tokens](s, 201, "POST", "/v1/sessions", "", api.Login{Email: AdminEmail, Password: Password})
		if got.ExpiresIn != 777 {
			return fmt.Errorf("tokens last %d seconds", got.ExpiresIn)
		}
		return nil
	})
}

// AnyOrders lets one person hold as much unpaid as there is.
func (s *Site) AnyOrders(admin string) {
	s.T.Helper()
	s.Set(admin, "ticketing.max_open_orders", "0")
	s.Set(admin, "ticketing.max_unpaid_seats", "0")
	s.Set(admin, "ticketing.renewal_pause", "0s")
}

// Did sends a request that must have one of the statuses.
func Did(s *Site, method, path, token string, body, into any, key string, want ...int) error {
	got, err := s.Send(method, path, token, body, "Idempotency-Key", key)
	if err != nil {
		return err
	}
	for _, status := range want {
		if got.Status == status {
			return got.Decode(into)
		}
	}
	return fmt.Errorf("%s %s: %d %s", method, path, got.Status, got.Body)
}

// Decode reads the body of an answer, unless into is nil.
func (a Answer) Decode(into any) error {
	if into == nil {
		return nil
	}
	return json.Unmarshal(a.Body, into)
}

// Is checks an answer for its status and for text in its body.
func (a Answer) Is(status int, text string) error {
	if a.Status != status || !strings.Contains(string(a.Body), text) {
		return fmt.Errorf("got %d %s", a.Status, a.Body)
	}
	return nil
}
