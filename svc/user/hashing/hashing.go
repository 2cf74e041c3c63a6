// Package hashing makes and verifies password hashes. A hash takes 19 MiB and a processor for a few hundredths of a
// second, so only a few are computed at a time, and a fair queue says whose turn it is.
package hashing

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// cost is the price of one argon2id hash.
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// presentCost is what a new hash costs: the smallest memory that OWASP recommends, so that many fit at the same time.
// Hashes of another cost are replaced when their owner logs in.
func presentCost() cost { return cost{memory: 19456, time: 2, threads: 1} }

const (
	saltSize = 16
	hashSize = 32
)

// ErrHash is the error of a stored hash that cannot be read.
var ErrHash = errors.New("hashing: unreadable password hash")

// Hasher makes and verifies password hashes for those whose turn it is: see Enter.
type Hasher struct {
	Dummy string // a hash of nothing known, to spend the same work on an account that does not exist

	queue  *queue
	hashes *observe.Counter
}

// New returns a Hasher that computes so many hashes at the same time.
func New(slots int, metrics *observe.Registry, now func() time.Time) *Hasher {
	h := &Hasher{queue: newQueue(slots, metrics, now),
		hashes: metrics.Counter("starlight_user_password_hashes_total", "Password hashes that were computed.")}
	h.Dummy = encode(presentCost(), rand.Text(), presentCost().key(rand.Text(), rand.Text()))
	return h
}

// Normal returns the form of a password that is hashed: the same characters give the same bytes, on whatever keyboard
// they were typed (RFC 8265, 4.2).
func Normal(password string) string { return norm.NFC.String(password) }

// Hash returns the hash of a password in PHC string format. The caller has entered.
func (h *Hasher) Hash(password string) string {
	h.hashes.Inc()
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails, by its documentation
	return encode(presentCost(), string(salt), presentCost().key(Normal(password), string(salt)))
}

// Verify reports whether the password has the hash, and whether the hash is of another cost than a new one would be.
// The caller has entered.
func (h *Hasher) Verify(password, encoded string) (ok, outdated bool, err error) {
	h.hashes.Inc()
	c, salt, want, err := decode(encoded)
	if err != nil {
		return false, false, err
	}
	got := c.key(Normal(password), salt)
	return subtle.ConstantTimeCompare(got, want) == 1, c != presentCost(), nil
}

func (c cost) key(password, salt string) []byte {
	return argon2.IDKey([]byte(password), []byte(salt), c.time, c.memory, c.threads, hashSize)
}

func encode(c cost, salt string, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads,
		base64.RawStdEncoding.EncodeToString([]byte(salt)), base64.RawStdEncoding.EncodeToString(key))
}

// decode reads what encode wrote, for any cost that a machine can pay.
func decode(s string) (c cost, salt string, key []byte, err error) {
	var version int
	var rest string
	n, err := fmt.Sscanf(s, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &c.memory, &c.time, &c.threads, &rest)
	if err != nil || n != 5 || version != argon2.Version || c.time == 0 || c.time > 100 || c.threads == 0 ||
		c.memory > 1<<21 {
		return cost{}, "", nil, ErrHash
	}
	saltText, keyText, _ := strings.Cut(rest, "$")
	rawSalt, err := base64.RawStdEncoding.Strict().DecodeString(saltText)
	if err != nil || len(rawSalt) < 8 {
		return cost{}, "", nil, ErrHash
	}
	key, err = base64.RawStdEncoding.Strict().DecodeString(keyText)
	if err != nil || len(key) != hashSize {
		return cost{}, "", nil, ErrHash
	}
	return c, string(rawSalt), key, nil
}
