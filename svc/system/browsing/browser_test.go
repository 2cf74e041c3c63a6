package browsing_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A purchase in a real browser, with scripts: every page is usable by everybody, on a telephone and a desktop, light and
// dark; nothing fails to load, nothing is refused by the policy, and the page of an order changes by itself.
func TestShopInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	c := s.Chromium()
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 20, 1500)
	typ := event.TicketTypes[0].ID.String()

	systemtest.Call[any](s, 200, "PUT", "/v1/events/"+event.ID.String()+"/image?alt=Hills+under+a+red+evening+sky", admin, systemtest.AView())
	systemtest.Call[any](s, 200, "PUT", "/v1/organizers/"+event.OrganizerID.String()+"/logo", admin, systemtest.APicture())
	s.Concert(admin, 20, 1500) // without a picture
	c.Open("program", "/organizers/"+event.OrganizerID.String())
	c.Run(chromedp.Navigate(c.Site+"/"), chromedp.WaitReady("main"))
	if moved := systemtest.Value[float64](c, `new Promise(done => { let sum = 0; new PerformanceObserver(list => { for (const e of list.getEntries())
		sum += e.value }).observe({ type: "layout-shift", buffered: true }); setTimeout(() => done(sum), 300) })`); moved > 0.01 {
		t.Errorf("the page moves by %v while it loads", moved)
	}
	c.Open("home", "/")
	c.Run(chromedp.SetValue(`input[name=q]`, event.Name), chromedp.Submit(`form.search`))
	c.Says("Found for you")
	c.Run(chromedp.Click(`.card a[href$="` + event.ID.String() + `"]`))
	c.Says("Tickets")
	if width := systemtest.Value[int](c, `document.querySelector("img.shot").decode().then(() => document.querySelector("img.shot").naturalWidth)`); width < 480 {
		t.Errorf("the picture of the event has %d pixels", width)
	}
	if linked := systemtest.Value[map[string]any](c, `JSON.parse(document.querySelector("script[type='application/ld+json']").textContent)`); linked["name"] != event.Name || linked["@type"] != "Event" {
		t.Errorf("machines read %v", linked)
	}
	c.Look("event")
	c.Run(chromedp.SetValue(`select`, "2"), chromedp.Click(`.offers .go`))
	c.Says("You have an account?")
	c.Look("checkout")
	c.Run(chromedp.Navigate(c.Site + "/sign-up?next=/checkout%3Fevent=" + event.ID.String() + "%26" + typ + "=2"))
	c.Says("At least eight characters")
	c.Look("sign-up")
	c.Run(chromedp.SendKeys(`input[name=name]`, "Ada Lovelace"), chromedp.SendKeys(`input[name=email]`, "ada@example.org"),
		chromedp.SendKeys(`input[name=password]`, systemtest.Password), chromedp.Click(`.fields .go`))
	c.Says("You order as Ada Lovelace.")
	c.Look("checkout-signed-in")
	c.Run(chromedp.Click(`main .go`))
	c.Says("Held for you for another")
	c.Look("order-pending")
	at := systemtest.Value[string](c, "location.href")
	order, token := at[strings.LastIndex(at, "/")+1:], s.Login("ada@example.org")
	p := systemtest.Call[api.Payment](s, 201, "POST", "/v1/orders/"+order+"/payments", token, api.NewPayment{Provider: "sandbox"})
	systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
	c.Says("You're going!") // by itself
	c.Look("order-paid")
	c.Open("account", "/account")
	c.Open("home-german", "/")
	c.Run(chromedp.Click(`button[lang=de]`))
	c.Says("Demnächst")
	c.Run(chromedp.Navigate(c.Site + "/events/evt_00000000000000000000000000"))
	c.Says("Hier ist nichts")
	c.Quiet("a page that is not there", "404")

	// With the keyboard alone: to the tickets, and to the next step.
	c.Run(chromedp.Navigate(c.Site+"/checkout?event="+event.ID.String()+"&"+typ+"=1"), chromedp.Focus(`main .go`),
		chromedp.KeyEvent("\r"))
	c.Run(chromedp.WaitVisible(`[data-order]`)) // the page before says the same words
	c.Says("reserviert")

	// What takes the place of the part that had the focus has it then.
	at = systemtest.Value[string](c, "location.href")
	p = systemtest.Call[api.Payment](s, 201, "POST", "/v1/orders/"+at[strings.LastIndex(at, "/")+1:]+"/payments", token, api.NewPayment{Provider: "sandbox"})
	c.Run(chromedp.Focus(`[data-order] button.go, [data-order] a.go`))
	systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
	c.Says("Sie sind dabei")
	if got := systemtest.Value[string](c, `document.activeElement.tagName`); got != "H1" {
		t.Errorf("the focus is on %s", got)
	}
	c.Quiet("the keyboard")
}

// What an organizer and the people at the door use, in a real browser.
func TestOfficeInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	c := s.Chromium()
	admin := s.Login(systemtest.AdminEmail)
	root := systemtest.Call[api.User](s, 200, "GET", "/v1/me", admin, nil)
	event := s.Concert(admin, 20, 0)
	at := "/office/events/" + event.ID.String()
	org := "/office/organizers/" + event.OrganizerID.String()
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 2))
	code := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+order.ID.String()+"/tickets", admin, nil).Items[0].Code
	systemtest.Call[api.Event](s, 201, "POST", "/v1/events/"+event.ID.String()+"/ticket-types", admin, api.NewTicketType{Name: "Cushion",
		Kind: api.KindProduct, Price: api.Money{Amount: 300, Currency: "EUR"}, Quantity: 5, Per: api.PerTicket})
	systemtest.Call[api.Event](s, 201, "POST", "/v1/events/"+event.ID.String()+"/ticket-types", admin, api.NewTicketType{Name: "Balcony",
		Price: api.Money{Amount: 2500, Currency: "EUR"}, Quantity: 5})
	systemtest.Call[api.IdentityProvider](s, 201, "POST", "/v1/identity-providers", admin, api.NewIdentityProvider{Name: "Corp & Sons",
		Issuer: openCorp(t, s.URL+"/sign-in/return").URL, ClientID: "starlight", ClientSecret: "secret",
		RedirectURIs: []string{s.URL + "/sign-in/return"}, Domains: []string{"corp.example"}, CreatesAccounts: true})
	c.Run(chromedp.Navigate(c.Site + "/sign-in?next=/office"))
	c.Says("Sign in with Corp & Sons")
	c.Look("sign-in-with-a-provider")
	c.Run(chromedp.SendKeys(`input[name=email]`, systemtest.AdminEmail),
		chromedp.SendKeys(`input[name=password]`, systemtest.Password), chromedp.Click(`.fields .go`))
	c.Says(event.Name)
	c.Look("office")
	for name, path := range map[string]string{"office-new": "/office/events/new", "office-edit": at + "/edit", "office-orders": at + "/orders",
		"office-order": at + "/orders/" + order.ID.String(), "office-exchange": at + "/orders/" + order.ID.String() + "/exchange",
		"addons": "/checkout?event=" + event.ID.String() + "&" + event.TicketTypes[0].ID.String() + "=2", "office-attendees": at + "/attendees", "door-guests": "/door/" + event.ID.String() + "/guests?q=a",
		"doors": "/door", "door-scans": "/door/" + event.ID.String() + "/scans", "pair-at-the-system": "/pair", "account-settings": "/account/settings", "forgot": "/forgot", "reset": "/reset?token=x", "confirm": "/confirm?token=x",
		"office-money": at + "/money", "office-check-in": at + "/check-in", "office-messages": at + "/messages", "office-codes": at + "/codes", "office-imports": at + "/imports",
		"office-selling": at + "/selling", "office-questions": at + "/questions", "office-type": at + "/ticket-types/" + event.TicketTypes[0].ID.String(), "organizer": org, "organizer-team": org + "/team",
		"organizer-webhooks": org + "/webhooks", "organizer-keys": org + "/api-keys", "organizer-log": org + "/audit-log", "organizer-invoices": org + "/invoices", "organizer-money": org + "/money",
		"admin": "/admin", "admin-settings": "/admin/settings", "admin-setting": "/admin/settings/ticketing.hold_ttl", "admin-audit-log": "/admin/audit-log",
		"admin-logs": "/admin/logs", "admin-dead-letters": "/admin/dead-letters", "admin-users": "/admin/users", "admin-user": "/admin/users/" + root.ID.String(),
		"admin-payouts": "/admin/payouts", "admin-payout": "/admin/payouts/" + event.OrganizerID.String()} {
		c.Open(name, path)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		c.Run(chromedp.Navigate(c.Site + at))
		if sold := systemtest.Value[string](c, `document.querySelector(".figures dd").textContent`); !strings.HasPrefix(sold, "2") {
			return fmt.Errorf("sold: %s", sold)
		}
		return nil
	})
	c.Look("office-event")

	// Codes are checked without leaving the page, and one that is not good leaves it ready for the next.
	c.Open("door", "/door/"+event.ID.String())
	c.Installable()
	for code, want := range map[string]string{"nonsense": "Not a ticket", code: "Welcome"} {
		c.Run(chromedp.SetValue(`input[name=code]`, code), chromedp.KeyEvent("\r"))
		c.Says(want)
		if systemtest.Value[string](c, `document.activeElement.name + document.activeElement.value`) != "code" {
			t.Error("the page is not ready for the next code")
		}
	}
	c.Look("door-answer")
}

// From nothing to an event that is on sale, in a real browser: an account, one form, and one button. What a person must
// press and fill in is counted.
func TestFirstEventInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	c := s.Chromium()
	clicks, fields := 0, 0
	press := func(what string) {
		c.Run(chromedp.Click(what))
		clicks++
	}
	fill := func(name, text string) {
		c.Run(chromedp.SendKeys(`main [name=`+name+`]`, text))
		fields++
	}
	c.Run(chromedp.Navigate(c.Site + "/sign-up?next=/office"))
	fill("name", "Mina")
	fill("email", "mina@example.org")
	fill("password", systemtest.Password)
	press(`main .go`)
	c.Says("Sell your first ticket today")
	c.Look("office-first")
	press(`main .go`)
	c.Says("First ticket type")
	fill("name", "Night of Lights")
	fill("place", "Old Hall")
	fill("city", "Berlin")
	fill("type", "Standard")
	fill("price", "12,50")
	press(`main .go`)
	c.Says("Ready to sell?")
	press(`main .go`)
	c.Says("Published")
	if clicks != 4 || fields != 8 {
		t.Errorf("it takes %d presses and %d fields", clicks, fields)
	}
	s.Browser().Get("/").Must(t, 200, "Night of Lights", "12.50 EUR")
	c.Quiet("the first event")
}
