package system_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// pairing returns the pairing of a new pass.
func (h *hall) pairing(t *testing.T, name string) api.Pairing {
	t.Helper()
	return call[api.NewPassSecret](h.hub, 201, "POST", h.at("/passes"), h.owner, api.NewPass{Name: name, Gate: "north"}).Pairing
}

// lineIsUp waits until the venue's computer knows that it has a line: its codes are the system's.
func (h *hall) lineIsUp(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := h.edge.send("GET", "/v1/status", "", nil)
		return errors.Join(err, got.is(200, `"line":{"up":true`))
	})
}

// The computer of a venue serves the pages of its doors: a telephone is paired there with a code, and then scans, lets
// people out and finds them by name while the line is cut, until its pass is taken away. Without scripts.
func TestDoorPagesOfAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := openHall(t)
	b := h.edge.browser()
	door := "/door/" + h.event.ID.String()
	for _, path := range []string{"/", "/door", door, door + "/guests"} {
		if p := b.get(path).must(t, 200, "Pair this device"); p.at != "/pair" {
			t.Errorf("%s without a pass leads to %s", path, p.at)
		}
	}
	h.lineIsUp(t)
	if p := b.send("/pair", "code", "nonsense"); p.status != 404 {
		t.Errorf("a wrong code: %d %s", p.status, p.text)
	}
	code := h.pairing(t, "Telephone").Code
	if p := b.do("POST", "/pair", map[string][]string{"code": {code}}, "Sec-Fetch-Site", "cross-site"); p.status != 403 {
		t.Errorf("a form of another site: %d %s", p.status, p.text)
	}
	if p := b.send("/pair", "code", " "+code).must(t, 200, h.event.Name, "There is a line to the system"); p.at != door {
		t.Errorf("it leads to %s", p.at)
	}
	if p := h.edge.browser().send("/pair", "code", code); p.status != 404 {
		t.Errorf("the code once more: %d %s", p.status, p.text)
	}
	named := h.sale(1)
	named.Attendees = []api.Attendee{{Name: "Zoë"}}
	call[api.Sale](h.hub, 201, "POST", api.CreateSale.Path, h.owner, named)
	testkit.Eventually(t, 20*time.Second, func() error {
		if p := b.get(door + "/guests?q=zoe"); !strings.Contains(p.text, "Zoë") {
			return errors.New("the venue has not heard of her")
		}
		return nil
	})
	mend := h.line.Pause()
	defer mend()
	b.get("/").must(t, 200, h.event.Name)
	b.send(door, "code", tickets[0].Code, "gate", "south").must(t, 200, "Welcome")
	b.send(door, "code", tickets[0].Code).must(t, 200, "Used already", "north") // the gate that the device is for
	b.send(door, "code", tickets[0].Code, "way", "out").must(t, 200, "Goodbye")
	b.send(door, "code", "nonsense").must(t, 200, "Not a ticket")
	b.get(door+"/guests?q=zoe").must(t, 200, "Zoë", h.event.TicketTypes[0].Name)
	b.do("GET", door, nil, "Accept-Language", "de").must(t, 200, "Einlass")
	testkit.Eventually(t, 60*time.Second, func() error {
		if got := h.atPage(b, door); got != "cut" {
			return fmt.Errorf("the strip says %s", got)
		}
		return nil
	})
	mend()
	for _, p := range call[api.List[api.Pass]](h.hub, 200, "GET", h.at("/passes"), h.owner, nil).Items {
		call[any](h.hub, 204, "DELETE", h.at("/passes/"+p.ID.String()), h.owner, nil)
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		if p := b.get(door); p.at != "/pair" {
			return fmt.Errorf("the page is %s", p.at)
		}
		return nil
	})
}

// A telephone with internet is paired at the system, and scans there without an account, also while a venue admits for the
// event and there is a line to it.
func TestTelephoneIsPairedAtTheSystem(t *testing.T) {
	t.Parallel()
	h, tickets := openHall(t)
	b := h.hub.browser()
	door := "/door/" + h.event.ID.String()
	if p := b.get(door); !strings.HasPrefix(p.at, "/sign-in") {
		t.Errorf("without a pass: %s", p.at)
	}
	p := b.send("/pair", "code", h.pairing(t, "Telephone").Code).must(t, 200, h.event.Name)
	if p.at != door || strings.Contains(p.text, "/guests") {
		t.Errorf("it leads to %s: %s", p.at, p.text)
	}
	scan := func(ticket api.Ticket, want string, more ...string) {
		t.Helper()
		b.send(door, append(more, "code", ticket.Code)...).must(t, 200, want)
	}
	scan(tickets[0], "Welcome")
	if got := h.atVenue(t, tickets[0]); got != api.AlreadyAdmitted {
		t.Errorf("then at the venue: %s", got)
	}
	scan(tickets[0], "Used already")
	scan(tickets[0], "Goodbye", "way", "out")
	scan(tickets[0], "Not inside", "way", "out")
	mend := h.line.Pause()
	defer mend()
	if p := b.send(door, "code", tickets[1].Code); p.status < 503 || !strings.Contains(p.text, "Try again") {
		t.Errorf("without a line: %d %s", p.status, p.text)
	}
	mend()
	call[api.Authority](h.hub, 200, "DELETE", h.at("/authority"), h.owner, nil)
	h.awaitDoors(t, "hub")
	scan(tickets[2], "Welcome")
	scan(tickets[2], "Used already", "gate", "south")
	for _, pass := range call[api.List[api.Pass]](h.hub, 200, "GET", h.at("/passes"), h.owner, nil).Items {
		call[any](h.hub, 204, "DELETE", h.at("/passes/"+pass.ID.String()), h.owner, nil)
	}
	if p := b.send(door, "code", tickets[3].Code); p.at != "/pair" {
		t.Errorf("with a pass that was taken away: %s", p.at)
	}
}

// atPage returns what the strip of a door's page says of the line.
func (h *hall) atPage(b *browser, door string) string {
	if p := b.get(door); strings.Contains(p.text, "No line") {
		return "cut"
	}
	return "up"
}

// A telephone opens the address of the picture, and needs one button to be at the door.
func TestTelephoneIsPairedInABrowser(t *testing.T) {
	t.Parallel()
	h, tickets := openHall(t)
	c := h.edge.chromium()
	c.open("pair", "/pair")
	h.lineIsUp(t)
	code := h.pairing(t, "Telephone").Code
	c.run(chromedp.Navigate("about:blank"), chromedp.Navigate(c.site+"/pair#"+code), chromedp.WaitReady("main"))
	testkit.Eventually(t, 10*time.Second, func() error {
		if got := value[string](c, `document.querySelector("[name=code]").value + location.hash`); got != code {
			return fmt.Errorf("the form has %q", got)
		}
		return nil
	})
	c.run(chromedp.Click(".fields .go"))
	c.says(h.event.Name)
	mend := h.line.Pause()
	defer mend()
	c.run(chromedp.SetValue(`input[name=code]`, tickets[0].Code), chromedp.KeyEvent("\r"))
	c.says("Welcome")
	c.look("door-of-a-venue")
	c.open("door-guests-of-a-venue", "/door/"+h.event.ID.String()+"/guests?q=a")
	c.open("doors-of-a-venue", "/")
}
