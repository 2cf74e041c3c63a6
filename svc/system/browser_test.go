package system_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

const axeVersion = "4.10.3"

// weigh counts what the browser has got for a page, compressed and without pictures. heaviest bounds it, in bytes.
const (
	weigh = `performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource").filter(e => e.initiatorType != "img")).
		reduce((sum, e) => sum + e.encodedBodySize, 0)`
	heaviest = 60_000
)

// chromium is a real browser, which finds every complaint of its console, and everything that it could not load.
type chromium struct {
	t    *testing.T
	site string
	ctx  context.Context
	axe  string
	dir  string // where pictures go; "" for none

	running bool

	mu        sync.Mutex
	complains []string
}

// chromium starts a browser. STARLIGHT_PICTURES names a folder for pictures of the pages that it looks at.
func (s *site) chromium(more ...chromedp.ExecAllocatorOption) *chromium {
	s.t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		testkit.Missing(s.t, "there is no chromium: "+err.Error())
	}
	axe, err := os.ReadFile(filepath.Join(testkit.NPM(s.t, "axe-core", axeVersion), "axe.min.js"))
	if err != nil {
		s.t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.NoSandbox,
		chromedp.UserDataDir(s.t.TempDir()))
	options = append(options, more...)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	s.t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	s.t.Cleanup(cancel)
	c := &chromium{t: s.t, site: s.url, ctx: ctx, axe: string(axe), dir: os.Getenv("STARLIGHT_PICTURES")}
	c.run(chromedp.Func(c.listen))
	return c
}

// listen notes what no page may cause.
func (c *chromium) listen(_ context.Context, t *chromedp.Target) error {
	hear(c, t, log.EntryAdded, func(e log.EventEntryAdded) string {
		return fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	})
	hear(c, t, runtime.ConsoleAPICalled, func(e runtime.EventConsoleAPICalled) string { return "console: " + string(e.Type) })
	hear(c, t, runtime.ExceptionThrown, func(e runtime.EventExceptionThrown) string {
		said := e.ExceptionDetails.Text
		if o := e.ExceptionDetails.Exception; o != nil {
			said += " " + o.Description
		}
		return said
	})
	hear(c, t, network.ResponseReceived, func(e network.EventResponseReceived) string {
		if e.Response.Status < 400 {
			return ""
		}
		return fmt.Sprintf("%d %s", int(e.Response.Status), e.Response.URL)
	})
	if _, err := cdp.Call(c.ctx, t, network.Enable, network.EnableParams{}); err != nil {
		return err
	}
	if _, err := cdp.Call(c.ctx, t, runtime.Enable, cdp.Empty{}); err != nil {
		return err
	}
	_, err := cdp.Call(c.ctx, t, log.Enable, cdp.Empty{})
	return err
}

// hear notes what is said of each event of a kind.
func hear[E any](c *chromium, t *chromedp.Target, kind cdp.Event[E], say func(E) string) {
	events := cdp.Events(c.ctx, t, kind)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			if said := say(e); said != "" {
				c.mu.Lock()
				c.complains = append(c.complains, said)
				c.mu.Unlock()
			}
		}
	}()
}

func (c *chromium) run(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 60*time.Second)
	defer cancel()
	if !c.running { // the browser lives as long as the context of the first step
		ctx, c.running = c.ctx, true
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		at, _ := chromedp.Run(c.ctx, chromedp.Location())
		c.t.Fatalf("at %s: %v", at, err)
	}
}

// value runs a script and returns what it returns, or what its promise becomes.
func value[T any](c *chromium, script string) T {
	c.t.Helper()
	got, err := chromedp.Run(c.ctx, chromedp.Evaluate[T](script, func(p *runtime.EvaluateParams) {
		wait := true
		p.AwaitPromise = &wait
	}))
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// open goes to a page, and looks at it.
func (c *chromium) open(name, path string) {
	c.t.Helper()
	c.run(chromedp.Navigate(c.site + path))
	c.look(name)
}

// look proves that a page is usable for everybody, at the size of a telephone and of a desktop, and takes pictures.
func (c *chromium) look(name string) {
	c.t.Helper()
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"phone", 390, 844}, {"desktop", 1280, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			c.run(chromedp.EmulateViewport(size.width, size.height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
					{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
				return err
			}), chromedp.WaitReady("main"), chromedp.Evaluate[chromedp.Void](c.axe))
			wider := value[bool](c, `document.documentElement.scrollWidth > innerWidth`)
			if weight := value[int](c, weigh); weight > heaviest {
				c.t.Errorf("%s has %d bytes, without pictures", name, weight)
			}
			violations := value[[]string](c, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " +
				v.nodes.map(n => n.html.slice(0, 150) + " " + n.any.map(a => a.message).join("; ")).join(" | ")))`)
			if wider {
				c.t.Errorf("%s on a %s is wider than the screen", name, size.name)
			}
			for _, v := range violations {
				c.t.Errorf("%s, %s, %s: %s", name, size.name, scheme, v)
			}
			c.picture(fmt.Sprintf("%s-%s-%s.png", name, size.name, scheme))
		}
	}
	c.quiet(name)
}

func (c *chromium) picture(name string) {
	c.t.Helper()
	if c.dir == "" {
		return
	}
	var png []byte
	testkit.Eventually(c.t, 20*time.Second, func() (err error) { // a page that is being left gives none, and never says so
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		png, err = chromedp.Run(ctx, chromedp.CaptureScreenshot())
		return err
	})
	if err := os.WriteFile(filepath.Join(c.dir, name), png, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// quiet fails the test for what the browser has complained of, unless that was expected here.
func (c *chromium) quiet(name string, but ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, said := range c.complains {
		if !slices.ContainsFunc(but, func(b string) bool { return strings.Contains(said, b) }) {
			c.t.Errorf("%s: the browser says %s", name, said)
		}
	}
	c.complains = nil
}

// says waits until a page shows some words.
func (c *chromium) says(words string) {
	c.t.Helper()
	testkit.Eventually(c.t, 20*time.Second, func() error {
		text, err := chromedp.Run(c.ctx, chromedp.Text("main"))
		if err != nil || !strings.Contains(text, words) {
			return fmt.Errorf("the page says %q, %v", text, err)
		}
		return nil
	})
}

// A purchase in a real browser, with scripts: every page is usable by everybody, on a telephone and a desktop, light and
// dark; nothing fails to load, nothing is refused by the policy, and the page of an order changes by itself.
func TestShopInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	c := s.chromium()
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	event := s.concert(admin, 20, 1500)
	typ := event.TicketTypes[0].ID.String()

	call[any](s, 200, "PUT", "/v1/events/"+event.ID.String()+"/image?alt=Hills+under+a+red+evening+sky", admin, aView())
	call[any](s, 200, "PUT", "/v1/organizers/"+event.OrganizerID.String()+"/logo", admin, aPicture())
	s.concert(admin, 20, 1500) // without a picture
	c.open("program", "/organizers/"+event.OrganizerID.String())
	c.run(chromedp.Navigate(c.site+"/"), chromedp.WaitReady("main"))
	if moved := value[float64](c, `new Promise(done => { let sum = 0; new PerformanceObserver(list => { for (const e of list.getEntries())
		sum += e.value }).observe({ type: "layout-shift", buffered: true }); setTimeout(() => done(sum), 300) })`); moved > 0.01 {
		t.Errorf("the page moves by %v while it loads", moved)
	}
	c.open("home", "/")
	c.run(chromedp.SetValue(`input[name=q]`, event.Name), chromedp.Submit(`form.search`))
	c.says("Found for you")
	c.run(chromedp.Click(`.card a[href$="` + event.ID.String() + `"]`))
	c.says("Tickets")
	if width := value[int](c, `document.querySelector("img.shot").decode().then(() => document.querySelector("img.shot").naturalWidth)`); width < 480 {
		t.Errorf("the picture of the event has %d pixels", width)
	}
	if linked := value[map[string]any](c, `JSON.parse(document.querySelector("script[type='application/ld+json']").textContent)`); linked["name"] != event.Name || linked["@type"] != "Event" {
		t.Errorf("machines read %v", linked)
	}
	c.look("event")
	c.run(chromedp.SetValue(`select`, "2"), chromedp.Click(`.offers .go`))
	c.says("You have an account?")
	c.look("checkout")
	c.run(chromedp.Navigate(c.site + "/sign-up?next=/checkout%3Fevent=" + event.ID.String() + "%26" + typ + "=2"))
	c.says("At least eight characters")
	c.look("sign-up")
	c.run(chromedp.SendKeys(`input[name=name]`, "Ada Lovelace"), chromedp.SendKeys(`input[name=email]`, "ada@example.org"),
		chromedp.SendKeys(`input[name=password]`, password), chromedp.Click(`.fields .go`))
	c.says("You order as Ada Lovelace.")
	c.look("checkout-signed-in")
	c.run(chromedp.Click(`main .go`))
	c.says("Held for you for another")
	c.look("order-pending")
	at := value[string](c, "location.href")
	order, token := at[strings.LastIndex(at, "/")+1:], s.login("ada@example.org")
	p := call[api.Payment](s, 201, "POST", "/v1/orders/"+order+"/payments", token, api.NewPayment{Provider: "sandbox"})
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
	c.says("You're going!") // by itself
	c.look("order-paid")
	c.open("account", "/account")
	c.open("home-german", "/")
	c.run(chromedp.Click(`button[lang=de]`))
	c.says("Demnächst")
	c.run(chromedp.Navigate(c.site + "/events/evt_00000000000000000000000000"))
	c.says("Hier ist nichts")
	c.quiet("a page that is not there", "404")

	// With the keyboard alone: to the tickets, and to the next step.
	c.run(chromedp.Navigate(c.site+"/checkout?event="+event.ID.String()+"&"+typ+"=1"), chromedp.Focus(`main .go`),
		chromedp.KeyEvent("\r"))
	c.run(chromedp.WaitVisible(`[data-order]`)) // the page before says the same words
	c.says("reserviert")

	// What takes the place of the part that had the focus has it then.
	at = value[string](c, "location.href")
	p = call[api.Payment](s, 201, "POST", "/v1/orders/"+at[strings.LastIndex(at, "/")+1:]+"/payments", token, api.NewPayment{Provider: "sandbox"})
	c.run(chromedp.Focus(`[data-order] button.go, [data-order] a.go`))
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
	c.says("Sie sind dabei")
	if got := value[string](c, `document.activeElement.tagName`); got != "H1" {
		t.Errorf("the focus is on %s", got)
	}
	c.quiet("the keyboard")
}

// What an organizer and the people at the door use, in a real browser.
func TestOfficeInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	c := s.chromium()
	admin := s.login(adminEmail)
	root := call[api.User](s, 200, "GET", "/v1/me", admin, nil)
	event := s.concert(admin, 20, 0)
	at := "/office/events/" + event.ID.String()
	org := "/office/organizers/" + event.OrganizerID.String()
	order := call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 2))
	code := call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+order.ID.String()+"/tickets", admin, nil).Items[0].Code
	call[api.Event](s, 201, "POST", "/v1/events/"+event.ID.String()+"/ticket-types", admin, api.NewTicketType{Name: "Cushion",
		Kind: api.KindProduct, Price: api.Money{Amount: 300, Currency: "EUR"}, Quantity: 5, Per: api.PerTicket})
	call[api.Event](s, 201, "POST", "/v1/events/"+event.ID.String()+"/ticket-types", admin, api.NewTicketType{Name: "Balcony",
		Price: api.Money{Amount: 2500, Currency: "EUR"}, Quantity: 5})
	call[api.IdentityProvider](s, 201, "POST", "/v1/identity-providers", admin, api.NewIdentityProvider{Name: "Corp & Sons",
		Issuer: openCorp(t, s.url+"/sign-in/return").URL, ClientID: "starlight", ClientSecret: "secret",
		RedirectURIs: []string{s.url + "/sign-in/return"}, Domains: []string{"corp.example"}, CreatesAccounts: true})
	c.run(chromedp.Navigate(c.site + "/sign-in?next=/office"))
	c.says("Sign in with Corp & Sons")
	c.look("sign-in-with-a-provider")
	c.run(chromedp.SendKeys(`input[name=email]`, adminEmail),
		chromedp.SendKeys(`input[name=password]`, password), chromedp.Click(`.fields .go`))
	c.says(event.Name)
	c.look("office")
	for name, path := range map[string]string{"office-new": "/office/events/new", "office-edit": at + "/edit", "office-orders": at + "/orders",
		"office-order": at + "/orders/" + order.ID.String(), "office-exchange": at + "/orders/" + order.ID.String() + "/exchange",
		"addons": "/checkout?event=" + event.ID.String() + "&" + event.TicketTypes[0].ID.String() + "=2", "office-attendees": at + "/attendees", "door-guests": "/door/" + event.ID.String() + "/guests?q=a",
		"doors": "/door", "door-scans": "/door/" + event.ID.String() + "/scans", "pair-at-the-system": "/pair", "account-settings": "/account/settings", "forgot": "/forgot", "reset": "/reset?token=x", "confirm": "/confirm?token=x",
		"office-money": at + "/money", "office-check-in": at + "/check-in", "office-messages": at + "/messages", "office-codes": at + "/codes", "office-imports": at + "/imports",
		"office-selling": at + "/selling", "office-questions": at + "/questions", "office-type": at + "/ticket-types/" + event.TicketTypes[0].ID.String(), "organizer": org, "organizer-team": org + "/team",
		"organizer-webhooks": org + "/webhooks", "organizer-keys": org + "/api-keys", "organizer-log": org + "/audit-log", "organizer-invoices": org + "/invoices", "organizer-money": org + "/money",
		"admin": "/admin", "admin-settings": "/admin/settings", "admin-setting": "/admin/settings/ticketing.hold_ttl", "admin-audit-log": "/admin/audit-log",
		"admin-logs": "/admin/logs", "admin-dead-letters": "/admin/dead-letters", "admin-users": "/admin/users", "admin-user": "/admin/users/" + root.ID.String()} {
		c.open(name, path)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		c.run(chromedp.Navigate(c.site + at))
		if sold := value[string](c, `document.querySelector(".figures dd").textContent`); !strings.HasPrefix(sold, "2") {
			return fmt.Errorf("sold: %s", sold)
		}
		return nil
	})
	c.look("office-event")

	// Codes are checked without leaving the page, and one that is not good leaves it ready for the next.
	c.open("door", "/door/"+event.ID.String())
	for code, want := range map[string]string{"nonsense": "Not a ticket", code: "Welcome"} {
		c.run(chromedp.SetValue(`input[name=code]`, code), chromedp.KeyEvent("\r"))
		c.says(want)
		if value[string](c, `document.activeElement.name + document.activeElement.value`) != "code" {
			t.Error("the page is not ready for the next code")
		}
	}
	c.look("door-answer")
}

// From nothing to an event that is on sale, in a real browser: an account, one form, and one button. What a person must
// press and fill in is counted.
func TestFirstEventInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	c := s.chromium()
	clicks, fields := 0, 0
	press := func(what string) {
		c.run(chromedp.Click(what))
		clicks++
	}
	fill := func(name, text string) {
		c.run(chromedp.SendKeys(`main [name=`+name+`]`, text))
		fields++
	}
	c.run(chromedp.Navigate(c.site + "/sign-up?next=/office"))
	fill("name", "Mina")
	fill("email", "mina@example.org")
	fill("password", password)
	press(`main .go`)
	c.says("Sell your first ticket today")
	c.look("office-first")
	press(`main .go`)
	c.says("First ticket type")
	fill("name", "Night of Lights")
	fill("place", "Old Hall")
	fill("city", "Berlin")
	fill("type", "Standard")
	fill("price", "12,50")
	press(`main .go`)
	c.says("Ready to sell?")
	press(`main .go`)
	c.says("Published")
	if clicks != 4 || fields != 8 {
		t.Errorf("it takes %d presses and %d fields", clicks, fields)
	}
	s.browser().get("/").must(t, 200, "Night of Lights", "12.50 EUR")
	c.quiet("the first event")
}
