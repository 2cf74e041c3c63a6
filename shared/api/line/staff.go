package line

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// SignedIn is a person who has signed in at a venue, and the generation of the account at that moment. It grows with
// all that ends the sessions of a person: another password or address, other roles, a lock, a log-out everywhere.
type SignedIn struct {
	UserID     ids.User `json:"user_id"`
	Generation int64    `json:"generation"`

	SessionID ids.Session `json:"session_id,omitempty"` // that began there; absent: from before there were any
}

// SignInFor is how long a person is signed in at a venue.
const SignInFor = 24 * time.Hour

// VenueSession is a person who signs in at a venue.
type VenueSession struct {
	UserID     ids.User  `json:"user_id"`
	Generation int64     `json:"generation"`
	VenueID    ids.Venue `json:"venue_id"`
	Venue      string    `json:"venue"` // its name
}

// BegunSession is a session of a person at a venue.
type BegunSession struct {
	SessionID ids.Session `json:"session_id"`
}

// EndedSession is a session that its person has ended at the venue.
type EndedSession struct {
	Session
	UserID    ids.User    `json:"user_id"`
	SessionID ids.Session `json:"session_id"`
}

// StaffLimit is how many people are asked about at once.
const StaffLimit = 200

// SignedInPeople asks about people who have signed in at a venue, or answers which of them are to be signed out. There
// are at most StaffLimit of them.
type SignedInPeople struct {
	People []SignedIn `json:"people"`
}

// Staffing asks the hub about the people who have signed in at a venue.
type Staffing struct {
	Session
	SignedInPeople
}

var (
	// CheckStaff answers who of the staff of a venue is to be signed out.
	CheckStaff = rpc.Endpoint[Staffing, SignedInPeople]{Spec: hub("staff", "Who of the staff is signed out")}

	// Logout tells that a person has signed out at a venue.
	Logout = rpc.Endpoint[EndedSession, rpc.None]{Spec: hub("sign_out", "A person has signed out at the venue")}

	// BeginVenueSession and EndVenueSession are endpoints of the user service for the venue service. A session at a
	// venue is a row that its person sees and can end; it has no tokens.
	BeginVenueSession = rpc.Endpoint[VenueSession, BegunSession]{Spec: rpc.Spec{Service: "user",
		Name: "begin_venue_session", Access: rpc.Internal, Callers: []string{"venue"}, Timeout: patience,
		Summary: "A person has signed in at a venue",
		Faults:  rpc.Faults{fault.Unauthenticated: "the account has changed since the password was checked"}}}
	EndVenueSession = rpc.Endpoint[EndedSession, rpc.None]{Spec: rpc.Spec{Service: "user",
		Name: "end_venue_session", Access: rpc.Internal, Callers: []string{"venue"}, Timeout: patience,
		Summary: "A person has signed out at a venue"}}

	// CheckSignedIn is the endpoint of the user service for the venue service.
	CheckSignedIn = rpc.Endpoint[SignedInPeople, SignedInPeople]{Spec: rpc.Spec{Service: "user",
		Name: "check_signed_in", Access: rpc.Internal, Callers: []string{"venue"}, Timeout: patience,
		Summary: "Who of those that have signed in at a venue is to be signed out"}}
)
