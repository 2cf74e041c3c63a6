package api

import (
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The stream of the audit log. Of a line, the last token of the subject is the service that wrote it. A claim says who
// is about to write a setting: the value in its bucket names it, and the line is made of both.
const (
	AuditStream   = "AUDIT"
	AuditSubjects = auditPrefix + ">"
	AuditLines    = auditPrefix + "line.*"
	auditPrefix   = "audit."
	claimPrefix   = auditPrefix + "claim."
	// HeaderAuditClaim is the header of a setting's value that names the claim.
	HeaderAuditClaim = "Starlight-Audit-Claim"
)

// AuditSubject returns the subject of the lines of a service.
func AuditSubject(service string) string { return auditPrefix + "line." + service }

// AuditClaims returns the subjects of the claims of a service.
func AuditClaims(service string) string { return claimPrefix + service + ".>" }

// AuditClaim returns the subject of one claim of the config service.
func AuditClaim(id ids.Audit) string { return claimPrefix + "config." + id.String() }

// AuditAuthor is who did something, and from where.
type AuditAuthor struct {
	UserID    ids.User    `json:"user_id,omitempty"`    // the person
	SessionID ids.Session `json:"session_id,omitempty"` // in which they did it
	KeyID     ids.Key     `json:"key_id,omitempty"`     // the API key by which a machine did it for an organizer
	// what did it, if no person and no key did: a service by itself, "admin" for the command line, "nats" for a tool
	// that wrote to NATS, or a payment provider
	Service   string `json:"service,omitempty"`
	Address   string `json:"address,omitempty"`    // where the request came from
	RequestID string `json:"request_id,omitempty"` // the one in the logs
	Device    string `json:"device,omitempty"`     // what the client said of itself
}

// AuditLine is what one service says that was done.
type AuditLine struct {
	ID     ids.Audit `json:"id"`
	At     time.Time `json:"at"`               // when it was done
	Act    string    `json:"act"`              // what was done: mostly service.operation of the operation that did it
	Object string    `json:"object,omitempty"` // what it was done to: an id, or the name of a setting
	// the event that it was about, if it was about one
	EventID ids.Event `json:"event_id,omitempty"`
	// whose event it was, if the service that wrote the line knows; the audit service asks for the others
	OrganizerID ids.Organizer `json:"organizer_id,omitempty"`

	Refused bool        `json:"refused,omitempty"` // it was tried, and refused
	By      AuditAuthor `json:"by"`                // who did it
	// what it was, of the members that changed; absent if there was nothing
	Before map[string]json.RawMessage `json:"before,omitempty"`
	// what it is, of the members that changed; absent if there is nothing any more
	After map[string]json.RawMessage `json:"after,omitempty"`
}

// AuditEntry is a line of the audit log.
type AuditEntry struct {
	ID     ids.Audit `json:"id"`
	Number int64     `json:"number"` // its place in the log, which has no gap
	At     time.Time `json:"at"`     // when it was done
	// what was done: mostly service.operation of the operation that did it
	Act     string    `json:"act"`
	Object  string    `json:"object,omitempty"`   // what it was done to: an id, or the name of a setting
	EventID ids.Event `json:"event_id,omitempty"` // the event that it was about, if it was about one
	Refused bool      `json:"refused,omitempty"`  // it was tried, and refused
	// who did it
	By AuditAuthor `json:"by"`
	// what it was, of the members that changed; absent if there was nothing
	Before map[string]json.RawMessage `json:"before,omitempty"`
	// what it is, of the members that changed; absent if there is nothing any more
	After map[string]json.RawMessage `json:"after,omitempty"`
	// SHA-256, in hex, of the hash of the line before and of this line: it seals all that came before
	Hash string `json:"hash"`
}

// AuditQuery is the request of ListAuditLog.
type AuditQuery struct {
	User   string `json:"-" query:"user" maxLength:"40"`    // only what this person or API key did
	Act    string `json:"-" query:"act" maxLength:"80"`     // only this, such as user.set_roles
	Object string `json:"-" query:"object" maxLength:"120"` // only what was done to this
	Event  string `json:"-" query:"event" maxLength:"40"`   // only what was about this event
	From   string `json:"-" query:"from"`                   // only what was done at this time or later, RFC 3339
	To     string `json:"-" query:"to"`                     // only what was done before this time, RFC 3339
	Page
}

// EventAuditQuery is the request of ListEventAuditLog.
type EventAuditQuery struct {
	ID   ids.Event `json:"-" path:"id"`
	User string    `json:"-" query:"user" maxLength:"40"` // only what this person or API key did
	Act  string    `json:"-" query:"act" maxLength:"80"`  // only this, such as payment.refund
	From string    `json:"-" query:"from"`                // only what was done at this time or later, RFC 3339
	To   string    `json:"-" query:"to"`                  // only what was done before this time, RFC 3339
	Page
}

// OrganizerAuditQuery is the request of ListOrganizerAuditLog.
type OrganizerAuditQuery struct {
	ID    ids.Organizer `json:"-" path:"id"`
	User  string        `json:"-" query:"user" maxLength:"40"`  // only what this person did
	Act   string        `json:"-" query:"act" maxLength:"80"`   // only this, such as payment.refund
	Event string        `json:"-" query:"event" maxLength:"40"` // only what was about this event
	From  string        `json:"-" query:"from"`                 // only what was done at this time or later, RFC 3339
	To    string        `json:"-" query:"to"`                   // only what was done before this time, RFC 3339
	Page
}

// OrganizerAuditExport is the request of GetOrganizerAuditCSV.
type OrganizerAuditExport struct {
	ID   ids.Organizer `json:"-" path:"id"`
	From string        `json:"-" query:"from"` // only what was done at this time or later, RFC 3339
	To   string        `json:"-" query:"to"`   // only what was done before this time, RFC 3339
}

// OfOrganizer is the request of the internal endpoint GetOrganizerTeam.
type OfOrganizer struct {
	OrganizerID ids.Organizer `json:"organizer_id"`
}

// The endpoints of the audit service.
var (
	ListAuditLog = rpc.Endpoint[AuditQuery, List[AuditEntry]]{Spec: rpc.Spec{Service: "audit", Name: "list",
		Method: "GET", Path: "/v1/audit-log", Access: rpc.Admin,
		Summary: "List what administrators and organizers did, newest first",
		Detail: "Every act of administration and about money has a line, within a second. Lines are never changed; " +
			"each one's hash seals those before. They are kept for as long as the setting audit.retention."}}
	ListEventAuditLog = rpc.Endpoint[EventAuditQuery, List[AuditEntry]]{Spec: rpc.Spec{Service: "audit",
		Name: "list_event", Method: "GET", Path: "/v1/events/{id}/audit-log", Access: rpc.User,
		Summary: "List what was done to an event and its money, newest first",
		Detail: "For managers of the event and administrators. Where others did it from, and with which device, is " +
			"for administrators alone."}}
	ListOrganizerAuditLog = rpc.Endpoint[OrganizerAuditQuery, List[AuditEntry]]{Spec: rpc.Spec{Service: "audit",
		Name: "list_organizer", Method: "GET", Path: "/v1/organizers/{id}/audit-log", Access: rpc.User,
		Summary: "List what was done to an organizer, its events and their money, newest first",
		Detail: "For members who may manage members, and administrators. What was done to an event while it was " +
			"another organizer's is not in it. Where others did it from, and with which device, is for " +
			"administrators alone."}}
	GetOrganizerAuditCSV = rpc.Endpoint[OrganizerAuditExport, rpc.Blob]{Spec: rpc.Spec{Service: "audit",
		Name: "organizer_csv", Method: "GET", Path: "/v1/organizers/{id}/audit-log.csv", Access: rpc.User,
		Summary: "The audit log of an organizer as CSV, oldest first",
		Detail:  "The lines of ListOrganizerAuditLog, with the members before and after as JSON."}}
)

func auditEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListAuditLog.Describe(), ListEventAuditLog.Describe(),
		ListOrganizerAuditLog.Describe(), GetOrganizerAuditCSV.Describe()}
}
