package identity

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How long a proof is good. It is judged by the time at which the request arrived.
const (
	life   = 30 * time.Second
	leeway = 5 * time.Second // for a clock that is ahead
)

// Request is what a proof is bound to.
type Request struct {
	Endpoint  string // service.name
	ID        string // of the request
	Principal string
	Params    string
	Body      []byte
}

// macBytes of HMAC-SHA256 are sent.
const macBytes = 16

// proof is the parts of a proof: from|issued|peer:mac,peer:mac|endpoint|signature. The last two are there if the
// principal may be passed on.
type proof struct {
	from, issued, macs, endpoint, signature string
}

func parse(text string) (p proof) {
	p.from, text, _ = strings.Cut(text, "|")
	p.issued, text, _ = strings.Cut(text, "|")
	p.macs, text, _ = strings.Cut(text, "|")
	p.endpoint, p.signature, _ = strings.Cut(text, "|")
	return p
}

// Prove returns the proof of a principal to all that are known to have the role to, which is empty but for the sender
// if there are none. With passOn, that role may pass the principal on.
func (i *Identity) Prove(to string, r Request, now time.Time, passOn bool) string {
	issued := strconv.FormatInt(now.UnixMilli(), 10)
	b := make([]byte, 0, 128)
	b = append(append(append(append(b, i.id...), '|'), issued...), '|')
	for n, p := range i.peersOf(to) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(append(b, p.id...), ':')
		b = base64.RawURLEncoding.AppendEncode(b, p.sum(r, issued))
	}
	if passOn {
		b = append(append(append(b, '|'), r.Endpoint...), '|')
		b = base64.RawURLEncoding.AppendEncode(b, ed25519.Sign(i.keys.Sign, signed(r.Endpoint, r, issued)))
	}
	return string(b)
}

// sum authenticates a request. No part but the last can have a line break.
func (p *peer) sum(r Request, issued string) []byte {
	h := hmac.New(sha256.New, p.mac)
	b := make([]byte, 0, 256)
	for _, part := range [...]string{"starlight request", r.Endpoint, r.ID, issued, r.Principal, r.Params} {
		b = append(append(b, part...), '\n')
	}
	h.Write(b)
	h.Write(r.Body)
	return h.Sum(b[:0])[:macBytes]
}

// signed is what a signature is of: the principal, and the request that it was made for.
func signed(endpoint string, r Request, issued string) []byte {
	return []byte("starlight principal\n" + endpoint + "\n" + r.ID + "\n" + issued + "\n" + r.Principal)
}

// Check returns nil if the signer has made the proof for this request lately, and for the own role. The request
// arrived at the time now. Otherwise the error is ErrUnknown, or wraps ErrForged.
func (i *Identity) Check(text string, r Request, now time.Time) error {
	p := parse(text)
	from, err := i.signer(p)
	if err != nil {
		return err
	}
	for one := range strings.SplitSeq(p.macs, ",") {
		id, mac, _ := strings.Cut(one, ":")
		if id != i.id {
			continue
		}
		sum, err := base64.RawURLEncoding.DecodeString(mac)
		if err != nil || !hmac.Equal(sum, from.sum(r, p.issued)) {
			return fmt.Errorf("%w: it is of another request", ErrForged)
		}
		return fresh(p.issued, now)
	}
	return ErrUnknown
}

// CheckPassedOn returns nil if the signer has signed the principal lately, for a request with this id to an endpoint of
// one of the services. Otherwise the error is ErrUnknown, or wraps ErrForged.
func (i *Identity) CheckPassedOn(text string, r Request, services []string, now time.Time) error {
	p := parse(text)
	from, err := i.signer(p)
	if err != nil {
		return err
	}
	if service, _, _ := strings.Cut(p.endpoint, "."); !slices.Contains(services, service) {
		return fmt.Errorf("%w: it was made for %q", ErrForged, p.endpoint)
	}
	signature, err := base64.RawURLEncoding.DecodeString(p.signature)
	if err != nil || !ed25519.Verify(from.Verify, signed(p.endpoint, r, p.issued), signature) {
		return fmt.Errorf("%w: it is of another request", ErrForged)
	}
	return fresh(p.issued, now)
}

// PassOn returns what a service passes on of a proof, or "" if it may not.
func PassOn(text string) string {
	p := parse(text)
	if p.signature == "" {
		return ""
	}
	return p.from + "|" + p.issued + "||" + p.endpoint + "|" + p.signature
}

// signer returns who made a proof.
func (i *Identity) signer(p proof) (*peer, error) {
	if p.issued == "" {
		return nil, fmt.Errorf("%w: there is none", ErrForged)
	}
	from := i.peer(p.from)
	if from == nil {
		return nil, ErrUnknown
	}
	if from.Role != Signer {
		return nil, fmt.Errorf("%w: it was made by %s", ErrForged, from.Role)
	}
	return from, nil
}

// fresh returns nil if a proof is not too old.
func fresh(issued string, now time.Time) error {
	ms, err := strconv.ParseInt(issued, 10, 64)
	age := now.Sub(time.UnixMilli(ms))
	if err != nil || age > life || age < -leeway {
		return fmt.Errorf("%w: it was made %s ago", ErrForged, age.Round(time.Second))
	}
	return nil
}
