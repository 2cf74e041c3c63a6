package system_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// browser is a browser without scripts.
type browser struct {
	t      *testing.T
	site   string
	seen   *seenPages
	client *http.Client
}

func (s *site) browser() *browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s.t, s.url, s.seen, &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// page is what a browser shows.
type page struct {
	at     string // the path that it ended at
	status int
	header http.Header
	text   string
}

func (b *browser) do(method, path string, form url.Values, headers ...string) page {
	b.t.Helper()
	if form == nil {
		return b.request(method, path, nil, headers...)
	}
	return b.request(method, path, strings.NewReader(form.Encode()), append([]string{"Content-Type",
		"application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, headers...)...)
}

func (b *browser) request(method, path string, body io.Reader, headers ...string) page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.site+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.seen.add(string(text))
	return page{resp.Request.URL.RequestURI(), resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(path string, headers ...string) page { return b.do("GET", path, nil, headers...) }

// send sends a form as a page of the site does.
func (b *browser) send(path string, fields ...string) page {
	b.t.Helper()
	return b.do("POST", path, form(fields...))
}

// form is what a page sends.
func form(fields ...string) url.Values {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

// mustNot fails the test if a page says something.
func (p page) mustNot(t *testing.T, words string) {
	t.Helper()
	if strings.Contains(p.text, words) {
		t.Fatalf("%s says %q: %s", p.at, words, p.text)
	}
}

// sendFile is send of a form with a file.
func (b *browser) sendFile(path, name, file string, fields ...string) page {
	b.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i < len(fields); i += 2 {
		if err := form.WriteField(fields[i], fields[i+1]); err != nil {
			b.t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile(name, "list.csv")
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		b.t.Fatal(err)
	}
	return b.request("POST", path, &body, "Content-Type", form.FormDataContentType(), "Sec-Fetch-Site", "same-origin")
}

// must fails the test unless a page has a status and says something.
func (p page) must(t *testing.T, status int, says ...string) page {
	t.Helper()
	if p.status != status {
		t.Fatalf("%s: %d, want %d: %.2000s", p.at, p.status, status, p.text)
	}
	for _, words := range says {
		if !strings.Contains(p.text, words) {
			t.Fatalf("%s does not say %q: %s", p.at, words, p.text)
		}
	}
	return p
}

// field returns the value of a field of a form.
func (p page) field(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(p.text)
	if m == nil {
		t.Fatalf("%s has no field %s: %s", p.at, name, p.text)
	}
	return m[1]
}

// A purchase from the front page to the ticket, by links and forms alone: declined, paid, and looked at again.
func TestShop(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	event := s.concert(admin, 20, 1500)
	typ := event.TicketTypes[0].ID.String()
	b := s.browser()

	home := b.get("/").must(t, 200, event.Name, "15.00 EUR", `lang="en"`)
	path := regexp.MustCompile(`/events/[a-z0-9_-]*` + event.ID.String()).FindString(home.text)
	b.get(path).must(t, 200, event.Name, "20 left", typ)
	if got := b.get("/events/" + event.ID.String()); got.at != path {
		t.Errorf("the short address leads to %s, not %s", got.at, path)
	}
	b.get("/events?category=concert").must(t, 200, "Found for you", event.Name, `<option value="concert" selected>`)
	b.get("/events?category=comedy").must(t, 200, "Nothing matches that.")
	b.get("/events/evt_00000000000000000000000000").must(t, 404, "There is nothing here")
	b.get(path, "Accept-Language", "fr").must(t, 200, "Encore 20")

	// Who buys: somebody new, who comes back to what was chosen.
	checkout := "/checkout?event=" + event.ID.String() + "&" + typ + "=2"
	b.get(checkout).must(t, 200, "30.00 EUR", "You have an account?")
	b.send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", "short", "next", checkout).must(t, 400, "password")
	back := b.send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", password, "next", checkout)
	back.must(t, 200, "You order as Ada.")
	if back.at != checkout {
		t.Errorf("signing up led to %s", back.at)
	}
	order := []string{"event", event.ID.String(), typ, "2", "key", back.field(t, "key")}
	held := b.send("/checkout", order...).must(t, 200, "Your seats are held", "Pay 30.00 EUR")
	if again := b.send("/checkout", order...); again.at != held.at {
		t.Errorf("a form that was sent twice made %s and %s", held.at, again.at)
	}
	if got := s.left(event); got.Held != 2 {
		t.Errorf("%+v", got)
	}

	// A payment is declined; the next one is not.
	decide := func(p page, outcome string) {
		t.Helper()
		id := regexp.MustCompile(`pay_[a-z0-9]+`).FindString(p.text)
		call[any](s, 202, "POST", "/v1/sandbox/payments/"+id, "", api.SandboxOutcome{Outcome: outcome})
	}
	leaving := b.send(held.at+"/payments", "key", held.field(t, "key")).must(t, 200, "On to the payment")
	state := func(p page) string { return regexp.MustCompile(`data-revision="[^"]*"`).FindString(p.text) }
	open := b.get(held.at)
	decide(leaving, "declined")
	said := func(words string) page {
		t.Helper()
		var p page
		testkit.Eventually(t, 10*time.Second, func() error {
			if p = b.get(held.at); !strings.Contains(p.text, words) {
				return fmt.Errorf("%s does not say %q: %s", p.at, words, p.text)
			}
			return nil
		})
		return p
	}
	declined := said("The payment did not go through")
	if state(open) == state(declined) || state(open) == "" { // it looks for another state than its own
		t.Errorf("a page that is open does not learn that the payment was declined: %s", state(declined))
	}
	decide(b.send(held.at+"/payments", "key", declined.field(t, "key")), "succeeded")
	paid := said("You&#39;re going!")
	codes := regexp.MustCompile(`/orders/ord_[a-z0-9]+/tickets/tkt_[a-z0-9]+/qr.png`).FindAllString(paid.text, -1)
	if len(codes) != 4 { // each is a link and a picture
		t.Fatalf("%d links to codes: %s", len(codes), paid.text)
	}
	if got := b.get(codes[0]); got.status != 200 || got.header.Get("Content-Type") != "image/png" {
		t.Errorf("%d %v", got.status, got.header)
	}
	if got := b.get(held.at + "/tickets.pdf"); got.status != 200 || !strings.HasPrefix(got.text, "%PDF") {
		t.Errorf("%d %v", got.status, got.header)
	}
	b.get("/account").must(t, 200, "Hello, Ada", event.Name, "Paid")

	// Others see none of it, and no other site can use the browser.
	other := s.browser()
	if got := other.get(held.at); !strings.HasPrefix(got.at, "/sign-in?next=") {
		t.Errorf("a stranger is led to %s", got.at)
	}
	other.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	other.get(held.at).must(t, 404)
	other.get(codes[0]).must(t, 404)
	b.do("POST", "/sign-out", url.Values{}, "Sec-Fetch-Site", "cross-site").must(t, 403)
	b.get("/account").must(t, 200, "Hello, Ada")
	b.send("/sign-out").must(t, 200, "Sign in")
	if got := b.get("/account"); !strings.HasPrefix(got.at, "/sign-in?next=") {
		t.Errorf("after signing out /account leads to %s", got.at)
	}
	b.send("/sign-in", "email", "ada@example.org", "password", "wrong wrong wrong").must(t, 401, "That did not work.")
	b.send("/sign-in", "email", "ada@example.org", "password", password, "next", "/account").must(t, 200, "Hello, Ada")
	s.validate()
}

// A purchase without an account, with a code: the browser that made the order sees it, and so does who has the mailed link.
func TestShopForGuests(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	s, _, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	event := s.concert(admin, 20, 1500)
	typ := event.TicketTypes[0].ID.String()
	call[any](s, 201, "POST", "/v1/events/"+event.ID.String()+"/codes", admin, map[string]any{"code": "HALF", "kind": "percent", "percent": "50"})
	b := s.browser()
	checkout := b.get("/checkout?event=" + event.ID.String() + "&" + typ + "=2")
	order := []string{"event", event.ID.String(), typ, "2", "key", checkout.field(t, "key"), "name", "Gus", "email", "gus@example.org"}
	b.send("/checkout", append(order, "code", "NONE")...).must(t, 400, "gus@example.org")
	held := b.send("/checkout", append(order, "code", "half")...).must(t, 200, "Your seats are held", "Pay 15.00 EUR", "Discount HALF", "Sign in")
	pay := b.send(held.at+"/payments", "key", held.field(t, "key")).must(t, 200, "On to the payment")
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+regexp.MustCompile(`pay_[a-z0-9]+`).FindString(pay.text), "", api.SandboxOutcome{Outcome: "succeeded"})
	var paid page
	testkit.Eventually(t, 10*time.Second, func() error {
		if paid = b.get(held.at); !strings.Contains(paid.text, "You&#39;re going!") {
			return fmt.Errorf("%s", paid.text)
		}
		return nil
	})
	code := regexp.MustCompile(`/orders/ord_[a-z0-9]+/tickets/tkt_[a-z0-9]+/qr.png`).FindString(paid.text)
	b.get(code).must(t, 200)
	b.get(held.at+"/tickets.pdf").must(t, 200)

	// Who has the link from the mail sees the order, also while signed in as somebody else. Others do not.
	other := s.browser()
	other.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	other.get(held.at).must(t, 404)
	other.get(code).must(t, 404)
	link := s.mailed(filepath.Join(cfg.Data, "outbox"), "gus@example.org", held.at)
	if got := other.get(link).must(t, 200, "You&#39;re going!"); got.at != held.at {
		t.Errorf("the link ends at %s", got.at)
	}
	other.get(code).must(t, 200)
	other.get("/account").must(t, 200, "You have no tickets yet.")
	s.validate()
}

// Who asks for a page at the same time as others shares it, and still sees everything that was acknowledged before. What
// is for one person is not shared.
func TestPagesAreShared(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.unlimited(admin)
	s.set(admin, "ticketing.max_per_order", "1")
	const quantity = 30
	event := s.concert(admin, quantity, 0)
	path := s.browser().get("/events/" + event.ID.String()).at
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		b := s.browser()
		wg.Go(func() { // a crowd that keeps questions on their way
			for {
				select {
				case <-stop:
					return
				default:
					if resp, err := b.client.Get(b.site + path); err != nil {
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
		call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 1))
		p := s.browser().get(path)
		if m := shown.FindStringSubmatch(p.text); m == nil || m[1] != fmt.Sprint(quantity-sold) {
			t.Fatalf("%d are sold, and the page says %v", sold, m)
		}
	}
	b := s.browser()
	b.send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", password).must(t, 200)
	b.get(path).must(t, 200, "Sign out")
	s.browser().get(path).must(t, 200, "Sign in")
	s.browser().get(path, "Accept-Language", "de").must(t, 200, "übrig")
	close(stop)
	wg.Wait()
}

// What people write is shown as they wrote it, wherever it stands, and no page lets anything run.
func TestPagesEscape(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	for _, evil := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'"--></style></script><svg onload=alert(1)>`,
		`{{.}}${7*7}`, `javascript:alert(1)`} {
		e := s.concert(admin, 5, 0)
		e = call[api.Event](s, 200, "PATCH", "/v1/events/"+e.ID.String(), admin, map[string]any{"name": evil, "description": evil + "\n\n" + evil,
			"location": map[string]any{"name": evil, "address": evil, "city": evil, "country": "DE"}})
		typ := e.TicketTypes[0].ID.String()
		call[api.Event](s, 200, "PATCH", "/v1/events/"+e.ID.String()+"/ticket-types/"+typ, admin, map[string]any{"name": evil})
		asked := call[api.EventQuestions](s, 200, "PUT", "/v1/events/"+e.ID.String()+"/questions", admin, map[string]any{"questions": []any{
			map[string]any{"label": evil, "kind": "text", "purpose": evil, "help": evil, "required": true},
			map[string]any{"label": "C", "kind": "choice", "choices": []any{map[string]string{"label": evil}}}}}).Questions
		b := s.browser()
		mail := fmt.Sprintf("a%x@example.org", e.ID.String()[20:])
		pages := []page{b.get("/"), b.get("/events/" + e.ID.String()), b.get("/events?q=" + url.QueryEscape(evil) + "&city=" + url.QueryEscape(evil)),
			b.get("/sign-in?next=" + url.QueryEscape(evil)), b.send("/sign-in", "email", evil, "password", evil, "next", evil),
			b.send("/sign-up", "name", evil, "email", mail, "password", password)}
		checkout := b.get("/checkout?event=" + e.ID.String() + "&" + typ + "=1")
		pages = append(pages, checkout, b.send("/checkout", "event", e.ID.String(), typ, "1", "key", checkout.field(t, "key")),
			b.send("/checkout", "event", e.ID.String(), typ, "1", "key", checkout.field(t, "key"), "asked", "yes", "a."+asked[0].ID.String()+".0", evil), b.get("/account"))
		o := call[api.Order](s, 201, "POST", "/v1/orders", admin, map[string]any{"event_id": e.ID, "items": []any{map[string]any{"ticket_type_id": typ, "quantity": 1}},
			"answers": []any{map[string]any{"question_id": asked[0].ID, "position": 0, "value": evil}}})
		of := s.browser()
		of.send("/sign-in", "email", adminEmail, "password", password)
		for _, at := range []string{"/orders/" + o.ID.String() + "/answers", "/office/events/" + e.ID.String() + "/questions", "/office/events/" + e.ID.String() + "/attendees"} {
			p := of.get(at)
			if p.must(t, 200); !strings.Contains(p.text, "alert") && !strings.Contains(p.text, "7*7") {
				t.Errorf("%s does not show %q", at, evil)
			}
			pages = append(pages, p)
		}
		for _, p := range pages {
			for _, tag := range []string{"<script>alert", "<img src=x", "<svg onload", "${49}", `href="javascript:`} {
				if strings.Contains(p.text, tag) {
					t.Errorf("%s has %s", p.at, tag)
				}
			}
			if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %s", p.at, csp)
			}
		}
	}
}
