package line

import (
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// SignedIn is a person who has signed in at a venue, and the generation of the account at that moment. It grows with
// all that ends the sessions of a person: another password or address, other roles, a lock, a log-out everywhere.
type SignedIn struct {
	UserID     ids.User `json:"user_id"`
	Generation int64    `json:"generation"`
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

	// CheckSignedIn is the endpoint of the user service for the venue service.
	CheckSignedIn = rpc.Endpoint[SignedInPeople, SignedInPeople]{Spec: rpc.Spec{Service: "user",
		Name: "check_signed_in", Access: rpc.Internal, Callers: []string{"venue"}, Timeout: patience,
		Summary: "Who of those that have signed in at a venue is to be signed out"}}
)
