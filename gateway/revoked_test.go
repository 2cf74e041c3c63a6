package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func (d *door) revoke(f revocation.Fact) {
	d.t.Helper()
	m, err := f.Message()
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.nats.JS.Publish(d.t.Context(), m.Subject, m.Payload.([]byte)); err != nil {
		d.t.Fatal(err)
	}
}

// another starts one more gateway like cfg, and returns its address.
func (d *door) another(cfg gateway.Config, revoked *revocation.List) string {
	d.t.Helper()
	cfg.Registry, cfg.Revoked = observe.NewRegistry(), revoked
	g, err := gateway.New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	go g.Serve(ln)
	d.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.http.CloseIdleConnections()
		if err := g.Shutdown(ctx); err != nil {
			d.t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

func (d *door) bucket() jetstream.KeyValue {
	d.t.Helper()
	kv, err := d.nats.JS.KeyValue(d.t.Context(), revocation.Bucket)
	if err != nil {
		d.t.Fatal(err)
	}
	return kv
}

// A token ends with its session and its person's rights, at every gateway, also at one that starts afterwards.
func TestTokenEndsWithItsSession(t *testing.T) {
	var cfg gateway.Config
	d := open(t, func(c *gateway.Config) { cfg = *c })
	urls := []string{d.url, d.another(cfg, d.follow(d.bucket(), 0))}
	path := "/v1/events/" + string(theEvent)
	anna, bert := person(), person()
	second := anna
	second.Session = person().Session
	token := map[string]string{}
	for name, p := range map[string]rpc.Principal{"anna": anna, "anna's second": second, "bert": bert} {
		token[name] = "Bearer " + d.token(p)
	}
	token["bert anew"] = "Bearer " + d.token(bert, func(c jwt.MapClaims, _ map[string]any) { c["gen"] = 1 })
	status := func(url, name string) int {
		return d.send(url, "GET", path, "", "Authorization", token[name]).StatusCode
	}
	for _, url := range urls {
		for name := range token {
			if got := status(url, name); got != 200 {
				t.Fatalf("%s: %d", name, got)
			}
		}
	}
	d.revoke(revocation.OfSession(anna.Session))
	d.revoke(revocation.OfUser(bert.User, 1, ""))
	ended := func() error {
		for _, url := range urls {
			for _, name := range []string{"anna", "bert"} {
				if got := status(url, name); got != 401 {
					return fmt.Errorf("%s: %d", name, got)
				}
			}
		}
		return nil
	}
	testkit.Eventually(t, time.Second, ended)
	urls = append(urls, d.another(cfg, d.follow(d.bucket(), 0)))
	if err := ended(); err != nil {
		t.Errorf("at a gateway that was started since: %v", err)
	}
	for _, url := range urls {
		for _, name := range []string{"anna's second", "bert anew"} {
			if got := status(url, name); got != 200 {
				t.Errorf("%s: %d", name, got)
			}
		}
	}
}

// A gateway that cannot know who has been revoked changes nothing, and answers reads as far as it knows.
func TestBlindGateway(t *testing.T) {
	var cfg gateway.Config
	d := open(t, func(c *gateway.Config) { cfg = *c })
	url := d.another(cfg, d.follow(d.bucket(), 500*time.Millisecond))
	token := []string{"Authorization", "Bearer " + d.token(person()), "Content-Type", "application/json"}
	event := "/v1/events/" + string(theEvent)
	if a := d.send(url, "PATCH", event, "{}", append(token, "If-Match", `"z"`)...); a.StatusCode != 200 {
		t.Fatalf("before: %d %s", a.StatusCode, a.body)
	}
	if err := d.nats.JS.DeleteKeyValue(t.Context(), revocation.Bucket); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, func() error {
		if a := d.send(url, "PATCH", event, "{}", append(token, "If-Match", `"z"`)...); a.StatusCode != 503 {
			return fmt.Errorf("%d %s", a.StatusCode, a.body)
		}
		return nil
	})
	wantProblem(t, d.send(url, "PATCH", event, "{}", token...), 503, fault.Unavailable)
	if a := d.send(url, "GET", event, "", token...); a.StatusCode != 200 {
		t.Errorf("a read: %d %s", a.StatusCode, a.body)
	}
	if _, err := d.nats.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: revocation.Bucket}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if a := d.send(url, "PATCH", event, "{}", append(token, "If-Match", `"z"`)...); a.StatusCode != 200 {
			return fmt.Errorf("%d %s", a.StatusCode, a.body)
		}
		return nil
	})
}

// What administrators do is decided by what the user service says at that moment, asked once.
func TestAdministratorsAreCheckedAtTheSource(t *testing.T) {
	d := open(t)
	event := "/v1/events/" + string(theEvent)
	demoted, ended, unknown, good := person("admin"), person("admin"), person("admin"), person("admin")
	d.standing = map[string]func() (*api.Standing, error){
		string(demoted.Session): func() (*api.Standing, error) { return &api.Standing{Roles: []string{}}, nil },
		string(ended.Session): func() (*api.Standing, error) {
			return nil, fault.New(fault.Unauthenticated, "the session has ended; sign in again")
		},
		string(unknown.Session): func() (*api.Standing, error) { return nil, fault.New(fault.Internal, "a defect") },
	}
	checks := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.checks
	}
	for _, c := range []struct {
		name         string
		who          rpc.Principal
		method, path string
		status       int
		checks       int
	}{
		{"a demoted one", demoted, "GET", "/v1/config", 403, 1},
		{"a session that has ended", ended, "GET", "/v1/config", 401, 1},
		{"a source that fails", unknown, "GET", "/v1/config", 503, 1},
		{"a write that others may do, too", ended, "DELETE", event, 401, 1},
		{"the same by an administrator", good, "DELETE", event, 204, 1},
		{"the same by another person", person(), "DELETE", event, 204, 0},
		{"a read that others may do, too", ended, "GET", event, 200, 0},
		{"no administrator", person(), "GET", "/v1/config", 403, 0},
	} {
		before := checks()
		a := d.do(c.method, c.path, "", "Authorization", "Bearer "+d.token(c.who))
		if got := checks() - before; a.StatusCode != c.status || got != c.checks {
			t.Errorf("%s: %d %s after %d checks, want %d after %d", c.name, a.StatusCode, a.body, got, c.status,
				c.checks)
		}
	}
	a := d.do("PATCH", event, "{}", "Authorization", "Bearer "+d.token(demoted), "If-Match", `"z"`, "Content-Type",
		"application/json")
	if last, _ := d.arrived(); a.StatusCode != 200 || last.Principal.Admin() {
		t.Errorf("a write of a demoted administrator: %d as %v", a.StatusCode, last.Principal)
	}
}

// What asks for a fresh proof is refused without, and an administrator who lacks the factor that is required may enrol.
func TestFreshProofsAndRequiredFactors(t *testing.T) {
	d := open(t)
	event, roles := "/v1/events/"+string(theEvent), "/v1/users/"+string(person().User)+"/roles"
	admin := person("admin")
	standing := api.Standing{Roles: []string{"admin"}, MustEnrol: true}
	d.standing = map[string]func() (*api.Standing, error){
		string(admin.Session): func() (*api.Standing, error) { s := standing; return &s, nil },
	}
	field := func(method, path string) string {
		t.Helper()
		a := d.do(method, path, "", "Authorization", "Bearer "+d.token(admin))
		var p struct{ Errors []fault.Field }
		if err := json.Unmarshal([]byte(a.body), &p); a.StatusCode == 403 && err == nil && len(p.Errors) == 1 {
			return p.Errors[0].Field
		}
		return ""
	}
	for _, c := range []struct{ method, path, want string }{
		{"GET", event, ""}, {"GET", "/v1/config", "second_factor"}, {"DELETE", event, "second_factor"},
		{"GET", "/v1/me/second-factors", ""}, {"POST", "/v1/me/second-factors", "step_up"}, {"PUT", roles, "second_factor"},
	} {
		if got := field(c.method, c.path); got != c.want {
			t.Errorf("%s %s: needs %q, want %q", c.method, c.path, got, c.want)
		}
	}
	if err := d.live.Change(api.AdminFactor.Is(true)); err != nil {
		t.Fatal(err)
	}
	if got := field("GET", event); got != "second_factor" {
		t.Errorf("a read needs %q", got)
	}
	if a := d.do("GET", event, "", "Authorization", "Bearer "+d.token(person())); a.StatusCode != 200 {
		t.Errorf("others: %d %s", a.StatusCode, a.body)
	}
	standing.MustEnrol = false
	if got := field("PUT", roles); got != "step_up" {
		t.Errorf("roles need %q", got)
	}
	standing.Fresh = true
	if got := field("PUT", roles); got != "" {
		t.Errorf("roles need %q after a proof", got)
	}
	if a := d.do("PATCH", event, "{}", "Authorization", "Bearer "+d.token(admin), "If-Match", `"z"`, "Content-Type",
		"application/json"); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if last, _ := d.arrived(); !last.Principal.Fresh {
		t.Error("the service does not learn that the proof is fresh")
	}
}

// A live stream ends with its session, and a stream about an event with its caller's part in the team.
func TestLiveStreamEndsWithItsRights(t *testing.T) {
	b := openBoards(t)
	anna, bert := person(), person()
	own := api.OwnTeam(person().User)
	offer := api.Offer{Organizer: own, Event: api.Event{ID: theEvent, OrganizerID: own.ID, Status: api.EventPublished, Revision: 1},
		Team: []api.TeamMember{{UserID: anna.User, Role: api.RoleManager}, {UserID: bert.User, Role: api.RoleManager}}}
	changed := func() {
		t.Helper()
		offer.Event.Revision++
		data, err := json.Marshal(offer)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.nats.Conn.Publish(api.EventUpdated.Subject, data); err != nil {
			t.Fatal(err)
		}
		if err := b.nats.Conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	const end = `end||{"reason":"the session has ended or its rights have changed"}`
	first, second := b.follow(t, b.door.token(anna)), b.follow(t, b.door.token(bert))
	first.want(`snapshot||{"count":0}`)
	second.want(`snapshot||{"count":0}`)
	changed()
	b.change(1, "")
	first.want(`changed||{"count":1}`) // the change of the team has not touched it
	b.revoke(revocation.OfSession(anna.Session))
	first.want(end)
	first.want("")
	second.want(`changed||{"count":1}`)
	offer.Team = offer.Team[:1]
	changed()
	second.want(end)
	second.want("")
	// A service that is behind still lets the person in; the gateway is not.
	again := b.follow(t, b.door.token(bert))
	again.want(`snapshot||{"count":1}`)
	again.want(end)
}
