package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// SessionInfo is where a person is signed in.
type SessionInfo struct {
	ID         ids.Session `json:"id"`
	Device     string      `json:"device"`       // what the client said of itself: its User-Agent; or the venue's name
	Address    string      `json:"address"`      // where it was last used from
	CreatedAt  time.Time   `json:"created_at"`   // when the person logged in
	LastUsedAt time.Time   `json:"last_used_at"` // when it was last refreshed, or else made
	ExpiresAt  time.Time   `json:"expires_at"`   // when it ends unless it is refreshed
	Current    bool        `json:"current"`      // whether it is the one that asks
	// the identity provider through which it began; absent: none
	ProviderID ids.IdentityProvider `json:"provider_id,omitempty"`
	// the venue at whose own computer it began; absent: none
	VenueID ids.Venue `json:"venue_id,omitempty"`
}

// SessionQuery is the request of ListSessions.
type SessionQuery struct{ Page }

// SessionRef names a session in a path.
type SessionRef struct {
	ID ids.Session `json:"-" path:"id"`
}

// UserSessionQuery is the request of ListUserSessions.
type UserSessionQuery struct {
	ID ids.User `json:"-" path:"id"`
	Page
}

// GetSession is the request of the internal endpoint GetSessionInfo.
type GetSession struct {
	SessionID ids.Session `json:"session_id"`
}

// SessionCheck is the request of the internal endpoint CheckSession.
type SessionCheck struct {
	UserID    ids.User    `json:"user_id"`
	SessionID ids.Session `json:"session_id"`
}

// Standing is what holds of a session that has not ended.
type Standing struct {
	Roles []string `json:"roles"` // of the person, at this moment
	// whether the person has proven who they are no longer ago than StepUpTTL
	Fresh bool `json:"fresh"`
	// whether the person is an administrator who has to enrol a second factor before anything else
	MustEnrol bool `json:"must_enrol"`
}

// The endpoints of sessions, which the user service serves.
var (
	ListSessions = rpc.Endpoint[SessionQuery, List[SessionInfo]]{Spec: rpc.Spec{Service: "user",
		Name: "list_sessions", Method: "GET", Path: "/v1/me/sessions", Access: rpc.User,
		Summary: "Where the caller is signed in, newest first"}}
	EndOneSession = rpc.Endpoint[SessionRef, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "end_session",
		Method: "DELETE", Path: "/v1/me/sessions/{id}", Access: rpc.User, Status: 204, Summary: "End a session",
		Detail: "Its access token is refused everywhere within a second.",
		Faults: rpc.Faults{fault.NotFound: "the caller has no such session"}}}
	EndAllSessions = rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "end_sessions",
		Method: "DELETE", Path: "/v1/me/sessions", Access: rpc.User, Status: 204, Summary: "Log out everywhere",
		Detail: "Ends every session, the present one too, and makes all devices unknown."}}
	ListUserSessions = rpc.Endpoint[UserSessionQuery, List[SessionInfo]]{Spec: rpc.Spec{Service: "user",
		Name: "list_user_sessions", Method: "GET", Path: "/v1/users/{id}/sessions", Access: rpc.Admin,
		Summary: "Where a person is signed in, newest first"}}
	EndUserSessions = rpc.Endpoint[UserRef, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "end_user_sessions",
		Method: "DELETE", Path: "/v1/users/{id}/sessions", Access: rpc.Admin, Audited: true, StepUp: true, Status: 204,
		Summary: "Sign a person out everywhere",
		Detail:  "Ends every session and makes all devices unknown; the person may sign in again."}}
	CheckSession = rpc.Endpoint[SessionCheck, Standing]{Spec: rpc.Spec{Service: "user", Name: "check_session",
		Access: rpc.Internal, Callers: []string{"gateway"}, Timeout: 2 * time.Second,
		Summary: "Whether a session stands, and with which roles",
		Faults:  rpc.Faults{fault.Unauthenticated: "the session has ended"}}}
	GetSessionInfo = rpc.Endpoint[GetSession, SessionInfo]{Spec: rpc.Spec{Service: "user", Name: "session",
		Access: rpc.Internal, Callers: []string{"notification"}, Summary: "What a notice says of a session"}}
)

func sessionEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListSessions.Describe(), EndOneSession.Describe(), EndAllSessions.Describe(),
		ListUserSessions.Describe(), EndUserSessions.Describe(),
		CheckSession.Describe(), GetSessionInfo.Describe()}
}

// SessionEvent is the payload of DeviceWasAdded.
type SessionEvent struct {
	UserID    ids.User    `json:"user_id"`
	SessionID ids.Session `json:"session_id"` // the login
	At        time.Time   `json:"at"`
}

// The topics about how people log in.
var (
	DeviceWasAdded   = Topic[SessionEvent]{"ev.user.device.added", "a person logged in from a device that is not known"}
	LoginsHaveFailed = Topic[UserEvent]{"ev.user.logins.failed",
		"so many wrong passwords were given for an account that its owner should know"}
)
