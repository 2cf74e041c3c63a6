package gateway_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Every endpoint there is, by every kind of caller. Most have no service here: a caller whom the gateway lets through
// learns that it is not available, or what is wrong with the request.
func TestAccessOfEveryEndpoint(t *testing.T) {
	d := open(t)
	user, admin := "Bearer "+d.token(person()), "Bearer "+d.token(person(rpc.RoleAdmin))
	const passed = 0
	for _, e := range api.All() {
		if e.Access == rpc.Internal {
			continue
		}
		path := e.Path
		for _, name := range codec.PathNames(e.Path) {
			path = strings.Replace(path, "{"+name+"}", string(theEvent), 1)
		}
		want := map[rpc.Access][3]int{rpc.Public: {passed, passed, passed}, rpc.Optional: {passed, passed, passed}, rpc.User: {401, passed, passed}, rpc.Admin: {401, 403, passed}}[e.Access]
		if e.StepUp { // and no proof of theirs is fresh
			want = [3]int{401, 403, 403}
		}
		for i, token := range []string{"", user, admin} {
			var headers []string
			if token != "" {
				headers = []string{"Authorization", token}
			}
			got := d.do(e.Method, path, "", headers...).StatusCode
			if want[i] == passed && (got == 401 || got == 403 || got == 405 || got == 500) || want[i] != passed && got != want[i] {
				t.Errorf("%s %s (%s) as %s: %d, want %d", e.Method, e.Path, e.Access, []string{"anonymous", "user", "admin"}[i], got, want[i])
			}
		}
	}
}

func TestTokensThatAreNot(t *testing.T) {
	d := open(t)
	path := "/v1/events/" + string(theEvent)
	now := d.clock.Now()
	good := d.token(person())
	if a := d.do("GET", path, "", "Authorization", "bearer "+good); a.StatusCode != 200 {
		t.Fatalf("a good token: %d %s", a.StatusCode, a.body)
	}
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	symmetric := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "starlight", "aud": "starlight", "sub": string(person().User), "exp": now.Add(time.Hour).Unix()})
	symmetric.Header["typ"], symmetric.Header["kid"] = "at+jwt", d.keyID
	hmac, err := symmetric.SignedString([]byte(d.signer.Public().(ed25519.PublicKey)))
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, _ := ed25519.GenerateKey(nil)
	claim := func(name string, v any) string {
		return d.token(person(), func(c jwt.MapClaims, _ map[string]any) { c[name] = v })
	}
	header := func(name string, v any) string {
		return d.token(person(), func(_ jwt.MapClaims, h map[string]any) { h[name] = v })
	}
	foreign := func() string {
		stand := &door{t: t, clock: d.clock, keyID: d.keyID, signer: stranger}
		return stand.token(person())
	}
	for name, token := range map[string]string{
		"empty":                "",
		"nonsense":             "a.b.c",
		"no signature":         parts[0] + "." + parts[1] + ".",
		"alg none":             encode([]byte(`{"alg":"none","typ":"at+jwt","kid":"k1"}`)) + "." + parts[1] + ".",
		"changed contents":     parts[0] + "." + encode([]byte(`{"iss":"starlight","aud":"starlight","sub":"usr_01hzzzzzzzzzzzzzzzzzzzzzzz","roles":["admin"],"exp":9999999999}`)) + "." + parts[2],
		"HMAC with our key":    hmac,
		"another's key":        foreign(),
		"expired":              claim("exp", now.Add(-time.Minute).Unix()),
		"no expiry":            claim("exp", nil),
		"from the future":      claim("nbf", now.Add(time.Hour).Unix()),
		"for another audience": claim("aud", "others"),
		"by another issuer":    claim("iss", "others"),
		"no subject":           claim("sub", ""),
		"wild subject":         claim("sub", "usr_>"),
		"wild session":         claim("sid", "a;b"),
		"a role with a comma":  claim("roles", []string{"door,admin"}),
		"a role with a header": claim("roles", []string{"door\r\nStarlight-Caller: x"}),
		"an ID token":          header("typ", "JWT"),
		"no type":              header("typ", nil),
		"a key of its own":     header("jwk", map[string]string{"kty": "OKP"}),
		"a key address":        header("jku", "https://evil.example/keys"),
		"a certificate":        header("x5c", []string{"x"}),
		"critical":             header("crit", []string{"x"}),
		"no key id":            header("kid", nil),
		"unknown key id":       header("kid", "k9"),
		"huge":                 strings.Repeat("a", 5000),
	} {
		a := d.do("GET", path, "", "Authorization", "Bearer "+token)
		if a.StatusCode != 401 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}

func TestTokenEndsWithItsTime(t *testing.T) {
	d := open(t)
	token := "Bearer " + d.token(person())
	path := "/v1/events/" + string(theEvent)
	for range 2 { // the second time from memory
		if a := d.do("GET", path, "", "Authorization", token); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	d.clock.Advance(30*time.Minute + 4*time.Second) // within the leeway
	if a := d.do("GET", path, "", "Authorization", token); a.StatusCode != 200 {
		t.Errorf("within the leeway: %d %s", a.StatusCode, a.body)
	}
	d.clock.Advance(2 * time.Second)
	wantProblem(t, d.do("GET", path, "", "Authorization", token), 401, fault.Unauthenticated)
}

func TestKeysAreReadWhenNeeded(t *testing.T) {
	d := open(t)
	path := "/v1/events/" + string(theEvent)
	get := func(token string) answer { return d.do("GET", path, "", "Authorization", "Bearer "+token) }

	d.keyFault.Store(fault.New(fault.Internal, "no keys"))
	a := get(d.token(person()))
	wantProblem(t, a, 503, fault.Unavailable)
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	d.keyFault.Store(nil)
	d.clock.Advance(2 * time.Second)
	old := d.token(person())
	if a := get(old); a.StatusCode != 200 {
		t.Fatalf("with keys: %d %s", a.StatusCode, a.body)
	}

	calls := d.keyCalls.Load()
	for range 20 { // a flood of unknown key ids
		get(d.token(person(), func(_ jwt.MapClaims, h map[string]any) { h["kid"] = string(ids.New[ids.UserKind](d.clock.Now())) }))
	}
	if n := d.keyCalls.Load() - calls; n > 1 {
		t.Errorf("the keys were read %d times", n)
	}

	d.mu.Lock()
	_, d.signer, _ = ed25519.GenerateKey(nil) // the user service changes its key and withdraws the old one
	d.keyID = "k2"
	d.mu.Unlock()
	d.clock.Advance(time.Minute)
	if a := get(d.token(person())); a.StatusCode != 200 {
		t.Errorf("with the new key: %d %s", a.StatusCode, a.body)
	}
	wantProblem(t, get(old), 401, fault.Unauthenticated)

	// A failed reading in the background changes nothing for callers, and is in the log.
	d.clock.Advance(6 * time.Minute)
	d.keyFault.Store(fault.New(fault.Unavailable, "not now"))
	if a := get(d.token(person())); a.StatusCode != 200 {
		t.Errorf("with old keys: %d %s", a.StatusCode, a.body)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(d.log.String(), "the keys of access tokens cannot be read") || !strings.Contains(d.log.String(), "known=1") {
			return errors.New("the failure is not in the log")
		}
		return nil
	})
}
