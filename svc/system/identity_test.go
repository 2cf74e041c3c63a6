package system_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// knownWithin is how soon every gateway knows that a session has ended.
const knownWithin = time.Second

// pair is a system with a second gateway in a process of its own, as far as NATS can tell.
type pair struct {
	*systemtest.Site
	cfg   system.Config
	sys   *system.System
	sites []*systemtest.Site // of both gateways
	admin string
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{cfg: systemtest.Config(t.TempDir())}
	p.cfg.Sandbox = true
	p.Site, p.sys, _ = systemtest.Start(t, p.cfg)
	p.sites = []*systemtest.Site{p.Site, p.gateway()}
	p.admin = p.Login(systemtest.AdminEmail)
	p.Unlimited(p.admin)
	return p
}

// gateway starts one more gateway.
func (p *pair) gateway() *systemtest.Site {
	p.T.Helper()
	s, _, _ := systemtest.Start(p.T, system.Config{Roles: []string{"gateway"}, Data: p.T.TempDir(), HTTP: "127.0.0.1:0", Ops: "off",
		NATSURL: p.sys.NATSURL(), NATSCreds: filepath.Join(p.cfg.Data, "creds"), LogTo: io.Discard})
	return s
}

// promote makes a person an administrator, or takes that away.
func (p *pair) promote(id ids.User, roles ...string) {
	p.T.Helper()
	systemtest.Call[api.User](p.Site, 200, "PUT", "/v1/users/"+id.String()+"/roles", p.admin,
		api.SetRoles{Roles: append([]string{}, roles...)})
}

// ended checks that a token is refused everywhere within a second, also by a gateway that is started afterwards.
func (p *pair) ended(what, token string, restarted bool) {
	p.T.Helper()
	sites := p.sites
	testkit.Eventually(p.T, knownWithin, func() error { return refuses(sites, token) })
	if restarted {
		if err := refuses([]*systemtest.Site{p.gateway()}, token); err != nil {
			p.T.Errorf("%s, at a gateway that was started since: %v", what, err)
		}
	}
}

// refuses returns an error unless the token is refused for a read and for a write by all gateways.
func refuses(sites []*systemtest.Site, token string) error {
	for i, s := range sites {
		for _, method := range []string{"GET", "POST"} {
			path := map[string]string{"GET": "/v1/me/tickets", "POST": "/v1/orders"}[method]
			got, err := s.Send(method, path, token, nil)
			if err != nil || got.Status != 401 {
				return fmt.Errorf("gateway %d: %s %s: %d %s %v", i, method, path, got.Status, got.Body, err)
			}
		}
	}
	return nil
}

// Whatever ends an identity ends it at every gateway within a second, for services that have never heard of it.
func TestEndedIdentitiesEnd(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	// end makes a person with a token that is good at both gateways, has it ended, and checks that it is.
	end := func(what string, restarted bool, do func(u api.User, email, token string)) {
		t.Helper()
		email := strings.ReplaceAll(what, " ", "-") + "@example.org"
		u, token := p.Join(email)
		if strings.Contains(what, "admin") {
			p.promote(u.ID, "admin")
			token = p.Login(email)
		}
		for _, s := range p.sites {
			systemtest.Call[any](s, 200, "GET", "/v1/me/tickets", token, nil)
		}
		do(u, email, token)
		p.ended(what, token, restarted)
	}
	end("logout", false, func(_ api.User, _, token string) {
		systemtest.Call[any](p.sites[1], 204, "DELETE", "/v1/sessions/current", token, nil)
	})
	end("demoted admin", true, func(u api.User, _, token string) {
		systemtest.Call[any](p.sites[1], 200, "GET", "/v1/config", token, nil)
		p.promote(u.ID)
		// Before the second is over, too: what only administrators may do is asked at the source.
		for _, s := range p.sites {
			if got, err := s.Send("PUT", "/v1/config/payment.sandbox", token,
				map[string]string{"value": "true"}); err != nil || got.Status != 401 && got.Status != 403 {
				t.Errorf("a setting right after the demotion: %d %s", got.Status, got.Body)
			}
		}
	})
	end("deleted admin", true, func(_ api.User, _, token string) {
		systemtest.Call[any](p.sites[1], 204, "DELETE", "/v1/me", token, api.DeleteAccount{Password: systemtest.Password})
	})
	end("deleted", false, func(_ api.User, _, token string) {
		systemtest.Call[any](p.Site, 204, "DELETE", "/v1/me", token, api.DeleteAccount{Password: systemtest.Password})
	})
	end("logout everywhere", true, func(_ api.User, email, _ string) {
		systemtest.Call[any](p.sites[1], 204, "DELETE", "/v1/me/sessions", p.Login(email), nil)
	})
	end("ended by another session", false, func(_ api.User, email, _ string) {
		own := p.Login(email)
		all := systemtest.Call[api.List[api.SessionInfo]](p.Site, 200, "GET", "/v1/me/sessions", own, nil).Items
		if len(all) != 2 || !all[0].Current || !strings.HasPrefix(all[1].Device, "Go-http-client") {
			t.Errorf("sessions %+v", all)
		}
		systemtest.Call[any](p.sites[1], 204, "DELETE", "/v1/me/sessions/"+all[1].ID.String(), own, nil)
		for _, s := range p.sites {
			systemtest.Call[any](s, 200, "GET", "/v1/me/tickets", own, nil)
		}
	})
	end("another long sentence", false, func(_ api.User, email, _ string) {
		own := p.Login(email)
		systemtest.Call[any](p.Site, 204, "POST", "/v1/me/password", own, api.ChangePassword{CurrentPassword: systemtest.Password,
			NewPassword: "a different sentence"})
		for _, s := range p.sites {
			systemtest.Call[any](s, 200, "GET", "/v1/me/tickets", own, nil) // the session that did it goes on
		}
	})
}

// A thief who is signed in loses the account's tickets from reach as soon as its owner has reset the password.
func TestResetEndsTheThief(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	_, organizer := p.Join("organizer@example.org")
	_, owner := p.Join("owner@example.org")
	thief := p.Login("owner@example.org")
	event := p.Concert(organizer, 10, 0)
	order := systemtest.Call[api.Order](p.Site, 201, "POST", "/v1/orders", owner, systemtest.Seats(event, 3))
	tickets := systemtest.Call[api.List[api.Ticket]](p.Site, 200, "GET", "/v1/orders/"+order.ID.String()+"/tickets", owner, nil).Items
	transfer := func(s *systemtest.Site, ticket api.Ticket) systemtest.Answer {
		t.Helper()
		got, err := s.Send("POST", "/v1/tickets/"+ticket.ID.String()+"/transfer", thief,
			map[string]string{"email": systemtest.AdminEmail}) // who has confirmed it
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := transfer(p.sites[1], tickets[0]); got.Status != 200 {
		t.Fatalf("before the reset: %d %s", got.Status, got.Body)
	}
	systemtest.Call[any](p.Site, 202, "POST", "/v1/password-resets", "", api.RequestReset{Email: "owner@example.org"})
	var token string
	testkit.Eventually(t, 20*time.Second, func() error {
		if token = regexp.MustCompile(`pr_[A-Za-z0-9_-]{43}`).FindString(mailbox(t, p.cfg)); token == "" {
			return errors.New("no mail has a token")
		}
		return nil
	})
	systemtest.Call[any](p.Site, 204, "POST", "/v1/password-resets/confirm", "", api.ConfirmReset{Token: token,
		NewPassword: "a different sentence"})
	for i, s := range p.sites { // at once: a transfer is decided at the source
		if got := transfer(s, tickets[i+1]); got.Status != 401 {
			t.Errorf("after the reset: %d %s", got.Status, got.Body)
		}
	}
	p.ended("the thief", thief, true)
	p.ended("the owner's old session", owner, false)
}

// mailbox returns all mails that were sent so far, with their lines joined.
func mailbox(t *testing.T, cfg system.Config) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cfg.Data, "outbox", "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(strings.ReplaceAll(string(text), "=\r\n", ""))
	}
	return all.String()
}

// A live stream ends with its session.
func TestStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	_, token := p.Join("ada@example.org")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", p.sites[1].URL+"/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "data: ") {
	}
	systemtest.Call[any](p.Site, 204, "DELETE", "/v1/sessions/current", token, nil)
	since := time.Now()
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if took := time.Since(since); took > knownWithin || !strings.Contains(strings.Join(rest, "\n"), "the session has ended") {
		t.Errorf("after %s the stream ended with %q: %v", took, rest, lines.Err())
	}
}

// states are what can become of an identity. Each takes a person's token that was good, and ends it or not.
func (p *pair) states() map[string]func(u api.User, email, token string) {
	return map[string]func(u api.User, email, token string){
		"valid": func(api.User, string, string) {},
		"logged out": func(_ api.User, _, token string) {
			systemtest.Call[any](p.Site, 204, "DELETE", "/v1/sessions/current", token, nil)
		},
		"demoted": func(u api.User, _, _ string) { p.promote(u.ID) }, // of administrators alone
		"locked": func(u api.User, _, _ string) {
			systemtest.Call[any](p.Site, 200, "PUT", "/v1/users/"+u.ID.String()+"/lock", p.admin, nil)
		},
		"deleted": func(_ api.User, _, token string) {
			systemtest.Call[any](p.Site, 204, "DELETE", "/v1/me", token, api.DeleteAccount{Password: systemtest.Password})
		},
		"password changed": func(_ api.User, email, _ string) {
			systemtest.Call[any](p.Site, 204, "POST", "/v1/me/password", p.Login(email),
				api.ChangePassword{CurrentPassword: systemtest.Password, NewPassword: "a different sentence"})
		},
	}
}

// ranks are who a person may be. Each makes one of a new account.
func (p *pair) ranks() map[string]func(u api.User, token string) {
	start := time.Now().AddDate(0, 1, 0).UTC().Truncate(time.Second)
	draft := func(token string) api.Event {
		return systemtest.Call[api.Event](p.Site, 201, "POST", "/v1/events", token, api.NewEvent{Name: "Draft", StartsAt: start,
			EndsAt: start.Add(time.Hour), Timezone: "UTC", Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"},
			TicketTypes: []api.NewTicketType{{Name: "T", Price: api.Money{Currency: "EUR"}, Quantity: 1}}})
	}
	event := p.Concert(p.admin, 100, 0)
	return map[string]func(u api.User, token string){
		"administrator": func(u api.User, _ string) { p.promote(u.ID, "admin") }, // no other rule is in the way
		"organizer":     func(_ api.User, token string) { draft(token) },
		"manager": func(u api.User, _ string) {
			systemtest.Call[any](p.Site, 200, "PUT", "/v1/events/"+event.ID.String()+"/team/"+u.ID.String(), p.admin,
				map[string]string{"role": api.RoleManager})
		},
		"buyer": func(_ api.User, token string) {
			systemtest.Call[api.Order](p.Site, 201, "POST", "/v1/orders", token, systemtest.Seats(event, 1))
		},
	}
}

// Every endpoint that reads an identity, by who the person is and what has become of the identity, at both gateways.
func TestDenyMatrix(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	checked := 0
	for rank, become := range p.ranks() {
		checked += p.deny(rank, become)
	}
	checked += p.denyWithoutFactor()
	if checked < 5000 {
		t.Errorf("only %d were tried", checked)
	}
}

// deny tries everything as a person of a rank in each state, and returns how much that was.
func (p *pair) deny(rank string, become func(u api.User, token string)) (checked int) {
	t := p.T
	t.Helper()
	for state, end := range p.states() {
		if state == "demoted" && rank != "administrator" || state == "locked" && rank == "administrator" {
			continue // others have no role, and an administrator is demoted first
		}
		email := rank + "-" + strings.ReplaceAll(state, " ", "-") + "@example.org"
		u, first := p.Join(email)
		become(u, first)
		token := p.Login(email)
		for _, s := range p.sites {
			systemtest.Call[any](s, 200, "GET", "/v1/me", token, nil)
		}
		end(u, email, token)
		if state != "valid" {
			p.ended(rank+", "+state, token, false)
		}
		for _, d := range api.All() {
			if d.Access == rpc.Public || d.Access == rpc.Internal || state == "valid" && ends(d) {
				continue
			}
			path := mangled(d.Path, ids.New[ids.EventKind](time.Now()).String())
			for i, s := range p.sites {
				got, err := s.Send(d.Method, path, token, nil)
				if err != nil {
					t.Fatalf("%s %s: %v", d.Method, path, err)
				}
				checked++
				if (got.Status == 401) != (state != "valid") {
					t.Errorf("%s %s, %s, %s, gateway %d: %d %s", d.Method, d.Path, rank, state, i, got.Status, got.Body)
				}
			}
		}
	}
	return checked
}

// ends reports whether an endpoint ends the identity that calls it, whatever it is sent.
func ends(d rpc.Descriptor) bool {
	return d.Subject() == api.EndSession.Subject() || d.Subject() == api.EndAllSessions.Subject()
}

// denyWithoutFactor tries everything as an administrator who lacks the second factor that is required by now, and
// returns how much that was.
func (p *pair) denyWithoutFactor() (checked int) {
	p.T.Helper()
	u, _ := p.Join("factor-missing@example.org")
	p.promote(u.ID, "admin")
	token := p.Login("factor-missing@example.org")
	p.Set(p.admin, api.AdminFactor.Key(), "true")
	for _, s := range p.sites {
		testkit.Eventually(p.T, knownWithin, func() error {
			if got, err := s.Send("GET", "/v1/me/tickets", token, nil); err != nil || got.Status != 403 {
				return fmt.Errorf("%d %s %v", got.Status, got.Body, err)
			}
			return nil
		})
	}
	for _, d := range api.All() {
		if d.Access == rpc.Public || d.Access == rpc.Internal || ends(d) {
			continue
		}
		path := mangled(d.Path, ids.New[ids.EventKind](time.Now()).String())
		for i, s := range p.sites {
			got, err := s.Send(d.Method, path, token, nil)
			if err != nil {
				p.T.Fatalf("%s %s: %v", d.Method, path, err)
			}
			checked++
			if got.Status == 401 || (got.Status == 403) == d.Enrols {
				p.T.Errorf("%s %s, factor missing, gateway %d: %d %s", d.Method, d.Path, i, got.Status, got.Body)
			}
		}
	}
	return checked
}
