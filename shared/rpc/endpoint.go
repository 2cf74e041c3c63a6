// Package rpc carries typed requests over NATS.
//
// An endpoint is declared once, as a value in shared/api; a service binds a handler to it with Handle, another service
// calls it with Call, the gateway forwards HTTP to it. The compiler checks that all three agree on the types.
//
// On the wire a request is a message on api.<service>.<endpoint> whose body is the JSON of the request and whose
// headers carry everything else: path and query values, deadline, request id, trace, and the principal with its proof.
package rpc

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Access says who may call an endpoint. Whether the caller owns the thing at hand is the service's own question.
type Access int

// The access rules.
const (
	Public   Access = iota // every caller; an identity is not read
	Optional               // every caller; the service sees the identity if there is one
	User                   // any signed-in person
	Admin                  // a person with the role "admin"
	Internal               // only the services in Spec.Callers, never over HTTP
)

// String returns the rule as documentation shows it.
func (a Access) String() string {
	return [...]string{"public", "optional", "user", "admin", "internal"}[a]
}

// Spec is what there is to know about an endpoint besides its types.
type Spec struct {
	Service string // the role that serves it; also the queue group
	Name    string // unique within the service, [a-z_]
	Method  string // HTTP method, empty for Internal
	Path    string // HTTP path with {name} segments, each a `path:"name"` field of the request
	Access  Access
	Callers []string // for Internal: the roles that may call
	// one of which a key must have to call; without any, the endpoint is for people, and keys are refused
	Scopes  []string
	Status  int    // HTTP status of success; 0 means 200
	Summary string // one line of documentation
	Detail  string // more documentation, if needed

	// Faults says when the endpoint answers with faults, where that does not follow from the rest of its declaration.
	Faults Faults

	Idempotent bool // honours Idempotency-Key: the handler stores its answer with idempotency.Keep
	// for Idempotent: members of the body that are in its stored hash by a keyed one, see Server.HashSecrets, since a
	// quick hash of a password gives it away
	Secrets []string
	// PassesOn lets the service pass the caller's identity on to endpoints with OnBehalf that are for its own calls.
	PassesOn bool
	// OnBehalf, for Internal: the service that calls may act for the person of a request that it serves. At other
	// internal endpoints it acts as itself, and there is no identity.
	OnBehalf bool
	// Sealed is for bodies and answers with passwords or tokens: only the two who exchange them can read them, whatever
	// subjects and streams others may read.
	Sealed bool

	Raw     bool     // the body is not JSON: it goes, as it is, to the []byte field tagged `body:"raw"`
	Headers []string // HTTP request headers that travel along, for fields tagged `header:"Name"`; or AllHeaders
	MaxBody int      // bytes; 0 means DefaultMaxBody
	Limit   Limit    // rate limit class
	Live    Live     // GET only: the gateway sends the answer, then every change, as server-sent events
	Traffic *Traffic // what a good answer to a GET is counted as; nil means that it is not counted

	// Sensitive has the gateway ask the user service, for each request, whether the caller's session still stands: for
	// what moves money or rights. It asks for what administrators do in any case.
	Sensitive bool
	// StepUp is Sensitive, and refuses a caller who has not given a second factor, or the password without one, for
	// longer than the setting user.step_up_ttl. For what depends on more than the endpoint see Principal.Fresh.
	StepUp bool
	// Guests lets the token of an order act here, for a person who has that order alone: see Principal.Guest.
	Guests bool
	// Enrols is for what an administrator may do who still has to enrol the second factor that is required of them.
	Enrols bool

	// Audited says that each success that changes something is a line of the audit log, which the service writes with
	// the change (package auditlog).
	Audited bool

	// Waits, for a GET, is the path value that names what the caller may wait for to change: ?wait=10s or Prefer:
	// wait=10. The service publishes a change on live.Subject(service, value). Without If-None-Match a caller waits
	// only while the answer is Transient.
	Waits string

	// Near lets the gateway keep answers to a GET that the service marks as shared by all callers.
	Near *Near

	// Joint, for a GET, lets callers who ask the same at the same time share an answer that the service marks as
	// shared. It is asked for after the last of them has come, so it has all that was acknowledged before.
	Joint bool

	// Location is where a 201 is read, a path with {id}: the gateway puts the id of the answer there. It is the first
	// member of Resp, "id".
	Location string

	Urgent bool // goes first while there is more to do than can be done: see Turn

	Timeout time.Duration // the longest a caller waits; 0 means DefaultTimeout
	Workers int           // handlers that run at the same time in one instance; 0 means DefaultWorkers
	Queue   int           // requests that may wait for a worker before they are shed; 0 means DefaultQueue
	// OwnQueue is for a handler that says itself whose turn it is, and refuses what is too much: no request is shed
	// because those before it are slow. It never has all workers waiting.
	OwnQueue bool
}

// Faults are codes that an endpoint answers with, and when it does: a clause without a capital and a full stop. An
// empty one means that it never does, though others like it may.
type Faults map[fault.Code]string

// Limit is a class of rate limits. Each bounds the requests of an address a second.
type Limit int

// The classes.
const (
	GeneralLimit Limit = iota
	LoginLimit         // for endpoints that guess at secrets or write to others: the general limit, and a strict one
	GuestLimit         // for Optional: of callers without an identity the general limit, and a strict one
)

// Priority says who goes first while there is more to do than can be done.
type Priority int

// The priorities.
const (
	Urgent     Priority = iota // people stand at a door; a provider reports money
	Usual                      // what buyers and organizers do
	Browsing                   // who looks at what there is
	Priorities                 // how many there are
)

// String returns the priority as metrics show it.
func (p Priority) String() string { return [...]string{"urgent", "usual", "browsing"}[p] }

// Turn returns the priority of requests to the endpoint.
func (s Spec) Turn() Priority {
	switch {
	case s.Urgent:
		return Urgent
	case s.Method == "GET" && (s.Access == Public || s.Access == Optional):
		return Browsing
	}
	return Usual
}

// Live says whose changes a live endpoint sends: those that its service publishes on live.Subject(service, token). The
// zero value is no live endpoint.
type Live struct{ token string }

// LiveByCaller sends changes of what belongs to the caller: the token is the caller's user id.
func LiveByCaller() Live { return Live{"*"} }

// LiveByPath sends changes of what a value of the path names: that value is the token.
func LiveByPath(name string) Live { return Live{name} }

// Is reports whether an endpoint is live.
func (l Live) Is() bool { return l != Live{} }

// Token returns the token of a request: of its caller and its path values.
func (l Live) Token(caller ids.User, path func(name string) string) string {
	if l == LiveByCaller() {
		return string(caller)
	}
	return path(l.token)
}

// Near says under which lease the gateway keeps answers, and what invalidates them.
type Near struct {
	Lease Endpoint[LeaseRequest, Lease] // of the service: see package coherence
	// the path value that names what the answer is about; "": any change may change it
	Path string
}

// LeaseRequest registers a holder of copies, renews its lease, or gives it back.
type LeaseRequest struct {
	Holder   string `json:"holder"`             // a fresh name for each registration
	Register bool   `json:"register,omitempty"` // the first request
	Release  bool   `json:"release,omitempty"`  // the last one
}

// Lease is the answer to a LeaseRequest.
type Lease struct {
	Held bool `json:"held"` // false: the holder drops its copies and registers again
}

// Traffic is what a good answer to a GET is counted as, for analytics.
type Traffic struct {
	Subject string // that the counts are published on
	Path    string // the path value that names what was read; "" if nothing does
	With    string // counted only with this query value, if set
	Without string // and only without this one
}

// AllHeaders lets every HTTP header of a request travel along but those that carry a caller's credentials, for a field
// of type map[string]string tagged `header:"*"`. It has them by their canonical names.
const AllHeaders = codec.AllHeaders

// Defaults of a Spec.
const (
	DefaultMaxBody = 64 << 10
	DefaultTimeout = 5 * time.Second
	LongestWait    = 30 * time.Second // of a caller for a change
	DefaultWorkers = 64
	DefaultQueue   = 1024
)

// CheckKey returns a Forbidden fault if the caller is a key that the endpoint is not for.
func (s Spec) CheckKey(p Principal) error {
	has := func(scope string) bool { return slices.Contains(p.Scopes, scope) }
	if !p.IsKey() || slices.ContainsFunc(s.Scopes, has) {
		return nil
	}
	if len(s.Scopes) == 0 {
		return fault.New(fault.Forbidden, "this is for people; a key cannot do it")
	}
	return fault.New(fault.Forbidden, "this needs a key with the scope %s", strings.Join(s.Scopes, " or "))
}

// Subject returns the NATS subject of the endpoint.
func (s Spec) Subject() string { return "api." + s.Service + "." + s.Name }

// SubjectAt returns the NATS subject of the endpoint at one instance. Those that HTTP reaches begin with a word of
// their own, so that the gateway, which may call all of them, needs no second list in its credentials.
func (s Spec) SubjectAt(instance string) string {
	if s.Path == "" {
		return s.Subject() + "." + instance
	}
	return "http." + s.Service + "." + s.Name + "." + instance
}

// HTTPSubjects are the subjects at instances of all endpoints that HTTP reaches.
const HTTPSubjects = "http.*.*.*"

// Endpoint ties a Spec to the types of its request and response.
//
// Fields of Req come from the JSON body by their json tag, or from the URL and the headers by the tags path, query and
// header (then with json:"-"). Resp is encoded as JSON, unless it is a Blob. None stands for an empty body.
type Endpoint[Req, Resp any] struct{ Spec }

// Describe returns the endpoint without its type parameters, for lists such as api.All.
func (e Endpoint[Req, Resp]) Describe() Descriptor {
	return Descriptor{Spec: e.Spec, Request: reflect.TypeFor[Req](), Response: reflect.TypeFor[Resp]()}
}

// Descriptor is an Endpoint whose types are values.
type Descriptor struct {
	Spec
	Request, Response reflect.Type
}

// None is the request or response without a body.
type None struct{}

// Blob is an answer that is not JSON.
type Blob struct {
	ContentType string
	Filename    string // if set, sent as Content-Disposition: attachment
	Data        []byte
}

// Binary implements codec.Binary.
func (Blob) Binary() {}

// Transient is implemented by responses of endpoints with Waits.
type Transient interface {
	// IsTransient reports whether the state is on its way to another one.
	IsTransient() bool
}

// Partial is implemented by responses that may say that more is needed. They are then sent with the status 200, instead
// of that of a success.
type Partial interface{ IsPartial() bool }

// ETagger is implemented by responses that have a version. The value is an opaque token without quotes.
type ETagger interface{ ETag() string }
