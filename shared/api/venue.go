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

// VenueStatus is how the computer of a venue is, as it said when it asked last.
type VenueStatus struct {
	Online      bool       `json:"online"`                 // it has asked within the last 15 seconds
	LastSeen    *time.Time `json:"last_seen,omitempty"`    // when it asked last; absent if none ever did
	Edge        string     `json:"edge,omitempty"`         // the name of its data folder; absent: the next one is bound
	Version     string     `json:"version,omitempty"`      // of its program
	ManifestAge int64      `json:"manifest_age"`           // seconds since its oldest manifest was known to be current
	Waiting     int64      `json:"scans_waiting"`          // entries of its journal that the system did not have
	Tickets     int64      `json:"tickets"`                // in all of its manifests
	Admitted    int64      `json:"admitted"`               // since it was started
	Skew        int64      `json:"skew_ms"`                // its clock less the system's, in milliseconds
	Disk        string     `json:"disk_problem,omitempty"` // what is wrong with its disk
}

// VenueCredentials are what the computer of a venue connects with.
type VenueCredentials struct {
	Credentials string `json:"credentials"` // the text of a file for starlight edge --creds; shown this once
}

// Pass is the right of a device to scan at an event while a venue admits for it.
type Pass struct {
	ID        ids.Pass  `json:"id"`
	EventID   ids.Event `json:"event_id"`
	Name      string    `json:"name" maxLength:"80"`           // of the device
	Gate      string    `json:"gate,omitempty" maxLength:"80"` // where it scans; absent: wherever it says
	CreatedBy ids.User  `json:"created_by"`
	CreatedAt time.Time `json:"created_at"` // when it was made
}

// NewPass is the request of CreatePass.
type NewPass struct {
	EventID ids.Event `json:"-" path:"id"`
	Name    string    `json:"name" minLength:"1" maxLength:"80"`    // of the device, on one line
	Gate    string    `json:"gate" maxLength:"80" required:"false"` // where it scans; absent: wherever it says
}

// NewPassSecret is a new pass with its secret.
type NewPassSecret struct {
	Pass
	// for the header Authorization: Bearer at the venue; shown this once
	Secret string `json:"secret"`
	// another way for the device to get its secret: it reads the picture
	Pairing Pairing `json:"pairing"`
}

// Pairing lets a device get the secret of a pass without anyone typing it.
type Pairing struct {
	// good once, for ten minutes, for POST /v1/pairings at the system, or at the venue while there is a line
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"` // when the code ends
	// what the picture says: the code stands behind the #, so no server and no log has it
	Link string `json:"link"`
	QR   string `json:"qr"` // the picture, a PNG as a data: address; shown this once
}

// PairRequest is the request of PairDevice.
type PairRequest struct {
	Code string `json:"code" minLength:"1" maxLength:"100"` // of the pairing
}

// PairedDevice is the pass of a device with its secret.
type PairedDevice struct {
	Pass
	// for the header Authorization: Bearer at the venue; shown this once. The one from before is over
	Secret string `json:"secret"`
}

// PassScan is the request of ScanWithPass.
type PassScan struct {
	EventID ids.Event `json:"-" path:"id"`
	Secret  string    `json:"secret" minLength:"1" maxLength:"100"`            // of the device's pass
	Code    string    `json:"code" minLength:"1"`                              // what the QR code holds
	Gate    string    `json:"gate" maxLength:"80" required:"false"`            // unless the pass is for one gate
	Way     string    `json:"way" enum:"in,out" required:"false" default:"in"` // out: the person goes out
}

// PassScanResult is the answer to a device at the door.
type PassScanResult struct {
	// admitted lets the person in, exited out; handed_out is a product that the person gets now
	Result          string     `json:"result" enum:"admitted,already_admitted,no_reentry,exited,handed_out,already_handed_out,not_inside,invalid,wrong_event,revoked,not_yet_valid,expired"`
	Ticket          *Ticket    `json:"ticket,omitempty"`
	FirstAdmittedAt *time.Time `json:"first_admitted_at,omitempty"` // when it was first admitted or handed out, if it ever was
	FirstGate       string     `json:"first_gate,omitempty"`        // where that was
	Questions       []Question `json:"questions,omitempty"`         // what is asked about the ticket at the door
	Answers         []Answer   `json:"answers,omitempty"`           // to questions
}

// PassAnswers is the request of AnswerWithPass.
type PassAnswers struct {
	EventID  ids.Event  `json:"-" path:"id"`
	Secret   string     `json:"secret" minLength:"1" maxLength:"100"` // of the device's pass
	TicketID ids.Ticket `json:"ticket_id"`                            // that was scanned
	// all to what is asked at the door; what is left out is not answered. Without this nothing is changed
	Answers []Answer `json:"answers,omitzero" maxItems:"200" required:"false"`
}

// PassRef names a pass in a path.
type PassRef struct {
	EventID ids.Event `json:"-" path:"id"`
	ID      ids.Pass  `json:"-" path:"pass_id"`
}

// The endpoints of the venue service.
var (
	CreateVenue = rpc.Endpoint[NewVenue, Venue]{Spec: rpc.Spec{Service: "venue", Name: "create",
		Method: "POST", Path: "/v1/venues", Access: rpc.User, Status: 201, Location: "/v1/venues/{id}",
		Idempotent: true, Audited: true,
		Summary: "Create a venue",
		Faults:  rpc.Faults{fault.Conflict: inFlight}}}
	ListVenues = rpc.Endpoint[Page, List[Venue]]{Spec: rpc.Spec{Service: "venue", Name: "list",
		Method: "GET", Path: "/v1/venues", Access: rpc.User,
		Summary: "The caller's venues, newest first; for administrators, all"}}
	GetVenue = rpc.Endpoint[VenueRef, Venue]{Spec: rpc.Spec{Service: "venue", Name: "get", Method: "GET",
		Path: "/v1/venues/{id}", Access: rpc.User, Summary: "Read a venue",
		Faults: rpc.Faults{fault.NotFound: noVenue}}}
	UpdateVenue = rpc.Endpoint[PatchVenue, Venue]{Spec: rpc.Spec{Service: "venue", Name: "update", Method: "PATCH",
		Path: "/v1/venues/{id}", Access: rpc.User, Headers: []string{"If-Match"}, Audited: true,
		Summary: "Change a venue",
		Faults:  rpc.Faults{fault.NotFound: noVenue}}}
	GetVenueStatus = rpc.Endpoint[VenueRef, VenueStatus]{Spec: rpc.Spec{Service: "venue", Name: "status",
		Method: "GET", Path: "/v1/venues/{id}/status", Access: rpc.User, Summary: "How the computer of a venue is",
		Faults: rpc.Faults{fault.NotFound: noVenue}}}
	ReleaseEdge = rpc.Endpoint[VenueRef, rpc.None]{Spec: rpc.Spec{Service: "venue", Name: "release_edge",
		Method: "DELETE", Path: "/v1/venues/{id}/edge", Access: rpc.User, Status: 204, Audited: true,
		Summary: "Let another computer serve a venue",
		Detail: "The first one that connects is bound to the venue, and others are refused. After this the bound one " +
			"is refused, and the next one is bound.",
		Faults: rpc.Faults{fault.NotFound: noVenue, fault.Conflict: ""}}}
	CreateVenueCredentials = rpc.Endpoint[VenueRef, VenueCredentials]{Spec: rpc.Spec{Service: "venue",
		Name: "create_credentials", Method: "POST", Path: "/v1/venues/{id}/credentials", Access: rpc.User,
		Sealed: true, Status: 201, Audited: true, StepUp: true,
		Summary: "Make credentials for the computer of a venue",
		Detail: "Those that were made before stay valid. A cluster has the keys elsewhere: there it is done with " +
			"starlight auth venue.",
		Faults: rpc.Faults{fault.NotFound: noVenue, fault.Conflict: outsideKeys}}}
	DeleteVenueCredentials = rpc.Endpoint[VenueRef, rpc.None]{Spec: rpc.Spec{Service: "venue",
		Name: "delete_credentials", Method: "DELETE", Path: "/v1/venues/{id}/credentials", Access: rpc.User,
		Status: 204, Audited: true,
		Summary: "End all credentials of a venue's computer, and its connection",
		Faults:  rpc.Faults{fault.NotFound: noVenue, fault.Conflict: outsideKeys}}}

	CreatePass = rpc.Endpoint[NewPass, NewPassSecret]{Spec: rpc.Spec{Service: "venue", Name: "create_pass",
		Method: "POST", Path: "/v1/events/{id}/passes", Access: rpc.User, Sealed: true, Status: 201, Audited: true,
		Summary: "Let a device scan at an event's venue",
		Detail: "For the time in which a venue admits for the event. The secret is in this answer alone, so a " +
			"repeated request makes another pass.",
		Faults: forManagers(rpc.Faults{fault.Conflict: "the event has too many passes"})}}
	PairDevice = rpc.Endpoint[PairRequest, PairedDevice]{Spec: rpc.Spec{Service: "venue", Name: "pair",
		Method: "POST", Path: "/v1/pairings", Access: rpc.Public, Sealed: true, Audited: true, Limit: rpc.LoginLimit,
		Summary: "Exchange the code of a pairing for the secret of its pass",
		Detail: "A code is good once. If a device finds that it was used already, another one has the pass: it is " +
			"deleted, and a new one is made.",
		Faults: rpc.Faults{fault.NotFound: "the code is not known, was used, or is over", fault.Conflict: ""}}}
	ScanWithPass = rpc.Endpoint[PassScan, PassScanResult]{Spec: rpc.Spec{Service: "venue", Name: "scan_with_pass",
		Method: "POST", Path: "/v1/events/{id}/pass-scans", Access: rpc.Public, Sealed: true,
		Summary: "Admit a ticket, or let its holder out, with the pass of a device",
		Detail: "For devices that are not in the network of a venue, such as a telephone that was paired at the " +
			"system. While a venue admits for the event, it decides, if there is a line to it.",
		Faults: rpc.Faults{fault.NotFound: "the device has no pass for this event, or it is over", fault.Conflict: ""}}}
	AnswerWithPass = rpc.Endpoint[PassAnswers, AnswerSheet]{Spec: rpc.Spec{Service: "venue", Name: "answer_with_pass",
		Method: "POST", Path: "/v1/events/{id}/pass-answers", Access: rpc.Public, Sealed: true, Audited: true,
		MaxBody: 64 << 10,
		Summary: "Answer what is asked at the door about a ticket, with the pass of a device",
		Detail: "Without answers it reads what is asked there, and what was answered to that. Nothing else of the " +
			"ticket or its order is in reach of a device.",
		Faults: rpc.Faults{fault.NotFound: "the device has no pass for this event, or it is over; or the event has " +
			"no such ticket", fault.Conflict: answersClosed}}}
	ListPasses = rpc.Endpoint[EventRef, List[Pass]]{Spec: rpc.Spec{Service: "venue", Name: "list_passes",
		Method: "GET", Path: "/v1/events/{id}/passes", Access: rpc.User,
		Summary: "The devices that may scan at an event",
		Faults:  forManagers(nil)}}
	DeletePass = rpc.Endpoint[PassRef, rpc.None]{Spec: rpc.Spec{Service: "venue", Name: "delete_pass",
		Method: "DELETE", Path: "/v1/events/{id}/passes/{pass_id}", Access: rpc.User, Status: 204, Audited: true,
		Summary: "Take a device's right to scan away; a venue without a line learns of it when there is one",
		Faults:  forManagers(rpc.Faults{fault.NotFound: noEvent + "; or it has no such pass", fault.Conflict: ""})}}
)

const (
	noVenue     = "there is no such venue, or it is another person's"
	outsideKeys = "the NATS servers are not part of the system, which has no key for this: use starlight auth venue"
)

func venueEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateVenue.Describe(), ListVenues.Describe(), GetVenue.Describe(), UpdateVenue.Describe(),
		GetVenueStatus.Describe(), ReleaseEdge.Describe(), CreateVenueCredentials.Describe(),
		DeleteVenueCredentials.Describe(), CreatePass.Describe(), PairDevice.Describe(),
		ScanWithPass.Describe(), AnswerWithPass.Describe(), ListPasses.Describe(), DeletePass.Describe()}
}
