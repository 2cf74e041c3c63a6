package api

import (
	"regexp"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The scopes of keys for machines. Each endpoint says which of them lets a key in; others refuse keys.
const (
	ScopeRead   = "read"   // events, orders, payments and numbers
	ScopeSell   = "sell"   // sales at the counter
	ScopeDoor   = "door"   // scans
	ScopeRefund = "refund" // orders and payments, and their refunds
)

// Scopes returns every scope.
func Scopes() []string { return []string{ScopeRead, ScopeSell, ScopeDoor, ScopeRefund} }

// Which keys an endpoint lets in, by their scopes.
var (
	anyKey     = Scopes()
	readKeys   = []string{ScopeRead}
	refundKeys = []string{ScopeRefund}
	orderKeys  = []string{ScopeRead, ScopeRefund}
	sellKeys   = []string{ScopeSell}
	doorKeys   = []string{ScopeDoor}
)

// scopePermissions returns what a scope lets a key do at the events of its organizer.
func scopePermissions(scope string) []Permission {
	switch scope {
	case ScopeRead:
		return []Permission{MayReadEvent, MayReadReports, MayReadOrders, MayReadMoney}
	case ScopeSell:
		return []Permission{MayReadEvent, MaySell}
	case ScopeDoor:
		return []Permission{MayReadEvent, MayAdmit}
	case ScopeRefund:
		return []Permission{MayReadEvent, MayReadOrders, MayReadMoney, MayRefund}
	}
	return nil
}

// KeyPermissions returns what keys with some scopes may do.
func KeyPermissions(scopes []string) []Permission {
	var all []Permission
	for _, s := range scopes {
		all = append(all, scopePermissions(s)...)
	}
	return all
}

// KeyPrefix begins every key, so that scanners for secrets find it. Its id and 256 random bits follow.
const KeyPrefix = "starlight_"

var keyRule = regexp.MustCompile(`^` + KeyPrefix + `([0-9a-hjkmnp-tv-z]{26})_[0-9a-f]{64}$`)

// KeyID returns the id that stands in a key, and false for what is none.
func KeyID(key string) (ids.Key, bool) {
	m := keyRule.FindStringSubmatch(key)
	if m == nil {
		return "", false
	}
	id, err := ids.Parse[ids.KeyKind]("key_" + m[1])
	return id, err == nil
}

// APIKey lets a machine act for an organizer.
type APIKey struct {
	ID          ids.Key       `json:"id"`
	OrganizerID ids.Organizer `json:"organizer_id"`
	Name        string        `json:"name" maxLength:"80"` // what it is for
	// read: events, orders, payments and numbers; sell: sales at the counter; door: scans; refund: refunds
	Scopes     []string   `json:"scopes" enum:"read,sell,door,refund"`
	CreatedBy  ids.User   `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`             // when it was made
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`   // until when it is good; absent: until it is deleted
	LastUsedAt *time.Time `json:"last_used_at,omitempty"` // to a quarter of an hour; absent if it never was
	// until when the secret before the last rotation is good, too
	PreviousUntil *time.Time `json:"previous_until,omitempty"`
}

// NewAPIKey is the request of CreateAPIKey.
type NewAPIKey struct {
	ID   ids.Organizer `json:"-" path:"id"`
	Name string        `json:"name" minLength:"1" maxLength:"80"` // what it is for, on one line
	// read: events, orders, payments and numbers; sell: sales at the counter; door: scans; refund: refunds
	Scopes    []string   `json:"scopes" enum:"read,sell,door,refund" maxItems:"4"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // until when it is good; absent: until it is deleted
}

// APIKeySecret is a key with its secret.
type APIKeySecret struct {
	APIKey
	Secret string `json:"secret"` // for the header Authorization: Bearer; shown this once
}

// APIKeyRef names a key in a path.
type APIKeyRef struct {
	ID    ids.Organizer `json:"-" path:"id"`
	KeyID ids.Key       `json:"-" path:"key_id"`
}

// PatchAPIKey is the request of UpdateAPIKey.
type PatchAPIKey struct {
	ID    ids.Organizer `json:"-" path:"id"`
	KeyID ids.Key       `json:"-" path:"key_id"`
	Name  *string       `json:"name,omitempty" minLength:"1" maxLength:"80"` // what it is for, on one line
}

// RotateKey is the request of RotateAPIKey.
type RotateKey struct {
	ID    ids.Organizer `json:"-" path:"id"`
	KeyID ids.Key       `json:"-" path:"key_id"`
	// for how many seconds the secret before is good, too; absent: a day
	Grace *int `json:"grace,omitempty" minimum:"0" maximum:"604800"`
}

// KeyCheck is the request of CheckKey.
type KeyCheck struct {
	ID   ids.Key `json:"id"`
	Hash string  `json:"hash"` // SHA-256 of the whole key, in hex
}

// KeyStanding is what a key is at this moment.
type KeyStanding struct {
	OrganizerID ids.Organizer `json:"organizer_id"`
	Scopes      []string      `json:"scopes"`
	Until       time.Time     `json:"until,omitzero"` // when it ends; zero if that is not known yet
}

// The endpoints about keys for machines, which the event service serves.
var (
	CreateAPIKey = rpc.Endpoint[NewAPIKey, APIKeySecret]{Spec: rpc.Spec{Service: "event", Name: "create_api_key",
		Method: "POST", Path: "/v1/organizers/{id}/api-keys", Access: rpc.User, Audited: true, StepUp: true,
		Sealed: true, Status: 201, Summary: "Make a key for a machine",
		Detail: "The secret is in this answer alone, so a repeated request makes another key. A key acts for the " +
			"organizer, also when the person who made it has left. It is no person: what it sells belongs to the box " +
			"office, as made by the key. No caller can give a key more rights than their own.",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.Conflict: "the organizer has as many keys as it may"})}}
	ListAPIKeys = rpc.Endpoint[OrganizerRef, List[APIKey]]{Spec: rpc.Spec{Service: "event", Name: "list_api_keys",
		Method: "GET", Path: "/v1/organizers/{id}/api-keys", Access: rpc.User,
		Summary: "The keys of an organizer, the oldest first",
		Faults:  forMembers(MayManageKeys, nil)}}
	UpdateAPIKey = rpc.Endpoint[PatchAPIKey, APIKey]{Spec: rpc.Spec{Service: "event", Name: "update_api_key",
		Method: "PATCH", Path: "/v1/organizers/{id}/api-keys/{key_id}", Access: rpc.User, Audited: true,
		Summary: "Rename a key",
		Faults:  forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noKey, fault.Conflict: ""})}}
	DeleteAPIKey = rpc.Endpoint[APIKeyRef, rpc.None]{Spec: rpc.Spec{Service: "event", Name: "delete_api_key",
		Method: "DELETE", Path: "/v1/organizers/{id}/api-keys/{key_id}", Access: rpc.User, Audited: true,
		Sensitive: true, Status: 204, Summary: "Delete a key, which ends within a second",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noKey, fault.Conflict: ""})}}
	RotateAPIKey = rpc.Endpoint[RotateKey, APIKeySecret]{Spec: rpc.Spec{Service: "event", Name: "rotate_api_key",
		Method: "POST", Path: "/v1/organizers/{id}/api-keys/{key_id}/rotate", Access: rpc.User, Audited: true,
		StepUp: true, Sealed: true, Summary: "Give a key another secret",
		Detail: "The secret before stays good for the time of grace. The one before that ends at once.",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noKey, fault.Conflict: "the key has expired"})}}

	CheckKey = rpc.Endpoint[KeyCheck, KeyStanding]{Spec: rpc.Spec{Service: "event", Name: "check_key",
		Access: rpc.Internal, Callers: []string{"gateway"}, Timeout: 2 * time.Second,
		Summary: "Whether a key is good, and for what"}}
)

const noKey = notMember + "; or the organizer has no such key"

func keyEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateAPIKey.Describe(), ListAPIKeys.Describe(), UpdateAPIKey.Describe(),
		DeleteAPIKey.Describe(), RotateAPIKey.Describe(), CheckKey.Describe()}
}
