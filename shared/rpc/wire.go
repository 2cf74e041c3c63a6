package rpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// The NATS headers of a request. A HTTP header that travels along is named HeaderHTTP + its canonical name. What every
// request has is in one header: each costs all who handle the message.
const (
	HeaderCall      = "Starlight-Call"      // timeout in ms|caller|request id|traceparent|address
	HeaderParams    = "Starlight-Params"    // path and query values, url.Values.Encode
	HeaderPrincipal = "Starlight-Principal" // Principal.String; worth nothing without HeaderProof
	HeaderHTTP      = "Http-"
)

// The NATS headers of a domain event that name the request which caused it.
const (
	HeaderRequestID = "Starlight-Request-Id"
	HeaderTrace     = "traceparent" // W3C trace context
)

// The NATS headers of a reply.
const (
	HeaderStatus      = "Starlight-Status" // HTTP status, if it is not the one that the Spec names
	HeaderETag        = "ETag"
	HeaderID          = "Starlight-Id" // of what was created, on endpoints with a Location
	HeaderContentType = "Content-Type" // absent means JSON
	HeaderDisposition = "Content-Disposition"
	// ms for which the answer is the same for all callers, on endpoints with Near
	HeaderShared    = "Starlight-Shared"
	HeaderTransient = "Starlight-Transient" // true: the state is on its way to another, on endpoints with Waits
	HeaderShed      = "Starlight-Shed"      // true: nothing was done, for want of time
	HeaderReplayed  = "Idempotency-Replayed"
	HeaderError     = "Nats-Service-Error"      // the fault's code, as nats micro does it
	HeaderErrorCode = "Nats-Service-Error-Code" // the HTTP status of the fault, likewise
)

// The HTTP request headers that rpc itself understands; the gateway forwards them to every endpoint.
const (
	IdempotencyKey = "Idempotency-Key"
	IfNoneMatch    = "If-None-Match"
	UserAgent      = "User-Agent" // on endpoints declared Audited
)

// RoleAdmin is the role of administrators.
const RoleAdmin = "admin"

// RoleGuest is the one role of a person who has no account, but an order, whose token this is.
const RoleGuest = "guest"

// Principal is a verified identity: of a person, or of a key, by which a machine acts for an organizer. The zero value
// is a caller without one.
type Principal struct {
	User    ids.User
	Session ids.Session
	Roles   []string
	// Fresh says that the person has proven who they are a moment ago: see Spec.StepUp. It is known where the gateway
	// asks the user service: on endpoints that are Sensitive.
	Fresh bool

	Key       ids.Key // if set, only the two below are set beside it
	Organizer ids.Organizer
	Scopes    []string // what the key is for
}

// Known reports whether there is the identity of a person.
func (p Principal) Known() bool { return p.User != "" }

// IsKey reports whether there is the identity of a key.
func (p Principal) IsKey() bool { return p.Key != "" }

// Owns reports whether p is the person to whom something belongs. A key is nobody's.
func (p Principal) Owns(user ids.User) bool { return p.Known() && p.User == user }

// ID returns the id of the person or key, "" without an identity.
func (p Principal) ID() string {
	if p.IsKey() {
		return p.Key.String()
	}
	return p.User.String()
}

// Is reports whether p has the role.
func (p Principal) Is(role string) bool { return slices.Contains(p.Roles, role) }

// Admin reports whether p is an administrator.
func (p Principal) Admin() bool { return p.Is(RoleAdmin) }

// Guest reports whether p is the buyer of an order without an account: there only where Spec.Guests says so.
func (p Principal) Guest() bool { return p.Is(RoleGuest) }

// fresh ends the wire form of a principal that is.
const fresh = ";fresh"

// String returns the wire form: user;session;role,role, and ;fresh if it is, or key;organizer;scope,scope. It is empty
// without an identity.
func (p Principal) String() string {
	if p.IsKey() {
		return string(p.Key) + ";" + string(p.Organizer) + ";" + strings.Join(p.Scopes, ",")
	}
	if !p.Known() {
		return ""
	}
	s := string(p.User) + ";" + string(p.Session) + ";" + strings.Join(p.Roles, ",")
	if p.Fresh {
		s += fresh
	}
	return s
}

// ParsePrincipal reads the wire form. It refuses anything that String does not make.
func ParsePrincipal(s string) (Principal, error) {
	var p Principal
	if s == "" {
		return p, nil
	}
	user, rest, ok := strings.Cut(s, ";")
	session, roles, ok2 := strings.Cut(rest, ";")
	if !ok || !ok2 {
		return Principal{}, fmt.Errorf("principal %q: want user;session;roles", s)
	}
	if strings.HasPrefix(user, keyForm) {
		return parseKey(user, session, roles)
	}
	var err error
	if p.User, err = ids.Parse[ids.UserKind](user); err != nil {
		return Principal{}, fmt.Errorf("principal: user: %w", err)
	}
	if session != "" {
		if p.Session, err = ids.Parse[ids.SessionKind](session); err != nil {
			return Principal{}, fmt.Errorf("principal: session: %w", err)
		}
	}
	roles, p.Fresh = strings.CutSuffix(roles, fresh)
	if roles == "" {
		return p, nil
	}
	p.Roles = strings.Split(roles, ",")
	for _, role := range p.Roles {
		if !token(role) {
			return Principal{}, fmt.Errorf("principal: bad role %q", role)
		}
	}
	return p, nil
}

// keyForm begins the wire form of a key.
const keyForm = "key_"

func parseKey(key, organizer, scopes string) (p Principal, err error) {
	if p.Key, err = ids.Parse[ids.KeyKind](key); err != nil {
		return Principal{}, fmt.Errorf("principal: key: %w", err)
	}
	if p.Organizer, err = ids.Parse[ids.OrganizerKind](organizer); err != nil {
		return Principal{}, fmt.Errorf("principal: organizer: %w", err)
	}
	p.Scopes = strings.Split(scopes, ",")
	for _, scope := range p.Scopes {
		if !token(scope) {
			return Principal{}, fmt.Errorf("principal: bad scope %q", scope)
		}
	}
	return p, nil
}

// token reports whether s is a plain word: 1 to 32 of [a-z0-9_].
func token(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// Meta is what a request carries besides its body.
type Meta struct {
	Endpoint       string // service.name of the endpoint being served
	Principal      Principal
	Caller         string // the role that sent the message: "gateway", "payment" ...
	RequestID      string
	TraceParent    string
	Address        string // of the client, without a port
	Device         string // what the client says of itself; only on endpoints declared Audited
	IdempotencyKey string // as the client gave it; only on endpoints declared Idempotent
	BodyHash       string // with IdempotencyKey: hex of SHA-256 over method, path, query and body

	Span *tracing.Span // of the work for the request; nil if that is not traced

	passOn string // what proves the principal to the next service, on endpoints with PassesOn
}

type metaKey struct{}

// WithMeta returns a context that carries m: for work that does not begin with a request, and for tests.
func WithMeta(ctx context.Context, m Meta) context.Context {
	return context.WithValue(tracing.In(ctx, m.Span), metaKey{}, &m)
}

// WithPrincipal returns a context in which p is the caller and everything else is as before.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	m := *From(ctx)
	m.Principal, m.passOn = p, ""
	return WithMeta(ctx, m)
}

// From returns what the request in ctx carries. It is never nil, and must not be changed.
func From(ctx context.Context) *Meta {
	if m, ok := ctx.Value(metaKey{}).(*Meta); ok {
		return m
	}
	return &Meta{}
}

// Caller returns the identity of the caller, the zero Principal without one.
func Caller(ctx context.Context) Principal { return From(ctx).Principal }

// NewRequestID returns a fresh request id, of 26 random digits. It names the request and is no secret.
func NewRequestID() string {
	const prefix, digits, perWord, alphabet = "req_", 26, 13, "0123456789abcdefghijklmnopqrstuv"
	id := append(make([]byte, 0, len(prefix)+digits), prefix...)
	for range digits / perWord {
		for word, n := rand.Uint64(), 0; n < perWord; n++ {
			id = append(id, alphabet[word%uint64(len(alphabet))])
			word /= uint64(len(alphabet))
		}
	}
	return string(id)
}

// Unsampled returns a traceparent without the flag that asks for spans: the trace goes on in logs alone. What is no
// traceparent stays as it is.
func Unsampled(traceparent string) string {
	t, ok := observe.ParseTraceparent(traceparent)
	if !ok || !t.Sampled {
		return traceparent
	}
	t.Sampled = false
	return t.String()
}

// ChildTrace returns the traceparent of a new span below parent, or of a new trace if parent is not valid. A new trace
// is not sampled, because no caller wants a record of it.
func ChildTrace(parent string) string {
	t, ok := observe.ParseTraceparent(parent)
	if !ok {
		t = observe.NewTrace()
		t.Sampled = false
		return t.String()
	}
	return t.Child().String()
}

// callHeader writes the header of a call. The time the caller still waits is a duration, since clocks disagree; it is
// rounded up to a millisecond.
func callHeader(wait time.Duration, caller, id, trace string, m *Meta) string {
	b := make([]byte, 0, 160)
	b = strconv.AppendInt(b, int64((wait+time.Millisecond-1)/time.Millisecond), 10)
	for _, v := range [...]string{caller, id, trace, m.Address} {
		b = append(append(b, '|'), v...)
	}
	return string(b)
}

// parseCall reads the header of a call into m and returns how long the caller waits, never longer than limit.
func parseCall(call string, limit time.Duration, m *Meta) time.Duration {
	wait := callWait(call, limit)
	_, call, _ = strings.Cut(call, "|")
	m.Caller, call, _ = strings.Cut(call, "|")
	m.RequestID, call, _ = strings.Cut(call, "|")
	m.TraceParent, m.Address, _ = strings.Cut(call, "|")
	return wait
}

// callWait returns how long the caller waits, never longer than limit.
func callWait(call string, limit time.Duration) time.Duration {
	wait, _, _ := strings.Cut(call, "|")
	ms, err := strconv.ParseInt(wait, 10, 64)
	if err != nil || ms < 0 || ms > int64(limit/time.Millisecond) {
		return limit
	}
	return time.Duration(ms) * time.Millisecond
}

// header returns the first value of a NATS header, without the canonicalization of http.Header.
func header(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}
