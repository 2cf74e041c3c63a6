package identity

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
)

// Sealed is an exchange whose bodies only the two can read: a request, and its reply.
type Sealed struct {
	aead  cipher.AEAD
	bound string // what the request is
}

// Seal returns the body of a request so that only a holder of the role to can read it, and the header that names those
// who can.
func (i *Identity) Seal(to string, r Request) (s *Sealed, header string, body []byte, err error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, "", nil, err
	}
	if s, err = newSealed(key, r); err != nil {
		return nil, "", nil, err
	}
	b := append([]byte(i.id), '|')
	for n, p := range i.peersOf(to) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(append(b, p.id...), ':')
		b = base64.RawURLEncoding.AppendEncode(b, p.seal.Seal(nil, nil, key, []byte("key "+s.bound)))
	}
	return s, string(b), s.aead.Seal(nil, nil, r.Body, []byte("request "+s.bound)), nil
}

// Open returns the body of a sealed request. The error is ErrUnknown, or wraps ErrForged.
func (i *Identity) Open(header string, r Request) (*Sealed, []byte, error) {
	id, keys, _ := strings.Cut(header, "|")
	from := i.peer(id)
	if from == nil {
		return nil, nil, ErrUnknown
	}
	for one := range strings.SplitSeq(keys, ",") {
		id, wrapped, _ := strings.Cut(one, ":")
		if id != i.id {
			continue
		}
		s := &Sealed{bound: bound(r)}
		raw, err := base64.RawURLEncoding.DecodeString(wrapped)
		if err == nil {
			raw, err = from.seal.Open(nil, nil, raw, []byte("key "+s.bound))
		}
		if err == nil {
			s, err = newSealed(raw, r)
		}
		var body []byte
		if err == nil {
			body, err = s.aead.Open(nil, nil, r.Body, []byte("request "+s.bound))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: the body cannot be opened", ErrForged)
		}
		return s, body, nil
	}
	return nil, nil, ErrUnknown
}

// SealReply returns the body of the reply so that only the sender of the request can read it.
func (s *Sealed) SealReply(body []byte) []byte {
	return s.aead.Seal(nil, nil, body, []byte("reply "+s.bound))
}

// OpenReply returns the body of a sealed reply.
func (s *Sealed) OpenReply(body []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, body, []byte("reply "+s.bound))
	if err != nil {
		return nil, fmt.Errorf("%w: the reply cannot be opened", ErrForged)
	}
	return plain, nil
}

func newSealed(key []byte, r Request) (*Sealed, error) {
	aead, err := newAEAD(key)
	return &Sealed{aead, bound(r)}, err
}

func bound(r Request) string { return r.Endpoint + " " + r.ID }
