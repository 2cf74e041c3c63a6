package line

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The venue service has the connections to the venues, ticketing decides who admits. What an edge asks, the venue
// service passes on with the VenueID of the account, after it has checked the session. What ticketing asks of an edge
// goes the other way.

// There is a code that was shown to the system, for the venue that admits for its event.
type There struct {
	VenueID ids.Venue `json:"venue_id"`
	Admit
}

// VenueRef names a venue.
type VenueRef struct {
	VenueID ids.Venue `json:"venue_id"`
}

// AtHub is a code that a device has shown to a venue whose doors are the system's. The venue service knows the pass.
type AtHub struct {
	EventID ids.Event `json:"event_id"`
	PassID  ids.Pass  `json:"pass_id"`
	Code    string    `json:"code"`
	Gate    string    `json:"gate,omitempty"`
	Exit    bool      `json:"exit,omitempty"`
	Forward bool      `json:"forward,omitempty"` // a venue that admits for the event is asked
}

// AnswersAtHub are what a device answers about a ticket. The venue service knows the pass.
type AnswersAtHub struct {
	EventID  ids.Event    `json:"event_id"` // of the pass
	PassID   ids.Pass     `json:"pass_id"`
	TicketID ids.Ticket   `json:"ticket_id"`
	Answers  []api.Answer `json:"answers"` // null: it reads what is asked
}

// Close ends all that a venue holds that is lost for ever.
type Close struct {
	VenueID ids.Venue `json:"venue_id"`
	Reason  string    `json:"reason"`
}

// Withdrawn says what became of the access of a venue.
type Withdrawn struct {
	Access string `json:"access"` // of api.VenueClosure
}

// The endpoints of ticketing for the venue service. Each takes what the endpoint of Hub takes, and has its answer.
var (
	// VenueHello registers the venue's key, adopts what the edge holds, and answers Journal.
	VenueHello = rpc.Endpoint[Hello, Welcome]{Spec: doors("venue_hello", "What a venue holds, at its hello")}
	// VenueState answers all but the passes.
	VenueState    = rpc.Endpoint[Ask, State]{Spec: doors("venue_state", "The events whose doors are a venue's")}
	VenueManifest = rpc.Endpoint[Manifest, Page]{Spec: doors("venue_manifest", "A page of an event's tickets")}
	VenueTake     = rpc.Endpoint[Taken, rpc.None]{Spec: doors("venue_take", "A venue admits now")}
	VenueReturn   = rpc.Endpoint[Returned, rpc.None]{Spec: doors("venue_return", "A venue admits no more")}
	VenueJournal  = rpc.Endpoint[Journal, Receipt]{Spec: doors("venue_journal", "Keep entries of a venue's journal")}
	// VenueScan decides on a code as at a door of the system. The gate of the pass is known already.
	VenueScan = rpc.Endpoint[AtHub, api.AdmissionResult]{Spec: doors("venue_scan",
		"A scan of a device at a venue whose doors are the system's")}
	// VenueAnswers answers as api.AnswerWithPass.
	VenueAnswers = rpc.Endpoint[AnswersAtHub, api.AnswerSheet]{Spec: doors("venue_answers",
		"What a device answers about a ticket at the door")}
)

// CloseVenue is api.CloseVenue for an operator.
var CloseVenue = rpc.Endpoint[Close, api.VenueClosure]{Spec: rpc.Spec{Service: "ticketing", Name: "close_lost_venue",
	Access: rpc.Internal, Callers: []string{"admin"}, Timeout: 2 * patience,
	Summary: "End all that the computer of a venue holds, which is lost for ever"}}

// The endpoints of the venue service for ticketing.
var (
	// AdmitAt asks the edge of a venue. Without a line to it the fault is Unavailable.
	AdmitAt = rpc.Endpoint[There, api.AdmissionResult]{Spec: rpc.Spec{Service: "venue", Name: "admit_there",
		Access: rpc.Internal, Callers: []string{"ticketing"}, Timeout: patience,
		Summary: "Have a venue decide on a code that was shown to the system"}}
	// PokeVenue sends Poke, and answers without waiting for anything.
	PokeVenue = rpc.Endpoint[VenueRef, rpc.None]{Spec: rpc.Spec{Service: "venue", Name: "poke",
		Access: rpc.Internal, Callers: []string{"ticketing"}, Summary: "Let a venue ask what has changed"}}
	// WithdrawVenue releases the edge of a venue, and ends the credentials if the keys are here. It may be repeated.
	WithdrawVenue = rpc.Endpoint[VenueRef, Withdrawn]{Spec: rpc.Spec{Service: "venue", Name: "withdraw",
		Access: rpc.Internal, Callers: []string{"ticketing"}, Timeout: patience,
		Summary: "Let the computer of a venue connect no more"}}
	// FindVenue answers for every venue: what the caller may do with it is ticketing's question.
	FindVenue = rpc.Endpoint[VenueRef, api.Venue]{Spec: rpc.Spec{Service: "venue", Name: "find",
		Access: rpc.Internal, Callers: []string{"ticketing"}, Summary: "Read a venue"}}
)

// CheckPassword is the request of the endpoint of that name.
type CheckPassword struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	api.FactorProof
}

// CheckedUser is a person whose password was right.
type CheckedUser struct {
	ID    ids.User `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"` // as in api.User

	Generation int64 `json:"generation"` // see SignedIn
}

// CheckUserPassword is the endpoint of the user service for the venue service. Wrong passwords slow down further
// attempts at the account as they do at login.
var CheckUserPassword = rpc.Endpoint[CheckPassword, CheckedUser]{Spec: rpc.Spec{Service: "user",
	Name: "check_password", Access: rpc.Internal, Sealed: true, Callers: []string{"venue"}, Timeout: patience,
	Summary: "Who a person is that signs in at a venue"}}

func doors(name, summary string) rpc.Spec {
	return rpc.Spec{Service: "ticketing", Name: name, Access: rpc.Internal, Callers: []string{"venue"},
		Timeout: patience, Summary: summary}
}

// Endpoints returns the internal endpoints about venues that services serve. They stand beside those of api.All.
func Endpoints() []rpc.Descriptor {
	return slices.Concat(ofTicketing(), ofVenue(),
		[]rpc.Descriptor{CheckUserPassword.Describe(), CheckSignedIn.Describe(),
			BeginVenueSession.Describe(), EndVenueSession.Describe()})
}

// An endpoint comes into its list together with its handler.
func ofTicketing() []rpc.Descriptor {
	return []rpc.Descriptor{VenueHello.Describe(), VenueState.Describe(), VenueManifest.Describe(),
		VenueTake.Describe(), VenueReturn.Describe(), VenueJournal.Describe(), VenueScan.Describe(),
		VenueAnswers.Describe(), CloseVenue.Describe()}
}

func ofVenue() []rpc.Descriptor {
	return []rpc.Descriptor{FindVenue.Describe(), AdmitAt.Describe(), PokeVenue.Describe(), WithdrawVenue.Describe()}
}
