package venues_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// pairing returns the pairing of a new pass.
func pairing(t *testing.T, h *systemtest.Hall, name string) api.Pairing {
	t.Helper()
	return systemtest.Call[api.NewPassSecret](h.Hub, 201, "POST", h.At("/passes"), h.Owner, api.NewPass{Name: name, Gate: "north"}).Pairing
}

// lineIsUp waits until the venue's computer knows that it has a line: its codes are the system's.
func lineIsUp(t *testing.T, h *systemtest.Hall) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := h.Edge.Send("GET", "/v1/status", "", nil)
		return errors.Join(err, got.Is(200, `"line":{"up":true`))
	})
}

// The computer of a venue serves the pages of its doors: a telephone is paired there with a code, and then scans, lets
// people out and finds them by name while the line is cut, until its pass is taken away. Without scripts.
func TestDoorPagesOfAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	b := h.Edge.Browser()
	door := "/door/" + h.Event.ID.String()
	for _, path := range []string{"/", "/door", door, door + "/guests"} {
		if p := b.Get(path).Must(t, 200, "Pair this device"); p.At != "/pair" {
			t.Errorf("%s without a pass leads to %s", path, p.At)
		}
	}
	lineIsUp(t, h)
	if p := b.Send("/pair", "code", "nonsense"); p.Status != 404 {
		t.Errorf("a wrong code: %d %s", p.Status, p.Text)
	}
	code := pairing(t, h, "Telephone").Code
	if p := b.Do("POST", "/pair", map[string][]string{"code": {code}}, "Sec-Fetch-Site", "cross-site"); p.Status != 403 {
		t.Errorf("a form of another site: %d %s", p.Status, p.Text)
	}
	if p := b.Send("/pair", "code", " "+code).Must(t, 200, h.Event.Name, "There is a line to the system"); p.At != door {
		t.Errorf("it leads to %s", p.At)
	}
	if p := h.Edge.Browser().Send("/pair", "code", code); p.Status != 404 {
		t.Errorf("the code once more: %d %s", p.Status, p.Text)
	}
	named := h.Sale(1)
	named.Attendees = []api.Attendee{{Name: "Zoë"}}
	systemtest.Call[api.Sale](h.Hub, 201, "POST", api.CreateSale.Path, h.Owner, named)
	testkit.Eventually(t, 20*time.Second, func() error {
		if p := b.Get(door + "/guests?q=zoe"); !strings.Contains(p.Text, "Zoë") {
			return errors.New("the venue has not heard of her")
		}
		return nil
	})
	mend := h.Line.Pause()
	defer mend()
	b.Get("/").Must(t, 200, h.Event.Name)
	b.Send(door, "code", tickets[0].Code, "gate", "south").Must(t, 200, "Welcome")
	b.Send(door, "code", tickets[0].Code).Must(t, 200, "Used already", "north") // the gate that the device is for
	b.Send(door, "code", tickets[0].Code, "way", "out").Must(t, 200, "Goodbye")
	b.Send(door, "code", "nonsense").Must(t, 200, "Not a ticket")
	b.Get(door+"/guests?q=zoe").Must(t, 200, "Zoë", h.Event.TicketTypes[0].Name)
	b.Do("GET", door, nil, "Accept-Language", "de").Must(t, 200, "Einlass")
	testkit.Eventually(t, 60*time.Second, func() error {
		if got := atPage(h, b, door); got != "cut" {
			return fmt.Errorf("the strip says %s", got)
		}
		return nil
	})
	mend()
	for _, p := range systemtest.Call[api.List[api.Pass]](h.Hub, 200, "GET", h.At("/passes"), h.Owner, nil).Items {
		systemtest.Call[any](h.Hub, 204, "DELETE", h.At("/passes/"+p.ID.String()), h.Owner, nil)
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		if p := b.Get(door); p.At != "/pair" {
			return fmt.Errorf("the page is %s", p.At)
		}
		return nil
	})
}

// Who works at an event signs in at the venue's computer with their account, once, while there is a line; without one
// they go on, also after a restart, and take back what their part in the team allows. What ends at the system ends there.
func TestStaffSignsInAtAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	dora, _ := h.Hub.Join("dora@example.org")
	systemtest.Call[any](h.Hub, 200, "PUT", h.At("/team/"+dora.ID.String()), h.Owner, api.SetTeamMember{Role: api.RoleDoor})
	h.Hub.Join("eve@example.org")
	lineIsUp(t, h)
	door := "/door/" + h.Event.ID.String()
	signIn := func(who, password string) (*systemtest.Browser, systemtest.Page) {
		b := h.Edge.Browser()
		b.Get("/door").Must(t, 200, "sign in with your account")
		return b, b.Send("/sign-in", "email", who+"@example.org", "password", password)
	}
	for who, password := range map[string]string{"owner": "wrong horse", "nobody": systemtest.Password} {
		if _, p := signIn(who, password); p.Status != 401 || !strings.Contains(p.Text, `name="email" value="`+who) {
			t.Errorf("%s: %d %s", who, p.Status, p.Text)
		}
	}
	if _, p := signIn("eve", systemtest.Password); p.Status != 403 {
		t.Errorf("who does not work there: %d %s", p.Status, p.Text)
	}
	boss, p := signIn("owner", systemtest.Password)
	if p.Must(t, 200, h.Event.Name, "Sign out"); p.At != "/door" {
		t.Errorf("it leads to %s", p.At)
	}
	var atDoor *systemtest.Browser
	testkit.Eventually(t, 20*time.Second, func() error { // the team comes with the next answer of the system
		if atDoor, p = signIn("dora", systemtest.Password); !strings.Contains(p.Text, h.Event.Name) {
			return fmt.Errorf("%d %s", p.Status, p.Text)
		}
		return nil
	})

	mend := h.Line.Pause()
	defer mend()
	atDoor.Send(door, "code", tickets[0].Code, "gate", "north").Must(t, 200, "Welcome")
	boss.Send(door, "code", tickets[0].Code).Must(t, 200, "Used already", "north")
	h.P.Kill()
	h.P.Again()
	if p := atDoor.Get(door+"/scans").Must(t, 200, "Welcome"); strings.Contains(p.Text, "Take back") {
		t.Error("people at the door take admissions back")
	}
	id := boss.Get(door+"/scans").Must(t, 200, "Take back").Admission(t)
	if p := atDoor.Send(door+"/scans", "admission", id); p.Status != 403 {
		t.Errorf("people at the door take an admission back: %d %s", p.Status, p.Text)
	}
	for range 2 { // sent twice
		if p := boss.Send(door+"/scans", "admission", id).Must(t, 200, "Taken back"); strings.Contains(p.Text, "Take back") {
			t.Errorf("it can be taken back again: %s", p.Text)
		}
	}
	atDoor.Send(door, "code", tickets[0].Code).Must(t, 200, "Welcome")
	atDoor.Send(door, "code", tickets[0].Code, "way", "out").Must(t, 200, "Goodbye")
	testkit.Eventually(t, 60*time.Second, func() error {
		if _, p := signIn("owner", systemtest.Password); p.Status != 503 || !strings.Contains(p.Text, "needs the line") {
			return fmt.Errorf("without a line: %d %s", p.Status, p.Text)
		}
		return nil
	})
	boss.Get(door).Must(t, 200, h.Event.Name)

	systemtest.Call[any](h.Hub, 204, "DELETE", "/v1/me/sessions", h.Owner, nil)
	boss.Get(door).Must(t, 200, h.Event.Name)
	mend()
	testkit.Eventually(t, 60*time.Second, func() error {
		if p := boss.Get(door); p.At != "/sign-in" {
			return fmt.Errorf("it leads to %s", p.At)
		}
		return nil
	})
	atDoor.Get(door).Must(t, 200, h.Event.Name)
	atDoor.Send("/sign-out")
	if p := atDoor.Get(door); p.At != "/pair" {
		t.Errorf("after the end it leads to %s", p.At)
	}
}

// A telephone with internet is paired at the system, and scans there without an account, also while a venue admits for the
// event and there is a line to it.
func TestTelephoneIsPairedAtTheSystem(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	b := h.Hub.Browser()
	door := "/door/" + h.Event.ID.String()
	if p := b.Get(door); !strings.HasPrefix(p.At, "/sign-in") {
		t.Errorf("without a pass: %s", p.At)
	}
	p := b.Send("/pair", "code", pairing(t, h, "Telephone").Code).Must(t, 200, h.Event.Name)
	if p.At != door || strings.Contains(p.Text, "/guests") {
		t.Errorf("it leads to %s: %s", p.At, p.Text)
	}
	scan := func(ticket api.Ticket, want string, more ...string) {
		t.Helper()
		b.Send(door, append(more, "code", ticket.Code)...).Must(t, 200, want)
	}
	scan(tickets[0], "Welcome")
	if got := h.AtVenue(t, tickets[0]); got != api.AlreadyAdmitted {
		t.Errorf("then at the venue: %s", got)
	}
	scan(tickets[0], "Used already")
	scan(tickets[0], "Goodbye", "way", "out")
	scan(tickets[0], "Not inside", "way", "out")
	mend := h.Line.Pause()
	defer mend()
	if p := b.Send(door, "code", tickets[1].Code); p.Status < 503 || !strings.Contains(p.Text, "Try again") {
		t.Errorf("without a line: %d %s", p.Status, p.Text)
	}
	mend()
	systemtest.Call[api.Authority](h.Hub, 200, "DELETE", h.At("/authority"), h.Owner, nil)
	h.AwaitDoors(t, "hub")
	scan(tickets[2], "Welcome")
	scan(tickets[2], "Used already", "gate", "south")
	for _, pass := range systemtest.Call[api.List[api.Pass]](h.Hub, 200, "GET", h.At("/passes"), h.Owner, nil).Items {
		systemtest.Call[any](h.Hub, 204, "DELETE", h.At("/passes/"+pass.ID.String()), h.Owner, nil)
	}
	if p := b.Send(door, "code", tickets[3].Code); p.At != "/pair" {
		t.Errorf("with a pass that was taken away: %s", p.At)
	}
}

// atPage returns what the strip of a door's page says of the line.
func atPage(h *systemtest.Hall, b *systemtest.Browser, door string) string {
	if p := b.Get(door); strings.Contains(p.Text, "No line") {
		return "cut"
	}
	return "up"
}

// A telephone opens the address of the picture, and needs one button to be at the door.
func TestTelephoneIsPairedInABrowser(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	c := h.Edge.Chromium()
	c.Open("pair", "/pair")
	lineIsUp(t, h)
	code := pairing(t, h, "Telephone").Code
	c.Run(chromedp.Navigate("about:blank"), chromedp.Navigate(c.Site+"/pair#"+code), chromedp.WaitReady("main"))
	testkit.Eventually(t, 10*time.Second, func() error {
		if got := systemtest.Value[string](c, `document.querySelector("[name=code]").value + location.hash`); got != code {
			return fmt.Errorf("the form has %q", got)
		}
		return nil
	})
	c.Run(chromedp.Click(".fields .go"))
	c.Says(h.Event.Name)
	mend := h.Line.Pause()
	defer mend()
	c.Run(chromedp.SetValue(`input[name=code]`, tickets[0].Code), chromedp.KeyEvent("\r"))
	c.Says("Welcome")
	c.Installable()
	c.Look("door-of-a-venue")
	c.Open("door-guests-of-a-venue", "/door/"+h.Event.ID.String()+"/guests?q=a")
	c.Open("doors-of-a-venue", "/")
	c.Open("sign-in-at-a-venue", "/sign-in")
	c.Open("scans-of-a-venue", "/door/"+h.Event.ID.String()+"/scans")
}
