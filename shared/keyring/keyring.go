// Package keyring keeps the Ed25519 keys with which a service signs: access tokens, tickets.
//
// The keys lie in the service's own database, so all its instances sign and verify alike and a restart changes nothing.
// They are sealed by the system's key (package seal); without one, who reads that database can sign. Rotate makes a new
// key, which is shown for a while before it signs. Earlier ones then sign no more, but verify for as long as they are
// kept: a ticket may be older than many keys.
package keyring

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
)

//go:embed migrations
var migrations embed.FS

const (
	freshFor      = 5 * time.Second // Public reads again what is older
	reloadTimeout = 2 * time.Second
)

// Key is the public half of a signing key.
type Key struct {
	ID      string // the beginning of the key's JWK thumbprint (RFC 7638): 16 of [A-Za-z0-9_-]
	Public  ed25519.PublicKey
	Created time.Time
	Current bool // the one that signs
}

// Ring holds the keys of one purpose. It is safe for concurrent use.
type Ring struct {
	db      *store.DB
	purpose string
	seal    *seal.Keys
	now     func() time.Time

	mu    sync.RWMutex
	keys  map[string]key // by id
	order []key          // the oldest first
	read  time.Time      // when keys was read

	reloading sync.Mutex // one reload at a time
}

// Seeds returns the column with the private halves.
func Seeds() seal.Column { return seal.Column{Table: "signing_keys", ID: "id", Value: "seed"} }

type key struct {
	id         string
	generation int64
	private    ed25519.PrivateKey
	created    time.Time
	mac        []byte // derived from it
}

func (k key) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// Open reads the keys of a purpose, such as "access" or "ticket", and makes the first if there is none. Instances that
// open at the same time end up with the same key. keys seal the private halves; plain ones are sealed now.
func Open(ctx context.Context, db *store.DB, purpose string, keys *seal.Keys, now func() time.Time) (*Ring, error) {
	if purpose == "" {
		return nil, errors.New("keyring: no purpose")
	}
	if now == nil {
		now = time.Now
	}
	r := &Ring{db: db, purpose: purpose, seal: keys, now: now}
	if err := db.Migrate(ctx, "keyring", migrations); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if err := Seeds().Adopt(ctx, db, keys); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if err := r.reload(ctx); err != nil {
		return nil, err
	}
	if len(r.order) == 0 {
		if err := r.make(ctx, 1, nil); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// ID returns the id of the current key.
func (r *Ring) ID() string {
	id, _ := r.Private()
	return id
}

// Sign signs payload with the current key and returns the key's id with the signature.
func (r *Ring) Sign(payload []byte) (kid string, sig []byte) {
	kid, private := r.Private()
	return kid, ed25519.Sign(private, payload)
}

// Private returns the current key and its id, for a library that signs by itself.
func (r *Ring) Private() (kid string, private ed25519.PrivateKey) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k := r.current()
	return k.id, k.private
}

// Verify reports whether sig is the signature of payload by the key kid. An id that is not known may be that of a key
// which another instance has just made: the keys are read again, at most once a second however many ask.
//
// Ed25519 signs the same payload alike every time (RFC 8032), so who has the private key signs again and compares: that
// is a third of the work of checking with the public key.
func (r *Ring) Verify(ctx context.Context, kid string, payload, sig []byte) bool {
	k, ok := r.find(ctx, kid)
	return ok && subtle.ConstantTimeCompare(sig, ed25519.Sign(k.private, payload)) == 1
}

// MAC authenticates payload with the current key, for this service alone: HMAC-SHA256 under a key that is derived by
// HKDF. It costs a small part of what a signature does.
func (r *Ring) MAC(payload []byte) (kid string, sum []byte) {
	r.mu.RLock()
	k := r.current()
	r.mu.RUnlock()
	return k.id, k.sum(payload)
}

// CheckMAC reports whether sum is what MAC returns for payload under the key kid. For an id that is not known see
// Verify.
func (r *Ring) CheckMAC(ctx context.Context, kid string, payload, sum []byte) bool {
	k, ok := r.find(ctx, kid)
	return ok && hmac.Equal(sum, k.sum(payload))
}

func (k key) sum(payload []byte) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write(payload)
	return h.Sum(nil)
}

// find looks a key up, and reads all of them again if it is not known.
func (r *Ring) find(ctx context.Context, kid string) (key, bool) {
	k, ok := r.lookup(kid)
	if !ok && r.refresh(ctx, time.Second) {
		k, ok = r.lookup(kid)
	}
	return k, ok
}

func (r *Ring) lookup(kid string) (key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[kid]
	return k, ok
}

// Public returns all keys, the newest first. They are read again if that was more than 5 seconds ago, so that a
// verifier who asks one instance learns of the key of another; if the database cannot be reached, they are what is
// known.
func (r *Ring) Public() []Key {
	r.refresh(context.Background(), freshFor)
	r.mu.RLock()
	defer r.mu.RUnlock()
	current := r.current().id
	keys := make([]Key, 0, len(r.order))
	for _, k := range slices.Backward(r.order) {
		keys = append(keys, Key{ID: k.id, Public: k.public(), Created: k.created, Current: k.id == current})
	}
	return keys
}

// refresh reads the keys again unless that happened less than age ago. It reports whether they may have changed.
func (r *Ring) refresh(ctx context.Context, age time.Duration) bool {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	r.mu.RLock()
	read := r.read
	r.mu.RUnlock()
	if since := r.now().Sub(read); since >= 0 && since < age {
		return true // perhaps by a neighbour, while this one waited
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	if err := r.reload(ctx); err != nil {
		// A database that is away is not asked again with every call: the known keys serve for a while.
		r.mu.Lock()
		r.read = r.now()
		r.mu.Unlock()
		return false
	}
	return true
}

// reload reads the keys.
func (r *Ring) reload(ctx context.Context) error {
	var rows []struct {
		ID         string
		Generation int64
		Seed       string
		CreatedAt  time.Time
	}
	read := r.now() // before the query: a key made during it may be missing
	err := r.db.Read().NewSelect().Table("signing_keys").Column("id", "generation", "seed", "created_at").
		Where("purpose = ?", r.purpose).Order("generation").Scan(ctx, &rows)
	if err != nil {
		return fmt.Errorf("keyring: %w", store.OrNotFound(err, "no keys"))
	}
	keys := make(map[string]key, len(rows))
	order := make([]key, 0, len(rows))
	for _, row := range rows {
		text, err := r.seal.Open(Seeds().Place(r.db, row.ID), row.Seed)
		if err != nil {
			return fmt.Errorf("keyring: the key %s: %w", row.ID, err)
		}
		seed, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(seed) != ed25519.SeedSize {
			return fmt.Errorf("keyring: the key %s is damaged", row.ID)
		}
		k := key{id: row.ID, generation: row.Generation, private: ed25519.NewKeyFromSeed(seed), created: row.CreatedAt}
		if name(k.public()) != k.id {
			return fmt.Errorf("keyring: the key %s is damaged", row.ID)
		}
		if k.mac, err = hkdf.Key(sha256.New, seed, nil, "starlight "+r.purpose+" mac", sha256.Size); err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		keys[k.id], order = k, append(order, k)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) > 0 && (len(order) == 0 || order[len(order)-1].generation < r.newest().generation) {
		return nil // another reload, begun later, was faster
	}
	r.keys, r.order, r.read = keys, order, read
	return nil
}

// ID returns the id of a key, as Key has it.
func ID(public ed25519.PublicKey) string { return name(public) }

// name returns the id of a key. 96 bits are enough to tell keys apart, and ids are part of every ticket's bar code.
func name(public ed25519.PublicKey) string { return thumbprint(public)[:16] }

// thumbprint returns the RFC 7638 thumbprint of a key, in unpadded base64url.
func thumbprint(public ed25519.PublicKey) string {
	var b strings.Builder
	b.WriteString(`{"crv":"Ed25519","kty":"OKP","x":"`)
	b.WriteString(base64.RawURLEncoding.EncodeToString(public))
	b.WriteString(`"}`)
	sum := sha256.Sum256([]byte(b.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
