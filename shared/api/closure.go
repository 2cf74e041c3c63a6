package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// What became of the access of a venue that was closed.
const (
	AccessEnded   = "ended"
	AccessOutside = "outside" // the keys that sign them are not part of the system
)

// VenueClosure ends all that the computer of a venue holds: it is lost for ever. The report says what it may have done
// that is not known here.
type VenueClosure struct {
	ID        ids.Closure `json:"id"`
	VenueID   ids.Venue   `json:"venue_id"`
	Done      bool        `json:"done"`                      // false: it goes on by itself
	Reason    string      `json:"reason" maxLength:"200"`    // in the administrator's words
	CreatedBy ids.User    `json:"created_by,omitempty"`      // absent: an operator, with the command
	CreatedAt time.Time   `json:"created_at"`                // when it began
	DoneAt    *time.Time  `json:"done_at,omitempty"`         // when it was over
	Contact   *time.Time  `json:"last_contact_at,omitempty"` // when the computer last asked, to half a minute
	Journal   int64       `json:"journal" minimum:"0"`       // number of the last entry of its journal that is here
	Unknown   int         `json:"unknown_seats" minimum:"0"` // that went back although the venue may have sold them
	Doors     []LostDoors `json:"doors"`                     // that it had, or was to get or to give back
	Leases    []LostLease `json:"leases"`                    // that it sold from
	// ended: neither the computer nor a copy of it can connect. outside: they are ended with starlight auth venue
	// --revoke where the keys are. Absent while it is not done
	Access string `json:"access,omitempty" enum:"ended,outside"`
}

// LostDoors are the doors of an event that a closure took from a venue. The system admits there now.
type LostDoors struct {
	EventID ids.Event `json:"event_id"`
	// what they were: handing_over, venue or returning
	State    string `json:"state" enum:"handing_over,venue,returning"`
	Policy   string `json:"policy" enum:"venue,shared"` // venue: it alone admitted. shared: the system did, too
	Epoch    int64  `json:"epoch"`                      // of the hand-over
	Admitted int    `json:"admitted" minimum:"0"`       // how many admissions the venue has reported under it
}

// LostLease is a lease that a closure ended.
type LostLease struct {
	LeaseID      ids.Lease      `json:"lease_id"`
	EventID      ids.Event      `json:"event_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Sold         int            `json:"sold" minimum:"0"`    // whose sales are known
	Unknown      int            `json:"unknown" minimum:"0"` // seats that went back although the venue may have sold them
}

// NewVenueClosure is the request of CloseVenue.
type NewVenueClosure struct {
	VenueID ids.Venue `json:"-" path:"id"`
	// what happened to the computer, on one line, for those who read the report later
	Reason string `json:"reason" minLength:"1" maxLength:"200"`
}

// VenueClosurePage asks for a page of the closures of a venue.
type VenueClosurePage struct {
	VenueID ids.Venue `json:"-" path:"id"`
	Page
}

// The endpoints about a venue that is lost for ever.
var (
	CloseVenue = rpc.Endpoint[NewVenueClosure, VenueClosure]{Spec: rpc.Spec{Service: "ticketing", Name: "close_venue",
		Method: "POST", Path: "/v1/venues/{id}/closures", Access: rpc.Admin, Status: 201, Idempotent: true,
		Audited: true, StepUp: true, Timeout: closeWithin,
		Summary: "End all that the computer of a venue holds, which is lost for ever",
		Detail: "Its credentials are ended, and it is released from the venue; then the system takes the doors of " +
			"every event from it and closes its leases, without asking it. What was begun goes on by itself after a " +
			"crash. The same again returns the closure that is not done. It returns one that is done, too, under " +
			"the same idempotency key, and as long as the venue has got nothing since and no computer of it was " +
			"heard of. Another computer may then serve the venue, with new credentials.",
		Faults: rpc.Faults{fault.NotFound: "there is no such venue", fault.Forbidden: notAdmin,
			fault.Conflict: ""}}}
	ListVenueClosures = rpc.Endpoint[VenueClosurePage, List[VenueClosure]]{Spec: rpc.Spec{Service: "ticketing",
		Name: "venue_closures", Method: "GET", Path: "/v1/venues/{id}/closures", Access: rpc.Admin,
		Summary: "The closures of a venue with their reports, newest first",
		Faults:  rpc.Faults{fault.NotFound: "", fault.Forbidden: notAdmin}}}
)

const notAdmin = "the caller is no administrator"

// closeWithin bounds how long an administrator waits for the report.
const closeWithin = 20 * time.Second

func closureEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CloseVenue.Describe(), ListVenueClosures.Describe()}
}
