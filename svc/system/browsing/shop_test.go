package browsing_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A purchase from the front page to the ticket, by links and forms alone: declined, paid, and looked at again.
func TestShop(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 20, 1500)
	typ := event.TicketTypes[0].ID.String()
	b := s.Browser()

	home := b.Get("/").Must(t, 200, event.Name, "15.00 EUR", `lang="en"`)
	path := regexp.MustCompile(`/events/[a-z0-9_-]*` + event.ID.String()).FindString(home.Text)
	b.Get(path).Must(t, 200, event.Name, "20 left", typ)
	if got := b.Get("/events/" + event.ID.String()); got.At != path {
		t.Errorf("the short address leads to %s, not %s", got.At, path)
	}
	b.Get("/events?category=concert").Must(t, 200, "Found for you", event.Name, `<option value="concert" selected>`)
	b.Get("/events?category=comedy").Must(t, 200, "Nothing matches that.")
	b.Get("/events/evt_00000000000000000000000000").Must(t, 404, "There is nothing here")
	b.Get(path, "Accept-Language", "fr").Must(t, 200, "Encore 20")

	// Who buys: somebody new, who comes back to what was chosen.
	checkout := "/checkout?event=" + event.ID.String() + "&" + typ + "=2"
	b.Get(checkout).Must(t, 200, "30.00 EUR", "You have an account?")
	b.Send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", "short", "next", checkout).Must(t, 400, "password")
	back := b.Send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", systemtest.Password, "next", checkout)
	back.Must(t, 200, "You order as Ada.")
	if back.At != checkout {
		t.Errorf("signing up led to %s", back.At)
	}
	order := []string{"event", event.ID.String(), typ, "2", "key", back.Field(t, "key")}
	held := b.Send("/checkout", order...).Must(t, 200, "Your seats are held", "Pay 30.00 EUR")
	if again := b.Send("/checkout", order...); again.At != held.At {
		t.Errorf("a form that was sent twice made %s and %s", held.At, again.At)
	}
	if got := s.Left(event); got.Held != 2 {
		t.Errorf("%+v", got)
	}

	// A payment is declined; the next one is not.
	decide := func(p systemtest.Page, outcome string) {
		t.Helper()
		id := regexp.MustCompile(`pay_[a-z0-9]+`).FindString(p.Text)
		systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+id, "", api.SandboxOutcome{Outcome: outcome})
	}
	leaving := b.Send(held.At+"/payments", "key", held.Field(t, "key")).Must(t, 200, "On to the payment")
	state := func(p systemtest.Page) string { return regexp.MustCompile(`data-revision="[^"]*"`).FindString(p.Text) }
	open := b.Get(held.At)
	decide(leaving, "declined")
	said := func(words string) systemtest.Page {
		t.Helper()
		var p systemtest.Page
		testkit.Eventually(t, 10*time.Second, func() error {
			if p = b.Get(held.At); !strings.Contains(p.Text, words) {
				return fmt.Errorf("%s does not say %q: %s", p.At, words, p.Text)
			}
			return nil
		})
		return p
	}
	declined := said("The payment did not go through")
	if state(open) == state(declined) || state(open) == "" { // it looks for another state than its own
		t.Errorf("a page that is open does not learn that the payment was declined: %s", state(declined))
	}
	decide(b.Send(held.At+"/payments", "key", declined.Field(t, "key")), "succeeded")
	paid := said("You&#39;re going!")
	codes := regexp.MustCompile(`/orders/ord_[a-z0-9]+/tickets/tkt_[a-z0-9]+/qr.png`).FindAllString(paid.Text, -1)
	if len(codes) != 4 { // each is a link and a picture
		t.Fatalf("%d links to codes: %s", len(codes), paid.Text)
	}
	if got := b.Get(codes[0]); got.Status != 200 || got.Header.Get("Content-Type") != "image/png" {
		t.Errorf("%d %v", got.Status, got.Header)
	}
	if got := b.Get(held.At + "/tickets.pdf"); got.Status != 200 || !strings.HasPrefix(got.Text, "%PDF") {
		t.Errorf("%d %v", got.Status, got.Header)
	}
	b.Get("/account").Must(t, 200, "Hello, Ada", event.Name, "Paid")

	// Others see none of it, and no other site can use the browser.
	other := s.Browser()
	if got := other.Get(held.At); !strings.HasPrefix(got.At, "/sign-in?next=") {
		t.Errorf("a stranger is led to %s", got.At)
	}
	other.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	other.Get(held.At).Must(t, 404)
	other.Get(codes[0]).Must(t, 404)
	b.Do("POST", "/sign-out", url.Values{}, "Sec-Fetch-Site", "cross-site").Must(t, 403)
	b.Get("/account").Must(t, 200, "Hello, Ada")
	b.Send("/sign-out").Must(t, 200, "Sign in")
	if got := b.Get("/account"); !strings.HasPrefix(got.At, "/sign-in?next=") {
		t.Errorf("after signing out /account leads to %s", got.At)
	}
	b.Send("/sign-in", "email", "ada@example.org", "password", "wrong wrong wrong").Must(t, 401, "That did not work.")
	b.Send("/sign-in", "email", "ada@example.org", "password", systemtest.Password, "next", "/account").Must(t, 200, "Hello, Ada")
	s.Validate()
}

// A purchase without an account, with a code: the browser that made the order sees it, and so does who has the mailed link.
func TestShopForGuests(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 20, 1500)
	typ := event.TicketTypes[0].ID.String()
	systemtest.Call[any](s, 201, "POST", "/v1/events/"+event.ID.String()+"/codes", admin, map[string]any{"code": "HALF", "kind": "percent", "percent": "50"})
	b := s.Browser()
	checkout := b.Get("/checkout?event=" + event.ID.String() + "&" + typ + "=2")
	order := []string{"event", event.ID.String(), typ, "2", "key", checkout.Field(t, "key"), "name", "Gus", "email", "gus@example.org"}
	b.Send("/checkout", append(order, "code", "NONE")...).Must(t, 400, "gus@example.org")
	held := b.Send("/checkout", append(order, "code", "half")...).Must(t, 200, "Your seats are held", "Pay 15.00 EUR", "Discount HALF", "Sign in")
	pay := b.Send(held.At+"/payments", "key", held.Field(t, "key")).Must(t, 200, "On to the payment")
	systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+regexp.MustCompile(`pay_[a-z0-9]+`).FindString(pay.Text), "", api.SandboxOutcome{Outcome: "succeeded"})
	var paid systemtest.Page
	testkit.Eventually(t, 10*time.Second, func() error {
		if paid = b.Get(held.At); !strings.Contains(paid.Text, "You&#39;re going!") {
			return fmt.Errorf("%s", paid.Text)
		}
		return nil
	})
	code := regexp.MustCompile(`/orders/ord_[a-z0-9]+/tickets/tkt_[a-z0-9]+/qr.png`).FindString(paid.Text)
	b.Get(code).Must(t, 200)
	b.Get(held.At+"/tickets.pdf").Must(t, 200)

	// Who has the link from the mail sees the order, also while signed in as somebody else. Others do not.
	other := s.Browser()
	other.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	other.Get(held.At).Must(t, 404)
	other.Get(code).Must(t, 404)
	link := mailed(s, filepath.Join(cfg.Data, "outbox"), "gus@example.org", held.At)
	if got := other.Get(link).Must(t, 200, "You&#39;re going!"); got.At != held.At {
		t.Errorf("the link ends at %s", got.At)
	}
	other.Get(code).Must(t, 200)
	other.Get("/account").Must(t, 200, "You have no tickets yet.")
	s.Validate()
}

// Who asks for a page at the same time as others shares it, and still sees everything that was acknowledged before. What
// is for one person is not shared.
func TestPagesAreShared(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, "ticketing.max_per_order", "1")
	const quantity = 30
	event := s.Concert(admin, quantity, 0)
	path := s.Browser().Get("/events/" + event.ID.String()).At
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		b := s.Browser()
		wg.Go(func() { // a crowd that keeps questions on their way
			for {
				select {
				case <-stop:
					return
				default:
					if resp, err := b.Client.Get(b.Site + path); err != nil {
						t.Error(err)
					} else {
						resp.Body.Close()
					}
				}
			}
		})
	}
	shown := regexp.MustCompile(`(\d+) left`)
	for sold := 1; sold < quantity; sold++ {
		systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
		p := s.Browser().Get(path)
		if m := shown.FindStringSubmatch(p.Text); m == nil || m[1] != fmt.Sprint(quantity-sold) {
			t.Fatalf("%d are sold, and the page says %v", sold, m)
		}
	}
	b := s.Browser()
	b.Send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", systemtest.Password).Must(t, 200)
	b.Get(path).Must(t, 200, "Sign out")
	s.Browser().Get(path).Must(t, 200, "Sign in")
	s.Browser().Get(path, "Accept-Language", "de").Must(t, 200, "übrig")
	close(stop)
	wg.Wait()
}

// What people write is shown as they wrote it, wherever it stands, and no page lets anything run.
func TestPagesEscape(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	for _, evil := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'"--></style></script><svg onload=alert(1)>`,
		`{{.}}${7*7}`, `javascript:alert(1)`} {
		e := s.Concert(admin, 5, 0)
		e = systemtest.Call[api.Event](s, 200, "PATCH", "/v1/events/"+e.ID.String(), admin, map[string]any{"name": evil, "description": evil + "\n\n" + evil,
			"location": map[string]any{"name": evil, "address": evil, "city": evil, "country": "DE"}})
		typ := e.TicketTypes[0].ID.String()
		systemtest.Call[api.Event](s, 200, "PATCH", "/v1/events/"+e.ID.String()+"/ticket-types/"+typ, admin, map[string]any{"name": evil})
		asked := systemtest.Call[api.EventQuestions](s, 200, "PUT", "/v1/events/"+e.ID.String()+"/questions", admin, map[string]any{"questions": []any{
			map[string]any{"label": evil, "kind": "text", "purpose": evil, "help": evil, "required": true},
			map[string]any{"label": "C", "kind": "choice", "choices": []any{map[string]string{"label": evil}}}}}).Questions
		b := s.Browser()
		mail := fmt.Sprintf("a%x@example.org", e.ID.String()[20:])
		pages := []systemtest.Page{b.Get("/"), b.Get("/events/" + e.ID.String()), b.Get("/events?q=" + url.QueryEscape(evil) + "&city=" + url.QueryEscape(evil)),
			b.Get("/sign-in?next=" + url.QueryEscape(evil)), b.Send("/sign-in", "email", evil, "password", evil, "next", evil),
			b.Send("/sign-up", "name", evil, "email", mail, "password", systemtest.Password)}
		checkout := b.Get("/checkout?event=" + e.ID.String() + "&" + typ + "=1")
		pages = append(pages, checkout, b.Send("/checkout", "event", e.ID.String(), typ, "1", "key", checkout.Field(t, "key")),
			b.Send("/checkout", "event", e.ID.String(), typ, "1", "key", checkout.Field(t, "key"), "asked", "yes", "a."+asked[0].ID.String()+".0", evil), b.Get("/account"))
		o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, map[string]any{"event_id": e.ID, "items": []any{map[string]any{"ticket_type_id": typ, "quantity": 1}},
			"answers": []any{map[string]any{"question_id": asked[0].ID, "position": 0, "value": evil}}})
		of := s.Browser()
		of.Send("/sign-in", "email", systemtest.AdminEmail, "password", systemtest.Password)
		for _, at := range []string{"/orders/" + o.ID.String() + "/answers", "/office/events/" + e.ID.String() + "/questions", "/office/events/" + e.ID.String() + "/attendees"} {
			p := of.Get(at)
			if p.Must(t, 200); !strings.Contains(p.Text, "alert") && !strings.Contains(p.Text, "7*7") {
				t.Errorf("%s does not show %q", at, evil)
			}
			pages = append(pages, p)
		}
		for _, p := range pages {
			for _, tag := range []string{"<script>alert", "<img src=x", "<svg onload", "${49}", `href="javascript:`} {
				if strings.Contains(p.Text, tag) {
					t.Errorf("%s has %s", p.At, tag)
				}
			}
			if csp := p.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %s", p.At, csp)
			}
		}
	}
}
