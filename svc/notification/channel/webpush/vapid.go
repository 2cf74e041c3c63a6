package webpush

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// vapid is the identity that push services know this system by, RFC 8292.
type vapid struct {
	private *ecdsa.PrivateKey
	public  string // uncompressed point in base64url
	contact string // mailto: or https:
}

// newVAPID makes an identity of a private key, the 32 bytes of a scalar.
func newVAPID(scalar []byte, contact string) (*vapid, error) {
	key, err := ecdh.P256().NewPrivateKey(scalar)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, err
	}
	return &vapid{private, base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), contact}, nil
}

// authorization returns the header of a message to an endpoint.
func (v *vapid) authorization(endpoint string, now time.Time) (string, error) {
	const validity = 12 * time.Hour
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	claims := jwt.MapClaims{"aud": u.Scheme + "://" + u.Host, "exp": now.Add(validity).Unix(), "sub": v.contact}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(v.private)
	return "vapid t=" + signed + ", k=" + v.public, err
}
