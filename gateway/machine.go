package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	keyFresh = 500 * time.Millisecond // for how long a key is good without being asked about
	keyStale = 10 * time.Minute       // for how long a key may read what was good, while it cannot be asked about
	mostKeys = 10_000                 // that are remembered
)

// machines remembers the keys of organizers that were good a moment ago. A key that is in use is asked about twice a
// second, whatever the number of its requests, so one that is deleted ends within a second.
type machines struct {
	asking singleflight.Group

	mu    sync.Mutex
	known map[[sha256.Size]byte]machine // by the hash of the whole key
}

type machine struct {
	principal rpc.Principal
	until     time.Time // when the key ends; zero: not known
	asked     time.Time
}

func (m *machines) get(sum [sha256.Size]byte) (machine, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.known[sum]
	return k, ok
}

// set remembers a key, or forgets it with nil. When there is no room, those go that no caller has shown for a while.
func (m *machines) set(sum [sha256.Size]byte, k *machine, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k == nil {
		delete(m.known, sum)
		return
	}
	if len(m.known) >= mostKeys {
		maps.DeleteFunc(m.known, func(_ [sha256.Size]byte, k machine) bool { return now.Sub(k.asked) > keyFresh })
	}
	if len(m.known) < mostKeys {
		m.known[sum] = *k
	}
}

// verifyKey returns the principal of a key. At the source it is asked about in any case, and reads are served by what
// was known while the event service is away. The fault is Unauthenticated for a bad key, and Unavailable if it cannot
// be asked about.
func (a *authenticator) verifyKey(x *exchange, text string, atSource, reads bool) (verified, error) {
	id, ok := api.KeyID(text)
	if !ok {
		return verified{}, fault.New(fault.Unauthenticated, "the key is not valid, or is over")
	}
	sum, now := sha256.Sum256([]byte(text)), a.now()
	known, ok := a.machines.get(sum)
	if good := ok && (known.until.IsZero() || now.Before(known.until)); good && !atSource &&
		now.Sub(known.asked) < keyFresh {
		return verified{principal: known.principal}, nil
	}
	ask := func() (any, error) {
		ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: x.requestID, Address: x.address.String()})
		return rpc.Call(ctx, a.client, api.CheckKey, &api.KeyCheck{ID: id, Hash: hex.EncodeToString(sum[:])})
	}
	var answer any
	var err error
	if atSource { // an answer to a question from before this request may be from before a change
		answer, err = ask()
	} else {
		answer, err, _ = a.machines.asking.Do(string(sum[:]), ask)
	}
	switch {
	case fault.Is(err, fault.Unauthenticated):
		a.machines.set(sum, nil, now)
		return verified{}, err
	case err != nil && ok && reads && !atSource && now.Sub(known.asked) < keyStale &&
		(known.until.IsZero() || now.Before(known.until)):
		return verified{principal: known.principal}, nil
	case err != nil:
		return verified{}, fault.Wrap(err, fault.Unavailable, "the key cannot be checked at the moment").
			After(keysRetry)
	}
	standing := answer.(*api.KeyStanding)
	k := machine{rpc.Principal{Key: id, Organizer: standing.OrganizerID, Scopes: standing.Scopes}, standing.Until, now}
	a.machines.set(sum, &k, now)
	return verified{principal: k.principal}, nil
}
