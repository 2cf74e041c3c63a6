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
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// unpaid tries everything that must not pay an order: a payment that is declined, and callbacks that the provider did not
// sign.
func unpaid(s *systemtest.Site, token string, o api.Order) {
	s.T.Helper()
	p := systemtest.Call[api.Payment](s, 201, "POST", "/v1/orders/"+o.ID.String()+"/payments", token, api.NewPayment{Provider: "sandbox"})
	if p.Amount != o.Total || p.Status != api.PaymentRequiresAction || p.CheckoutURL == "" {
		s.T.Errorf("payment is %+v", p)
	}
	forged := fmt.Appendf(nil, `{"id":"1","type":"payment.succeeded","payment":%q,"status":"succeeded","amount":%d,"currency":"EUR"}`, p.ID, o.Total.Amount)
	for _, signature := range []string{"", "t=1,v1=00", fmt.Sprintf("t=%d,v1=%064d", time.Now().Unix(), 0), "\x00"} {
		if got, err := s.Send("POST", "/v1/payments/callbacks/sandbox", "", forged, "Sandbox-Signature", signature); err == nil && (got.Status < 400 || got.Status >= 500) {
			s.T.Errorf("a forged callback: %d %s", got.Status, got.Body)
		}
	}
	s.Refused("not_found", "POST", "/v1/payments/callbacks/nobody", "", forged)
	s.Refused("invalid", "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "perhaps"})
	systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "declined"})
	testkit.Eventually(s.T, 10*time.Second, func() error {
		if p = systemtest.Call[api.Payment](s, 200, "GET", "/v1/payments/"+p.ID.String(), token, nil); p.Status != api.PaymentFailed {
			return fmt.Errorf("the declined payment is %s", p.Status)
		}
		return nil
	})
	if got := systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), token, nil); got.Status != api.OrderPending {
		s.T.Errorf("after a declined payment the order is %s", got.Status)
	}
}

func TestMainPath(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, stop := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	org, organizer := s.Join("organizer@example.org")
	_, buyer := s.Join("buyer@example.org")
	doorman, door := s.Join("door@example.org")
	s.Refused("conflict", "POST", "/v1/users", "", api.Register{Email: "buyer@example.org", Password: systemtest.Password, Name: "Again"})

	event := s.Concert(organizer, 10, 2500)
	if event.OrganizerID != api.OrganizerOf(org.ID) || event.Status != api.EventPublished {
		t.Errorf("event is %+v", event)
	}
	path := "/v1/events/" + event.ID.String()
	for _, q := range []string{"?q=nocturne", "?city=berlin&category=concert", "?organizer=" + org.ID.String()} {
		if got := systemtest.Call[api.List[api.Event]](s, 200, "GET", "/v1/events"+q, "", nil).Items; len(got) != 1 || got[0].ID != event.ID {
			t.Errorf("search %s found %d", q, len(got))
		}
	}
	read, err := s.Send("GET", path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Send("GET", path, "", nil, "If-None-Match", read.Header.Get("ETag")); err != nil || again.Status != 304 {
		t.Errorf("read again with its ETag: %d %v", again.Status, err)
	}
	if stale, err := s.Send("PATCH", path, organizer, map[string]string{"name": "Other"}, "If-Match", `"zz"`); err != nil || stale.Status != 412 {
		t.Errorf("change with a wrong ETag: %d %v", stale.Status, err)
	}

	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(event, 3))
	if got := s.Left(event); got.Held != 3 || got.Available != 7 {
		t.Errorf("after the order: %+v", got)
	}
	s.Refused("sold_out", "POST", "/v1/orders", organizer, systemtest.Seats(event, 8))
	s.Refused("not_found", "GET", "/v1/orders/"+order.ID.String(), door, nil)
	unpaid(s, buyer, order)
	tickets := s.Pay(buyer, order)
	if len(tickets) != 3 || s.Left(event).Sold != 3 {
		t.Fatalf("%d tickets, %+v", len(tickets), s.Left(event))
	}
	picture, err := s.Send("GET", "/v1/tickets/"+tickets[0].ID.String()+"/qr.png", buyer, nil)
	if err != nil || picture.Status != 200 || !bytes.HasPrefix(picture.Body, []byte("\x89PNG")) {
		t.Errorf("QR code: %d %v", picture.Status, err)
	}
	scan := api.Admission{Code: tickets[0].Code, Gate: "north"}
	s.Refused("forbidden", "POST", path+"/admissions", door, scan)
	systemtest.Call[api.TeamMember](s, 200, "PUT", path+"/team/"+doorman.ID.String(), organizer, map[string]string{"role": "door"})
	var first api.AdmissionResult
	testkit.Eventually(t, 3*time.Second, func() error { // the team is known at the doors a moment later
		got, err := s.Send("POST", path+"/admissions", door, scan)
		if err != nil || got.Status != 200 {
			return fmt.Errorf("%d %s %v", got.Status, got.Body, err)
		}
		return json.Unmarshal(got.Body, &first)
	})
	if first.Result != api.Admitted {
		t.Errorf("first scan: %+v", first)
	}
	if second := systemtest.Call[api.AdmissionResult](s, 200, "POST", path+"/admissions", door, scan); second.Result != api.AlreadyAdmitted || second.FirstAdmittedAt == nil {
		t.Errorf("second scan: %+v", second)
	}
	s.Refused("forbidden", "PATCH", path, door, map[string]string{"name": "Mine"})
	s.Refused("conflict", "DELETE", path, organizer, nil) // it has sold

	free := s.Concert(organizer, 5, 0)
	if o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(free, 2)); o.Status != api.OrderPaid {
		t.Errorf("free order is %s", o.Status)
	}

	services := systemtest.Call[api.List[api.ServiceInstance]](s, 200, "GET", "/v1/mesh/services", admin, nil).Items
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
	s.Refused("forbidden", "GET", "/v1/mesh/services", buyer, nil)
	systemtest.MustAudit(t, cfg, systemtest.Ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))

	// Stopped and started again on the same folder, everything is there.
	stop()
	systemtest.MustAudit(t, cfg, systemtest.Stopped)
	s, _, _ = systemtest.Start(t, cfg)
	buyer = s.Login("buyer@example.org")
	if got := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/me/tickets", buyer, nil).Items; len(got) != 5 {
		t.Errorf("%d tickets after the restart", len(got))
	}
	organizer = s.Login("organizer@example.org")
	if got := systemtest.Call[api.AdmissionResult](s, 200, "POST", path+"/admissions", organizer, scan); got.Result != api.AlreadyAdmitted {
		t.Errorf("scan after the restart: %+v", got)
	}
	if got := s.Left(event); got.Sold != 3 || got.Available != 7 {
		t.Errorf("after the restart: %+v", got)
	}
}

func TestSettingsAreLive(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.AnyOrders(admin)
	_, buyer := s.Join("buyer@example.org")
	event := s.Concert(admin, 5, 1000)
	s.Refused("forbidden", "GET", "/v1/config", buyer, nil)
	s.Refused("not_found", "PUT", "/v1/config/no.such", admin, map[string]string{"value": "1"})
	if p := s.Refused("invalid", "PUT", "/v1/config/ticketing.hold_ttl", admin, map[string]string{"value": "soon"}); len(p.Errors) != 1 || p.Errors[0].Field != "value" {
		t.Errorf("the problem names %v", p.Errors)
	}
	if got := systemtest.Call[api.List[api.Setting]](s, 200, "GET", "/v1/config", admin, nil).Items; len(got) != len(api.Settings()) {
		t.Errorf("%d settings", len(got))
	}

	// As operators change it, with the nats tool: in force within a second, and a bad value changes nothing.
	js, done, err := systemtest.Ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	kv, err := js.KeyValue(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	hold := func() time.Duration {
		o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(event, 1))
		systemtest.Call[api.Order](s, 200, "POST", "/v1/orders/"+o.ID.String()+"/cancel", buyer, nil)
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
	one := systemtest.Call[api.Setting](s, 200, "GET", "/v1/config/ticketing.hold_ttl", admin, nil)
	if one.Value != "5m" || hold() != 5*time.Minute {
		t.Errorf("after bad values the setting is %+v, and orders are held for %s", one, hold())
	}
	systemtest.Call[api.Setting](s, 200, "PUT", "/v1/config/ticketing.hold_ttl", admin, map[string]string{"value": "1s"})
	becomes(time.Second)
	history := systemtest.Call[api.List[api.SettingChange]](s, 200, "GET", "/v1/config/ticketing.hold_ttl/history", admin, nil).Items
	if len(history) != 4 || history[0].Value != "1s" || history[1].Valid || !history[3].Valid {
		t.Errorf("history is %+v", history)
	}

	// An unpaid hold ends, and its seats come back.
	o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(event, 5))
	s.Refused("sold_out", "POST", "/v1/orders", buyer, systemtest.Seats(event, 1))
	s.Await(buyer, o, api.OrderExpired)
	if got := s.Left(event); got.Available != 5 {
		t.Errorf("after the expiry: %+v", got)
	}
	systemtest.Call[api.Setting](s, 200, "POST", "/v1/config/ticketing.hold_ttl/rollback", admin, map[string]any{})
	becomes(5 * time.Minute)
	systemtest.Call[any](s, 204, "DELETE", "/v1/config/ticketing.hold_ttl", admin, nil)
	becomes(api.HoldTTL.Default())

	s.Set(admin, "gateway.rate_per_person", "1")
	testkit.Eventually(t, 3*time.Second, func() error {
		got, err := s.Send("GET", "/v1/me", buyer, nil)
		if err != nil {
			return err
		}
		if got.Status != 429 || got.Header.Get("Retry-After") == "" {
			return fmt.Errorf("%d, Retry-After %q", got.Status, got.Header.Get("Retry-After"))
		}
		return nil
	})
}

func TestPasswordReset(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, _ := systemtest.Start(t, cfg)
	s.Join("ada@example.org")
	for _, address := range []string{"ada@example.org", "nobody@example.org"} {
		systemtest.Call[any](s, 202, "POST", "/v1/password-resets", "", api.RequestReset{Email: address})
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
	systemtest.Call[any](s, 204, "POST", "/v1/password-resets/confirm", "", confirm)
	s.Refused("expired", "POST", "/v1/password-resets/confirm", "", confirm)
	s.Refused("unauthenticated", "POST", "/v1/sessions", "", api.Login{Email: "ada@example.org", Password: systemtest.Password})
	systemtest.Call[api.Tokens](s, 201, "POST", "/v1/sessions", "", api.Login{Email: "ada@example.org", Password: "another long sentence"})
}
