package notification

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	recordSize   = 4096 // of the one record that a push message is; services take no more
	mostPayload  = recordSize - 16 - 1 - pushOverhead
	pushOverhead = 16 + 4 + 1 + 65
)

var b64 = base64.RawURLEncoding

// encrypt seals a message for a browser, RFC 8291: only the holder of the subscription's private key can read it. The
// keys are those of the subscription, in base64url.
func encrypt(plain []byte, p256dh, auth string) ([]byte, error) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, 16)
	rand.Read(salt) // never fails, by its documentation
	return seal(plain, p256dh, auth, private, salt)
}

// seal is encrypt with the sender's key and the salt given, which must never be used twice.
func seal(plain []byte, p256dh, auth string, private *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	theirs, secret, err := subscriptionKeys(p256dh, auth)
	if err != nil {
		return nil, err
	}
	if len(plain) > mostPayload {
		return nil, errors.New("the push message is too long")
	}
	shared, err := private.ECDH(theirs)
	if err != nil {
		return nil, err
	}
	ours := private.PublicKey().Bytes()
	info := "WebPush: info\x00" + string(theirs.Bytes()) + string(ours)
	input, err := hkdf.Key(sha256.New, shared, secret, info, 32)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, input, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, input, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	// RFC 8188: salt, record size, length of the key id, key id, and the record, whose 2 says that it is the last.
	out := append(make([]byte, 0, pushOverhead+len(plain)+17), salt...)
	out = binary.BigEndian.AppendUint32(out, recordSize)
	out = append(out, byte(len(ours)))
	out = append(out, ours...)
	return gcm.Seal(out, nonce, append(append(make([]byte, 0, len(plain)+1), plain...), 2), nil), nil
}

// subscriptionKeys reads the keys of a subscription.
func subscriptionKeys(p256dh, auth string) (*ecdh.PublicKey, []byte, error) {
	point, err := b64.DecodeString(trimPadding(p256dh))
	if err != nil {
		return nil, nil, errors.New("p256dh is not base64url")
	}
	key, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, nil, errors.New("p256dh is not a point of P-256")
	}
	secret, err := b64.DecodeString(trimPadding(auth))
	if err != nil || len(secret) != 16 {
		return nil, nil, errors.New("auth is not 16 bytes of base64url")
	}
	return key, secret, nil
}

func trimPadding(s string) string {
	for len(s) > 0 && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	return s
}

// vapid is the identity with which this system comes to push services, RFC 8292.
type vapid struct {
	private *ecdsa.PrivateKey
	public  string // uncompressed point in base64url
	subject string // whom to write to: mailto: or https:
}

// newVAPID makes an identity of a private key, the 32 bytes of a scalar.
func newVAPID(scalar []byte, subject string) (*vapid, error) {
	key, err := ecdh.P256().NewPrivateKey(scalar)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, err
	}
	return &vapid{private, b64.EncodeToString(key.PublicKey().Bytes()), subject}, nil
}

// authorization returns the header with which a message goes to an endpoint.
func (v *vapid) authorization(endpoint string, now time.Time) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"aud": u.Scheme + "://" + u.Host, "exp": now.Add(12 * time.Hour).Unix(), "sub": v.subject})
	signed, err := t.SignedString(v.private)
	return "vapid t=" + signed + ", k=" + v.public, err
}
