package federation

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func raw(t *testing.T, keys ...jose.JSONWebKey) (all []json.RawMessage) {
	t.Helper()
	for _, key := range keys {
		text, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

func rsaOf(bits uint) *rsa.PublicKey {
	n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
	return &rsa.PublicKey{N: n, E: 65537}
}

// A provider cannot have a signature checked that takes minutes, or by a key that is none of a signer's.
func TestKeysOfProviders(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	got := usable(append(raw(t, jose.JSONWebKey{Key: rsaOf(1024), KeyID: "weak"}, jose.JSONWebKey{Key: rsaOf(4097), KeyID: "large"},
		jose.JSONWebKey{Key: rsaOf(1 << 20), KeyID: "huge"}, jose.JSONWebKey{Key: []byte("a shared secret"), KeyID: "secret"},
		jose.JSONWebKey{Key: private, KeyID: "private"}, jose.JSONWebKey{Key: public, KeyID: "box", Use: "enc"},
		jose.JSONWebKey{Key: public, KeyID: "good", Use: "sig"}, jose.JSONWebKey{Key: rsaOf(4096), KeyID: "strong"}),
		json.RawMessage(`{"kty":"OKP","crv":"X448","x":"AA"}`), json.RawMessage(`[]`)))
	if len(got) != 2 || got[0].KeyID != "good" || got[1].KeyID != "strong" {
		t.Errorf("usable are %+v", got)
	}
	if many := usable(slicesOf(raw(t, jose.JSONWebKey{Key: public})[0], 1000)); len(many) != mostKeys {
		t.Errorf("%d keys are kept", len(many))
	}
}

func slicesOf[T any](one T, n int) (all []T) {
	for range n {
		all = append(all, one)
	}
	return all
}

// Tokens that no key is known of, which anyone may send, have the keys read once in a while; a new key is found then.
func TestKeysAreReadSeldom(t *testing.T) {
	var asked atomic.Int32
	var served atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Write(served.Load().([]byte))
	}))
	defer server.Close()
	signer := func(id string) (string, jose.JSONWebKey) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: id}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign([]byte(`{"sub":"one"}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text, jose.JSONWebKey{Key: public, KeyID: id}
	}
	serve := func(keys ...jose.JSONWebKey) {
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		served.Store(text)
	}
	now := time.Unix(1_800_000_000, 0)
	set := newKeySet(server.Client(), server.URL, func() time.Time { return now })
	check := func(token string, good bool, reads int32) {
		t.Helper()
		if _, err := (&noted{keySet: set}).VerifySignature(t.Context(), token); (err == nil) != good || asked.Load() != reads {
			t.Errorf("%v after %d reads", err, asked.Load())
		}
	}
	first, key := signer("1")
	second, next := signer("2")
	serve(key)
	check(first, true, 1)
	check(first, true, 1)
	for range 10 {
		check(second, false, 1)
	}
	serve(key, next)
	now = now.Add(keysEvery)
	check(second, true, 2)
	check(first, true, 2)
}

// What a provider names is in the public Internet, or at its own host; and without TLS only where it is on this machine
// itself.
func TestProvidersNameNothingInside(t *testing.T) {
	for _, c := range []struct {
		issuer, named string
		want          bool
	}{
		{"https://login.example.org", "https://keys.example.org/jwks", true},
		{"https://login.example.org", "http://keys.example.org/jwks", false},
		{"https://login.example.org", "http://127.0.0.1:8222/jsz", false},
		{"https://login.example.org", "http://localhost/", false},
		{"https://login.example.org", "http://[::1]/", false},
		{"https://login.example.org", "http://169.254.169.254/latest/", false},
		{"https://login.example.org", "file:///etc/passwd", false},
		{"https://login.example.org", "javascript:alert(1)", false},
		{"https://login.example.org", "https:///x", false},
		{"http://localhost:9000", "http://127.0.0.1:9000/keys", true},
	} {
		u, err := url.Parse(c.named)
		if err != nil {
			t.Fatal(err)
		}
		if got := mayAsk(c.issuer, u); got != c.want {
			t.Errorf("%s of %s: %t", c.named, c.issuer, got)
		}
	}

	var met atomic.Int32
	inside := httptest.NewUnstartedServer(http.NotFoundHandler())
	inside.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			met.Add(1)
		}
	}
	inside.StartTLS()
	defer inside.Close()
	c := newClient(time.Now)
	var answer any
	for _, host := range []string{"127.0.0.1", "localhost"} { // a name is looked up before
		at := strings.Replace(inside.URL, "127.0.0.1", host, 1)
		err := ask(t.Context(), c.http("https://login.example.org"), at, "", &answer)
		if err == nil || !strings.Contains(err.Error(), "not in the public Internet") || met.Load() != 0 {
			t.Errorf("%s: %v, after %d connections", at, err, met.Load())
		}
	}
	err := ask(t.Context(), c.http(inside.URL), inside.URL, "", &answer) // named by an administrator
	if err == nil || strings.Contains(err.Error(), "public") || met.Load() != 1 {
		t.Errorf("the host of the issuer: %v", err)
	}
}
