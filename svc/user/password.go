package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/starlightsymphony/starlight/shared/fault"
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
	queueFor = 64 // hashes that may wait, for each that may run: about a second's work
)

// errHash is the error of a stored hash that cannot be read.
var errHash = errors.New("user: unreadable password hash")

// hasher makes and verifies password hashes, a few at a time: each takes 19 MiB and a processor. More wait, and when
// too many wait the next is refused.
type hasher struct {
	slots  chan struct{}
	queue  int64
	within atomic.Int64 // waiting and running
	dummy  string       // a hash of nothing known, to spend the same work on an account that does not exist
	hashes *observe.Counter
	shed   *observe.Counter
}

func newHasher(slots int, metrics *observe.Registry) *hasher {
	h := &hasher{
		slots:  make(chan struct{}, slots),
		queue:  int64(slots) * queueFor,
		hashes: metrics.Counter("starlight_user_password_hashes_total", "Password hashes that were computed."),
		shed: metrics.Counter("starlight_user_password_shed_total",
			"Requests refused because too many waited for a password hash."),
	}
	h.dummy = encodeHash(presentCost(), rand.Text(), presentCost().key(rand.Text(), rand.Text()))
	metrics.GaugeFunc("starlight_user_password_busy", "Requests that wait for a password hash or compute one.",
		func() float64 { return float64(h.within.Load()) })
	return h
}

// enter waits for a slot and returns the function that gives it back. A request that would wait too long is refused
// with Unavailable.
func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	if h.within.Add(1) > int64(cap(h.slots))+h.queue {
		h.within.Add(-1)
		h.shed.Inc()
		return nil, fault.New(fault.Unavailable, "too many people are logging in").After(time.Second)
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; h.within.Add(-1) }, nil
	case <-ctx.Done():
		h.within.Add(-1)
		return nil, ctx.Err()
	}
}

// hash returns the hash of a password in PHC string format. The caller has entered.
func (h *hasher) hash(password string) string {
	h.hashes.Inc()
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails, by its documentation
	return encodeHash(presentCost(), string(salt), presentCost().key(normalPassword(password), string(salt)))
}

// verify reports whether the password has the hash, and whether the hash is of another cost than a new one would be.
// The caller has entered.
func (h *hasher) verify(password, encoded string) (ok, outdated bool, err error) {
	h.hashes.Inc()
	c, salt, want, err := decodeHash(encoded)
	if err != nil {
		return false, false, err
	}
	got := c.key(normalPassword(password), salt)
	return subtle.ConstantTimeCompare(got, want) == 1, c != presentCost(), nil
}

func (c cost) key(password, salt string) []byte {
	return argon2.IDKey([]byte(password), []byte(salt), c.time, c.memory, c.threads, hashSize)
}

func encodeHash(c cost, salt string, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads,
		base64.RawStdEncoding.EncodeToString([]byte(salt)), base64.RawStdEncoding.EncodeToString(key))
}

// decodeHash reads what encodeHash wrote, for any cost that a machine can pay.
func decodeHash(s string) (c cost, salt string, key []byte, err error) {
	var version int
	var rest string
	n, err := fmt.Sscanf(s, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &c.memory, &c.time, &c.threads, &rest)
	if err != nil || n != 5 || version != argon2.Version || c.time == 0 || c.time > 100 || c.threads == 0 ||
		c.memory > 1<<21 {
		return cost{}, "", nil, errHash
	}
	saltText, keyText, _ := strings.Cut(rest, "$")
	rawSalt, err := base64.RawStdEncoding.Strict().DecodeString(saltText)
	if err != nil || len(rawSalt) < 8 {
		return cost{}, "", nil, errHash
	}
	key, err = base64.RawStdEncoding.Strict().DecodeString(keyText)
	if err != nil || len(key) != hashSize {
		return cost{}, "", nil, errHash
	}
	return c, string(rawSalt), key, nil
}
