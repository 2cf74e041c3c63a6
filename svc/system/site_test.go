package system_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

const (
	adminEmail = "root@example.org"
	password   = "a long enough sentence"
)

func TestMain(m *testing.M) {
	if as := os.Getenv(actAs); as != "" { // this process is a part of a system under test
		os.Exit(act(as))
	}
	testkit.AtOnce(3)
	debug.SetGCPercent(400) // systems come and go, and what they leave behind is looked through less often
	testkit.Main(m)
}

// site is a running system as a client sees it.
type site struct {
	t       *testing.T
	url     string
	timeout time.Duration // of a request; 0 means none
	seen    *seenPages
}

// config is a system of its own on free ports.
func config(dir string) system.Config {
	return system.Config{Data: dir, HTTP: "127.0.0.1:0", Ops: "127.0.0.1:0", NATS: "127.0.0.1:0", AdminEmail: adminEmail, AdminPassword: password, LogTo: io.Discard}
}

// start starts a system that is stopped when the test ends, or by the returned function. No role may ask for what it is
// not allowed, whatever the test does.
func start(t *testing.T, cfg system.Config) (*site, *system.System, func()) {
	t.Helper()
	cfg.LogTo = io.MultiWriter(cfg.LogTo, denials{t})
	s, err := system.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() { once.Do(func() { closeSystem(t, s) }) }
	t.Cleanup(stop)
	return &site{t: t, url: s.URL(), seen: &seenPages{}}, s, stop
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

// answer is a HTTP response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is the body of an error.
type problem struct {
	Code      string `json:"code"`
	Status    int    `json:"status"`
	Title     string `json:"title"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Field string `json:"field"`
	} `json:"errors"`
}

// send sends a request and returns whatever comes back.
func (s *site) send(method, path, token string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	ctx := context.Background()
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, reader)
	if err != nil {
		return answer{}, err
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
		return answer{}, err
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		text, err := firstEvent(resp.Body)
		return answer{resp.StatusCode, resp.Header, text}, err
	}
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}, err
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

// call sends a request that must succeed with the status, and decodes what comes back.
func call[T any](s *site, want int, method, path, token string, body any) T {
	s.t.Helper()
	var out T
	got, err := s.send(method, path, token, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	if got.status != want {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, got.status, got.body, want)
	}
	if len(got.body) > 0 && got.header.Get("Content-Type") != "image/png" {
		if err := json.Unmarshal(got.body, &out); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, got.body)
		}
	}
	return out
}

// refused sends a request that must fail with the code, as a documented problem.
func (s *site) refused(code string, method, path, token string, body any) problem {
	s.t.Helper()
	got, err := s.send(method, path, token, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	var p problem
	if err := json.Unmarshal(got.body, &p); err != nil || got.header.Get("Content-Type") != "application/problem+json" {
		s.t.Fatalf("%s %s: %d %s is no problem", method, path, got.status, got.body)
	}
	if p.Code != code || p.Status != got.status || p.RequestID == "" || p.Title == "" {
		s.t.Fatalf("%s %s: %d %s, want code %s", method, path, got.status, got.body, code)
	}
	return p
}

// login returns an access token.
func (s *site) login(email string) string {
	s.t.Helper()
	return call[api.Tokens](s, 201, "POST", "/v1/sessions", "", api.Login{Email: email, Password: password}).AccessToken
}

// join makes an account and returns it with an access token.
func (s *site) join(email string) (api.User, string) {
	s.t.Helper()
	u := call[api.User](s, 201, "POST", "/v1/users", "", api.Register{Email: email, Password: password, Name: "Somebody"})
	return u, s.login(email)
}

// set changes a live setting, which is in force within a second.
func (s *site) set(admin, key, value string) {
	s.t.Helper()
	call[api.Setting](s, 200, "PUT", "/v1/config/"+key, admin, map[string]string{"value": value})
}

// concert publishes an event with one ticket type, and room for more.
func (s *site) concert(token string, quantity int, price int64) api.Event {
	s.t.Helper()
	start := time.Now().AddDate(0, 2, 0).UTC().Truncate(time.Second)
	e := call[api.Event](s, 201, "POST", "/v1/events", token, api.NewEvent{Name: "Nocturne in Blue", Description: "Strings after dark.", Category: "concert", StartsAt: start,
		EndsAt: start.Add(2 * time.Hour), Timezone: "Europe/Berlin", Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Capacity: quantity + 10,
		TicketTypes: []api.NewTicketType{{Name: "Seat", Price: api.Money{Amount: price, Currency: "EUR"}, Quantity: quantity}}})
	return call[api.Event](s, 200, "POST", "/v1/events/"+e.ID.String()+"/publish", token, nil)
}

func seats(e api.Event, n int) api.NewOrder {
	return api.NewOrder{EventID: e.ID, Items: []api.NewOrderItem{{TicketTypeID: e.TicketTypes[0].ID, Quantity: n}}}
}

// pay pays an order at the sandbox and waits for its tickets.
func (s *site) pay(token string, o api.Order) []api.Ticket {
	s.t.Helper()
	p := call[api.Payment](s, 201, "POST", "/v1/orders/"+o.ID.String()+"/payments", token, api.NewPayment{Provider: "sandbox"})
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
	s.await(token, o, api.OrderPaid)
	return call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", token, nil).Items
}

// await waits until an order has the status.
func (s *site) await(token string, o api.Order, status string) {
	s.t.Helper()
	testkit.Eventually(s.t, 30*time.Second, func() error {
		got, err := s.send("GET", "/v1/orders/"+o.ID.String(), token, nil)
		if err != nil {
			return err
		}
		if !strings.Contains(string(got.body), `"status":"`+status+`"`) {
			return fmt.Errorf("want %s: %s", status, got.body)
		}
		return nil
	})
}

func (s *site) left(e api.Event) api.TypeAvailability {
	s.t.Helper()
	return call[api.Availability](s, 200, "GET", "/v1/events/"+e.ID.String()+"/availability", "", nil).TicketTypes[0]
}

// mustAudit fails the test unless the records agree, now or when what a killed process had in its hands is delivered again.
func mustAudit(t *testing.T, cfg system.Config, connect func(context.Context) (jetstream.JetStream, func(), error)) {
	t.Helper()
	testkit.Eventually(t, 120*time.Second, func() error {
		findings, err := system.Audit(t.Context(), system.AuditConfig{Data: cfg.Data, DatabaseURL: cfg.DatabaseURL, Connect: connect})
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

// ops connects to a running system as its operators do.
func ops(t *testing.T, url, creds string) func(context.Context) (jetstream.JetStream, func(), error) {
	return operator(t, "ops", url, creds)
}

// operator connects with the credentials of ops or admin.
func operator(t *testing.T, role, url, creds string) func(context.Context) (jetstream.JetStream, func(), error) {
	return func(ctx context.Context) (jetstream.JetStream, func(), error) {
		nc, err := natsconf.Dial(ctx, natsconf.DialConfig{URL: url, Role: role, Creds: creds})
		if err != nil {
			return nil, nil, err
		}
		js, err := jetstream.New(nc)
		return js, nc.Close, err
	}
}

// stopped stands for a system that cannot be reached, so that its folder is opened.
func stopped(context.Context) (jetstream.JetStream, func(), error) {
	return nil, nil, errors.New("the system is stopped")
}

// unlimited takes the rate limits away. Nothing tells when a limit is gone, but a process takes over settings in the order
// in which they were written, so it waits for one that can be seen.
func (s *site) unlimited(admin string) {
	s.t.Helper()
	for _, key := range []string{"gateway.rate_per_address", "gateway.rate_per_person", "gateway.rate_login",
		"event.api_keys_per_organizer", "notification.webhooks_per_organizer", "notification.webhooks", "venue.venues_per_person",
		"user.max_sessions"} {
		s.set(admin, key, "0")
	}
	s.anyOrders(admin)
	s.set(admin, "user.step_up_ttl", "24h") // a login counts as a fresh proof until the test ends
	s.set(admin, "user.access_ttl", "777s")
	testkit.Eventually(s.t, 5*time.Second, func() error {
		got := call[api.Tokens](s, 201, "POST", "/v1/sessions", "", api.Login{Email: adminEmail, Password: password})
		if got.ExpiresIn != 777 {
			return fmt.Errorf("tokens last %d seconds", got.ExpiresIn)
		}
		return nil
	})
}

// anyOrders lets one person hold as much unpaid as there is.
func (s *site) anyOrders(admin string) {
	s.t.Helper()
	s.set(admin, "ticketing.max_open_orders", "0")
	s.set(admin, "ticketing.max_unpaid_seats", "0")
	s.set(admin, "ticketing.renewal_pause", "0s")
}
