// Package seal encrypts secrets that lie in a database: private keys, seeds of second factors. Their key comes from the
// environment, so a copy of the database, such as a backup, gives none of them away.
//
// A sealed value is text, sealed.KEY.BASE64: the id of the key, then nonce and ciphertext of AES-256-GCM. The place of
// the value is authenticated with it, so that it cannot stand for another.
//
// Without a key values stay as they are. Column.Adopt seals what is there once there is a key, at the start of a
// service; Column.Rewrap seals again what an earlier key has sealed.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	prefix   = "sealed."
	keyBytes = 32
	idBytes  = 8 // of text
)

// Errors that a start ends with. Their texts name no secret.
var (
	ErrNoKey  = errors.New("it is sealed, and no key is set: STARLIGHT_KEY or STARLIGHT_KEY_FILE")
	ErrKey    = errors.New("it is sealed by another key than those in STARLIGHT_KEY")
	ErrBroken = errors.New("it was changed, or belongs to another place")
	ErrPlain  = errors.New("it is not sealed, although a key is set")
)

// Keys seal and open values. The zero pointer is no key. They are safe for concurrent use.
type Keys struct {
	keys []key // the first seals, all open
}

type key struct {
	id   string
	aead cipher.AEAD
}

// Parse reads keys: each is 32 bytes in base64, as of `openssl rand -base64 32`, separated by commas or white space. The
// first seals, the others open what they have sealed. No key is a nil *Keys.
func Parse(text string) (*Keys, error) {
	var k Keys
	for i, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		secret, err := decode(word)
		if err != nil || len(secret) != keyBytes {
			return nil, fmt.Errorf("key %d is not 32 bytes in base64, as `openssl rand -base64 32` makes them", i+1)
		}
		one, err := newKey(secret)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(k.keys, func(other key) bool { return other.id == one.id }) {
			return nil, fmt.Errorf("key %d is there twice", i+1)
		}
		k.keys = append(k.keys, one)
	}
	if k.keys == nil {
		return nil, nil
	}
	return &k, nil
}

// decode takes the standard alphabet and that of URLs, padded or not.
func decode(word string) ([]byte, error) {
	word = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(word, "="))
	return base64.RawStdEncoding.DecodeString(word)
}

func newKey(secret []byte) (key, error) {
	id, err := hkdf.Key(sha256.New, secret, nil, "starlight seal id", 6)
	if err != nil {
		return key{}, err
	}
	derived, err := hkdf.Key(sha256.New, secret, nil, "starlight seal", keyBytes)
	if err != nil {
		return key{}, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return key{id: base64.RawURLEncoding.EncodeToString(id), aead: aead}, err
}

// Set reports whether there is a key.
func (k *Keys) Set() bool { return k != nil }

// ID returns the id of the key that seals, which says nothing about it; "" without one.
func (k *Keys) ID() string {
	if k == nil {
		return ""
	}
	return k.keys[0].id
}

// Seal returns value as it is to be stored at a place, such as "user second_factors fac_1". Without a key that is the
// value itself.
func (k *Keys) Seal(place, value string) string {
	if k == nil {
		return value
	}
	sealed := k.keys[0].aead.Seal(nil, nil, []byte(value), []byte(place))
	return prefix + k.keys[0].id + "." + base64.RawURLEncoding.EncodeToString(sealed)
}

// Open returns the value that is stored at a place. Its errors match those of this package.
func (k *Keys) Open(place, stored string) (string, error) {
	id, text, sealed := parse(stored)
	switch {
	case !sealed && k == nil:
		return stored, nil
	case !sealed:
		return "", ErrPlain
	case k == nil:
		return "", ErrNoKey
	}
	i := slices.IndexFunc(k.keys, func(one key) bool { return one.id == id })
	if i < 0 {
		return "", ErrKey
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", ErrBroken
	}
	value, err := k.keys[i].aead.Open(nil, nil, data, []byte(place))
	if err != nil {
		return "", ErrBroken
	}
	return string(value), nil
}

// parse splits a stored value.
func parse(stored string) (id, text string, sealed bool) {
	rest, sealed := strings.CutPrefix(stored, prefix)
	if !sealed {
		return "", "", false
	}
	id, text, _ = strings.Cut(rest, ".")
	return id, text, true
}
