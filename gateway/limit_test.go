package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

func TestRateLimits(t *testing.T) {
	d := open(t, func(c *gateway.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	set := func(address, person, login int) {
		t.Helper()
		for _, err := range []error{d.live.Change(api.RatePerAddress.Is(address)), d.live.Change(api.RatePerPerson.Is(person)), d.live.Change(api.RateLogin.Is(login))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		d.clock.Advance(time.Minute) // every bucket is full
	}
	path := "/v1/events/" + string(theEvent)
	limited := func(a answer) bool {
		t.Helper()
		if a.StatusCode != 429 {
			return false
		}
		wantProblem(t, a, 429, fault.RateLimited)
		if a.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
		}
		return true
	}

	set(3, 0, 0)
	for i := range 3 {
		if limited(d.do("GET", path, "", "X-Forwarded-For", "192.0.2.1")) {
			t.Fatalf("request %d of 3 was refused", i+1)
		}
	}
	if !limited(d.do("GET", path, "", "X-Forwarded-For", "192.0.2.1")) {
		t.Error("the fourth request of a second passed")
	}
	if limited(d.do("GET", path, "", "X-Forwarded-For", "192.0.2.2")) {
		t.Error("another address was refused")
	}
	d.clock.Advance(334 * time.Millisecond)
	if limited(d.do("GET", path, "", "X-Forwarded-For", "192.0.2.1")) {
		t.Error("a third of a second later one more should pass")
	}
	if !limited(d.do("GET", path, "", "X-Forwarded-For", "192.0.2.1")) {
		t.Error("but only one")
	}
	d.clock.Advance(time.Minute)
	for _, a := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"} {
		d.do("GET", path, "", "X-Forwarded-For", a)
	}
	if !limited(d.do("GET", path, "", "X-Forwarded-For", "2001:db8::4")) || limited(d.do("GET", path, "", "X-Forwarded-For", "2001:db8:0:1::1")) {
		t.Error("IPv6 is not counted by its /64")
	}

	set(0, 2, 0)
	anna, bert := "Bearer "+d.token(person()), "Bearer "+d.token(person())
	for i, from := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} { // changing the address does not help
		if got := limited(d.do("GET", path, "", "X-Forwarded-For", from, "Authorization", anna)); got != (i == 2) {
			t.Errorf("request %d of a person with 2: refused is %v", i+1, got)
		}
	}
	if limited(d.do("GET", path, "", "Authorization", bert)) {
		t.Error("another person was refused")
	}

	set(0, 0, 1)
	login := func() answer {
		return d.do("POST", "/v1/sessions", `{"email":"a","password":"b"}`, "Content-Type", "application/json")
	}
	if first, second := login(), login(); limited(first) || second.StatusCode != 429 ||
		second.Header.Get("Retry-After") != "60" {
		t.Errorf("logins are not limited to one a minute: %d, Retry-After %q", second.StatusCode,
			second.Header.Get("Retry-After"))
	}
	if limited(d.do("GET", path, "")) {
		t.Error("the limit on logins stopped another endpoint")
	}
	set(0, 0, 0)
	for range 50 {
		if limited(login()) {
			t.Fatal("refused without a limit")
		}
	}
}
