package federation

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What a provider may have others compute and keep. To check a signature by a key of millions of bits takes minutes.
const (
	longestToken = 64 << 10 // bytes of a signed token
	longestKey   = 32 << 10 // bytes of a key as it is written, with its certificates
	mostKeys     = 64
	leastRSA     = 2048            // bits
	mostRSA      = 4096            // more than that the library refuses, too
	keysEvery    = 2 * time.Second // before keys are read again because a token names an unknown one
)

// keySet is the keys of a provider, which are read again when a token is signed by one that is not known. Anyone may
// send such a token, so that is done once in a while.
type keySet struct {
	http   *http.Client
	where  string
	now    func() time.Time
	reader chan struct{} // has room for the one who reads them

	mu   sync.Mutex
	keys []jose.JSONWebKey
	read time.Time // zero: never
}

func newKeySet(client *http.Client, where string, now func() time.Time) *keySet {
	return &keySet{http: client, where: where, now: now, reader: make(chan struct{}, 1)}
}

// noted notes that keys could not be read, which is no fault of the token.
type noted struct {
	*keySet
	failed error
}

// VerifySignature implements oidc.KeySet.
func (n *noted) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	if len(token) > longestToken {
		return nil, fmt.Errorf("a token of %d bytes is too long", len(token))
	}
	var algorithms []jose.SignatureAlgorithm
	for _, name := range asymmetric() {
		algorithms = append(algorithms, jose.SignatureAlgorithm(name))
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	keys, read := n.keys, n.read
	n.mu.Unlock()
	payload, ok := verify(signed, keys)
	if !ok && (read.IsZero() || n.now().Sub(read) >= keysEvery) {
		if keys, err = n.readSince(ctx, read); err != nil {
			n.failed = err
			return nil, err
		}
		payload, ok = verify(signed, keys)
	}
	if !ok {
		return nil, errors.New("the signature is by none of the provider's keys")
	}
	return payload, unambiguous(payload)
}

func verify(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, ok bool) {
	id := signed.Signatures[0].Header.KeyID
	for _, key := range keys {
		if id != "" && key.KeyID != id {
			continue
		}
		if payload, err := signed.Verify(key.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// readSince reads the keys, unless somebody has since.
func (s *keySet) readSince(ctx context.Context, since time.Time) ([]jose.JSONWebKey, error) {
	select {
	case s.reader <- struct{}{}:
		defer func() { <-s.reader }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	keys, read := s.keys, s.read
	s.mu.Unlock()
	if read.After(since) {
		return keys, nil
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := ask(ctx, s.http, s.where, "", &document); err != nil {
		return nil, err
	}
	keys = usable(document.Keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.read = keys, s.now()
	return keys, nil
}

// usable returns the keys that check a signature in little time. The others are as if they were not there.
func usable(all []json.RawMessage) (keys []jose.JSONWebKey) {
	for _, text := range all {
		var key jose.JSONWebKey
		if len(text) > longestKey || json.Unmarshal(text, &key) != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch k := key.Key.(type) {
		case *rsa.PublicKey:
			if bits := k.N.BitLen(); bits < leastRSA || bits > mostRSA {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue
		}
		if keys = append(keys, key); len(keys) == mostKeys {
			break
		}
	}
	return keys
}

// members are what is read of a token or of the user info.
func members() []string {
	return []string{"iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "azp", "auth_time", "amr", "acr",
		"sid", "jti", "events", "email", "email_verified", "name"}
}

// unambiguous refuses an object with a member that is one of ours but for case: the decoder of Go would take it for
// that. A provider may let people choose what stands in members of their own.
func unambiguous(object []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return err
	}
	for name := range all {
		if !slices.Contains(members(), name) &&
			slices.ContainsFunc(members(), func(ours string) bool { return strings.EqualFold(ours, name) }) {
			return fmt.Errorf("the member %q could be taken for another one", name)
		}
	}
	return nil
}
