package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
)

const (
	recordSize = 4096 // of the one record that a push message is; services take no more
	headerSize = 16 + 4 + 1 + 65
	maxPayload = recordSize - 16 - 1 - headerSize
)

// encrypt seals a message for a browser, RFC 8291: only the owner of the subscription's private key can read it. The
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

// seal is encrypt with a sender's key and a salt, neither of which may be used twice.
func seal(plain []byte, p256dh, auth string, private *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	theirs, secret, err := subscriptionKeys(p256dh, auth)
	if err != nil {
		return nil, err
	}
	if len(plain) > maxPayload {
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
	// RFC 8188: salt, record size, length of the key id, key id, and the one record.
	out := append(make([]byte, 0, headerSize+len(plain)+17), salt...)
	out = binary.BigEndian.AppendUint32(out, recordSize)
	out = append(out, byte(len(ours)))
	out = append(out, ours...)
	const last = 2
	return gcm.Seal(out, nonce, append(append(make([]byte, 0, len(plain)+1), plain...), last), nil), nil
}

// subscriptionKeys reads the keys of a subscription.
func subscriptionKeys(p256dh, auth string) (*ecdh.PublicKey, []byte, error) {
	point, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(p256dh, "="))
	if err != nil {
		return nil, nil, errors.New("p256dh is not base64url")
	}
	key, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, nil, errors.New("p256dh is not a point of P-256")
	}
	secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(auth, "="))
	if err != nil || len(secret) != 16 {
		return nil, nil, errors.New("auth is not 16 bytes of base64url")
	}
	return key, secret, nil
}
