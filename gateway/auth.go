package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/token"
)

const (
	leeway      = 5 * time.Second // for clocks that disagree
	keysAge     = 5 * time.Minute // after which the keys are read again, so that a withdrawn one ends
	keysPause   = time.Second     // the least time between two readings, whatever tokens come in
	keysRetry   = time.Second     // the same after a failed reading
	mostTokens  = 100_000         // verified tokens that are remembered
	keysTimeout = 2 * time.Second
)

// authenticator verifies access tokens with the keys of the user service.
type authenticator struct {
	client *rpc.Client
	now    func() time.Time
	log    *slog.Logger
	failed *observe.Counter

	keys     atomic.Pointer[keySet]
	fetch    sync.Mutex // held while the keys are read
	retry    time.Time  // not before; guarded by fetch
	aging    atomic.Bool
	machines machines

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]verified
}

type keySet struct {
	byID map[string]ed25519.PublicKey
	at   time.Time
}

// verified is a token that was found good: checking a signature costs more than all the rest of a small request.
type verified struct {
	principal  rpc.Principal
	generation int64 // of the account: see package revocation
	key        string
	until      time.Time
}

func newAuthenticator(cfg Config) *authenticator {
	a := &authenticator{client: cfg.Client, now: cfg.Now, log: cfg.Log, tokens: map[[sha256.Size]byte]verified{},
		machines: machines{known: map[[sha256.Size]byte]machine{}}}
	a.failed = cfg.Registry.Counter("starlight_http_keys_failed_total",
		"Failed attempts to read the keys of access tokens.")
	a.keys.Store(&keySet{})
	return a
}

// verify returns the principal of a token, and until when it is good. The fault is Unauthenticated for a bad token, and
// Unavailable if there are no keys to verify it with.
func (a *authenticator) verify(text []byte) (verified, error) {
	now := a.now()
	a.age(now)
	sum := sha256.Sum256(text)
	a.mu.RLock()
	v, ok := a.tokens[sum]
	a.mu.RUnlock()
	if ok && now.Before(v.until) {
		return v, nil
	}
	var noKeys error
	var signer string
	c, err := token.Verify(string(text), func(kid string) (ed25519.PublicKey, bool) {
		key, err := a.key(kid)
		noKeys, signer = err, kid
		return key, key != nil
	}, now.Add(-leeway))
	switch {
	case noKeys != nil:
		return verified{}, noKeys
	case errors.Is(err, jwt.ErrTokenExpired):
		return verified{}, fault.Wrap(err, fault.Unauthenticated, "the access token has expired")
	case err != nil:
		return verified{}, fault.Wrap(err, fault.Unauthenticated, "the access token is not valid")
	}
	p, err := principal(c)
	if err != nil {
		return verified{}, fault.Wrap(err, fault.Unauthenticated, "the access token is not valid")
	}
	v = verified{p, c.Generation, signer, c.ExpiresAt.Add(leeway)}
	a.remember(sum, v, now)
	return v, nil
}

// principal returns the principal of the claims. What the wire form cannot hold, or would read in another way, must not
// get onto the wire.
func principal(c token.Claims) (rpc.Principal, error) {
	p := rpc.Principal{User: c.User, Session: c.Session, Roles: c.Roles}
	q, err := rpc.ParsePrincipal(p.String())
	if err == nil && (!slices.Equal(p.Roles, q.Roles) || p.Guest()) { // guests have no access token
		err = fmt.Errorf("roles %.80q", p.Roles)
	}
	return q, err
}

// remember caches a verified token. When there is no room, expired tokens go, and if that is not enough any others.
func (a *authenticator) remember(sum [sha256.Size]byte, v verified, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tokens) >= mostTokens {
		maps.DeleteFunc(a.tokens, func(_ [sha256.Size]byte, v verified) bool { return !now.Before(v.until) })
	}
	spare := mostTokens / 10
	for old := range a.tokens {
		if len(a.tokens) < mostTokens || spare == 0 {
			break
		}
		delete(a.tokens, old)
		spare--
	}
	a.tokens[sum] = v
}

// key returns the key of an id, or nil if there is none. The error is a fault: there are no keys at all.
func (a *authenticator) key(id string) (ed25519.PublicKey, error) {
	if key, ok := a.keys.Load().byID[id]; ok {
		return key, nil
	}
	if err := a.refresh(id); err != nil {
		return nil, err
	}
	return a.keys.Load().byID[id], nil
}

// refresh reads the keys again because id is not among them, unless that was tried a moment ago.
func (a *authenticator) refresh(id string) error {
	a.fetch.Lock()
	defer a.fetch.Unlock()
	if _, ok := a.keys.Load().byID[id]; ok { // another request was quicker
		return nil
	}
	now := a.now()
	if now.Before(a.retry) {
		if len(a.keys.Load().byID) == 0 {
			return fault.New(fault.Unavailable, "access tokens cannot be checked at the moment").After(keysRetry)
		}
		return nil
	}
	return a.load(now)
}

// load reads the keys. The caller holds fetch.
func (a *authenticator) load(now time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	set, err := rpc.Call(ctx, a.client, api.GetKeys, &rpc.None{})
	if err != nil {
		a.retry = now.Add(keysRetry)
		a.failed.Inc()
		a.log.Warn("the keys of access tokens cannot be read, the known ones stay",
			"known", len(a.keys.Load().byID), "error", err)
		return fault.Wrap(err, fault.Unavailable, "access tokens cannot be checked at the moment").After(keysRetry)
	}
	fresh := &keySet{byID: map[string]ed25519.PublicKey{}, at: now}
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if err == nil && k.KeyType == "OKP" && k.Curve == "Ed25519" && len(x) == ed25519.PublicKeySize && k.ID != "" {
			fresh.byID[k.ID] = x
		}
	}
	old := a.keys.Swap(fresh)
	a.retry = now.Add(keysPause)
	same := func(x, y ed25519.PublicKey) bool { return x.Equal(y) }
	if !maps.EqualFunc(old.byID, fresh.byID, same) { // what a withdrawn key signed is no longer good
		a.mu.Lock()
		clear(a.tokens)
		a.mu.Unlock()
	}
	return nil
}

// age has the keys read again in the background once they are old. No request waits for it, and while it fails the old
// ones stay.
func (a *authenticator) age(now time.Time) {
	if at := a.keys.Load().at; at.IsZero() || now.Sub(at) < keysAge || !a.aging.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer a.aging.Store(false)
		a.fetch.Lock()
		defer a.fetch.Unlock()
		if !now.Before(a.retry) {
			_ = a.load(now) // logged, and tried again after a while
		}
	}()
}
