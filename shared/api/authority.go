package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The results of an admission.
const (
	Admitted        = "admitted"
	AlreadyAdmitted = "already_admitted"
	InvalidCode     = "invalid"       // not a ticket of this system
	WrongEvent      = "wrong_event"   // a ticket, but of another event
	RevokedTicket   = "revoked"       // refunded, transferred (an old code), or the event was cancelled
	NotYetValid     = "not_yet_valid" // the doors are not open yet
	ExpiredTicket   = "expired"       // the event is over
	NoReentry       = "no_reentry"    // its holder went out, and the event lets none back in
	Exited          = "exited"        // its holder went out
	NotInside       = "not_inside"    // it was shown on the way out, and its holder is not inside

	HandedOut        = "handed_out"         // a product, which lets nobody in: give it to the person
	AlreadyHandedOut = "already_handed_out" // a product that somebody has
)

// Admission is the request of AdmitTicket.
type Admission struct {
	EventID ids.Event `json:"-" path:"id"`
	Code    string    `json:"code" minLength:"1"` // what the QR code holds
	Gate    string    `json:"gate,omitempty"`     // where the scan was made
}

// AdmissionResult is the answer at the door.
type AdmissionResult struct {
	// admitted lets the person in, anything else does not; handed_out is a product that the person gets now
	Result          string     `json:"result" enum:"admitted,already_admitted,no_reentry,handed_out,already_handed_out,invalid,wrong_event,revoked,not_yet_valid,expired"`
	Ticket          *Ticket    `json:"ticket,omitempty"`
	FirstAdmittedAt *time.Time `json:"first_admitted_at,omitempty"` // when it was first admitted or handed out, if it ever was
	FirstGate       string     `json:"first_gate,omitempty"`        // where that was
	// what is asked about the ticket at the door
	Questions []Question `json:"questions,omitempty"`
	Answers   []Answer   `json:"answers,omitempty"` // to questions
}

// Scan is one reading of a code at a door. Every one is kept.
type Scan struct {
	ID       ids.Admission `json:"id"`
	TicketID ids.Ticket    `json:"ticket_id,omitempty"`
	Holder   string        `json:"holder,omitempty"`           // the name on the ticket, as it is now
	TypeName string        `json:"ticket_type_name,omitempty"` // what the type of the ticket is called
	// the answer that was given
	Result string    `json:"result,omitempty" enum:"admitted,already_admitted,no_reentry,exited,handed_out,already_handed_out,not_inside,invalid,wrong_event,revoked,not_yet_valid,expired"`
	Gate   string    `json:"gate,omitempty"` // where the scan was made
	By     string    `json:"by"`             // who scanned: a user, a key, or the pass of a device
	At     time.Time `json:"at"`             // when the scan was made
	// entry: a person comes in. exit: goes out. undo: an admission was taken back
	Kind    string    `json:"kind" enum:"entry,exit,undo"`
	VenueID ids.Venue `json:"venue_id,omitempty"` // the venue that decided; absent: this system did
	// why a person should look at it
	Flag     string     `json:"flag,omitempty" enum:"shared,twice,revoked,transferred,unknown,foreign"`
	UndoneAt *time.Time `json:"undone_at,omitempty"` // when the admission was taken back
	CanUndo  bool       `json:"can_undo,omitempty"`  // it let somebody in or handed something out, and the caller may take that back; in lists
}

// Authority is who admits for an event: this system, or a venue that its doors were handed over to.
type Authority struct {
	EventID ids.Event `json:"event_id"`
	// hub: this system admits. handing_over: it admits no more, and the venue has not confirmed. venue: the venue
	// admits. returning: the venue has been asked to give the doors back
	State   string    `json:"state" enum:"hub,handing_over,venue,returning"`
	VenueID ids.Venue `json:"venue_id,omitempty"` // unless the state is hub
	// venue: it alone admits meanwhile. shared: this system admits, too, and what both have admitted is flagged
	Policy string `json:"policy,omitempty" enum:"venue,shared"`
	// what the venue does with a genuine ticket that its list does not have, as one bought after the line was cut
	Unknown   string     `json:"unknown,omitempty" enum:"admit,refuse"`
	Epoch     int64      `json:"epoch,omitempty"`      // of the hand-over; each has a greater one
	ChangedAt *time.Time `json:"changed_at,omitempty"` // when the state last changed
	Lost      *LostVenue `json:"lost,omitempty"`       // after doors were taken back by force: what is known
}

// LostVenue is what is known of a venue that doors were taken from by force. What it has decided since its last contact
// is not.
type LostVenue struct {
	VenueID     ids.Venue  `json:"venue_id"`
	LastContact *time.Time `json:"last_contact_at,omitempty"` // when its computer last asked, to half a minute
	Admitted    int        `json:"admitted" minimum:"0"`      // how many admissions it has reported under this hand-over
}

// NewAuthority is the request of SetAuthority.
type NewAuthority struct {
	EventID ids.Event `json:"-" path:"id"`
	VenueID ids.Venue `json:"venue_id"`
	// venue: it alone admits meanwhile. shared: this system admits, too, and what both have admitted is flagged
	Policy string `json:"policy,omitempty" enum:"venue,shared" default:"venue"`
	// what the venue does with a genuine ticket that its list does not have, as one bought after the line was cut
	Unknown string `json:"unknown,omitempty" enum:"admit,refuse" default:"refuse"`
}

// AuthorityEnd is the request of EndAuthority.
type AuthorityEnd struct {
	EventID ids.Event `json:"-" path:"id"`
	// take the doors back without the venue, for administrators: it is lost for ever
	Force bool `json:"-" query:"force"`
}

// AdmissionRef names a scan of an event in a path.
type AdmissionRef struct {
	EventID ids.Event     `json:"-" path:"id"`
	ID      ids.Admission `json:"-" path:"admission_id"`
}

// ExitResult is the answer to a person who goes out.
type ExitResult struct {
	// exited: the holder may come in again if the event allows it. not_inside changes nothing
	Result string `json:"result" enum:"exited,not_inside,invalid,wrong_event,revoked"`
}

// Why a person should look at a scan.
const (
	FlagShared      = "shared"      // this system admitted while a venue had the doors, too
	FlagTwice       = "twice"       // admitted, and the ticket had been admitted on the other side
	FlagRevoked     = "revoked"     // admitted by a venue that did not know of the revocation
	FlagTransferred = "transferred" // admitted by a venue that did not know of the new owner
	FlagUnknown     = "unknown"     // admitted by a venue whose list did not have the ticket
	FlagForeign     = "foreign"     // reported by a venue that had no part in the event, or not understood
)

// The endpoints about who admits.
var (
	SetAuthority = rpc.Endpoint[NewAuthority, Authority]{Spec: rpc.Spec{Service: "ticketing", Name: "set_authority",
		Method: "PUT", Path: "/v1/events/{id}/authority", Access: rpc.User, Audited: true,
		Summary: "Hand the doors of an event over to a venue",
		Detail: "For managers of the event who own the venue, and administrators. Under the policy venue this system " +
			"admits no more from this answer on. The venue admits once it has the tickets: then the state is venue. " +
			"The same again changes nothing; another policy applies at once.",
		Faults: forRole("a manager of it who owns the venue", rpc.Faults{
			fault.NotFound: noEvent + "; or, for administrators, there is no such venue",
			fault.Conflict: "another venue has the doors or the venue is giving them back; or the event is not " +
				"published"})}}
	GetAuthority = rpc.Endpoint[EventRef, Authority]{Spec: rpc.Spec{Service: "ticketing", Name: "authority",
		Method: "GET", Path: "/v1/events/{id}/authority", Access: rpc.User,
		Summary: "Who admits for an event", Faults: forRole("in its team", nil)}}
	EndAuthority = rpc.Endpoint[AuthorityEnd, Authority]{Spec: rpc.Spec{Service: "ticketing", Name: "end_authority",
		Method: "DELETE", Path: "/v1/events/{id}/authority", Access: rpc.User, Audited: true,
		Summary: "Take the doors of an event back from a venue",
		Detail: "The venue gives them back when there is a line, and after all that it has decided is here: then the " +
			"state is hub. With force, for administrators, this system admits at once, and what the venue decides " +
			"is flagged where it differs.",
		Faults: forManagers(rpc.Faults{fault.Conflict: ""})}}
	ExitTicket = rpc.Endpoint[Admission, ExitResult]{Spec: rpc.Spec{Service: "ticketing", Name: "exit",
		Method: "POST", Path: "/v1/events/{id}/exits", Access: rpc.User, Workers: 1024, Queue: 4096,
		Urgent: true, Summary: "Scan a ticket whose holder goes out",
		Detail: "Its holder may come in again if the event's reentry is any. While a venue admits for the event, it " +
			"decides on exits, too.",
		Faults: forRole("in its team", rpc.Faults{fault.Conflict: ""})}}
	UndoAdmission = rpc.Endpoint[AdmissionRef, Scan]{Spec: rpc.Spec{Service: "ticketing", Name: "undo_admission",
		Method: "DELETE", Path: "/v1/events/{id}/admissions/{admission_id}", Access: rpc.User, Audited: true,
		Urgent: true, Summary: "Take an admission back: the ticket is good again",
		Detail: "The scan stays in the list, as undone. The same again changes nothing.",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or the event has no such scan",
			fault.Conflict: "the scan did not admit, was not what counts, or its ticket was revoked; or a venue " +
				"admits for the event: it is undone there"})}}
)

func authorityEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{SetAuthority.Describe(), GetAuthority.Describe(), EndAuthority.Describe(),
		ExitTicket.Describe(), UndoAdmission.Describe()}
}
