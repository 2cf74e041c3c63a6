package system_test

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
)

// An organizer's evening in the browser, without scripts: from nothing to a published event in two forms, then sales, a
// refund, the doors, and the end. Nobody else sees any of it.
func TestOffice(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password, "next", "/office").must(t, 200, "Sell your first ticket today")

	// Two forms, and it is on sale.
	day := time.Now().AddDate(0, 0, 20).Format(time.DateOnly)
	event := []string{"name", "Night of Lights", "description", "Lamps.\n\nMany lamps.", "category", "concert", "starts", day + "T20:00",
		"ends", day + "T23:30", "timezone", "Europe/Berlin", "place", "Old Hall", "address", "Street 1", "city", "Berlin", "country", "DE",
		"type", "Standard", "price", "12,50", "currency", "EUR", "quantity", "30"}
	wrong := append([]string{}, event...)
	wrong[7], wrong[23] = "yesterday", "much"
	b.send("/office/events", wrong...).must(t, 400, "starts: must be a day and a time", "Night of Lights")
	draft := b.send("/office/events", event...).must(t, 200, "Draft", "Ready to sell?", "12.50")
	b.get(strings.TrimPrefix(regexp.MustCompile(`href="(/events/[^"]+)"`).FindStringSubmatch(draft.text)[1], "")).must(t, 200, "not published yet")
	other := s.browser()
	other.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	for _, path := range []string{"", "/edit", "/orders", "/attendees", "/files/orders.csv", "/files/sales.pdf"} {
		other.get(draft.at+path).must(t, 404)
	}
	b.send(draft.at+"/publication").must(t, 200, "Published", "Tickets sold")
	id := draft.at[strings.LastIndex(draft.at, "/")+1:]
	live := call[api.Event](s, 200, "GET", "/v1/events/"+id, "", nil)
	if zone, err := time.LoadLocation("Europe/Berlin"); err != nil || live.StartsAt.In(zone).Format("2006-01-02T15:04") != day+"T20:00" ||
		live.TicketTypes[0].Price.Amount != 1250 {
		t.Errorf("%v %+v", err, live)
	}

	// Changes, right and wrong.
	b.send(draft.at+"/edit", append(append([]string{}, event[2:]...), "name", "Night of Stars")...).must(t, 200, "Night of Stars")
	b.send(draft.at+"/ticket-types", "name", "Student", "price", "8", "currency", "EUR", "quantity", "10").must(t, 200, "Student")
	b.send(draft.at+"/ticket-types", "name", "Broken", "price", "-3", "currency", "EUR", "quantity", "x").must(t, 400, "price: must be an amount")
	typ := live.TicketTypes[0].ID.String()
	b.send(draft.at+"/ticket-types/"+typ, "name", "Standard", "price", "13", "currency", "EUR", "quantity", "25").must(t, 200, `value="13.00"`)

	// Somebody buys two; one goes back.
	buyer := s.browser()
	buyer.send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", password).must(t, 200)
	checkout := buyer.get("/checkout?event="+id+"&"+typ+"=2").must(t, 200, "26.00 EUR")
	held := buyer.send("/checkout", "event", id, typ, "2", "key", checkout.field(t, "key"))
	pay := buyer.send(held.at+"/payments", "key", held.field(t, "key"))
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+regexp.MustCompile(`pay_[a-z0-9]+`).FindString(pay.text), "", api.SandboxOutcome{Outcome: "succeeded"})
	var list page
	testkit.Eventually(t, 10*time.Second, func() error {
		if list = b.get(draft.at + "/orders"); !strings.Contains(list.text, "Paid") {
			return fmt.Errorf("%s", list.text)
		}
		return nil
	})
	list.must(t, 200, "Ada", "26.00 EUR")
	b.get(draft.at+"/attendees?q=ada").must(t, 200, "ada@example.org")
	b.get(draft.at+"/attendees?q=nobody").must(t, 200, "Nobody is found.")
	if csv := b.get(draft.at + "/files/orders.csv"); !strings.Contains(csv.text, "ada@example.org") || !strings.Contains(csv.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%v %s", csv.header, csv.text)
	}
	order := draft.at + held.at // /office/events/X + /orders/Y
	detail := b.get(order).must(t, 200, "26.00 EUR", "Refund the chosen tickets")
	other.get(order).must(t, 404)
	tickets := regexp.MustCompile(`name="(tkt_[a-z0-9]+)"`).FindAllStringSubmatch(detail.text, -1)
	if len(tickets) != 2 {
		t.Fatalf("%v", tickets)
	}
	refund := []string{"payment", detail.field(t, "payment"), "key", detail.field(t, "key"), "reason", "ill"}
	b.send(order+"/refunds", refund...).must(t, 400, "choose at least one")
	b.send(order+"/refunds", append(refund, tickets[0][1], "yes")...).must(t, 200, "Not valid", "13.00 EUR")
	b.send(order+"/refunds", append(refund, tickets[0][1], "yes")...).must(t, 200) // sent twice
	testkit.Eventually(t, 10*time.Second, func() error {
		if o := call[api.Order](s, 200, "GET", "/v1"+held.at, admin, nil); o.Refunded.Amount != 1300 {
			return fmt.Errorf("%+v", o.Refunded)
		}
		return nil
	})

	// At the door.
	code := call[api.Ticket](s, 200, "GET", "/v1/tickets/"+tickets[1][1], s.login("ada@example.org"), nil).Code
	door := "/door/" + id
	if p := other.get(door); p.status != 403 && p.status != 404 { // which the event is published for, they may not do
		t.Errorf("a stranger at the door: %d %s", p.status, p.text)
	}
	b.get("/door").must(t, 200, "Night of Stars")
	first := b.send(door, "code", code, "gate", "North").must(t, 200, "Welcome")
	b.send(door, "code", code, "gate", "South").must(t, 200, "Used already", "North")
	if first.field(t, "gate") != "North" {
		t.Error("the gate is forgotten")
	}
	b.send(door, "code", "nonsense").must(t, 200, "Not a ticket")
	b.get(door+"/guests?q=ada").must(t, 200, "ada@example.org")
	if p := other.get(door + "/scans"); p.status != 403 && p.status != 404 {
		t.Errorf("a stranger reads what was scanned: %d %s", p.status, p.text)
	}
	admission := b.get(door+"/scans").must(t, 200, "Take back").admission(t)
	if p := other.send(door+"/scans", "admission", admission); p.status != 403 && p.status != 404 {
		t.Errorf("a stranger takes an admission back: %d %s", p.status, p.text)
	}
	b.send(door+"/scans", "admission", admission).must(t, 200, "Taken back")
	b.send(door+"/scans", "admission", admission).must(t, 200, "Taken back") // sent twice
	b.send(door, "code", code).must(t, 200, "Welcome")

	// Money, as the ledger has it.
	b.get(draft.at+"/money").must(t, 200, "26.00 EUR", "13.00 EUR", "sandbox")
	if csv := b.get(draft.at + "/money.csv"); !strings.Contains(csv.text, ",sandbox,EUR,26.00,13.00,13.00,0.00") {
		t.Errorf("%v %s", csv.header, csv.text)
	}
	for _, path := range []string{"/money", "/money.csv", "/check-in"} {
		if p := other.get(draft.at + path); p.status != 403 && p.status != 404 {
			t.Errorf("a stranger reads %s: %d %s", path, p.status, p.text)
		}
	}

	// Who admits, with which devices, and what a venue sells by itself.
	checkIn := func(what ...string) page { return b.send(draft.at+"/check-in", what...) }
	b.get(draft.at+"/check-in").must(t, 200, "This system").mustNot(t, "Hand the doors over")
	checkIn("do", "pair", "name", "Scanner", "gate", "North").must(t, 200, "data:image/png", "Good until")
	checkIn("do", "pair", "name", "").must(t, 400, "That did not work.")
	checkIn("do", "end", "pass", b.get(draft.at+"/check-in").must(t, 200, "Scanner").field(t, "pass")).must(t, 200).mustNot(t, "Scanner")
	checkIn("do", "end", "pass", "x").must(t, 404)
	hall := call[api.Venue](s, 201, "POST", "/v1/venues", s.login("mina@example.org"), api.NewVenue{Name: "Old Hall", Timezone: "Europe/Berlin"})
	key := b.get(draft.at+"/check-in").must(t, 200, "No computer has connected yet").field(t, "key")
	lease := []string{"do", "lease", "venue", hall.ID.String(), "type", typ, "quantity", "3", "key", key}
	checkIn(lease...).must(t, 200, "0 sold, 3 left of 3")
	again := checkIn(lease...).must(t, 200, "0 sold, 3 left of 3") // sent twice
	if n := strings.Count(again.text, "0 sold, "); n != 1 {
		t.Errorf("%d leases", n)
	}
	leased := again.field(t, "lease")
	checkIn("do", "lease", "venue", "x", "type", "y", "quantity", "z", "key", "k").must(t, 400, "venue: must be one of yours", "quantity: must be a number")
	checkIn("do", "resize", "lease", leased, "quantity", "4").must(t, 200, "0 sold, 4 left of 4")
	checkIn("do", "resize", "lease", leased, "quantity", "none").must(t, 400, "quantity: must be a number")
	checkIn("do", "close", "lease", leased).must(t, 200).mustNot(t, "0 sold, ")
	checkIn("do", "hand-over", "venue", "x").must(t, 400, "must be one of yours")
	checkIn("do", "hand-over", "venue", hall.ID.String(), "policy", "shared", "unknown", "refuse").must(t, 200, "Being handed over", "Ask for the doors back")
	checkIn("do", "return").must(t, 200).mustNot(t, "Being handed over")
	checkIn("do", "nothing").must(t, 404)

	// And the end.
	b.send(draft.at+"/cancellation", "reason", "rain").must(t, 400, "tick that you are sure")
	b.send(draft.at+"/cancellation", "reason", "rain", "sure", "yes").must(t, 200, "Cancelled")
	buyer.get(held.at).must(t, 200)
	s.validate()
}

// Administrators see what runs, read logs, mind dead letters and accounts, and change settings after they have proven who
// they are. Others see nothing of it, and every act has its line.
func TestAdministrationInTheBrowser(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	s, sys, _ := start(t, cfg)
	admin, stranger := s.browser(), s.browser()
	stranger.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	eve := call[api.User](s, 200, "GET", "/v1/me", s.login("eve@example.org"), nil).ID.String()
	for _, path := range []string{"", "/mesh.svg", "/logs", "/dead-letters", "/users", "/users/" + eve, "/settings", "/settings/ticketing.hold_ttl", "/audit-log"} {
		stranger.get("/admin"+path).must(t, 403, "This is not for you")
	}
	stranger.get("/office").must(t, 200).mustNot(t, "Administration")
	if got := s.browser().get("/admin"); !strings.HasPrefix(got.at, "/sign-in") {
		t.Errorf("/admin leads to %s", got.at)
	}
	admin.send("/sign-in", "email", adminEmail, "password", password, "next", "/office").must(t, 200, `href="/admin"`)
	admin.get("/admin").must(t, 200, "ticketing", "Healthy", "All that runs is as declared.")
	if got := admin.get("/admin/mesh.svg"); got.header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(got.text, "<svg") {
		t.Errorf("%v %.100s", got.header, got.text)
	}

	// Settings: what would be taken, what is, and back.
	const hold = "/admin/settings/ticketing.hold_ttl"
	set := func(what ...string) page {
		return admin.do("POST", hold, form(what...), "Referer", s.url+hold)
	}
	if first := set("value", "7m"); first.status == 403 { // a login is a proof for a while
		first.must(t, 403, "Is it you?")
		admin.send("/proof", "password", "wrong", "next", hold).must(t, 401)
		admin.send("/proof", "password", password, "next", first.field(t, "next")).must(t, 200, "ticketing.hold_ttl")
		set("value", "7m")
	}
	admin.get(hold).must(t, 200, `value="7m"`, "In force")
	set("do", "check", "value", "8m").must(t, 200, "“8m” would be taken", `value="8m"`)
	set("do", "check", "value", "forever").must(t, 400, "That did not work.")
	admin.get("/admin/settings?q=HOLD").must(t, 200, "ticketing.hold_ttl", "7m").mustNot(t, "payment.sandbox_lost")
	admin.get("/admin/settings?q=nothing+at+all").must(t, 200, "No setting has these words.")
	set("value", "forever").must(t, 400, "That did not work.", `value="forever"`)
	set("value", "9m").must(t, 200, `value="9m"`)
	back := set("do", "rollback", "revision", admin.get(hold).field(t, "revision")).must(t, 200, `value="7m"`)
	set("do", "rollback", "revision", "none").must(t, 404)
	set("do", "default").must(t, 200)
	token := s.login(adminEmail)
	s.lines(token, 1, url.Values{"act": {"config.delete"}})
	admin.get("/admin/audit-log?object=ticketing.hold_ttl").must(t, 200, "config.put", "config.rollback", "config.delete")
	admin.get("/admin/audit-log?from=2099-01-01").must(t, 200, "Nothing fits.")
	admin.get("/admin/audit-log?from=nonsense").must(t, 400, "That did not work.")

	// A request is followed through all services.
	testkit.Eventually(t, 20*time.Second, func() error {
		if got := admin.get("/admin/logs?level=info&service=config"); got.status != 200 || !strings.Contains(got.text, "config") || !strings.Contains(got.text, `class="log"`) {
			return fmt.Errorf("%d %s", got.status, got.text)
		}
		return nil
	})
	admin.get("/admin/logs?request="+back.header.Get("X-Request-Id")).must(t, 200)
	admin.get("/admin/logs?request=none").must(t, 200, "Nothing was logged that fits.")
	admin.get("/admin/logs?service=a.b").must(t, 400, "That did not work.")

	// An account is found, signed out, locked and let in again; no administrator locks the last one out.
	admin.get("/admin/users?q=eve@").must(t, 200, "Eve", eve)
	admin.get("/admin/users?q=nobody").must(t, 200, "Nobody is found.")
	act := func(id, do string) page { return admin.send("/admin/users/"+id, "do", do) }
	admin.get("/admin/users/"+eve).must(t, 200, "eve@example.org", "Sign out everywhere")
	act(eve, "sessions").must(t, 200, "Signed in nowhere.")
	if got := stranger.get("/account"); !strings.HasPrefix(got.at, "/sign-in") {
		t.Errorf("who was signed out is at %s", got.at)
	}
	act(eve, "lock").must(t, 200, "Unlock", "locked")
	act(eve, "admin").must(t, 409, "unlock it first")
	act(eve, "unlock").must(t, 200, "Lock")
	act(eve, "factors").must(t, 200)
	act(eve, "admin").must(t, 200, "Take the role away")
	act(eve, "person").must(t, 200, "Make an administrator")
	act(eve, "nothing").must(t, 404)
	act("usr_x", "lock").must(t, 404)
	root := call[api.User](s, 200, "GET", "/v1/me", token, nil).ID.String()
	act(root, "lock").must(t, 409)
	act(root, "person").must(t, 409)
	s.lines(token, 1, url.Values{"act": {"user.end_user_sessions"}, "object": {eve}})
	s.lines(token, 1, url.Values{"act": {"user.lock"}, "object": {eve}})
	s.lines(token, 1, url.Values{"act": {"user.unlock"}, "object": {eve}})
	admin.get("/admin/audit-log?object="+eve).must(t, 200, "user.lock", "What changed")

	// What no consumer could handle is handed over again, or given up.
	admin.get("/admin/dead-letters").must(t, 200, "every message was handled")
	letter := s.deadLetter(token, operator(t, "user", sys.NATSURL(), cfg.Data+"/creds"))
	admin.get("/admin/dead-letters").must(t, 200, "ev.user.user.registered", "Hand over again")
	admin.send("/admin/dead-letters", "replay", letter).must(t, 200)
	admin.send("/admin/dead-letters", "replay", letter).must(t, 404, "there is no such dead letter")
	testkit.Eventually(t, 20*time.Second, func() error { // it fails again
		letters := call[api.List[api.DeadLetter]](s, 200, "GET", "/v1/dead-letters", token, nil).Items
		if len(letters) == 0 {
			return errors.New("there is no dead letter")
		}
		for _, l := range letters {
			admin.send("/admin/dead-letters", "drop", l.ID).must(t, 200)
		}
		if got := admin.get("/admin/dead-letters"); !strings.Contains(got.text, "every message was handled") {
			return errors.New("not all are gone")
		}
		return nil
	})
	s.lines(token, 1, url.Values{"act": {"notification.drop"}})
	s.validate()
}
