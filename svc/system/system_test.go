package system_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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
	if os.Getenv(memberEnv) != "" { // this process is a member of a cluster under test
		os.Exit(member())
	}
	testkit.Main(m)
}

// site is a running system as a client sees it.
type site struct {
	t   *testing.T
	url string
}

// config is a system of its own on free ports.
func config(dir string) system.Config {
	return system.Config{Data: dir, HTTP: "127.0.0.1:0", Ops: "127.0.0.1:0", NATS: "127.0.0.1:0", AdminEmail: adminEmail, AdminPassword: password, LogTo: io.Discard}
}

// start starts a system that is stopped when the test ends, or by the returned function.
func start(t *testing.T, cfg system.Config) (*site, *system.System, func()) {
	t.Helper()
	s, err := system.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() { once.Do(func() { closeSystem(t, s) }) }
	t.Cleanup(stop)
	return &site{t, s.URL()}, s, stop
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
	req, err := http.NewRequest(method, s.url+path, reader)
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
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}, err
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

// concert publishes an event with one ticket type.
func (s *site) concert(token string, quantity int, price int64) api.Event {
	s.t.Helper()
	start := time.Now().AddDate(0, 2, 0).UTC().Truncate(time.Second)
	e := call[api.Event](s, 201, "POST", "/v1/events", token, api.NewEvent{Name: "Nocturne in Blue", Description: "Strings after dark.", Category: "concert", StartsAt: start,
		EndsAt: start.Add(2 * time.Hour), Timezone: "Europe/Berlin", Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Capacity: quantity,
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

// audit fails the test unless the records agree, now or when what a killed process had in its hands is delivered again.
func audit(t *testing.T, cfg system.Config, connect func(context.Context) (jetstream.JetStream, func(), error)) {
	t.Helper()
	testkit.Eventually(t, 40*time.Second, func() error {
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
	return func(ctx context.Context) (jetstream.JetStream, func(), error) {
		nc, err := natsconf.Dial(ctx, natsconf.DialConfig{URL: url, Role: "ops", Creds: creds})
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

func TestMainPath(t *testing.T) {
	cfg := config(t.TempDir())
	s, sys, stop := start(t, cfg)
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	org, organizer := s.join("organizer@example.org")
	_, buyer := s.join("buyer@example.org")
	doorman, door := s.join("door@example.org")
	s.refused("conflict", "POST", "/v1/users", "", api.Register{Email: "buyer@example.org", Password: password, Name: "Again"})

	event := s.concert(organizer, 10, 2500)
	if event.Organizer != org.ID || event.Status != api.EventPublished {
		t.Errorf("event is %+v", event)
	}
	path := "/v1/events/" + event.ID.String()
	for _, q := range []string{"?q=nocturne", "?city=berlin&category=concert", "?organizer=" + org.ID.String()} {
		if got := call[api.List[api.Event]](s, 200, "GET", "/v1/events"+q, "", nil).Items; len(got) != 1 || got[0].ID != event.ID {
			t.Errorf("search %s found %d", q, len(got))
		}
	}
	read, err := s.send("GET", path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.send("GET", path, "", nil, "If-None-Match", read.header.Get("ETag")); err != nil || again.status != 304 {
		t.Errorf("read again with its ETag: %d %v", again.status, err)
	}
	if stale, err := s.send("PATCH", path, organizer, map[string]string{"name": "Other"}, "If-Match", `"zz"`); err != nil || stale.status != 412 {
		t.Errorf("change with a wrong ETag: %d %v", stale.status, err)
	}

	order := call[api.Order](s, 201, "POST", "/v1/orders", buyer, seats(event, 3))
	if got := s.left(event); got.Held != 3 || got.Available != 7 {
		t.Errorf("after the order: %+v", got)
	}
	s.refused("sold_out", "POST", "/v1/orders", organizer, seats(event, 8))
	s.refused("not_found", "GET", "/v1/orders/"+order.ID.String(), door, nil)
	tickets := s.pay(buyer, order)
	if len(tickets) != 3 || s.left(event).Sold != 3 {
		t.Fatalf("%d tickets, %+v", len(tickets), s.left(event))
	}
	picture, err := s.send("GET", "/v1/tickets/"+tickets[0].ID.String()+"/qr.png", buyer, nil)
	if err != nil || picture.status != 200 || !bytes.HasPrefix(picture.body, []byte("\x89PNG")) {
		t.Errorf("QR code: %d %v", picture.status, err)
	}
	scan := api.Admission{Code: tickets[0].Code, Gate: "north"}
	s.refused("forbidden", "POST", path+"/admissions", door, scan)
	call[api.TeamMember](s, 200, "PUT", path+"/team/"+doorman.ID.String(), organizer, map[string]string{"role": "door"})
	var first api.AdmissionResult
	testkit.Eventually(t, 3*time.Second, func() error { // the team is known at the doors a moment later
		got, err := s.send("POST", path+"/admissions", door, scan)
		if err != nil || got.status != 200 {
			return fmt.Errorf("%d %s %v", got.status, got.body, err)
		}
		return json.Unmarshal(got.body, &first)
	})
	if first.Result != api.Admitted {
		t.Errorf("first scan: %+v", first)
	}
	if second := call[api.AdmissionResult](s, 200, "POST", path+"/admissions", door, scan); second.Result != api.AlreadyAdmitted || second.FirstAdmittedAt == nil {
		t.Errorf("second scan: %+v", second)
	}
	s.refused("forbidden", "PATCH", path, door, map[string]string{"name": "Mine"})
	s.refused("conflict", "DELETE", path, organizer, nil) // it has sold

	free := s.concert(organizer, 5, 0)
	if o := call[api.Order](s, 201, "POST", "/v1/orders", buyer, seats(free, 2)); o.Status != api.OrderPaid {
		t.Errorf("free order is %s", o.Status)
	}

	services := call[api.List[api.ServiceInstance]](s, 200, "GET", "/v1/mesh/services", admin, nil).Items
	if len(services) != len(system.Names())-1 {
		t.Errorf("%d services", len(services))
	}
	for _, one := range services {
		if !one.Healthy {
			t.Errorf("%s is not healthy", one.Service)
		}
	}
	declared, bound := map[string]bool{}, map[string]bool{}
	for _, one := range services {
		for _, e := range one.Endpoints {
			bound[e.Subject] = true
		}
	}
	for _, d := range api.All() {
		if declared[d.Subject()] = true; !bound[d.Subject()] {
			t.Errorf("%s has no handler", d.Subject())
		}
	}
	for subject := range bound {
		if !declared[subject] {
			t.Errorf("%s is not declared", subject)
		}
	}
	s.refused("forbidden", "GET", "/v1/mesh/services", buyer, nil)
	audit(t, cfg, ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))

	// Stopped and started again on the same folder, everything is there.
	stop()
	audit(t, cfg, stopped)
	s, _, _ = start(t, cfg)
	buyer = s.login("buyer@example.org")
	if got := call[api.List[api.Ticket]](s, 200, "GET", "/v1/me/tickets", buyer, nil).Items; len(got) != 5 {
		t.Errorf("%d tickets after the restart", len(got))
	}
	organizer = s.login("organizer@example.org")
	if got := call[api.AdmissionResult](s, 200, "POST", path+"/admissions", organizer, scan); got.Result != api.AlreadyAdmitted {
		t.Errorf("scan after the restart: %+v", got)
	}
	if got := s.left(event); got.Sold != 3 || got.Available != 7 {
		t.Errorf("after the restart: %+v", got)
	}
}

func TestSettingsAreLive(t *testing.T) {
	cfg := config(t.TempDir())
	s, sys, _ := start(t, cfg)
	admin := s.login(adminEmail)
	_, buyer := s.join("buyer@example.org")
	event := s.concert(admin, 5, 1000)
	s.refused("forbidden", "GET", "/v1/config", buyer, nil)
	s.refused("not_found", "PUT", "/v1/config/no.such", admin, map[string]string{"value": "1"})
	if p := s.refused("invalid", "PUT", "/v1/config/ticketing.hold_ttl", admin, map[string]string{"value": "soon"}); len(p.Errors) != 1 || p.Errors[0].Field != "value" {
		t.Errorf("the problem names %v", p.Errors)
	}
	if got := call[api.List[api.Setting]](s, 200, "GET", "/v1/config", admin, nil).Items; len(got) != len(api.Settings()) {
		t.Errorf("%d settings", len(got))
	}

	// As operators change it, with the nats tool: in force within a second, and a bad value changes nothing.
	js, done, err := ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	kv, err := js.KeyValue(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	hold := func() time.Duration {
		o := call[api.Order](s, 201, "POST", "/v1/orders", buyer, seats(event, 1))
		call[api.Order](s, 200, "POST", "/v1/orders/"+o.ID.String()+"/cancel", buyer, nil)
		return o.ExpiresAt.Sub(o.CreatedAt)
	}
	put := func(value string) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), "ticketing.hold_ttl", value); err != nil {
			t.Fatal(err)
		}
	}
	becomes := func(want time.Duration) {
		t.Helper()
		testkit.Eventually(t, 3*time.Second, func() error {
			if got := hold(); got != want {
				return fmt.Errorf("orders are held for %s, want %s", got, want)
			}
			return nil
		})
	}
	put("5m")
	becomes(5 * time.Minute)
	put("rubbish")
	put("-1s")
	one := call[api.Setting](s, 200, "GET", "/v1/config/ticketing.hold_ttl", admin, nil)
	if one.Value != "5m" || hold() != 5*time.Minute {
		t.Errorf("after bad values the setting is %+v, and orders are held for %s", one, hold())
	}
	call[api.Setting](s, 200, "PUT", "/v1/config/ticketing.hold_ttl", admin, map[string]string{"value": "1s"})
	becomes(time.Second)
	history := call[api.List[api.SettingChange]](s, 200, "GET", "/v1/config/ticketing.hold_ttl/history", admin, nil).Items
	if len(history) != 4 || history[0].Value != "1s" || history[1].Valid || !history[3].Valid {
		t.Errorf("history is %+v", history)
	}

	// An unpaid hold ends, and its seats come back.
	o := call[api.Order](s, 201, "POST", "/v1/orders", buyer, seats(event, 5))
	s.refused("sold_out", "POST", "/v1/orders", buyer, seats(event, 1))
	s.await(buyer, o, api.OrderExpired)
	if got := s.left(event); got.Available != 5 {
		t.Errorf("after the expiry: %+v", got)
	}
	call[api.Setting](s, 200, "POST", "/v1/config/ticketing.hold_ttl/rollback", admin, map[string]any{})
	becomes(5 * time.Minute)
	call[any](s, 204, "DELETE", "/v1/config/ticketing.hold_ttl", admin, nil)
	becomes(api.HoldTTL.Default())

	s.set(admin, "gateway.rate_per_person", "1")
	testkit.Eventually(t, 3*time.Second, func() error {
		got, err := s.send("GET", "/v1/me", buyer, nil)
		if err != nil {
			return err
		}
		if got.status != 429 || got.header.Get("Retry-After") == "" {
			return fmt.Errorf("%d, Retry-After %q", got.status, got.header.Get("Retry-After"))
		}
		return nil
	})
}

func TestPasswordReset(t *testing.T) {
	cfg := config(t.TempDir())
	s, _, _ := start(t, cfg)
	s.join("ada@example.org")
	for _, address := range []string{"ada@example.org", "nobody@example.org"} {
		call[any](s, 202, "POST", "/v1/password-resets", "", api.RequestReset{Email: address})
	}
	token := ""
	testkit.Eventually(t, 5*time.Second, func() error {
		files, err := filepath.Glob(filepath.Join(cfg.Data, "outbox", "*.eml"))
		if err != nil {
			return err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			for _, word := range strings.Fields(strings.ReplaceAll(string(text), "=\r\n", "")) {
				if strings.HasPrefix(word, "pr_") {
					token = word
					return nil
				}
			}
		}
		return fmt.Errorf("no reset mail among %d", len(files))
	})
	confirm := api.ConfirmReset{Token: token, NewPassword: "another long sentence"}
	call[any](s, 204, "POST", "/v1/password-resets/confirm", "", confirm)
	s.refused("expired", "POST", "/v1/password-resets/confirm", "", confirm)
	s.refused("unauthenticated", "POST", "/v1/sessions", "", api.Login{Email: "ada@example.org", Password: password})
	call[api.Tokens](s, 201, "POST", "/v1/sessions", "", api.Login{Email: "ada@example.org", Password: "another long sentence"})
}
