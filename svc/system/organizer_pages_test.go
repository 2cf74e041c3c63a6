package system_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// What an organizer does beside events, in the browser and without scripts: messages, codes, lists, the team, settings,
// webhooks, keys and the log of it all. Those who may not do it do not see it.
func TestOfficeOfAnOrganizer(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	s, _, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	s.set(admin, api.WebhookPrivate.Key(), "true")
	b, other := s.browser(), s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password, "next", "/office").must(t, 200, "Sell your first ticket today", "The event with its first tickets")
	other.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	mina := s.login("mina@example.org")
	owner := call[api.User](s, 200, "GET", "/v1/me", mina, nil)
	event := s.concert(mina, 20, 0)
	at := "/office/events/" + event.ID.String()
	org := regexp.MustCompile(`/office/organizers/org_[a-z0-9]+`).FindString(b.get("/office").must(t, 200, "You work for").text)
	for _, path := range []string{org, org + "/team", org + "/webhooks", org + "/api-keys", org + "/audit-log", org + "/audit-log.csv", org + "/invoices", org + "/money", org + "/money.csv"} {
		other.get(path).must(t, 404)
	}

	// A message: looked at first, then sent, once.
	s.confirmByMail(cfg.Data+"/outbox", "mina@example.org")
	call[api.Order](s, 201, "POST", "/v1/orders", s.login("eve@example.org"), seats(event, 1))
	messages := at + "/messages"
	if p := other.get(messages); p.status != 403 && p.status != 404 {
		t.Errorf("a stranger reads messages: %d", p.status)
	}
	b.send(messages, "subject", "", "text", "Come.").must(t, 400, "subject")
	var preview page
	testkit.Eventually(t, 10*time.Second, func() error { // the ticket is heard of
		if preview = b.send(messages, "subject", "Doors at <six>", "text", "Come early."); !strings.Contains(preview.text, "Send to 1 person") {
			return fmt.Errorf("%d %s", preview.status, preview.text)
		}
		return nil
	})
	preview.must(t, 200, "Doors at &lt;six&gt;", "This is what they get", "Hello")
	send := []string{"do", "send", "subject", "Doors at <six>", "text", "Come early.", "key", preview.field(t, "key")}
	b.send(messages, send...).must(t, 200, "Sent")
	if p := b.send(messages, send...).must(t, 200); strings.Count(p.text, "<summary>Doors at &lt;six&gt;</summary>") != 1 {
		t.Errorf("a form that was sent twice: %s", p.text)
	}

	// Codes: one, many, ended, deleted.
	codes := at + "/codes"
	other.get(codes).must(t, 403)
	first := b.get(codes).must(t, 200, "No codes yet")
	b.send(codes, "kind", "percent", "value", "", "count", "1").must(t, 400, "value")
	b.send(codes, "kind", "amount", "value", "5,00", "code", "SPRING", "count", "1", "uses", "10", "key", first.field(t, "key")).must(t, 200, "SPRING", "5.00 EUR", "0 / 10")
	many := b.send(codes, "kind", "percent", "value", "10", "code", "VIP", "count", "3", "key", b.get(codes).field(t, "key")).must(t, 200, "10 %")
	if n := len(regexp.MustCompile(`<code>VIP[^<]+</code>`).FindAllString(many.text, -1)); n != 3 || !strings.Contains(many.at, "batch=") {
		t.Errorf("%d codes at %s: %s", n, many.at, many.text)
	}
	one := regexp.MustCompile(at + `/codes/[a-z]+_[a-z0-9]+`).FindString(b.get(codes + "?q=spring").text)
	b.send(one, "do", "end").must(t, 200, "Expired")
	if p := b.send(one, "do", "open").must(t, 200); strings.Contains(p.text, "Expired") {
		t.Error("the code is not good again")
	}
	if p := b.send(one, "do", "delete").must(t, 200); strings.Contains(p.text, "SPRING") {
		t.Error("the code is still there")
	}
	for file, want := range map[string]string{"codes.csv": "VIP", "attendees.csv?q=eve": "eve@example.org", "attendees.xlsx": "PK", "orders.xlsx": "PK"} {
		if p := b.get(at + "/files/" + file); p.status != 200 || !strings.Contains(p.text, want) {
			t.Errorf("%s: %d %.200s", file, p.status, p.text)
		}
		other.get(at+"/files/"+file).must(t, 403)
	}

	// Who the organizer is, and who works for it.
	settings := b.get(org).must(t, 200, "Name in addresses")
	b.send(org, "name", "Lamp House", "slug", settings.field(t, "slug"), "currency", "EUR", "website", "no address").must(t, 400, "website")
	b.send(org, "name", "Lamp House", "slug", settings.field(t, "slug"), "currency", "EUR", "website", "https://lamps.example").must(t, 200, "Saved.", "https://lamps.example", "Lamp House")
	seen := s.browser().get("/organizers/"+event.OrganizerID.String()).must(t, 200, "Lamp House", "https://lamps.example", "Nocturne in Blue")
	if seen.at != "/organizers/"+settings.field(t, "slug") {
		t.Errorf("the organizer's page is at %s", seen.at)
	}
	s.browser().get("/events/"+event.ID.String()).must(t, 200, "/organizers/"+event.OrganizerID.String())
	s.browser().get("/organizers/nobody").must(t, 404)
	b.get(org+"/team").must(t, 200, "Mina", "mina@example.org", "scan at the door")
	b.get(org+"/team", "Accept-Language", "de").must(t, 200, `<option value="door">Einlass</option>`, "<summary>Leitung")
	b.send(org+"/team", "email", "new@example.org", "role", "nonsense").must(t, 400, "role")
	b.send(org+"/team", "email", "new@example.org", "role", "door").must(t, 200, "new@example.org", "Invited")
	if p := b.send(org+"/team", "email", "new@example.org", "do", "withdraw").must(t, 200); strings.Contains(p.text, "new@example.org") {
		t.Error("the invitation is still there")
	}
	b.send(org+"/roles", "name", "box-office", "may.door.sell", "yes").must(t, 200, "box-office")
	s.confirmByMail(cfg.Data+"/outbox", "eve@example.org")
	b.send(org+"/team", "email", "eve@example.org", "role", "box-office").must(t, 200, "Eve")
	other.get(org+"/team").must(t, 200, "box-office")
	other.get(org).must(t, 200, "Only members who may edit")
	for _, path := range []string{org + "/webhooks", org + "/api-keys", org + "/audit-log"} {
		other.get(path).must(t, 403)
	}
	eve := regexp.MustCompile(`name="user" value="(usr_[a-z0-9]+)"`).FindAllStringSubmatch(b.get(org+"/team").text, -1)
	for _, m := range eve {
		if m[1] != owner.ID.String() {
			b.send(org+"/team", "do", "role", "user", m[1], "role", "manager").must(t, 200)
			b.send(org+"/team", "do", "remove", "user", m[1]).must(t, 200)
		}
	}
	other.get(org+"/team").must(t, 404)
	b.send(org+"/roles", "name", "box-office", "do", "delete").must(t, 200)

	// A key and a webhook, whose secrets are shown once.
	keys := org + "/api-keys"
	b.send(keys, "do", "create", "name", "Till").must(t, 400, "scopes")
	made := b.send(keys, "do", "create", "name", "Till", "scope.read", "yes").must(t, 200, "Copy this now")
	secret := regexp.MustCompile(`starlight_[a-z0-9_]+`).FindString(made.text)
	if made.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page of a secret: %v", made.header)
	}
	call[api.Event](s, 200, "GET", "/v1/events/"+event.ID.String(), secret, nil)
	list := b.get(keys).must(t, 200, "Till")
	if strings.Contains(list.text, secret) {
		t.Error("the secret is shown again")
	}
	b.send(keys, "do", "rotate", "key", list.field(t, "key")).must(t, 200, "Copy this now")
	b.send(keys, "do", "delete", "key", list.field(t, "key")).must(t, 200, "No API keys yet")

	got := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("webhook-id") }))
	defer receiver.Close()
	b.send(org+"/webhooks", "url", "nonsense").must(t, 400, "url")
	told := b.send(org+"/webhooks", "url", receiver.URL, "name", "Mirror", "topic.event.updated", "yes").must(t, 200, "whsec_")
	hook := regexp.MustCompile(org + `/webhooks/[a-z]+_[a-z0-9]+`).FindString(told.text)
	b.get(hook).must(t, 200, "Mirror", "event.updated", "Nothing was sent yet.")
	call[api.Event](s, 200, "PATCH", "/v1/events/"+event.ID.String(), mina, map[string]any{"name": "Nocturne in Red"})
	id := <-got
	testkit.Eventually(t, 10*time.Second, func() error {
		if p := b.get(hook); !strings.Contains(p.text, `<span class="badge valid">2`) {
			return fmt.Errorf("%s", p.text)
		}
		return nil
	})
	b.send(hook, "do", "replay", "from", "soon").must(t, 400, "from: must be a day and a time")
	b.send(hook, "do", "replay", "from", time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04")).must(t, 200)
	if again := <-got; again != id {
		t.Errorf("told again is %s, not %s", again, id)
	}
	b.send(hook, "do", "off").must(t, 200, "Switch on")
	b.send(hook, "do", "on").must(t, 200, "Switch off")
	b.send(hook, "do", "rotate").must(t, 200, "whsec_")
	b.send(hook, "do", "delete").must(t, 200, "No webhooks yet")

	testkit.Eventually(t, 10*time.Second, func() error {
		if p := b.get(org + "/audit-log"); !strings.Contains(p.text, "event.create_api_key") || !strings.Contains(p.text, "<td>Mina</td>") {
			return fmt.Errorf("%s", p.text)
		}
		return nil
	})
	if p := b.get(org + "/audit-log?act=event.create_api_key"); strings.Contains(p.text, "create_webhook") {
		t.Errorf("the filter lets through %s", p.text)
	}
	b.get(org+"/audit-log.csv").must(t, 200, "event.create_api_key")
	s.validate()
}
