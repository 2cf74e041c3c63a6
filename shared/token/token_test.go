package token_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/token"
)

const kid = "key-1"

func newKey(t testing.TB) (ed25519.PrivateKey, token.Keys) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private, func(id string) (ed25519.PublicKey, bool) { return public, id == kid }
}

func claims(now time.Time) token.Claims {
	return token.Claims{User: ids.New[ids.UserKind](now), Session: ids.New[ids.SessionKind](now),
		Roles:    []string{"admin"},
		IssuedAt: now, ExpiresAt: now.Add(15 * time.Minute)}
}

func TestSignedTokenVerifies(t *testing.T) {
	key, keys := newKey(t)
	now := time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	in := claims(now)
	text, err := token.Sign(key, kid, in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := token.Verify(text, keys, now.Add(15*time.Minute-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if out.User != in.User || out.Session != in.Session || len(out.Roles) != 1 || out.Roles[0] != "admin" ||
		!out.IssuedAt.Equal(in.IssuedAt) || !out.ExpiresAt.Equal(in.ExpiresAt) || out.ID == "" {
		t.Errorf("got %+v, want %+v with an id", out, in)
	}
	if _, err := token.Verify(text, keys, now.Add(15*time.Minute)); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("at its end: %v, want ErrInvalid", err)
	}
}

// The corpus is every way of being wrong that has been an attack somewhere.
func TestVerifyRefuses(t *testing.T) {
	key, keys := newKey(t)
	other, _ := newKey(t)
	public := key.Public().(ed25519.PublicKey)
	now := time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	header := func() map[string]any { return map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": kid} }
	payload := func() map[string]any {
		return map[string]any{"iss": "starlight", "aud": "starlight", "sub": ids.New[ids.UserKind](now).String(),
			"sid": ids.New[ids.SessionKind](now).String(), "roles": []string{}, "iat": now.Unix(),
			"exp": now.Add(time.Minute).Unix(), "jti": "1"}
	}
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	sign := func(key ed25519.PrivateKey, h, p map[string]any) string {
		text := encode(h) + "." + encode(p)
		return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
	}
	with := func(m map[string]any, key string, v any) map[string]any {
		m = maps.Clone(m)
		if m[key] = v; v == nil {
			delete(m, key)
		}
		return m
	}
	good := sign(key, header(), payload())
	if _, err := token.Verify(good, keys, now); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	hmac := func(secret []byte) string {
		tok := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(payload()))
		tok.Header["typ"], tok.Header["kid"] = "at+jwt", kid
		text, err := tok.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty":                     "",
		"not a token":               "a.b.c",
		"no signature":              parts[0] + "." + parts[1] + ".",
		"two parts":                 parts[0] + "." + parts[1],
		"alg none":                  encode(with(header(), "alg", "none")) + "." + parts[1] + ".",
		"alg None, signed":          sign(key, with(header(), "alg", "None"), payload()),
		"HS256 with the public key": hmac(public),
		"HS256 with its text":       hmac([]byte(base64.RawURLEncoding.EncodeToString(public))),
		"another key":               sign(other, header(), payload()),
		"unknown kid":               sign(key, with(header(), "kid", "key-2"), payload()),
		"no kid":                    sign(key, with(header(), "kid", nil), payload()),
		"kid is a number":           sign(key, with(header(), "kid", 1), payload()),
		"typ JWT":                   sign(key, with(header(), "typ", "JWT"), payload()),
		"no typ":                    sign(key, with(header(), "typ", nil), payload()),
		"jku":                       sign(key, with(header(), "jku", "https://evil.example/keys"), payload()),
		"jwk": sign(other, with(header(), "jwk", map[string]string{"kty": "OKP"}),
			payload()),
		"crit":             sign(key, with(header(), "crit", []string{"exp"}), payload()),
		"another audience": sign(key, header(), with(payload(), "aud", "moonlight")),
		"no audience":      sign(key, header(), with(payload(), "aud", nil)),
		"another issuer":   sign(key, header(), with(payload(), "iss", "moonlight")),
		"expired":          sign(key, header(), with(payload(), "exp", now.Add(-time.Second).Unix())),
		"never expires":    sign(key, header(), with(payload(), "exp", nil)),
		"exp is text":      sign(key, header(), with(payload(), "exp", "soon")),
		"wild subject":     sign(key, header(), with(payload(), "sub", "usr_>")),
		"no subject":       sign(key, header(), with(payload(), "sub", nil)),
		"no session":       sign(key, header(), with(payload(), "sid", nil)),
		"session is another kind of id": sign(key, header(),
			with(payload(), "sid", ids.New[ids.OrderKind](now).String())),
		"no iat": sign(key, header(), with(payload(), "iat", nil)),
		"no jti": sign(key, header(), with(payload(), "jti", nil)),
		"payload of another token": parts[0] + "." + encode(with(payload(), "roles", []string{"admin"})) + "." +
			parts[2],
		"header of another token":        encode(with(header(), "kid", "key-2")) + "." + parts[1] + "." + parts[2],
		"padded signature":               good + "==",
		"a signature of another bit":     parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"a signature of other last bits": good[:len(good)-1] + string(lastBits(good[len(good)-1])),
		"too long":                       good + strings.Repeat("A", 5000),
	} {
		if c, err := token.Verify(text, keys, now); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: got %+v, %v; want ErrInvalid", name, c, err)
		}
	}
}

func flip(sig string) string {
	c := byte('A')
	if sig[0] == c {
		c = 'B'
	}
	return string(c) + sig[1:]
}

// lastBits returns another base64 digit with the same four leading bits: 64 bytes leave two bits that lax decoders
// ignore.
func lastBits(c byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[strings.IndexByte(digits, c)^1]
}

func FuzzVerify(f *testing.F) {
	key, keys := newKey(f)
	now := time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	text, err := token.Sign(key, kid, claims(now))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := token.Verify(s, keys, now); err == nil && s != text {
			t.Fatalf("%q verifies, and was never signed", s)
		}
	})
}
