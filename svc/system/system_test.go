package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// unpaid tries everything that must not pay an order: a payment that is declined, and callbacks that the provider did not
// sign.
func (s *site) unpaid(token string, o api.Order) {
	s.t.Helper()
	p := call[api.Payment](s, 201, "POST", "/v1/orders/"+o.ID.String()+"/payments", token, api.NewPayment{Provider: "sandbox"})
	if p.Amount != o.Total || p.Status != api.PaymentRequiresAction || p.CheckoutURL == "" {
		s.t.Errorf("payment is %+v", p)
	}
	forged := fmt.Appendf(nil, `{"id":"1","type":"payment.succeeded","payment":%q,"status":"succeeded","amount":%d,"currency":"EUR"}`, p.ID, o.Total.Amount)
	for _, signature := range []string{"", "t=1,v1=00", fmt.Sprintf("t=%d,v1=%064d", time.Now().Unix(), 0), "\x00"} {
		if got, err := s.send("POST", "/v1/payments/callbacks/sandbox", "", forged, "Sandbox-Signature", signature); err == nil && (got.status < 400 || got.status >= 500) {
			s.t.Errorf("a forged callback: %d %s", got.status, got.body)
		}
	}
	s.refused("not_found", "POST", "/v1/payments/callbacks/nobody", "", forged)
	s.refused("invalid", "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "perhaps"})
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "declined"})
	testkit.Eventually(s.t, 10*time.Second, func() error {
		if p = call[api.Payment](s, 200, "GET", "/v1/payments/"+p.ID.String(), token, nil); p.Status != api.PaymentFailed {
			return fmt.Errorf("the declined payment is %s", p.Status)
		}
		return nil
	})
	if got := call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), token, nil); got.Status != api.OrderPending {
		s.t.Errorf("after a declined payment the order is %s", got.Status)
	}
}

func TestMainPath(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	s, sys, stop := start(t, cfg)
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	org, organizer := s.join("organizer@example.org")
	_, buyer := s.join("buyer@example.org")
	doorman, door := s.join("door@example.org")
	s.refused("conflict", "POST", "/v1/users", "", api.Register{Email: "buyer@example.org", Password: password, Name: "Again"})

	event := s.concert(organizer, 10, 2500)
	if event.OrganizerID != api.OrganizerOf(org.ID) || event.Status != api.EventPublished {
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
	s.unpaid(buyer, order)
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
	if len(services) != len(system.Names()) {
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
			bound[e.Subject] = one.Service != "gateway" // which answers HTTP
		}
	}
	for _, d := range slices.Concat(api.All(), line.Endpoints()) {
		if declared[d.Subject()] = true; !bound[d.Subject()] {
			t.Errorf("%s has no handler", d.Subject())
		}
	}
	for subject, ours := range bound {
		if ours && !declared[subject] {
			t.Errorf("%s is not declared", subject)
		}
	}
	s.refused("forbidden", "GET", "/v1/mesh/services", buyer, nil)
	mustAudit(t, cfg, ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))

	// Stopped and started again on the same folder, everything is there.
	stop()
	mustAudit(t, cfg, stopped)
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
	t.Parallel()
	cfg := config(t.TempDir())
	s, sys, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.anyOrders(admin)
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
	t.Parallel()
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
