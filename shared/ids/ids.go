// Package ids makes and checks the identifiers of the system.
//
// An id is a three-letter prefix that names its kind, an underscore, and 26 characters of lower-case Crockford base 32:
// 48 bits of Unix milliseconds followed by 80 random bits, so ids of one kind sort by age (the layout is that of ULID,
// https://github.com/ulid/spec). Only [a-z0-9_] occurs: an id is safe as a NATS subject token, a KV key and a URL
// segment, and this package is the only door through which text becomes one.
package ids

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// ID is the identifier of a thing of kind K. The zero value means "none".
type ID[K Kind] string

// Kind is implemented by the marker type of each kind of thing.
type Kind interface{ Prefix() string }

// The kinds of things.
type (
	EventKind        struct{}
	TicketTypeKind   struct{}
	UserKind         struct{}
	OrderKind        struct{}
	TicketKind       struct{}
	TicketOfferKind  struct{}
	PaymentKind      struct{}
	RefundKind       struct{}
	PayoutKind       struct{}
	VenueKind        struct{}
	AdmissionKind    struct{}
	SessionKind      struct{}
	PassKind         struct{}
	LeaseKind        struct{}
	OrganizerKind    struct{}
	KeyKind          struct{}
	AuditKind        struct{}
	FactorKind       struct{}
	PasskeyKind      struct{}
	QuotaKind        struct{}
	QuestionKind     struct{}
	ChoiceKind       struct{}
	PromoCodeKind    struct{}
	ClosureKind      struct{}
	CancellationKind struct{}
	SeriesKind       struct{}
	InvoiceKind      struct{}
	ImportKind       struct{}
	StageKind        struct{}

	IdentityProviderKind struct{}
	IdentityKind         struct{}
	NotificationKind     struct{}
	AnnouncementKind     struct{}
	PushSubscriptionKind struct{}
	WebhookKind          struct{}
	WebhookMessageKind   struct{}
)

// The identifiers in use.
type (
	Event        = ID[EventKind]
	TicketType   = ID[TicketTypeKind]
	User         = ID[UserKind]
	Order        = ID[OrderKind]
	Ticket       = ID[TicketKind]
	TicketOffer  = ID[TicketOfferKind]
	Payment      = ID[PaymentKind]
	Refund       = ID[RefundKind]
	Payout       = ID[PayoutKind]
	Venue        = ID[VenueKind]
	Admission    = ID[AdmissionKind]
	Session      = ID[SessionKind]
	Pass         = ID[PassKind]
	Lease        = ID[LeaseKind]
	Organizer    = ID[OrganizerKind]
	Key          = ID[KeyKind]
	Audit        = ID[AuditKind]
	Factor       = ID[FactorKind]
	Passkey      = ID[PasskeyKind]
	Quota        = ID[QuotaKind]
	Question     = ID[QuestionKind]
	Choice       = ID[ChoiceKind]
	PromoCode    = ID[PromoCodeKind]
	Closure      = ID[ClosureKind]
	Cancellation = ID[CancellationKind]
	Series       = ID[SeriesKind]
	Invoice      = ID[InvoiceKind]
	Import       = ID[ImportKind]
	Stage        = ID[StageKind]

	IdentityProvider = ID[IdentityProviderKind]
	Identity         = ID[IdentityKind]
	Notification     = ID[NotificationKind]
	Announcement     = ID[AnnouncementKind]
	PushSubscription = ID[PushSubscriptionKind]
	Webhook          = ID[WebhookKind]
	WebhookMessage   = ID[WebhookMessageKind]
)

// Prefix implements Kind.
func (EventKind) Prefix() string        { return "evt" }
func (TicketTypeKind) Prefix() string   { return "tty" }
func (UserKind) Prefix() string         { return "usr" }
func (OrderKind) Prefix() string        { return "ord" }
func (TicketKind) Prefix() string       { return "tkt" }
func (TicketOfferKind) Prefix() string  { return "tof" }
func (PaymentKind) Prefix() string      { return "pay" }
func (RefundKind) Prefix() string       { return "rfd" }
func (PayoutKind) Prefix() string       { return "pyo" }
func (VenueKind) Prefix() string        { return "ven" }
func (AdmissionKind) Prefix() string    { return "adm" }
func (SessionKind) Prefix() string      { return "ses" }
func (PassKind) Prefix() string         { return "pas" }
func (LeaseKind) Prefix() string        { return "lse" }
func (OrganizerKind) Prefix() string    { return "org" }
func (KeyKind) Prefix() string          { return "key" }
func (AuditKind) Prefix() string        { return "aud" }
func (FactorKind) Prefix() string       { return "fct" }
func (PasskeyKind) Prefix() string      { return "pky" }
func (QuotaKind) Prefix() string        { return "quo" }
func (QuestionKind) Prefix() string     { return "que" }
func (ChoiceKind) Prefix() string       { return "cho" }
func (PromoCodeKind) Prefix() string    { return "pcd" }
func (ClosureKind) Prefix() string      { return "clo" }
func (CancellationKind) Prefix() string { return "cxl" }
func (SeriesKind) Prefix() string       { return "ser" }
func (InvoiceKind) Prefix() string      { return "inv" }
func (ImportKind) Prefix() string       { return "imp" }
func (StageKind) Prefix() string        { return "stg" }

// Prefix implements Kind.
func (IdentityProviderKind) Prefix() string { return "idp" }
func (IdentityKind) Prefix() string         { return "idn" }
func (NotificationKind) Prefix() string     { return "ntf" }
func (AnnouncementKind) Prefix() string     { return "ann" }
func (PushSubscriptionKind) Prefix() string { return "psh" }
func (WebhookKind) Prefix() string          { return "whk" }
func (WebhookMessageKind) Prefix() string   { return "msg" }

const (
	alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	prefix   = 3
	body     = 26
	size     = prefix + 1 + body
)

// New returns a fresh id that sorts by now.
func New[K Kind](now time.Time) ID[K] {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16)
	rand.Read(raw[6:]) // never fails, by its documentation
	return encode[K](raw)
}

// Derive returns the id that belongs to the parts: always the same one for the same parts. It does not sort by age.
func Derive[K Kind](parts ...string) ID[K] {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p)))) // so that ("a","b") is not ("ab","")
		h.Write([]byte(p))
	}
	return encode[K]([16]byte(h.Sum(nil)))
}

func encode[K Kind](raw [16]byte) ID[K] {
	var k K
	var out [size]byte
	copy(out[:], k.Prefix())
	out[prefix] = '_'
	hi, lo := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	for i := size - 1; i > prefix; i-- { // 5 bits a character, from the low end
		out[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return ID[K](out[:])
}

// Raw returns the 128 bits of an id in order: ids that sort by age do so by their bits. It is zero for what is no id.
func (id ID[K]) Raw() [16]byte {
	var raw [16]byte
	if len(id) != size {
		return raw
	}
	var hi, lo uint64
	for _, c := range []byte(id[prefix+1:]) {
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(strings.IndexByte(alphabet, c))
	}
	binary.BigEndian.PutUint64(raw[:8], hi)
	binary.BigEndian.PutUint64(raw[8:], lo)
	return raw
}

// FromRaw returns the id whose Raw is raw.
func FromRaw[K Kind](raw [16]byte) ID[K] { return encode[K](raw) }

// Twin returns the id of kind To with the digits of another id: for a thing that another one has exactly one of.
func Twin[To, From Kind](id ID[From]) ID[To] {
	var k To
	if len(id) != size {
		return ""
	}
	return ID[To](k.Prefix() + string(id[prefix:]))
}

// Time returns when an id made by New was made, to the millisecond. For any other id the result means nothing.
func (id ID[K]) Time() time.Time {
	const stamped = 10 // characters: their 50 bits are the milliseconds and nothing else, as the top two are zero
	if len(id) != size {
		return time.Time{}
	}
	var ms int64
	for _, c := range []byte(id[prefix+1 : prefix+1+stamped]) {
		ms = ms<<5 | int64(strings.IndexByte(alphabet, c))
	}
	return time.UnixMilli(ms)
}

// Parse checks that s is an id of kind K and returns it.
func Parse[K Kind](s string) (ID[K], error) {
	var k K
	if len(s) != size || s[:prefix] != k.Prefix() || s[prefix] != '_' {
		return "", fmt.Errorf("not an id of the form %s_…", k.Prefix())
	}
	for i := prefix + 1; i < size; i++ {
		if !valid(s[i]) {
			return "", fmt.Errorf("not an id of the form %s_…", k.Prefix())
		}
	}
	return ID[K](s), nil
}

// valid reports whether c is a character of the base 32 alphabet: digits and lower-case letters but i, l, o, u.
func valid(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' && c != 'i' && c != 'l' && c != 'o' && c != 'u'
}

// UnmarshalText implements encoding.TextUnmarshaler, so a request with a wild id does not decode.
func (id *ID[K]) UnmarshalText(b []byte) error {
	v, err := Parse[K](string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// String returns the id as text.
func (id ID[K]) String() string { return string(id) }

// Pattern returns the regular expression of ids of the kind, for schemas.
func (ID[K]) Pattern() string {
	var k K
	return "^" + k.Prefix() + "_[0-9a-hjkmnp-tv-z]{26}$"
}
