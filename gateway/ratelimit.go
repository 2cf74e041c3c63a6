package gateway

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// limiter is a set of token buckets, one a key. A key may spend so many tokens in each period, and what it saved up, at
// most the tokens of one period.
type limiter struct {
	now    func() time.Time
	seed   maphash.Seed
	shards [shardCount]shard
}

const (
	shardCount   = 32
	shardBuckets = 4096 // in a shard: with 32 of them about 10 MB at the most
)

type shard struct {
	mu      sync.Mutex
	buckets map[limitKey]bucket
}

// limitKey is what has a bucket: an address or a name, for one of the limits.
type limitKey struct {
	by      limitBy
	address netip.Addr
	name    string
}

// period returns the time in which the tokens of a key come.
func (k limitKey) period() time.Duration {
	if k.by == byLogin || k.by == byGuest || k.by == byReading || k.by == byUpload {
		return time.Minute
	}
	return time.Second
}

// bucket was left with so many tokens at a time.
type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(now func() time.Time) *limiter {
	l := &limiter{now: now, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].buckets = map[limitKey]bucket{}
	}
	return l
}

// spend spends one token of the key. Without one it returns how long until there is one. A rate of 0 is no limit.
func (l *limiter) spend(key limitKey, rate int) (wait time.Duration, ok bool) {
	if rate <= 0 {
		return 0, true
	}
	now := l.now()
	s := l.shardOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.buckets[key]
	if !known {
		s.room(now)
		b = bucket{float64(rate), now}
	}
	period := float64(key.period())
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(float64(rate), b.tokens+float64(passed)/period*float64(rate))
		b.at = now
	}
	if b.tokens < 1 {
		s.buckets[key] = b
		return time.Duration((1 - b.tokens) / float64(rate) * period), false
	}
	b.tokens--
	s.buckets[key] = b
	return 0, true
}

func (l *limiter) shardOf(key limitKey) *shard {
	bytes := key.address.As16()
	sum := maphash.Bytes(l.seed, bytes[:])
	if key.name != "" {
		sum ^= maphash.String(l.seed, key.name)
	}
	return &l.shards[sum%shardCount]
}

// room makes room for one more bucket. Those untouched for a period are full again: evicting them changes nothing.
// If a flood of keys leaves none of these, some others go; their owners gain one period's tokens.
func (s *shard) room(now time.Time) {
	if len(s.buckets) < shardBuckets {
		return
	}
	for key, b := range s.buckets {
		if now.Sub(b.at) >= key.period() {
			delete(s.buckets, key)
		}
	}
	for key := range s.buckets {
		if len(s.buckets) < shardBuckets*3/4 {
			return
		}
		delete(s.buckets, key)
	}
}

// counted is the address that a caller's requests are counted by: an IPv6 customer has a whole /64.
func counted(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// limitAddress counts a request for its address, and for the class of the endpoint.
func (g *Gateway) limitAddress(x *exchange, class rpc.Limit) error {
	live := g.cfg.Settings
	key := limitKey{by: byAddress, address: counted(x.address)}
	if wait, ok := g.limits.spend(key, api.RatePerAddress.Get(live)); !ok {
		g.metrics.limited[byAddress].Inc()
		return fault.New(fault.RateLimited, "too many requests from this address").After(wait)
	}
	if class != rpc.LoginLimit {
		return nil
	}
	key.by = byLogin
	if wait, ok := g.limits.spend(key, api.RateLogin.Get(live)); !ok {
		g.metrics.limited[byLogin].Inc()
		return fault.New(fault.RateLimited, "too many attempts from this address").After(wait)
	}
	return nil
}

// limitPerson counts a request for the person or the key that it is made for, and those of callers without an identity
// where the class says so.
func (g *Gateway) limitPerson(x *exchange, class rpc.Limit) error {
	by, rate := byPerson, api.RatePerPerson
	key := limitKey{name: x.principal.ID()}
	switch {
	case x.principal.IsKey():
		by, rate = byKey, api.RatePerKey
	case key.name != "":
	case class == rpc.GuestLimit:
		by, rate, key.address = byGuest, api.RateGuests, counted(x.address)
	default:
		return nil
	}
	key.by = by
	if wait, ok := g.limits.spend(key, rate.Get(g.cfg.Settings)); !ok {
		g.metrics.limited[by].Inc()
		return fault.New(fault.RateLimited, "too many requests").After(wait)
	}
	return nil
}
