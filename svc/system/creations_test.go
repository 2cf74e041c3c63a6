package system_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// What is made beyond the limit of a day is refused until the next day, in every service.
func TestCreationsAreLimited(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	_, ada := s.Join("ada@example.org")
	e := s.Concert(ada, 5, 0)
	event, organizer := "/v1/events/"+e.ID.String(), "/v1/organizers/"+e.OrganizerID.String()
	type made struct {
		limit        *settings.Setting[int]
		before       int // how many there are already today
		method, path string
		body         func(n int) any
	}
	push := func(n int) any {
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		coded := base64.RawURLEncoding.EncodeToString
		return map[string]any{"endpoint": fmt.Sprintf("https://push.example.org/%d", n),
			"keys": map[string]string{"p256dh": coded(key.PublicKey().Bytes()), "auth": coded(make([]byte, 16))}}
	}
	named := func(n int) any { return map[string]any{"name": fmt.Sprintf("Number %d", n)} }
	for _, m := range []made{
		{api.OrganizersPerPerson, 0, "POST", "/v1/organizers", named},
		{api.TypesPerOrganizer, 1, "POST", event + "/ticket-types", func(n int) any {
			return api.NewTicketType{Name: fmt.Sprint("Type ", n), Price: api.Money{Currency: "EUR"}, Quantity: 1}
		}},
		{api.EventsPerOrganizer, 1, "POST", "/v1/events", func(n int) any {
			return api.NewEvent{Name: "More", StartsAt: e.StartsAt, EndsAt: e.EndsAt, Timezone: "UTC", Location: e.Location,
				TicketTypes: []api.NewTicketType{{Name: "T", Price: api.Money{Currency: "EUR"}, Quantity: 1}}}
		}},
		{api.InvitationsPerOrganizer, 0, "POST", organizer + "/members", func(n int) any {
			return map[string]string{"email": fmt.Sprintf("m%d@example.org", n), "role": api.RoleDoor}
		}},
		{api.InvitationsPerOrganizer, 0, "POST", event + "/team", func(n int) any {
			return api.Invite{Email: fmt.Sprintf("t%d@example.org", n), Role: api.RoleDoor}
		}},
		{api.APIKeysPerOrganizer, 0, "POST", organizer + "/api-keys", func(n int) any {
			return map[string]any{"name": fmt.Sprint(n), "scopes": []string{api.ScopeRead}}
		}},
		{api.VenuesPerPerson, 0, "POST", "/v1/venues", func(n int) any { return api.NewVenue{Name: fmt.Sprint(n), Timezone: "UTC"} }},
		{api.PassesPerEvent, 0, "POST", event + "/passes", func(n int) any { return api.NewPass{Name: fmt.Sprint(n)} }},
		{api.DevicesPerPerson, 0, "POST", "/v1/me/push-subscriptions", push},
		{api.SessionsPerPerson, 1, "POST", "/v1/sessions", func(int) any { return api.Login{Email: "ada@example.org", Password: systemtest.Password} }},
	} {
		s.Set(admin, m.limit.Key(), strconv.Itoa(m.before+2))
		for n := range 2 {
			systemtest.Call[any](s, 201, m.method, m.path, ada, m.body(n))
		}
		n := 1
		var refused systemtest.Answer
		until := func(status int) { // the setting may not be everywhere yet
			testkit.Eventually(t, 10*time.Second, func() (err error) {
				n++
				if refused, err = s.Send(m.method, m.path, ada, m.body(n)); err == nil && refused.Status != status {
					err = fmt.Errorf("%s: %d %s, want %d", m.limit.Key(), refused.Status, refused.Body, status)
				}
				return err
			})
		}
		until(429)
		if wait, err := strconv.Atoi(refused.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 24*60*60 {
			t.Errorf("%s: Retry-After is %q", m.limit.Key(), refused.Header.Get("Retry-After"))
		}
		s.Set(admin, m.limit.Key(), "0")
		until(201)
	}
}
