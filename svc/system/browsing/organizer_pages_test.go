package browsing_test

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
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// What an organizer does beside events, in the browser and without scripts: messages, codes, lists, the team, settings,
// webhooks, keys and the log of it all. Those who may not do it do not see it.
func TestOfficeOfAnOrganizer(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, api.WebhookPrivate.Key(), "true")
	b, other := s.Browser(), s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password, "next", "/office").Must(t, 200, "Sell your first ticket today", "The event with its first tickets")
	other.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	owner := systemtest.Call[api.User](s, 200, "GET", "/v1/me", mina, nil)
	event := s.Concert(mina, 20, 0)
	at := "/office/events/" + event.ID.String()
	org := regexp.MustCompile(`/office/organizers/org_[a-z0-9]+`).FindString(b.Get("/office").Must(t, 200, "You work for").Text)
	for _, path := range []string{org, org + "/team", org + "/webhooks", org + "/api-keys", org + "/audit-log", org + "/audit-log.csv", org + "/invoices", org + "/money", org + "/money.csv"} {
		other.Get(path).Must(t, 404)
	}

	// A message: looked at first, then sent, once.
	s.Confirm(cfg, "mina@example.org")
	systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", s.Login("eve@example.org"), systemtest.Seats(event, 1))
	messages := at + "/messages"
	if p := other.Get(messages); p.Status != 403 && p.Status != 404 {
		t.Errorf("a stranger reads messages: %d", p.Status)
	}
	b.Send(messages, "subject", "", "text", "Come.").Must(t, 400, "subject")
	var preview systemtest.Page
	testkit.Eventually(t, 10*time.Second, func() error { // the ticket is heard of
		if preview = b.Send(messages, "subject", "Doors at <six>", "text", "Come early."); !strings.Contains(preview.Text, "Send to 1 person") {
			return fmt.Errorf("%d %s", preview.Status, preview.Text)
		}
		return nil
	})
	preview.Must(t, 200, "Doors at &lt;six&gt;", "This is what they get", "Hello")
	send := []string{"do", "send", "subject", "Doors at <six>", "text", "Come early.", "key", preview.Field(t, "key")}
	b.Send(messages, send...).Must(t, 200, "Sent")
	if p := b.Send(messages, send...).Must(t, 200); strings.Count(p.Text, "<summary>Doors at &lt;six&gt;</summary>") != 1 {
		t.Errorf("a form that was sent twice: %s", p.Text)
	}

	// Codes: one, many, ended, deleted.
	codes := at + "/codes"
	other.Get(codes).Must(t, 403)
	first := b.Get(codes).Must(t, 200, "No codes yet")
	b.Send(codes, "kind", "percent", "value", "", "count", "1").Must(t, 400, "value")
	b.Send(codes, "kind", "amount", "value", "5,00", "code", "SPRING", "count", "1", "uses", "10", "key", first.Field(t, "key")).Must(t, 200, "SPRING", "5.00 EUR", "0 / 10")
	many := b.Send(codes, "kind", "percent", "value", "10", "code", "VIP", "count", "3", "key", b.Get(codes).Field(t, "key")).Must(t, 200, "10 %")
	if n := len(regexp.MustCompile(`<code>VIP[^<]+</code>`).FindAllString(many.Text, -1)); n != 3 || !strings.Contains(many.At, "batch=") {
		t.Errorf("%d codes at %s: %s", n, many.At, many.Text)
	}
	one := regexp.MustCompile(at + `/codes/[a-z]+_[a-z0-9]+`).FindString(b.Get(codes + "?q=spring").Text)
	b.Send(one, "do", "end").Must(t, 200, "Expired")
	if p := b.Send(one, "do", "open").Must(t, 200); strings.Contains(p.Text, "Expired") {
		t.Error("the code is not good again")
	}
	if p := b.Send(one, "do", "delete").Must(t, 200); strings.Contains(p.Text, "SPRING") {
		t.Error("the code is still there")
	}
	for file, want := range map[string]string{"codes.csv": "VIP", "attendees.csv?q=eve": "eve@example.org", "attendees.xlsx": "PK", "orders.xlsx": "PK"} {
		if p := b.Get(at + "/files/" + file); p.Status != 200 || !strings.Contains(p.Text, want) {
			t.Errorf("%s: %d %.200s", file, p.Status, p.Text)
		}
		other.Get(at+"/files/"+file).Must(t, 403)
	}

	// Who the organizer is, and who works for it.
	settings := b.Get(org).Must(t, 200, "Name in addresses")
	b.Send(org, "name", "Lamp House", "slug", settings.Field(t, "slug"), "currency", "EUR", "website", "no address").Must(t, 400, "website")
	b.Send(org, "name", "Lamp House", "slug", settings.Field(t, "slug"), "currency", "EUR", "website", "https://lamps.example").Must(t, 200, "Saved.", "https://lamps.example", "Lamp House")
	seen := s.Browser().Get("/organizers/"+event.OrganizerID.String()).Must(t, 200, "Lamp House", "https://lamps.example", "Nocturne in Blue")
	if seen.At != "/organizers/"+settings.Field(t, "slug") {
		t.Errorf("the organizer's page is at %s", seen.At)
	}
	s.Browser().Get("/events/"+event.ID.String()).Must(t, 200, "/organizers/"+event.OrganizerID.String())
	s.Browser().Get("/organizers/nobody").Must(t, 404)
	b.Get(org+"/team").Must(t, 200, "Mina", "mina@example.org", "scan at the door")
	b.Get(org+"/team", "Accept-Language", "de").Must(t, 200, `<option value="door">Einlass</option>`, "<summary>Leitung")
	b.Send(org+"/team", "email", "new@example.org", "role", "nonsense").Must(t, 400, "role")
	b.Send(org+"/team", "email", "new@example.org", "role", "door").Must(t, 200, "new@example.org", "Invited")
	if p := b.Send(org+"/team", "email", "new@example.org", "do", "withdraw").Must(t, 200); strings.Contains(p.Text, "new@example.org") {
		t.Error("the invitation is still there")
	}
	b.Send(org+"/roles", "name", "box-office", "may.door.sell", "yes").Must(t, 200, "box-office")
	s.Confirm(cfg, "eve@example.org")
	b.Send(org+"/team", "email", "eve@example.org", "role", "box-office").Must(t, 200, "Eve")
	other.Get(org+"/team").Must(t, 200, "box-office")
	other.Get(org).Must(t, 200, "Only members who may edit")
	for _, path := range []string{org + "/webhooks", org + "/api-keys", org + "/audit-log"} {
		other.Get(path).Must(t, 403)
	}
	eve := regexp.MustCompile(`name="user" value="(usr_[a-z0-9]+)"`).FindAllStringSubmatch(b.Get(org+"/team").Text, -1)
	for _, m := range eve {
		if m[1] != owner.ID.String() {
			b.Send(org+"/team", "do", "role", "user", m[1], "role", "manager").Must(t, 200)
			b.Send(org+"/team", "do", "remove", "user", m[1]).Must(t, 200)
		}
	}
	other.Get(org+"/team").Must(t, 404)
	b.Send(org+"/roles", "name", "box-office", "do", "delete").Must(t, 200)

	// A key and a webhook, whose secrets are shown once.
	keys := org + "/api-keys"
	b.Send(keys, "do", "create", "name", "Till").Must(t, 400, "scopes")
	made := b.Send(keys, "do", "create", "name", "Till", "scope.read", "yes").Must(t, 200, "Copy this now")
	secret := regexp.MustCompile(`starlight_[a-z0-9_]+`).FindString(made.Text)
	if made.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page of a secret: %v", made.Header)
	}
	systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+event.ID.String(), secret, nil)
	list := b.Get(keys).Must(t, 200, "Till")
	if strings.Contains(list.Text, secret) {
		t.Error("the secret is shown again")
	}
	b.Send(keys, "do", "rotate", "key", list.Field(t, "key")).Must(t, 200, "Copy this now")
	b.Send(keys, "do", "delete", "key", list.Field(t, "key")).Must(t, 200, "No API keys yet")

	got := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("webhook-id") }))
	defer receiver.Close()
	b.Send(org+"/webhooks", "url", "nonsense").Must(t, 400, "url")
	told := b.Send(org+"/webhooks", "url", receiver.URL, "name", "Mirror", "topic.event.updated", "yes").Must(t, 200, "whsec_")
	hook := regexp.MustCompile(org + `/webhooks/[a-z]+_[a-z0-9]+`).FindString(told.Text)
	b.Get(hook).Must(t, 200, "Mirror", "event.updated", "Nothing was sent yet.")
	systemtest.Call[api.Event](s, 200, "PATCH", "/v1/events/"+event.ID.String(), mina, map[string]any{"name": "Nocturne in Red"})
	id := <-got
	testkit.Eventually(t, 10*time.Second, func() error {
		if p := b.Get(hook); !strings.Contains(p.Text, `<span class="badge valid">2`) {
			return fmt.Errorf("%s", p.Text)
		}
		return nil
	})
	b.Send(hook, "do", "replay", "from", "soon").Must(t, 400, "from: must be a day and a time")
	b.Send(hook, "do", "replay", "from", time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04")).Must(t, 200)
	if again := <-got; again != id {
		t.Errorf("told again is %s, not %s", again, id)
	}
	b.Send(hook, "do", "off").Must(t, 200, "Switch on")
	b.Send(hook, "do", "on").Must(t, 200, "Switch off")
	b.Send(hook, "do", "rotate").Must(t, 200, "whsec_")
	b.Send(hook, "do", "delete").Must(t, 200, "No webhooks yet")

	testkit.Eventually(t, 10*time.Second, func() error {
		if p := b.Get(org + "/audit-log"); !strings.Contains(p.Text, "event.create_api_key") || !strings.Contains(p.Text, "<td>Mina</td>") {
			return fmt.Errorf("%s", p.Text)
		}
		return nil
	})
	if p := b.Get(org + "/audit-log?act=event.create_api_key"); strings.Contains(p.Text, "create_webhook") {
		t.Errorf("the filter lets through %s", p.Text)
	}
	b.Get(org+"/audit-log.csv").Must(t, 200, "event.create_api_key")
	s.Validate()
}
