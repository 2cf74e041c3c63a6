package browsing_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// life is the way of an event from its organizer's sign-up to a refund, as people with one kind of browser go it.
type life struct {
	*systemtest.Chromium
	sites   []*systemtest.Site // each page is asked for at the next of them
	asked   int
	name    string
	lang    string // of the browser
	keys    bool   // nothing but the keyboard
	phone   bool
	scripts bool
	film    string // the file that the camera sees
}

// The whole life of an event in a real browser: its organizer signs up, publishes it and gives it a picture; a guest's
// card is declined, and the next one pays; the ticket is scanned by the camera; the organizer gives the money back. No
// page may break the policy, complain, miss anything or be wider than the screen.
func TestLifeInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	s.Unlimited(admin)
	for _, l := range []*life{
		{name: "keyboard", lang: "en", keys: true, scripts: true},
		{name: "german-phone", lang: "de", phone: true, scripts: true},
		{name: "without-scripts", lang: "en"},
	} {
		t.Run(l.name, func(t *testing.T) { l.live(t, s) })
	}
}

// The same where each page comes from the other one of two gateways, and each service runs in processes of its own.
func TestLifeInABrowserAtACluster(t *testing.T) {
	t.Parallel()
	c := systemtest.StartCluster(t)
	admin := c.Sites[0].Login(systemtest.AdminEmail)
	c.Sites[0].Set(admin, "payment.sandbox", "true")
	c.Sites[0].Unlimited(admin)
	(&life{name: "cluster", lang: "en", scripts: true}).live(t, c.Sites...)
}

func (l *life) live(t *testing.T, sites ...*systemtest.Site) {
	began := time.Now()
	l.sites, l.film = sites, filepath.Join(t.TempDir(), "camera.y4m")
	here := *sites[0]
	here.T = t
	l.Chromium = here.Chromium(chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true), chromedp.Flag("use-file-for-fake-video-capture", l.film),
		chromedp.Flag("disable-blink-features", "BarcodeDetector"))
	l.begin()
	organizer, event := l.name+"@example.org", "Night of "+l.name
	at := l.publish(organizer, event)
	l.leave()
	order := l.buy(event)
	token := here.Login(organizer)
	ticket := systemtest.Call[api.List[api.Ticket]](&here, 200, "GET", "/v1/orders/"+order+"/tickets", token, nil).Items[0]
	l.enter(organizer, "/door/"+at)
	l.scan(&here, token, ticket)
	l.refund(at, order)
	l.Quiet("the end")
	t.Logf("%s took %.1f s", l.name, time.Since(began).Seconds())
}

func (l *life) begin() {
	l.T.Helper()
	width, height := int64(1280), int64(900)
	if l.phone {
		width, height = 390, 844
	}
	l.Run(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		headers := network.Headers{"Accept-Language": l.lang}
		if _, err := cdp.Call(ctx, t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.scripts})
		return err
	}))
}

// goTo opens a page at the next of the gateways, and waits for what it has to have.
func (l *life) goTo(path, has string) {
	l.T.Helper()
	l.asked++
	l.Run(chromedp.Navigate(l.sites[l.asked%len(l.sites)].URL + path))
	l.waits(has)
	l.fits()
}

// fits fails the test for a page that is wider than the screen, or in another language than the browser's.
func (l *life) fits() {
	l.T.Helper()
	var seen struct {
		At, Lang string
		Wide     bool
	}
	testkit.Eventually(l.T, 30*time.Second, func() (err error) { // there is none while one page follows on another
		seen, err = soon[struct {
			At, Lang string
			Wide     bool
		}](l, `document.readyState === "complete" && document.querySelector("main") ? { At: location.pathname,
			Lang: document.documentElement.lang, Wide: document.documentElement.scrollWidth > innerWidth } : {}`)
		if err == nil && seen.At == "" {
			err = errors.New("the page is not there yet")
		}
		return err
	})
	at := seen.At
	if seen.Wide {
		l.T.Errorf("%s: %s is wider than the screen", l.name, at)
	}
	if seen.Lang != l.lang && !strings.HasPrefix(at, "/sandbox/") {
		l.T.Errorf("%s: %s is in %s", l.name, at, seen.Lang)
	}
	l.Picture(fmt.Sprintf("life-%s%s.png", l.name, strings.NewReplacer("/", "-", "_", "-").Replace(at)))
	// The page that leads on to the provider is gone before its title has moved. Who is quick is in a field before the page
	// has put them there.
	l.Quiet(l.name+" at "+at, "AbortError: Transition was skipped", "Autofocus processing was blocked")
}

// reach moves the focus to something, by the keyboard alone if that is how these people do it.
func (l *life) reach(what string) {
	l.T.Helper()
	l.waits(what)
	if !l.keys {
		if !read[bool](l, fmt.Sprintf(`(e => { e?.focus(); return !!e && document.activeElement === e })(document.querySelector(%q))`, what)) {
			l.T.Fatalf("%s: %s takes no focus", l.name, what)
		}
		return
	}
	const most = 150
	is := fmt.Sprintf(`document.activeElement === document.querySelector(%q)`, what)
	for i := range most {
		if read[bool](l, is) {
			if i > 0 && !read[bool](l, `document.activeElement.matches(":focus-visible")`) {
				l.T.Errorf("%s: the focus on %s does not show", l.name, what)
			}
			return
		}
		l.Run(chromedp.KeyEvent("\t"))
	}
	l.T.Fatalf("%s: %s cannot be reached at %s", l.name, what, read[string](l, "location.href"))
}

// soon runs a script on a page, which may be left meanwhile: then there is no answer.
func soon[T any](l *life, script string) (T, error) {
	ctx, cancel := context.WithTimeout(l.Ctx, 3*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script))
}

// read is soon as often as pages are left meanwhile. The script must not mind to run twice.
func read[T any](l *life, script string) (got T) {
	l.T.Helper()
	testkit.Eventually(l.T, 30*time.Second, func() (err error) {
		got, err = soon[T](l, script)
		return err
	})
	return got
}

// waits until a page shows something, also when that page leads on by itself.
func (l *life) waits(what string) {
	l.T.Helper()
	shown := fmt.Sprintf(`(document.querySelector(%q)?.getClientRects().length ?? 0) > 0`, what)
	testkit.Eventually(l.T, 30*time.Second, func() error {
		if ok, err := soon[bool](l, shown); err != nil || !ok {
			there, _ := soon[string](l, `location.pathname + ": " + document.querySelector("main")?.innerText`)
			return fmt.Errorf("the page does not show %s, %v: %.500s", what, err, there)
		}
		return nil
	})
}

// click presses the mouse on something.
func (l *life) click(what string) {
	l.T.Helper()
	var at []float64
	script := fmt.Sprintf(`(() => { const e = document.querySelector(%q); if (!e?.getClientRects().length) return [];
		e.scrollIntoView({ block: "center", behavior: "instant" }); const r = e.getClientRects()[0];
		return [r.x + r.width / 2, r.y + r.height / 2] })()`, what)
	testkit.Eventually(l.T, 30*time.Second, func() (err error) { // an order that has changed replaces itself
		if at, err = soon[[]float64](l, script); err == nil && len(at) == 0 {
			err = fmt.Errorf("the page does not show %s", what)
		}
		return err
	})
	l.Run(chromedp.MouseClickXY(at[0], at[1]))
}

// fill writes into a field.
func (l *life) fill(field, text string) {
	l.T.Helper()
	l.reach(field)
	l.Run(chromedp.KeyEvent(text))
}

// use presses a button or follows a link.
func (l *life) use(what string) {
	l.T.Helper()
	if l.keys {
		l.reach(what)
		l.Run(chromedp.KeyEvent("\r"))
	} else {
		l.click(what)
	}
}

// press uses a button or a link, and waits for what comes of it.
func (l *life) press(what, then string) {
	l.T.Helper()
	l.use(what)
	l.waits(then)
	l.fits()
}

// publish makes an account, an event on sale and its picture, and returns the id of the event.
func (l *life) publish(email, event string) string {
	l.T.Helper()
	l.goTo("/sign-up?next=/office", `main [name=name]`)
	l.fill(`main [name=name]`, "Mina")
	l.fill(`main [name=email]`, email)
	l.fill(`main [name=password]`, systemtest.Password)
	l.press(`main .go`, `main .checklist`)
	l.press(`main .next .go`, `main [name=place]`)
	l.fill(`main [name=name]`, event)
	l.fill(`main [name=place]`, "Old Hall")
	l.fill(`main [name=city]`, "Berlin")
	l.fill(`main [name=type]`, "Standard")
	l.fill(`main [name=price]`, "12,50")
	l.press(`main form .go`, `main form[action$="/publication"]`)
	at := read[string](l, "location.pathname")
	id := at[strings.LastIndex(at, "/")+1:]
	l.press(`main form[action$="/publication"] .go`, `main .figures, main .hint`)
	file := filepath.Join(l.T.TempDir(), "view.jpg")
	if err := os.WriteFile(file, systemtest.AView(), 0o600); err != nil {
		l.T.Fatal(err)
	}
	l.Run(chromedp.SetUploadFiles(`#picture input[type=file]`, []string{file})) // the system's own window chooses it
	l.fill(`#picture [name=alt]`, "Hills under a red evening sky")
	l.press(`#picture .go`, `#picture img.preview`)
	return id
}

// leave signs out.
func (l *life) leave() {
	l.T.Helper()
	l.press(`header form[action="/sign-out"] button`, `header a[href^="/sign-in"]`)
}

func (l *life) enter(email, next string) {
	l.T.Helper()
	l.goTo("/sign-in?next="+next, `main [name=email]`)
	l.fill(`main [name=email]`, email)
	l.fill(`main [name=password]`, systemtest.Password)
	l.press(`main .fields .go`, `main form.scan`)
}

// buy has a guest find the event and order a ticket, whose first card is declined, and returns the id of the order.
func (l *life) buy(event string) string {
	l.T.Helper()
	testkit.Eventually(l.T, 30*time.Second, func() error { // lists follow on the publication
		l.goTo("/", `main form.search`)
		if text := read[string](l, `document.querySelector("main").innerText`); !strings.Contains(text, event) {
			return fmt.Errorf("the event is not among %q", text)
		}
		return nil
	})
	l.fill(`form.search [name=q]`, event)
	l.press(`form.search button`, `main .card a`)
	testkit.Eventually(l.T, 30*time.Second, func() error { // the page before has cards, too
		if there, err := soon[bool](l, `document.readyState === "complete" && location.search.includes("q=")`); err != nil || !there {
			return fmt.Errorf("nothing is found yet, %v", err)
		}
		return nil
	})
	l.press(`main .card a`, `main .offers`)
	if l.keys {
		if l.reach(`.offers select`); read[string](l, `document.activeElement.value`) != "1" {
			l.Run(chromedp.KeyEvent("1"))
		}
	} else {
		l.Run(chromedp.SetValue(`.offers select`, "1"))
	}
	l.press(`.offers .go`, `main [name=email]`)
	l.fill(`main [name=name]`, "Gus")
	l.fill(`main [name=email]`, "gus-"+l.name+"@example.org")
	l.press(`main form .go`, `main form[action$="/payments"]`)
	at := read[string](l, "location.pathname")
	l.pay(at, "declined", ".decline", "Declined.", `main .wrong`)
	l.pay(at, "succeeded", ".pay", "This payment is done.", `main .tickets`)
	return at[strings.LastIndex(at, "/")+1:]
}

// pay goes to the provider and comes back to the order. The provider's page is not ours, and needs scripts: without them
// the payer's decision is sent to it directly.
func (l *life) pay(order, outcome, button, says, then string) {
	l.T.Helper()
	l.press(`main form[action$="/payments"] .go`, `main .back a`) // by a page of ours that leads on by itself
	there := read[string](l, "location.pathname")
	if l.scripts {
		// Who leaves before the provider has the decision takes it along: its page has to say that it has it.
		l.use("main " + button)
		testkit.Eventually(l.T, 20*time.Second, func() error {
			said, err := soon[string](l, `document.readyState === "complete" ? document.querySelector(".status").textContent : ""`)
			if err != nil || !strings.HasPrefix(said, says) {
				return fmt.Errorf("the provider says %q, %v", said, err)
			}
			return nil
		})
		l.press(`main .back a`, then) // the page says by itself what became of it
		return
	}
	payment := there[strings.LastIndex(there, "/")+1:]
	systemtest.Call[any](l.sites[0], 202, "POST", "/v1/sandbox/payments/"+payment, "", api.SandboxOutcome{Outcome: outcome})
	testkit.Eventually(l.T, 20*time.Second, func() error {
		l.goTo(order, "main h1")
		if !read[bool](l, fmt.Sprintf(`document.querySelector(%q) !== null`, then)) {
			return errors.New("the order does not say what became of it")
		}
		return nil
	})
}

// scan lets the guest in: by the camera, and where there are no scripts by the code.
func (l *life) scan(s *systemtest.Site, token string, ticket api.Ticket) {
	l.T.Helper()
	if !l.scripts {
		l.fill(`form.scan [name=code]`, ticket.Code)
		l.press(`form.scan .go`, `#result .answer.good`)
		return
	}
	code, err := s.Send("GET", "/v1/tickets/"+ticket.ID.String()+"/qr.png", token, nil)
	if err != nil || code.Status != 200 {
		l.T.Fatal(code.Status, err)
	}
	film(l.T, l.film, held(l.T, code.Body))
	l.press(`[data-camera]`, `#result .answer.good`)
}

// refund gives the money of the order back.
func (l *life) refund(event, order string) {
	l.T.Helper()
	l.goTo("/office/events/"+event+"/orders", `main .orders a`)
	l.press(`main .orders a`, `main form[action$="/refunds"]`)
	tick := `main form[action$="/refunds"] input[type=checkbox]`
	if l.keys {
		l.fill(tick, " ")
	} else {
		l.click(tick)
	}
	l.press(`main details.danger summary`, `main details.danger [name=reason]`)
	l.fill(`main details.danger [name=reason]`, "Rain")
	l.press(`main details.danger button`, `main .badge.revoked`)
	testkit.Eventually(l.T, 20*time.Second, func() error {
		l.goTo("/office/events/"+event+"/orders/"+order, "main .meta .badge")
		if !read[bool](l, `document.querySelector("main .meta .badge").classList.contains("refunded")`) {
			return errors.New("the money is on its way")
		}
		return nil
	})
}
