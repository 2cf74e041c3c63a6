package system_test

import (
	"errors"
	"fmt"
	"regexp"
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

// admission returns the first admission of a list that can be taken back.
func (p page) admission(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`name="admission" value="(adm_[a-z0-9]+)"`).FindStringSubmatch(p.text)
	if found == nil {
		t.Fatalf("nothing can be taken back: %s", p.text)
	}
	return found[1]
}

// Who works at an event signs in at the venue's computer with their account, once, while there is a line; without one
// they go on, also after a restart, and take back what their part in the team allows. What ends at the system ends there.
func TestStaffSignsInAtAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := openHall(t)
	dora, _ := h.hub.join("dora@example.org")
	call[any](h.hub, 200, "PUT", h.at("/team/"+dora.ID.String()), h.owner, api.SetTeamMember{Role: api.RoleDoor})
	h.hub.join("eve@example.org")
	h.lineIsUp(t)
	door := "/door/" + h.event.ID.String()
	signIn := func(who, password string) (*browser, page) {
		b := h.edge.browser()
		b.get("/door").must(t, 200, "sign in with your account")
		return b, b.send("/sign-in", "email", who+"@example.org", "password", password)
	}
	for who, password := range map[string]string{"owner": "wrong horse", "nobody": password} {
		if _, p := signIn(who, password); p.status != 401 || !strings.Contains(p.text, `name="email" value="`+who) {
			t.Errorf("%s: %d %s", who, p.status, p.text)
		}
	}
	if _, p := signIn("eve", password); p.status != 403 {
		t.Errorf("who does not work there: %d %s", p.status, p.text)
	}
	boss, p := signIn("owner", password)
	if p.must(t, 200, h.event.Name, "Sign out"); p.at != "/door" {
		t.Errorf("it leads to %s", p.at)
	}
	var atDoor *browser
	testkit.Eventually(t, 20*time.Second, func() error { // the team comes with the next answer of the system
		if atDoor, p = signIn("dora", password); !strings.Contains(p.text, h.event.Name) {
			return fmt.Errorf("%d %s", p.status, p.text)
		}
		return nil
	})

	mend := h.line.Pause()
	defer mend()
	atDoor.send(door, "code", tickets[0].Code, "gate", "north").must(t, 200, "Welcome")
	boss.send(door, "code", tickets[0].Code).must(t, 200, "Used already", "north")
	h.p.kill()
	h.p.again()
	if p := atDoor.get(door+"/scans").must(t, 200, "Welcome"); strings.Contains(p.text, "Take back") {
		t.Error("people at the door take admissions back")
	}
	id := boss.get(door+"/scans").must(t, 200, "Take back").admission(t)
	if p := atDoor.send(door+"/scans", "admission", id); p.status != 403 {
		t.Errorf("people at the door take an admission back: %d %s", p.status, p.text)
	}
	for range 2 { // sent twice
		if p := boss.send(door+"/scans", "admission", id).must(t, 200, "Taken back"); strings.Contains(p.text, "Take back") {
			t.Errorf("it can be taken back again: %s", p.text)
		}
	}
	atDoor.send(door, "code", tickets[0].Code).must(t, 200, "Welcome")
	atDoor.send(door, "code", tickets[0].Code, "way", "out").must(t, 200, "Goodbye")
	testkit.Eventually(t, 60*time.Second, func() error {
		if _, p := signIn("owner", password); p.status != 503 || !strings.Contains(p.text, "needs the line") {
			return fmt.Errorf("without a line: %d %s", p.status, p.text)
		}
		return nil
	})
	boss.get(door).must(t, 200, h.event.Name)

	call[any](h.hub, 204, "DELETE", "/v1/me/sessions", h.owner, nil)
	boss.get(door).must(t, 200, h.event.Name)
	mend()
	testkit.Eventually(t, 60*time.Second, func() error {
		if p := boss.get(door); p.at != "/sign-in" {
			return fmt.Errorf("it leads to %s", p.at)
		}
		return nil
	})
	atDoor.get(door).must(t, 200, h.event.Name)
	atDoor.send("/sign-out")
	if p := atDoor.get(door); p.at != "/pair" {
		t.Errorf("after the end it leads to %s", p.at)
	}
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
	c.open("sign-in-at-a-venue", "/sign-in")
	c.open("scans-of-a-venue", "/door/"+h.event.ID.String()+"/scans")
}
