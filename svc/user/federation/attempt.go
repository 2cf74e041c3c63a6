package federation

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Signer authenticates bytes with a key that all instances have.
type Signer interface {
	MAC(payload []byte) (kid string, sum []byte)
	CheckMAC(ctx context.Context, kid string, payload, sum []byte) bool
}

const (
	attemptPrefix  = "oi_"
	attemptTTL     = 10 * time.Minute // enough to prove who one is at the provider
	longestAttempt = 4096             // bytes of a login token
	longestCode    = 4096             // bytes of an authorization code
)

// Attempt is a sign-in that is under way. Anyone may start one, so nothing is stored of it: the client that started it
// has it in a login token, under a MAC. Whatever must not be known to others, or has to come back from the provider, is
// derived from that token, which only that client has: state, nonce and the verifier of PKCE.
type Attempt struct {
	ProviderID  ids.IdentityProvider `json:"p"`
	RedirectURI string               `json:"r"`
	Session     ids.Session          `json:"s,omitempty"` // of a person who links; empty: somebody signs in
	Fresh       bool                 `json:"f,omitempty"` // the provider is to ask for a proof in any case
	Until       int64                `json:"u"`           // seconds since 1970
	Salt        string               `json:"n"`

	token string
}

// newAttempt completes an attempt and makes its token.
func newAttempt(signer Signer, a Attempt, now time.Time) (Attempt, error) {
	a.Until, a.Salt = now.Add(attemptTTL).Unix(), rand.Text()
	payload, err := json.Marshal(a)
	if err != nil {
		return a, err
	}
	text := base64.RawURLEncoding.EncodeToString(payload)
	kid, sum := signer.MAC(authentic(text))
	a.token = attemptPrefix + text + "." + kid + "." + base64.RawURLEncoding.EncodeToString(sum)
	return a, nil
}

// authentic is what the MAC of a token is made of. The key has other uses, too.
func authentic(text string) []byte { return []byte("sign-in through a provider " + text) }

// openAttempt returns the attempt of a token, and false if it is none, or is over.
func openAttempt(ctx context.Context, signer Signer, token string, now time.Time) (a Attempt, ok bool) {
	body, ok := strings.CutPrefix(token, attemptPrefix)
	parts := strings.Split(body, ".")
	if !ok || len(token) > longestAttempt || len(parts) != 3 {
		return a, false
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || !signer.CheckMAC(ctx, parts[1], authentic(parts[0]), sum) {
		return a, false
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil || json.Unmarshal(payload, &a) != nil || now.Unix() >= a.Until {
		return a, false
	}
	a.token = token
	return a, true
}

// Began returns when the attempt began.
func (a Attempt) Began() time.Time { return a.End().Add(-attemptTTL) }

// End returns when it is over.
func (a Attempt) End() time.Time { return time.Unix(a.Until, 0).UTC() }

// ID returns by what the attempt is noted as used. The token cannot be told from it.
func (a Attempt) ID() string { return "sign-in " + a.derived("id") }

// derived returns 256 bits in 43 characters that who does not have the token can neither know nor find it by.
func (a Attempt) derived(use string) string {
	sum := sha256.Sum256([]byte(use + " of " + a.token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (a Attempt) state() string    { return a.derived("state") }
func (a Attempt) nonce() string    { return a.derived("nonce") }
func (a Attempt) verifier() string { return a.derived("verifier") }

// same compares secrets.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
