// Package opaque makes tokens that say nothing by themselves, and what is stored of them: a hash, by which one that
// comes back is found. Who reads the database learns no token.
package opaque

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// size of the random part, in bytes.
const size = 32

// New returns a token of 256 random bits behind a prefix, which tells what a token that turns up somewhere is good for,
// and the hash of it. So many bits cannot be guessed, so the hash needs no salt and no work.
func New(prefix string) (token, hash string) {
	random := make([]byte, size)
	rand.Read(random) // never fails, by its documentation
	token = prefix + base64.RawURLEncoding.EncodeToString(random)
	return token, Hash(token)
}

// Is reports whether text has the form that New gives. Without it a database needs not be asked.
func Is(prefix, text string) bool {
	body, ok := strings.CutPrefix(text, prefix)
	if !ok || len(body) != base64.RawURLEncoding.EncodedLen(size) {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(body)
	return err == nil
}

// Hash returns the SHA-256 of a text, 64 hexadecimal digits. Of what can be guessed, such as an address, it is a name
// that is not read at a glance, and no secret.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
