package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Venue is a place with doors, where a computer can stand that admits while the line to the system is cut.
type Venue struct {
	ID        ids.Venue `json:"id"`
	Owner     ids.User  `json:"owner"`                   // who may change it and hand doors over to it
	Name      string    `json:"name" maxLength:"200"`    // what it is called, on one line
	Address   string    `json:"address" maxLength:"500"` // street, number and town, on one line
	Timezone  string    `json:"timezone"`                // of the place, from the IANA database, such as Europe/Berlin
	Gates     []string  `json:"gates" maxItems:"100"`    // the names of its entrances
	Revision  int64     `json:"revision"`                // grows with each change
	CreatedAt time.Time `json:"created_at"`              // when it was made
	UpdatedAt time.Time `json:"updated_at"`              // when it was last changed
}

// ETag implements rpc.ETagger.
func (v Venue) ETag() string { return strconv.FormatInt(v.Revision, 36) }

// NewVenue is the request of CreateVenue.
type NewVenue struct {
	Name    string `json:"name" minLength:"1" maxLength:"200"`       // what it is called, on one line
	Address string `json:"address" maxLength:"500" required:"false"` // street, number and town, on one line
	// of the place, from the IANA database, such as Europe/Berlin
	Timezone string `json:"timezone"`
	// the names of its entrances, each once and of 1 to 80 characters
	Gates []string `json:"gates" maxItems:"100" required:"false"`
}

// VenueRef names a venue in a path.
type VenueRef struct {
	ID ids.Venue `json:"-" path:"id"`
}

// PatchVenue is the request of UpdateVenue. What is absent stays as it is, null clears what can be cleared.
type PatchVenue struct {
	ID ids.Venue `json:"-" path:"id"`
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch string `json:"-" header:"If-Match"`
	// what it is called, on one line
	Name *string `json:"name,omitempty" minLength:"1" maxLength:"200"`
	// street, number and town; null clears it
	Address codec.Patch[string] `json:"address,omitzero" maxLength:"500"`
	// of the place, from the IANA database
	Timezone *string `json:"timezone,omitempty"`
	// all entrances; null clears them
	Gates codec.Patch[[]string] `json:"gates,omitzero" maxItems:"100"`
}

// The endpoints of the venue service.
var (
	CreateVenue = rpc.Endpoint[NewVenue, Venue]{Spec: rpc.Spec{Service: "venue", Name: "create",
		Method: "POST", Path: "/v1/venues", Access: rpc.User, Status: 201, Location: "/v1/venues/{id}",
		Idempotent: true, Summary: "Create a venue",
		Faults: rpc.Faults{fault.Conflict: inFlight}}}
	ListVenues = rpc.Endpoint[Page, List[Venue]]{Spec: rpc.Spec{Service: "venue", Name: "list",
		Method: "GET", Path: "/v1/venues", Access: rpc.User,
		Summary: "The caller's venues, newest first; for administrators, all"}}
	GetVenue = rpc.Endpoint[VenueRef, Venue]{Spec: rpc.Spec{Service: "venue", Name: "get", Method: "GET",
		Path: "/v1/venues/{id}", Access: rpc.User, Summary: "Read a venue",
		Faults: rpc.Faults{fault.NotFound: noVenue}}}
	UpdateVenue = rpc.Endpoint[PatchVenue, Venue]{Spec: rpc.Spec{Service: "venue", Name: "update", Method: "PATCH",
		Path: "/v1/venues/{id}", Access: rpc.User, Headers: []string{"If-Match"}, Summary: "Change a venue",
		Faults: rpc.Faults{fault.NotFound: noVenue}}}
)

const noVenue = "there is no such venue, or it is another person's"

func venueEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateVenue.Describe(), ListVenues.Describe(), GetVenue.Describe(), UpdateVenue.Describe()}
}
