// Package identity proves for whom a request over NATS is made, and keeps the bodies of some requests from all but the
// two who exchange them.
//
// NATS permissions say who may send to an endpoint. They do not say what a message with a made-up principal is worth
// that came there in another way: by a stream that publishes again what it stores, by a consumer, by the answer of the
// JetStream API. So the gateway proves each principal to the service that it sends it to, by a MAC under a key that
// only the two have: X25519 between their keys, which the NATS account has certified. A service can forge principals
// to itself alone. A MAC costs about a microsecond; a signature and its verification would cost a quarter of an order.
//
// Where the service acts for the person at another service, the gateway signs the principal too (Ed25519), which all
// can verify: the service passes that on, for the same request, and can pass on no other.
package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Signer is the role whose word about principals counts.
const Signer = "gateway"

// Errors of a proof.
var (
	// ErrUnknown means that the two have not met yet, or that one of them has new keys: they exchange certificates, and
	// the request is sent again. Nothing was done.
	ErrUnknown = errors.New("identity: the keys are not known")
	// ErrForged is wrapped by the error of a proof that is wrong.
	ErrForged = errors.New("identity: the proof is wrong")
)

// Keys are what a role is known by.
type Keys struct {
	Role        string
	Exchange    *ecdh.PrivateKey // X25519
	Sign        ed25519.PrivateKey
	Certificate string // proves the public keys to others

	// Verify returns who a certificate is of. It fails for one that the authority of the system has not signed.
	Verify func(certificate string) (Public, error)
}

// Public is what a certificate says of its holder.
type Public struct {
	Role     string
	Exchange *ecdh.PublicKey
	Verify   ed25519.PublicKey
}

// Identity is a role that proves what it says and checks what others say. It is safe for concurrent use.
type Identity struct {
	keys Keys
	id   string

	mu    sync.RWMutex
	peers map[string]*peer   // by id
	roles map[string][]*peer // the one that was met last first
}

// peer is another role that this one has met.
type peer struct {
	Public
	id, certificate string
	mac             []byte
	seal            cipher.AEAD
}

// mostPeers of a role are remembered: its instances share their keys, unless these are being replaced.
const mostPeers = 3

// New returns the identity that has the keys.
func New(keys Keys) *Identity {
	return &Identity{keys: keys, id: idOf(keys.Exchange.PublicKey()), peers: map[string]*peer{},
		roles: map[string][]*peer{}}
}

// idOf names a key: 16 of [A-Za-z0-9_-].
func idOf(key *ecdh.PublicKey) string {
	sum := sha256.Sum256(key.Bytes())
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Certificate returns the own certificate.
func (i *Identity) Certificate() string { return i.keys.Certificate }

// CertificateOf returns the certificate of the one who made a proof, for those who have not met: the own one, that of a
// peer, or "".
func (i *Identity) CertificateOf(proof string) string {
	from := parse(proof).from
	if from == i.id {
		return i.keys.Certificate
	}
	if p := i.peer(from); p != nil {
		return p.certificate
	}
	return ""
}

// Meet remembers the holder of a certificate and returns its role.
func (i *Identity) Meet(certificate string) (role string, err error) {
	public, err := i.keys.Verify(certificate)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrForged, err)
	}
	p := &peer{Public: public, id: idOf(public.Exchange), certificate: certificate}
	if i.peer(p.id) != nil {
		return p.Role, nil
	}
	if err := i.agree(p); err != nil {
		return "", fmt.Errorf("%w: %w", ErrForged, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.peers[p.id] != nil { // another request has just met it
		return p.Role, nil
	}
	known := append([]*peer{p}, i.roles[p.Role]...)
	for _, old := range known[min(len(known), mostPeers):] {
		delete(i.peers, old.id)
	}
	i.roles[p.Role], i.peers[p.id] = known[:min(len(known), mostPeers)], p
	return p.Role, nil
}

// agree derives the keys that only the two have.
func (i *Identity) agree(p *peer) error {
	secret, err := i.keys.Exchange.ECDH(p.Exchange)
	if err != nil {
		return err
	}
	ids := []string{i.id, p.id}
	slices.Sort(ids)
	const size = sha256.Size
	keys, err := hkdf.Key(sha256.New, secret, nil, "starlight pair "+ids[0]+" "+ids[1], 2*size)
	if err != nil {
		return err
	}
	p.mac = keys[:size]
	p.seal, err = newAEAD(keys[size:])
	return err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (i *Identity) peer(id string) *peer {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.peers[id]
}

// peersOf returns those who have a role. The slice is not changed any more.
func (i *Identity) peersOf(role string) []*peer {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.roles[role]
}
