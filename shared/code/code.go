// Package code is the format of a ticket's code:
//
//	ST1.<event>.<ticket>.<revision>.<key id>.<signature>
//
// That of a product begins with SP1: a door that has not heard of it yet knows that it lets nobody in.
//
// The ids stand without their prefixes and the revision in decimal. The signature is the Ed25519 signature of all that
// stands before the key id, in base64url without padding. A door that knows the public key checks a code on its own.
package code

import (
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/ids"
)

const (
	version = "ST1"
	product = "SP1"
)

// maxLength is longer than any code.
const maxLength = 256

// Payload is what a code says.
type Payload struct {
	Event    ids.Event
	Ticket   ids.Ticket
	Revision int64 // of the ticket: a transfer makes the codes before it worthless
	Product  bool  // it is handed out, and lets nobody in
}

// Signed is a code that was parsed. Its signature is still to be verified.
type Signed struct {
	Payload
	KeyID     string
	Body      []byte // what was signed
	Signature []byte
}

// Sign returns the code of a payload.
func Sign(p Payload, keyID string, key ed25519.PrivateKey) string {
	body := p.body()
	return body + "." + keyID + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(body)))
}

func (p Payload) body() string {
	begins := version
	if p.Product {
		begins = product
	}
	return strings.Join([]string{begins, bare(string(p.Event)), bare(string(p.Ticket)),
		strconv.FormatInt(p.Revision, 10)}, ".")
}

// bare is an id without its prefix.
func bare(id string) string { return id[strings.IndexByte(id, '_')+1:] }

// Parse reads a code. It reports false for text of another form.
func Parse(text string) (Signed, bool) {
	part := strings.Split(text, ".")
	if len(text) > maxLength || len(part) != 6 || part[0] != version && part[0] != product {
		return Signed{}, false
	}
	event, err1 := ids.Parse[ids.EventKind](ids.EventKind{}.Prefix() + "_" + part[1])
	ticket, err2 := ids.Parse[ids.TicketKind](ids.TicketKind{}.Prefix() + "_" + part[2])
	revision, err3 := strconv.ParseInt(part[3], 10, 64)
	signature, err4 := base64.RawURLEncoding.Strict().DecodeString(part[5])
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return Signed{}, false
	}
	body := strings.Join(part[:4], ".")
	return Signed{Payload{event, ticket, revision, part[0] == product}, part[4], []byte(body), signature}, true
}
