package browsing_test

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// An organizer's evening in the browser, without scripts: from nothing to a published event in two forms, then sales, a
// refund, the doors, and the end. Nobody else sees any of it.
func TestOffice(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password, "next", "/office").Must(t, 200, "Sell your first ticket today")

	// Two forms, and it is on sale.
	day := time.Now().AddDate(0, 0, 20).Format(time.DateOnly)
	event := []string{"name", "Night of Lights", "description", "Lamps.\n\nMany lamps.", "category", "concert", "starts", day + "T20:00",
		"ends", day + "T23:30", "timezone", "Europe/Berlin", "place", "Old Hall", "address", "Street 1", "city", "Berlin", "country", "DE",
		"type", "Standard", "price", "12,50", "currency", "EUR", "quantity", "30"}
	wrong := append([]string{}, event...)
	wrong[7], wrong[23] = "yesterday", "much"
	b.Send("/office/events", wrong...).Must(t, 400, "starts: must be a day and a time", "Night of Lights")
	draft := b.Send("/office/events", event...).Must(t, 200, "Draft", "Ready to sell?", "12.50")
	b.Get(strings.TrimPrefix(regexp.MustCompile(`href="(/events/[^"]+)"`).FindStringSubmatch(draft.Text)[1], "")).Must(t, 200, "not published yet")
	other := s.Browser()
	other.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	for _, path := range []string{"", "/edit", "/orders", "/attendees", "/files/orders.csv", "/files/sales.pdf"} {
		other.Get(draft.At+path).Must(t, 404)
	}
	b.Send(draft.At+"/publication").Must(t, 200, "Published", "Tickets sold")
	id := draft.At[strings.LastIndex(draft.At, "/")+1:]
	live := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+id, "", nil)
	if zone, err := time.LoadLocation("Europe/Berlin"); err != nil || live.StartsAt.In(zone).Format("2006-01-02T15:04") != day+"T20:00" ||
		live.TicketTypes[0].Price.Amount != 1250 {
		t.Errorf("%v %+v", err, live)
	}

	// Changes, right and wrong.
	b.Send(draft.At+"/edit", append(append([]string{}, event[2:]...), "name", "Night of Stars")...).Must(t, 200, "Night of Stars")
	b.Send(draft.At+"/ticket-types", "name", "Student", "price", "8", "currency", "EUR", "quantity", "10").Must(t, 200, "Student")
	b.Send(draft.At+"/ticket-types", "name", "Broken", "price", "-3", "currency", "EUR", "quantity", "x").Must(t, 400, "price: must be an amount")
	typ := live.TicketTypes[0].ID.String()
	b.Send(draft.At+"/ticket-types/"+typ, "name", "Standard", "price", "13", "currency", "EUR", "quantity", "25").Must(t, 200, `value="13.00"`)

	// Somebody buys two; one goes back.
	buyer := s.Browser()
	buyer.Send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", systemtest.Password).Must(t, 200)
	checkout := buyer.Get("/checkout?event="+id+"&"+typ+"=2").Must(t, 200, "26.00 EUR")
	held := buyer.Send("/checkout", "event", id, typ, "2", "key", checkout.Field(t, "key"))
	pay := buyer.Send(held.At+"/payments", "key", held.Field(t, "key"))
	systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+regexp.MustCompile(`pay_[a-z0-9]+`).FindString(pay.Text), "", api.SandboxOutcome{Outcome: "succeeded"})
	var list systemtest.Page
	testkit.Eventually(t, 10*time.Second, func() error {
		if list = b.Get(draft.At + "/orders"); !strings.Contains(list.Text, "Paid") {
			return fmt.Errorf("%s", list.Text)
		}
		return nil
	})
	list.Must(t, 200, "Ada", "26.00 EUR")
	b.Get(draft.At+"/attendees?q=ada").Must(t, 200, "ada@example.org")
	b.Get(draft.At+"/attendees?q=nobody").Must(t, 200, "Nobody is found.")
	if csv := b.Get(draft.At + "/files/orders.csv"); !strings.Contains(csv.Text, "ada@example.org") || !strings.Contains(csv.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%v %s", csv.Header, csv.Text)
	}
	order := draft.At + held.At // /office/events/X + /orders/Y
	detail := b.Get(order).Must(t, 200, "26.00 EUR", "Refund the chosen tickets")
	other.Get(order).Must(t, 404)
	tickets := regexp.MustCompile(`name="(tkt_[a-z0-9]+)"`).FindAllStringSubmatch(detail.Text, -1)
	if len(tickets) != 2 {
		t.Fatalf("%v", tickets)
	}
	refund := []string{"payment", detail.Field(t, "payment"), "key", detail.Field(t, "key"), "reason", "ill"}
	b.Send(order+"/refunds", refund...).Must(t, 400, "choose at least one")
	b.Send(order+"/refunds", append(refund, tickets[0][1], "yes")...).Must(t, 200, "Not valid", "13.00 EUR")
	b.Send(order+"/refunds", append(refund, tickets[0][1], "yes")...).Must(t, 200) // sent twice
	testkit.Eventually(t, 10*time.Second, func() error {
		if o := systemtest.Call[api.Order](s, 200, "GET", "/v1"+held.At, admin, nil); o.Refunded.Amount != 1300 {
			return fmt.Errorf("%+v", o.Refunded)
		}
		return nil
	})

	// At the door.
	code := systemtest.Call[api.Ticket](s, 200, "GET", "/v1/tickets/"+tickets[1][1], s.Login("ada@example.org"), nil).Code
	door := "/door/" + id
	if p := other.Get(door); p.Status != 403 && p.Status != 404 { // which the event is published for, they may not do
		t.Errorf("a stranger at the door: %d %s", p.Status, p.Text)
	}
	b.Get("/door").Must(t, 200, "Night of Stars")
	first := b.Send(door, "code", code, "gate", "North").Must(t, 200, "Welcome")
	b.Send(door, "code", code, "gate", "South").Must(t, 200, "Used already", "North")
	if first.Field(t, "gate") != "North" {
		t.Error("the gate is forgotten")
	}
	b.Send(door, "code", "nonsense").Must(t, 200, "Not a ticket")
	b.Get(door+"/guests?q=ada").Must(t, 200, "ada@example.org")
	if p := other.Get(door + "/scans"); p.Status != 403 && p.Status != 404 {
		t.Errorf("a stranger reads what was scanned: %d %s", p.Status, p.Text)
	}
	admission := b.Get(door+"/scans").Must(t, 200, "Take back").Admission(t)
	if p := other.Send(door+"/scans", "admission", admission); p.Status != 403 && p.Status != 404 {
		t.Errorf("a stranger takes an admission back: %d %s", p.Status, p.Text)
	}
	b.Send(door+"/scans", "admission", admission).Must(t, 200, "Taken back")
	b.Send(door+"/scans", "admission", admission).Must(t, 200, "Taken back") // sent twice
	b.Send(door, "code", code).Must(t, 200, "Welcome")

	// Money, as the ledger has it.
	b.Get(draft.At+"/money").Must(t, 200, "26.00 EUR", "13.00 EUR", "sandbox")
	if csv := b.Get(draft.At + "/money.csv"); !strings.Contains(csv.Text, ",sandbox,EUR,26.00,13.00,13.00,0.00") {
		t.Errorf("%v %s", csv.Header, csv.Text)
	}
	for _, path := range []string{"/money", "/money.csv", "/check-in"} {
		if p := other.Get(draft.At + path); p.Status != 403 && p.Status != 404 {
			t.Errorf("a stranger reads %s: %d %s", path, p.Status, p.Text)
		}
	}

	// Who admits, with which devices, and what a venue sells by itself.
	checkIn := func(what ...string) systemtest.Page { return b.Send(draft.At+"/check-in", what...) }
	b.Get(draft.At+"/check-in").Must(t, 200, "This system").MustNot(t, "Hand the doors over")
	checkIn("do", "pair", "name", "Scanner", "gate", "North").Must(t, 200, "data:image/png", "Good until")
	checkIn("do", "pair", "name", "").Must(t, 400, "That did not work.")
	checkIn("do", "end", "pass", b.Get(draft.At+"/check-in").Must(t, 200, "Scanner").Field(t, "pass")).Must(t, 200).MustNot(t, "Scanner")
	checkIn("do", "end", "pass", "x").Must(t, 404)
	hall := systemtest.Call[api.Venue](s, 201, "POST", "/v1/venues", s.Login("mina@example.org"), api.NewVenue{Name: "Old Hall", Timezone: "Europe/Berlin"})
	key := b.Get(draft.At+"/check-in").Must(t, 200, "No computer has connected yet").Field(t, "key")
	lease := []string{"do", "lease", "venue", hall.ID.String(), "type", typ, "quantity", "3", "key", key}
	checkIn(lease...).Must(t, 200, "0 sold, 3 left of 3")
	again := checkIn(lease...).Must(t, 200, "0 sold, 3 left of 3") // sent twice
	if n := strings.Count(again.Text, "0 sold, "); n != 1 {
		t.Errorf("%d leases", n)
	}
	leased := again.Field(t, "lease")
	checkIn("do", "lease", "venue", "x", "type", "y", "quantity", "z", "key", "k").Must(t, 400, "venue: must be one of yours", "quantity: must be a number")
	checkIn("do", "resize", "lease", leased, "quantity", "4").Must(t, 200, "0 sold, 4 left of 4")
	checkIn("do", "resize", "lease", leased, "quantity", "none").Must(t, 400, "quantity: must be a number")
	checkIn("do", "close", "lease", leased).Must(t, 200).MustNot(t, "0 sold, ")
	checkIn("do", "hand-over", "venue", "x").Must(t, 400, "must be one of yours")
	checkIn("do", "hand-over", "venue", hall.ID.String(), "policy", "shared", "unknown", "refuse").Must(t, 200, "Being handed over", "Ask for the doors back")
	checkIn("do", "return").Must(t, 200).MustNot(t, "Being handed over")
	checkIn("do", "nothing").Must(t, 404)

	// And the end.
	b.Send(draft.At+"/cancellation", "reason", "rain").Must(t, 400, "tick that you are sure")
	b.Send(draft.At+"/cancellation", "reason", "rain", "sure", "yes").Must(t, 200, "Cancelled")
	buyer.Get(held.At).Must(t, 200)
	s.Validate()
}

// Administrators see what runs, read logs, mind dead letters and accounts, and change settings after they have proven who
// they are. Others see nothing of it, and every act has its line.
func TestAdministrationInTheBrowser(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin, stranger := s.Browser(), s.Browser()
	stranger.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	eve := systemtest.Call[api.User](s, 200, "GET", "/v1/me", s.Login("eve@example.org"), nil).ID.String()
	for _, path := range []string{"", "/mesh.svg", "/logs", "/dead-letters", "/users", "/users/" + eve, "/settings", "/settings/ticketing.hold_ttl", "/audit-log"} {
		stranger.Get("/admin"+path).Must(t, 403, "This is not for you")
	}
	stranger.Get("/office").Must(t, 200).MustNot(t, "Administration")
	if got := s.Browser().Get("/admin"); !strings.HasPrefix(got.At, "/sign-in") {
		t.Errorf("/admin leads to %s", got.At)
	}
	admin.Send("/sign-in", "email", systemtest.AdminEmail, "password", systemtest.Password, "next", "/office").Must(t, 200, `href="/admin"`)
	admin.Get("/admin").Must(t, 200, "ticketing", "Healthy", "All that runs is as declared.")
	if got := admin.Get("/admin/mesh.svg"); got.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(got.Text, "<svg") {
		t.Errorf("%v %.100s", got.Header, got.Text)
	}

	// Settings: what would be taken, what is, and back.
	const hold = "/admin/settings/ticketing.hold_ttl"
	set := func(what ...string) systemtest.Page {
		return admin.Do("POST", hold, systemtest.Form(what...), "Referer", s.URL+hold)
	}
	if first := set("value", "7m"); first.Status == 403 { // a login is a proof for a while
		first.Must(t, 403, "Is it you?")
		admin.Send("/proof", "password", "wrong", "next", hold).Must(t, 401)
		admin.Send("/proof", "password", systemtest.Password, "next", first.Field(t, "next")).Must(t, 200, "ticketing.hold_ttl")
		set("value", "7m")
	}
	admin.Get(hold).Must(t, 200, `value="7m"`, "In force")
	set("do", "check", "value", "8m").Must(t, 200, "“8m” would be taken", `value="8m"`)
	set("do", "check", "value", "forever").Must(t, 400, "That did not work.")
	admin.Get("/admin/settings?q=HOLD").Must(t, 200, "ticketing.hold_ttl", "7m").MustNot(t, "payment.sandbox_lost")
	admin.Get("/admin/settings?q=nothing+at+all").Must(t, 200, "No setting has these words.")
	set("value", "forever").Must(t, 400, "That did not work.", `value="forever"`)
	me := systemtest.Call[api.User](s, 200, "GET", "/v1/me", s.Login(systemtest.AdminEmail), nil).ID.String()
	admin.Get(hold).Must(t, 200, me, "operators with the nats tool", "says nothing")
	const below = "/admin/settings/base.ticketing.hold_ttl"
	admin.Do("POST", below, systemtest.Form("value", "6m"), "Referer", s.URL+below).
		Must(t, 200, `value="6m"`, "What environments have in common", "administrators alone")
	admin.Get(hold).Must(t, 200, `value="7m"`, ">6m</a>", "Back to the base")
	set("do", "default").Must(t, 200, `value="6m"`)
	admin.Get("/admin/settings?q=HOLD").Must(t, 200, "ticketing.hold_ttl", "6m", `<span class="badge">Base</span>`)
	set("value", "7m").Must(t, 200, `value="7m"`)
	admin.Do("POST", below, systemtest.Form("do", "default"), "Referer", s.URL+below).Must(t, 200, "taken out")
	set("value", "9m").Must(t, 200, `value="9m"`)
	back := set("do", "rollback", "revision", admin.Get(hold).Field(t, "revision")).Must(t, 200, `value="7m"`)
	set("do", "rollback", "revision", "none").Must(t, 404)
	set("do", "default").Must(t, 200)
	token := s.Login(systemtest.AdminEmail)
	s.Lines(token, 1, url.Values{"act": {"config.delete"}})
	admin.Get("/admin/audit-log?object=ticketing.hold_ttl").Must(t, 200, "config.put", "config.rollback", "config.delete")
	admin.Get("/admin/audit-log?from=2099-01-01").Must(t, 200, "Nothing fits.")
	admin.Get("/admin/audit-log?from=nonsense").Must(t, 400, "That did not work.")

	// A request is followed through all services.
	testkit.Eventually(t, 20*time.Second, func() error {
		if got := admin.Get("/admin/logs?level=info&service=config"); got.Status != 200 || !strings.Contains(got.Text, "config") || !strings.Contains(got.Text, `class="log"`) {
			return fmt.Errorf("%d %s", got.Status, got.Text)
		}
		return nil
	})
	admin.Get("/admin/logs?request="+back.Header.Get("X-Request-Id")).Must(t, 200)
	admin.Get("/admin/logs?request=none").Must(t, 200, "Nothing was logged that fits.")
	admin.Get("/admin/logs?service=a.b").Must(t, 400, "That did not work.")

	// An account is found, signed out, locked and let in again; no administrator locks the last one out.
	admin.Get("/admin/users?q=eve@").Must(t, 200, "Eve", eve)
	admin.Get("/admin/users?q=nobody").Must(t, 200, "Nobody is found.")
	act := func(id, do string) systemtest.Page { return admin.Send("/admin/users/"+id, "do", do) }
	admin.Get("/admin/users/"+eve).Must(t, 200, "eve@example.org", "Sign out everywhere")
	act(eve, "sessions").Must(t, 200, "Signed in nowhere.")
	if got := stranger.Get("/account"); !strings.HasPrefix(got.At, "/sign-in") {
		t.Errorf("who was signed out is at %s", got.At)
	}
	act(eve, "lock").Must(t, 200, "Unlock", "locked")
	act(eve, "admin").Must(t, 409, "unlock it first")
	act(eve, "unlock").Must(t, 200, "Lock")
	act(eve, "factors").Must(t, 200)
	act(eve, "admin").Must(t, 200, "Take the role away")
	act(eve, "person").Must(t, 200, "Make an administrator")
	act(eve, "nothing").Must(t, 404)
	act("usr_x", "lock").Must(t, 404)
	root := systemtest.Call[api.User](s, 200, "GET", "/v1/me", token, nil).ID.String()
	act(root, "lock").Must(t, 409)
	act(root, "person").Must(t, 409)
	s.Lines(token, 1, url.Values{"act": {"user.end_user_sessions"}, "object": {eve}})
	s.Lines(token, 1, url.Values{"act": {"user.lock"}, "object": {eve}})
	s.Lines(token, 1, url.Values{"act": {"user.unlock"}, "object": {eve}})
	admin.Get("/admin/audit-log?object="+eve).Must(t, 200, "user.lock", "What changed")

	// What no consumer could handle is handed over again, or given up.
	admin.Get("/admin/dead-letters").Must(t, 200, "every message was handled")
	letter := s.DeadLetter(token, systemtest.Operator(t, "user", sys.NATSURL(), cfg.Data+"/creds"))
	admin.Get("/admin/dead-letters").Must(t, 200, "ev.user.user.registered", "Hand over again")
	admin.Send("/admin/dead-letters", "replay", letter).Must(t, 200)
	admin.Send("/admin/dead-letters", "replay", letter).Must(t, 404, "there is no such dead letter")
	testkit.Eventually(t, 20*time.Second, func() error { // it fails again
		letters := systemtest.Call[api.List[api.DeadLetter]](s, 200, "GET", "/v1/dead-letters", token, nil).Items
		if len(letters) == 0 {
			return errors.New("there is no dead letter")
		}
		for _, l := range letters {
			admin.Send("/admin/dead-letters", "drop", l.ID).Must(t, 200)
		}
		if got := admin.Get("/admin/dead-letters"); !strings.Contains(got.Text, "every message was handled") {
			return errors.New("not all are gone")
		}
		return nil
	})
	s.Lines(token, 1, url.Values{"act": {"notification.drop"}})
	s.Validate()
}
