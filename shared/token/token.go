// Package token signs and verifies access tokens: EdDSA JWTs of type at+jwt, after RFC 9068.
//
// The user service signs, the gateway verifies, and what a token must look like stands here once. The header of a token
// never chooses how it is verified: the algorithm is fixed, and the key is one of ours or none.
package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/starlightsymphony/starlight/shared/ids"
)

const (
	issuer   = "starlight"
	audience = "starlight"
	typ      = "at+jwt"
	longest  = 4096 // bytes of a token; ours have about 400
)

// Longest is how long a token may live. What takes tokens back is kept for that long.
const Longest = 30 * time.Minute

// ErrInvalid is wrapped by all errors of Verify. Their texts are for logs, and do not contain the token.
var ErrInvalid = errors.New("token: not valid")

// Claims is what a token says.
type Claims struct {
	User    ids.User
	Session ids.Session
	Roles   []string
	// of the account: tokens from before a later one may be taken back, see package revocation
	Generation int64
	IssuedAt   time.Time // seconds
	ExpiresAt  time.Time // seconds; from then on the token is not valid
	ID         string    // set by Sign, unique for each token
}

// Keys returns the public key of an id, and false if there is none.
type Keys func(kid string) (ed25519.PublicKey, bool)

type wire struct {
	Session    ids.Session `json:"sid"`
	Roles      []string    `json:"roles"`
	Generation int64       `json:"gen,omitempty"`
	jwt.RegisteredClaims
}

// Sign returns a token that carries the claims. The id of the key goes into its header.
func Sign(key ed25519.PrivateKey, kid string, c Claims) (string, error) {
	roles := c.Roles
	if roles == nil {
		roles = []string{}
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, wire{
		Session:    c.Session,
		Roles:      roles,
		Generation: c.Generation,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer,
			Audience:  jwt.ClaimStrings{audience},
			Subject:   c.User.String(),
			IssuedAt:  jwt.NewNumericDate(c.IssuedAt),
			ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
			ID:        rand.Text(),
		},
	})
	t.Header["typ"] = typ
	t.Header["kid"] = kid
	return t.SignedString(key)
}

// Verify returns the claims of a token that is signed by one of the keys, meant for us, complete, not expired at now,
// and made to live no longer than Longest.
func Verify(text string, keys Keys, now time.Time) (Claims, error) {
	if len(text) > longest {
		return Claims{}, fmt.Errorf("%w: too long", ErrInvalid)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithTimeFunc(func() time.Time { return now }))
	var w wire
	_, err := parser.ParseWithClaims(text, &w, func(t *jwt.Token) (any, error) { return keyOf(t.Header, keys) })
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	user, err := ids.Parse[ids.UserKind](w.Subject)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: sub: %w", ErrInvalid, err)
	}
	if w.Session == "" || w.IssuedAt == nil || w.ID == "" {
		return Claims{}, fmt.Errorf("%w: a claim is missing", ErrInvalid)
	}
	if w.ExpiresAt.Sub(w.IssuedAt.Time) > Longest {
		return Claims{}, fmt.Errorf("%w: it lives too long", ErrInvalid)
	}
	return Claims{User: user, Session: w.Session, Roles: w.Roles, Generation: w.Generation, IssuedAt: w.IssuedAt.UTC(),
		ExpiresAt: w.ExpiresAt.UTC(), ID: w.ID}, nil
}

// keyOf checks the header of a token and returns the key it names. Members that would bring a key along, or change what
// the signature means, are refused rather than ignored.
func keyOf(header map[string]any, keys Keys) (ed25519.PublicKey, error) {
	if header["typ"] != typ {
		return nil, errors.New("the type is not " + typ)
	}
	for name := range header {
		if !slices.Contains([]string{"alg", "typ", "kid"}, name) {
			return nil, fmt.Errorf("the header has %q", name)
		}
	}
	kid, ok := header["kid"].(string)
	if !ok {
		return nil, errors.New("no key is named")
	}
	key, ok := keys(kid)
	if !ok {
		return nil, errors.New("the key is not known")
	}
	return key, nil
}
