package api

import (
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// User is a person with an account, as that person and administrators see it.
type User struct {
	ID    ids.User `json:"id"`
	Email string   `json:"email" format:"email"` // the address to log in with and to write to
	// whether the person has proven to read the mail that goes there
	EmailVerified bool `json:"email_verified"`
	// takes the place of the address once it is confirmed
	PendingEmail string `json:"pending_email,omitempty" format:"email"`
	Name         string `json:"name"` // what the person is called
	// admin, or nothing: what a person may do at an event is said by its team
	Roles []string `json:"roles" enum:"admin"`
	// whether an administrator keeps the person from signing in
	Locked  bool    `json:"locked,omitempty"`
	Profile Profile `json:"profile"`
	// whether the person has proven to read what is sent to the number of the profile
	PhoneVerified bool      `json:"phone_verified"`
	Revision      int64     `json:"revision"`   // grows with each change
	CreatedAt     time.Time `json:"created_at"` // when it was made
	UpdatedAt     time.Time `json:"updated_at"` // when it was last changed
}

// ETag implements rpc.ETagger.
func (u User) ETag() string { return strconv.FormatInt(u.Revision, 36) }

// Profile is what a person may say about themselves. All of it is optional.
type Profile struct {
	// E.164, such as +4915112345678; messages go there once it is confirmed
	Phone string `json:"phone,omitempty" pattern:"^\\+[1-9][0-9]{6,14}$"`
	// BCP 47, such as pt-BR; of mails and messages
	Language string `json:"language,omitempty" maxLength:"35"`
	// from the IANA database; of times in messages
	Timezone string `json:"timezone,omitempty"`
	// for age bands, with consent; 1900 to the present year
	BirthYear int    `json:"birth_year,omitempty" minimum:"1900"`
	City      string `json:"city,omitempty" maxLength:"100"` // where the person lives
	Country   string `json:"country,omitempty"`              // ISO 3166-1 alpha-2
	// consent to count in organizers' statistics
	ShareDemographics bool `json:"share_demographics,omitempty"`
}

// Register is the request of RegisterUser.
type Register struct {
	Email    string `json:"email" format:"email"`                   // the address to log in with and to write to
	Password string `json:"password" minLength:"8" maxLength:"256"` // hard to guess
	Name     string `json:"name" minLength:"1" maxLength:"200"`     // what the person is called
	Speaks   string `json:"-" header:"Accept-Language"`             // the welcome is in this language
	Answer   string `json:"-" header:"Challenge-Answer"`            // to the challenge of a problem
}

// Login is the request of CreateSession.
type Login struct {
	Email    string `json:"email" format:"email"`   // of the account
	Password string `json:"password" minLength:"1"` // of the account
	// from an earlier login: who gives it is not slowed down by guesses that come from elsewhere
	DeviceToken string `json:"device_token,omitempty"`
	Client      string `json:"-" header:"User-Agent"`       // the session is shown by this name
	Answer      string `json:"-" header:"Challenge-Answer"` // to the challenge of a problem
}

// Tokens is what a person is given at login and at each refresh.
type Tokens struct {
	AccessToken  string `json:"access_token"`             // a JWT, for the header Authorization: Bearer
	TokenType    string `json:"token_type" enum:"Bearer"` // how the access token is sent
	ExpiresIn    int    `json:"expires_in"`               // seconds until the access token is over
	RefreshToken string `json:"refresh_token"`            // for POST /v1/sessions/refresh; works once
	// with a login: names the device in later logins; keep it, also after a logout
	DeviceToken string `json:"device_token,omitempty"`
}

// Refresh is the request of RefreshSession. The token is used up by it.
type Refresh struct {
	RefreshToken string `json:"refresh_token"` // of the last login or refresh; it is used up
}

// UpdateProfile is the request of UpdateMe. What is absent stays; a profile is replaced as a whole, and null clears it.
type UpdateProfile struct {
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch string  `json:"-" header:"If-Match"`
	Name    *string `json:"name,omitempty" minLength:"1" maxLength:"200"` // what the person is called
	// needs current_password, and takes effect once the token is confirmed that is mailed there
	Email *string `json:"email,omitempty" format:"email"`
	// replaces the whole profile; null clears it
	Profile codec.Patch[Profile] `json:"profile,omitzero"`

	// needed to change the address; an account without a password needs a fresh proof instead
	CurrentPassword string `json:"current_password,omitempty"`
}

// DeleteAccount is the request of DeleteMe.
type DeleteAccount struct {
	// of the account, as a confirmation; an account without one needs a fresh proof instead
	Password string `json:"password" required:"false"`
}

// ChangePassword is the request of the endpoint of that name.
type ChangePassword struct {
	// the password until now; an account without one needs a fresh proof instead
	CurrentPassword string `json:"current_password" required:"false"`
	// hard to guess
	NewPassword string `json:"new_password" minLength:"8" maxLength:"256"`
}

// RequestReset is the request of RequestPasswordReset.
type RequestReset struct {
	Email string `json:"email" format:"email"` // of the account
}

// ConfirmReset is the request of ConfirmPasswordReset.
type ConfirmReset struct {
	Token string `json:"token"` // from the link in the mail
	// hard to guess
	NewPassword string `json:"new_password" minLength:"8" maxLength:"256"`
}

// ConfirmEmail is the request of ConfirmEmailAddress.
type ConfirmEmail struct {
	Token string `json:"token"` // from the mail
}

// UserRef names a user in a path.
type UserRef struct {
	ID ids.User `json:"-" path:"id"`
}

// ListUsersQuery is the request of ListUsers.
type ListUsersQuery struct {
	Page
	Q string `json:"-" query:"q"` // a part of a name or address, or an id
}

// SetRoles is the request of SetUserRoles.
type SetRoles struct {
	ID    ids.User `json:"-" path:"id"`
	Roles []string `json:"roles" enum:"admin"` // admin, or an empty list that takes it away
}

// KeySet is a JSON Web Key Set, RFC 7517.
type KeySet struct {
	Keys []Key `json:"keys"`
}

// Key is an Ed25519 public key as a JSON Web Key, RFC 8037.
type Key struct {
	KeyType   string `json:"kty" enum:"OKP"`     // the type of the key
	Curve     string `json:"crv" enum:"Ed25519"` // the curve
	ID        string `json:"kid"`                // the id of the key, which access tokens name
	Use       string `json:"use" enum:"sig"`     // what the key is for
	Algorithm string `json:"alg" enum:"EdDSA"`   // the algorithm
	X         string `json:"x"`                  // the public key in base64url
}

// FindUser is the request of the internal endpoint FindUserByEmail.
type FindUser struct {
	Email string `json:"email"`
}

// Contact is how to reach a person.
type Contact struct {
	ID            ids.User `json:"id"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified,omitempty"` // the person has proven to read what is mailed there
	Name          string   `json:"name"`
	Phone         string   `json:"phone,omitempty"` // that is confirmed
	Language      string   `json:"language,omitempty"`
	Timezone      string   `json:"timezone,omitempty"`
	Guest         bool     `json:"guest,omitempty"` // has an order, and no account
}

// MintConfirmation is the request of the internal endpoints MintConfirmationToken and GetFormerContact.
type MintConfirmation struct {
	ConfirmationID string `json:"confirmation_id"`
}

// MintedConfirmation is a request to prove an address, ready to be mailed there. The token exists nowhere else.
type MintedConfirmation struct {
	Contact   Contact   `json:"contact"` // with the address to prove
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// FormerContact is how to reach the address that another one is to replace.
type FormerContact struct {
	Contact Contact `json:"contact"` // with the former address
	Address string  `json:"address"` // the other one, so that its owner knows it again
}

// MintReset is the request of the internal endpoint MintResetToken.
type MintReset struct {
	ResetID string `json:"reset_id"`
}

// MintedReset is a password reset ready to be mailed. The token exists nowhere else: the database holds its hash.
type MintedReset struct {
	Contact   Contact   `json:"contact"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// LiveTicket opens one live stream, for clients that cannot send a header, such as the EventSource of browsers.
type LiveTicket struct {
	Ticket    string `json:"ticket"`     // for ?ticket= of the stream; works once
	ExpiresIn int    `json:"expires_in"` // seconds until it is over
}

// UseTicket is the request of the internal endpoint UseLiveTicket.
type UseTicket struct {
	Ticket string `json:"ticket"`
}

// LivePass is the person that a ticket was made for.
type LivePass struct {
	UserID    ids.User    `json:"user_id"`
	SessionID ids.Session `json:"session_id"`
	Roles     []string    `json:"roles"`
	// of the account: see package revocation
	Generation int64     `json:"generation,omitempty"`
	Until      time.Time `json:"until"` // when the stream ends: an access token made now would end then
}

// The endpoints of the user service.
var (
	RegisterUser = rpc.Endpoint[Register, User]{Spec: rpc.Spec{Service: "user", Name: "register",
		Method: "POST", Path: "/v1/users", Access: rpc.Public, Sealed: true,
		Headers: []string{"Accept-Language", "Challenge-Answer"},
		Status:  201, Location: "/v1/users/{id}", Idempotent: true, Secrets: []string{"password"},
		Limit: rpc.LoginLimit, Workers: 256, OwnQueue: true, Summary: "Create an account",
		Faults: rpc.Faults{fault.Conflict: "the address has an account already, or a request with the same " +
			"Idempotency-Key has not ended yet"}}}
	CreateSession = rpc.Endpoint[Login, SignIn]{Spec: rpc.Spec{Service: "user", Name: "login",
		Method: "POST", Path: "/v1/sessions", Access: rpc.Public, Sealed: true,
		Headers: []string{"User-Agent", "Challenge-Answer"}, Status: 201, Limit: rpc.LoginLimit, Workers: 256,
		OwnQueue: true, Summary: "Log in",
		Detail: "Who has a second factor is answered with 200 and what is asked for, see POST " +
			"/v1/sessions/second-factor.",
		Faults: rpc.Faults{fault.Unauthenticated: "the address or the password is wrong",
			fault.Forbidden: "an administrator has locked the account"}}}
	RefreshSession = rpc.Endpoint[Refresh, Tokens]{Spec: rpc.Spec{Service: "user", Name: "refresh", Method: "POST",
		Path: "/v1/sessions/refresh", Access: rpc.Public, Sealed: true, Limit: rpc.LoginLimit,
		Summary: "Exchange a refresh token for new tokens",
		Detail: "Each refresh token works once. Using one a second time ends the whole session, for all holders of a " +
			"token of it.",
		Faults: rpc.Faults{fault.Unauthenticated: "the token is wrong, over or used up"}}}
	EndSession = rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "logout", Method: "DELETE",
		Path: "/v1/sessions/current", Access: rpc.User, Enrols: true, Status: 204, Summary: "Log out"}}
	GetMe = rpc.Endpoint[rpc.None, User]{Spec: rpc.Spec{Service: "user", Name: "get_me", Method: "GET", Path: "/v1/me",
		Access: rpc.User, Enrols: true, Summary: "Read the own account"}}
	UpdateMe = rpc.Endpoint[UpdateProfile, User]{Spec: rpc.Spec{Service: "user", Name: "update_me", Method: "PATCH",
		Path: "/v1/me", Access: rpc.User, Sealed: true, Headers: []string{"If-Match"},
		Summary: "Change the own account",
		Detail:  "Another mail address needs the password, and another number than a confirmed one a fresh proof.",
		Faults:  rpc.Faults{fault.Forbidden: "the password is wrong", fault.Conflict: "the address has an account"}}}
	DeleteMe = rpc.Endpoint[DeleteAccount, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "delete_me",
		Method: "DELETE", Path: "/v1/me", Access: rpc.User, Sealed: true, Status: 204,
		Summary: "Delete the own account",
		Detail:  "Personal data is erased. Orders and tickets stay as records without a name.",
		Faults: rpc.Faults{fault.Forbidden: "the password is wrong",
			fault.Conflict: "the account organizes events that are not over, or is the last administrator"}}}
	ChangeMyPassword = rpc.Endpoint[ChangePassword, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "change_password",
		Method: "POST", Path: "/v1/me/password", Access: rpc.User, Sealed: true, Status: 204, Limit: rpc.LoginLimit,
		Summary: "Change the own password", Detail: "Ends every other session.",
		Faults: rpc.Faults{fault.Forbidden: "the password is wrong"}}}
	ExportMe = rpc.Endpoint[rpc.None, Export]{Spec: rpc.Spec{Service: "user", Name: "export_me",
		Method: "GET", Path: "/v1/me/export", Access: rpc.User, Summary: "Everything the system knows about the caller",
		Detail: "The answer is sent while it is gathered. If it breaks off, what has come is not valid JSON."}}
	RequestPasswordReset = rpc.Endpoint[RequestReset, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "request_reset",
		Method: "POST", Path: "/v1/password-resets", Access: rpc.Public, Status: 202, Limit: rpc.LoginLimit,
		Summary: "Ask for a password reset mail",
		Detail:  "The answer is the same whether or not the address has an account."}}
	ConfirmPasswordReset = rpc.Endpoint[ConfirmReset, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "confirm_reset",
		Method: "POST", Path: "/v1/password-resets/confirm", Access: rpc.Public, Sealed: true, Status: 204,
		Limit:   rpc.LoginLimit,
		Summary: "Set a new password with the token from the mail",
		Faults:  rpc.Faults{fault.NotFound: "there is no such token", fault.Expired: "the reset is over"}}}
	RequestEmailConfirmation = rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "user",
		Name: "request_confirmation", Method: "POST", Path: "/v1/email-confirmations", Access: rpc.User, Status: 202,
		Limit: rpc.LoginLimit, Summary: "Have a token mailed that confirms the own address",
		Detail: "To the address that waits to take the place of the present one, if there is one. Tokens that were " +
			"mailed before are over.",
		Faults: rpc.Faults{fault.Conflict: "the address is confirmed already"}}}
	ConfirmEmailAddress = rpc.Endpoint[ConfirmEmail, rpc.None]{Spec: rpc.Spec{Service: "user",
		Name: "confirm_email", Method: "POST", Path: "/v1/email-confirmations/confirm", Access: rpc.Public,
		Sealed: true, Status: 204, Limit: rpc.LoginLimit, Summary: "Confirm an address with the token from the mail",
		Detail: "If the address takes the place of another one, every session ends but the one that asked for it.",
		Faults: rpc.Faults{fault.Expired: "the token is used or over",
			fault.Conflict: "another account has the address by now"}}}
	ListUsers = rpc.Endpoint[ListUsersQuery, List[User]]{Spec: rpc.Spec{Service: "user", Name: "list",
		Method: "GET", Path: "/v1/users", Access: rpc.Admin, Summary: "List accounts"}}
	GetUser = rpc.Endpoint[UserRef, User]{Spec: rpc.Spec{Service: "user", Name: "get",
		Method: "GET", Path: "/v1/users/{id}", Access: rpc.Admin, Summary: "Read an account"}}
	SetUserRoles = rpc.Endpoint[SetRoles, User]{Spec: rpc.Spec{Service: "user", Name: "set_roles", Method: "PUT",
		Path: "/v1/users/{id}/roles", Access: rpc.Admin, Audited: true, StepUp: true,
		Summary: "Replace the roles of an account",
		Faults:  rpc.Faults{fault.Conflict: "it is the last administrator, or a locked account"}}}
	LockUser = rpc.Endpoint[UserRef, User]{Spec: rpc.Spec{Service: "user", Name: "lock", Method: "PUT",
		Path: "/v1/users/{id}/lock", Access: rpc.Admin, Audited: true, Summary: "Keep a person from signing in",
		Detail: "Ends every session. Orders, tickets and events stay as they are, and a new password changes nothing.",
		Faults: rpc.Faults{fault.Conflict: "the person is an administrator: take the role away first"}}}
	UnlockUser = rpc.Endpoint[UserRef, User]{Spec: rpc.Spec{Service: "user", Name: "unlock", Method: "DELETE",
		Path: "/v1/users/{id}/lock", Access: rpc.Admin, Audited: true, Summary: "Let a person sign in again",
		Faults: rpc.Faults{fault.Conflict: ""}}}
	GetKeys = rpc.Endpoint[rpc.None, KeySet]{Spec: rpc.Spec{Service: "user", Name: "keys", Method: "GET",
		Path: "/.well-known/jwks.json", Access: rpc.Public, Summary: "The public keys of access tokens"}}

	CreateLiveTicket = rpc.Endpoint[rpc.None, LiveTicket]{Spec: rpc.Spec{Service: "user", Name: "create_live_ticket",
		Method: "POST", Path: "/v1/live/tickets", Access: rpc.User, Sealed: true, Status: 201,
		Summary: "Make a ticket for one live stream",
		Detail: "For clients that cannot send a header, such as the EventSource of browsers: GET the stream with " +
			"?ticket=. A ticket is good once, for a minute, through any gateway."}}
	UseLiveTicket = rpc.Endpoint[UseTicket, LivePass]{Spec: rpc.Spec{Service: "user", Name: "use_live_ticket",
		Access: rpc.Internal, Sealed: true, Callers: []string{"gateway"}, Timeout: 2 * time.Second,
		Summary: "Use up the ticket of a live stream"}}
	FindUserByEmail = rpc.Endpoint[FindUser, Contact]{Spec: rpc.Spec{Service: "user", Name: "find_by_email",
		Access: rpc.Internal, Callers: []string{"event", "ticketing"}, Summary: "The person with an address"}}
	GetContact = rpc.Endpoint[GetContactOf, Contact]{Spec: rpc.Spec{Service: "user", Name: "contact",
		Access: rpc.Internal, Callers: []string{"event", "notification", "ticketing"},
		Summary: "How to reach a person"}}
	GetContacts = rpc.Endpoint[GetContactsOf, List[Contact]]{Spec: rpc.Spec{Service: "user", Name: "contacts",
		Access: rpc.Internal, Callers: []string{"event", "notification", "ticketing"},
		Summary: "How to reach many people; those who are gone are left out"}}
	MintResetToken = rpc.Endpoint[MintReset, MintedReset]{Spec: rpc.Spec{Service: "user", Name: "mint_reset",
		Access: rpc.Internal, Sealed: true, Callers: []string{"notification"},
		Summary: "Make the token of a password reset, at the moment it is mailed"}}
	MintConfirmationToken = rpc.Endpoint[MintConfirmation, MintedConfirmation]{Spec: rpc.Spec{Service: "user",
		Name: "mint_confirmation", Access: rpc.Internal, Sealed: true, Callers: []string{"notification"},
		Summary: "Make the token that confirms an address, at the moment it is mailed"}}
	GetFormerContact = rpc.Endpoint[MintConfirmation, FormerContact]{Spec: rpc.Spec{Service: "user",
		Name: "former_contact", Access: rpc.Internal, Callers: []string{"notification"},
		Summary: "How to reach the address that another one is to replace"}}
)

// GetContactOf is the request of GetContact.
type GetContactOf struct {
	ID ids.User `json:"id"`
}

// GetContactsOf is the request of GetContacts.
type GetContactsOf struct {
	IDs []ids.User `json:"ids"` // at most 500
}

func userEndpoints() []rpc.Descriptor {
	return append([]rpc.Descriptor{RegisterUser.Describe(), CreateSession.Describe(),
		RefreshSession.Describe(), EndSession.Describe(), GetMe.Describe(), UpdateMe.Describe(), DeleteMe.Describe(),
		ChangeMyPassword.Describe(), ExportMe.Describe(),
		RequestPasswordReset.Describe(), ConfirmPasswordReset.Describe(), RequestEmailConfirmation.Describe(),
		ConfirmEmailAddress.Describe(), ListUsers.Describe(), GetUser.Describe(), SetUserRoles.Describe(),
		LockUser.Describe(), UnlockUser.Describe(), GetKeys.Describe(), CreateLiveTicket.Describe(),
		UseLiveTicket.Describe(), FindUserByEmail.Describe(), GetContact.Describe(), GetContacts.Describe(),
		MintResetToken.Describe(), MintConfirmationToken.Describe(), GetFormerContact.Describe(),
		RequestPhoneConfirmation.Describe(), ConfirmPhoneNumber.Describe(), MintPhoneCode.Describe()}, slices.Concat(
		sessionEndpoints(), factorEndpoints(), passkeyEndpoints(), identityEndpoints())...)
}

// UserEvent is the payload of the user topics. Personal data stays in the user service.
type UserEvent struct {
	UserID   ids.User `json:"user_id"`
	Language string   `json:"language,omitempty"` // with UserRegistered: what the browser asked for, the best first
	// with UserRegistered: names the request to confirm the address; is not the secret
	ConfirmationID string    `json:"confirmation_id,omitempty"`
	At             time.Time `json:"at"`
}

// ConfirmationEvent is the payload of EmailConfirmationRequested.
type ConfirmationEvent struct {
	UserID         ids.User  `json:"user_id"`
	ConfirmationID string    `json:"confirmation_id"` // names the request; is not the secret
	Change         bool      `json:"change"`          // whether it is to replace another one that is confirmed
	At             time.Time `json:"at"`
}

// ResetEvent is the payload of PasswordResetRequested.
type ResetEvent struct {
	UserID  ids.User  `json:"user_id"`
	ResetID string    `json:"reset_id"` // names the request; is not the secret
	At      time.Time `json:"at"`
}

// The topics of the user service.
var (
	UserRegistered             = Topic[UserEvent]{"ev.user.user.registered", "an account was made"}
	UserUpdated                = Topic[UserEvent]{"ev.user.user.updated", "an account was changed"}
	UserDeleted                = Topic[UserEvent]{"ev.user.user.deleted", "an account was deleted"}
	PasswordChanged            = Topic[UserEvent]{"ev.user.password.changed", "a password was changed"}
	EmailConfirmationRequested = Topic[ConfirmationEvent]{"ev.user.confirmation.requested",
		"an address is to be confirmed"}
	PasswordResetRequested = Topic[ResetEvent]{"ev.user.reset.requested", "a password reset was requested"}
)
