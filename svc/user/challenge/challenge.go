// Package challenge makes callers pay for being served while very many want to be. What they pay with is work of their
// machine, in the manner of hashcash; another kind of challenge implements Challenger.
package challenge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// Challenger makes challenges and knows which answers solve them.
type Challenger interface {
	// New returns a challenge for a purpose, such as login. Load says how many times more than usual want to be served.
	New(purpose string, load float64) *fault.Challenge
	// Solved reports whether an answer solves a challenge of the purpose, and uses that up: each is good once.
	Solved(ctx context.Context, purpose, answer string) (bool, error)
}

const (
	ttl      = 2 * time.Minute
	mostMore = 6   // bits that load adds
	longest  = 300 // bytes of an answer
)

// Hashcash is a Challenger. Find a number so that the SHA-256 of "nonce:number" begins with so many zero bits.
//
// A nonce says what it is for, how hard it is and until when it is good, under a MAC: nothing is stored of one before
// it is solved.
type Hashcash struct {
	MAC      func(payload []byte) (kid string, sum []byte)
	CheckMAC func(ctx context.Context, kid string, payload, sum []byte) bool
	// Spend notes the id of a solved challenge, and reports false if it was noted before. It can be forgotten then.
	Spend func(ctx context.Context, id string, until time.Time) (bool, error)
	Bits  func() int // without load
	Now   func() time.Time
}

// New implements Challenger.
func (h Hashcash) New(purpose string, load float64) *fault.Challenge {
	hard := h.Bits()
	if load > 1 {
		hard += min(int(math.Log2(load)), mostMore)
	}
	payload := strings.Join([]string{purpose, strconv.Itoa(hard), strconv.FormatInt(h.Now().Add(ttl).Unix(), 10),
		rand.Text()}, ".")
	kid, sum := h.MAC(authentic(payload))
	return &fault.Challenge{Kind: "hashcash", Bits: hard, ExpiresIn: int(ttl / time.Second),
		Nonce: payload + "." + kid + "." + base64.RawURLEncoding.EncodeToString(sum)}
}

// authentic is what the MAC of a nonce is made of. The key has other uses, too.
func authentic(payload string) []byte { return []byte("challenge " + payload) }

// Solved implements Challenger.
func (h Hashcash) Solved(ctx context.Context, purpose, answer string) (bool, error) {
	nonce, _, ok := strings.Cut(answer, ":")
	parts := strings.Split(nonce, ".")
	if !ok || len(answer) > longest || len(parts) != 6 || parts[0] != purpose {
		return false, nil
	}
	hard, err := strconv.Atoi(parts[1])
	if err != nil || zeroBits(sha256.Sum256([]byte(answer))) < hard {
		return false, nil
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || h.Now().Unix() >= until {
		return false, nil
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(parts[5])
	if err != nil || !h.CheckMAC(ctx, parts[4], authentic(strings.Join(parts[:4], ".")), sum) {
		return false, nil
	}
	return h.Spend(ctx, parts[3], time.Unix(until, 0))
}

// zeroBits returns with how many zero bits a hash begins, up to 64.
func zeroBits(sum [sha256.Size]byte) int { return bits.LeadingZeros64(binary.BigEndian.Uint64(sum[:])) }

// Solve returns the answer to a challenge, as a client finds it.
func Solve(c *fault.Challenge) string {
	for n := 0; ; n++ {
		answer := c.Nonce + ":" + strconv.Itoa(n)
		if zeroBits(sha256.Sum256([]byte(answer))) >= c.Bits {
			return answer
		}
	}
}
