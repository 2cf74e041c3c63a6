package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The states of a lease.
const (
	LeaseOpen    = "open"
	LeaseClosing = "closing" // the venue was asked to sell no more, and has not said that it does not
	LeaseClosed  = "closed"
)

// Lease is a number of seats of one ticket type that only a venue sells, also while it is cut off.
type Lease struct {
	ID           ids.Lease      `json:"id"`
	EventID      ids.Event      `json:"event_id"`
	VenueID      ids.Venue      `json:"venue_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	// closing: the venue was asked to give the unsold seats back, and has not yet done so
	State    string `json:"state" enum:"open,closing,closed"`
	Quantity int    `json:"quantity" minimum:"0"` // seats that were leased and are not back, sold ones included
	Sold     int    `json:"sold" minimum:"0"`     // of them, as far as the venue's sales are known here
	Left     int    `json:"left" minimum:"0"`     // that the venue may still sell
	// what quantity shall be: less than it while the venue is asked for seats
	Target int `json:"target" minimum:"0"`
	// of a lease that was closed by force: seats that went back although the venue may have sold them
	Unknown   int       `json:"unknown,omitempty"`
	Revision  int64     `json:"revision"`   // grows with each change
	CreatedAt time.Time `json:"created_at"` // when it was made
	UpdatedAt time.Time `json:"updated_at"` // when it was last changed
}

// NewLease is the request of CreateLease.
type NewLease struct {
	EventID      ids.Event      `json:"-" path:"id"`
	VenueID      ids.Venue      `json:"venue_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Quantity     int            `json:"quantity" minimum:"1"` // seats that leave the pool
}

// PatchLease is the request of ResizeLease.
type PatchLease struct {
	EventID  ids.Event `json:"-" path:"id"`
	LeaseID  ids.Lease `json:"-" path:"lease_id"`
	Quantity int       `json:"quantity" minimum:"1"` // what it shall be, sold ones included
}

// LeaseToClose is the request of CloseLease.
type LeaseToClose struct {
	EventID ids.Event `json:"-" path:"id"`
	LeaseID ids.Lease `json:"-" path:"lease_id"`
	// true closes it without the venue, which is lost for ever; for administrators
	Force bool `json:"-" query:"force"`
}

// The endpoints of leases.
var (
	CreateLease = rpc.Endpoint[NewLease, Lease]{Spec: rpc.Spec{Service: "ticketing", Name: "create_lease",
		Method: "POST", Path: "/v1/events/{id}/leases", Access: rpc.User, Status: 201, Idempotent: true, Audited: true,
		Summary: "Lease seats to a venue, which then sells them by itself",
		Detail:  "For managers of the event who own the venue. The seats leave the pool at once.",
		Faults: ownersOf(rpc.Faults{fault.SoldOut: noSeats,
			fault.Conflict: "the event is not on sale, or has too many leases"})}}
	ListLeases = rpc.Endpoint[EventRef, List[Lease]]{Spec: rpc.Spec{Service: "ticketing", Name: "leases",
		Method: "GET", Path: "/v1/events/{id}/leases", Access: rpc.User,
		Summary: "The leases of an event, newest first, for its managers",
		Faults:  forManagers(nil)}}
	ResizeLease = rpc.Endpoint[PatchLease, Lease]{Spec: rpc.Spec{Service: "ticketing", Name: "resize_lease",
		Method: "PATCH", Path: "/v1/events/{id}/leases/{lease_id}", Access: rpc.User, Audited: true,
		Summary: "Make a lease larger or smaller",
		Detail: "Seats are added at once if there is room. Fewer are asked for from the venue: quantity becomes less " +
			"when the venue has given them back, and until then target says what was asked for.",
		Faults: ownersOf(rpc.Faults{fault.SoldOut: noSeats,
			fault.Conflict: "the lease is closing or closed, or more is sold from it than the new quantity"})}}
	CloseLease = rpc.Endpoint[LeaseToClose, Lease]{Spec: rpc.Spec{Service: "ticketing", Name: "close_lease",
		Method: "DELETE", Path: "/v1/events/{id}/leases/{lease_id}", Access: rpc.User, Audited: true,
		Summary: "Close a lease: the venue is asked to sell no more, and gives the unsold seats back",
		Detail: "A lease that the venue has never heard of is closed at once. Any other is closing until the venue " +
			"says that it is done, however long that takes. With force=true an administrator closes one whose venue " +
			"is lost for ever; unknown then says how many seats went back that it may have sold.",
		Faults: ownersOf(rpc.Faults{fault.Conflict: ""})}}
)

const (
	noSeats = "the pool does not have so many seats"
	noLease = "there is no such event, lease or venue"
)

// ownersOf is forManagers for managers who own the venue.
func ownersOf(more rpc.Faults) rpc.Faults {
	more[fault.NotFound] = noLease
	more[fault.Forbidden] = "the caller may see the event, but is not a manager of it or does not own the venue"
	return forManagers(more)
}

func leaseEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateLease.Describe(), ListLeases.Describe(), ResizeLease.Describe(),
		CloseLease.Describe(), CreateSale.Describe(), ReverseSale.Describe(), ListFlaggedSales.Describe()}
}
