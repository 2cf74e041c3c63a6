package api

import (
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The kinds of second factors.
const (
	FactorTOTP     = "totp"          // a code of an authenticator app, RFC 6238
	FactorRecovery = "recovery_code" // one of those given out with the first factor
	FactorPasskey  = "passkey"
)

// SignIn is the answer to a login: the tokens of a session with 201, or with 200 what is asked for beside the password.
type SignIn struct {
	*Tokens
	*SecondFactorChallenge
	// after a sign-in through an identity provider: where the browser goes once the session has been ended here, if
	// the person's session there is to end, too (OpenID Connect RP-Initiated Logout 1.0; post_logout_redirect_uri and
	// state may be added). It has the ID token: a secret of the client. Absent if the provider does not offer it
	ProviderLogoutURL string `json:"provider_logout_url,omitempty"`
}

// IsPartial implements rpc.Partial.
func (s SignIn) IsPartial() bool { return s.Tokens == nil }

// SecondFactorChallenge is given to a person whose password was right, and who has a second factor.
type SecondFactorChallenge struct {
	SecondFactorRequired bool `json:"second_factor_required"` // true
	// for POST /v1/sessions/second-factor; good from the same address, and from the same device if that is known
	Challenge        string   `json:"challenge"`
	ChallengeExpires int      `json:"challenge_expires_in"`                      // seconds until it is over
	Methods          []string `json:"methods" enum:"totp,recovery_code,passkey"` // what is taken, any one of them
}

// FactorProof is a second factor. One of its members is given.
type FactorProof struct {
	Code         string `json:"code,omitempty"`          // of an authenticator app: six digits, each good once
	RecoveryCode string `json:"recovery_code,omitempty"` // one of those that were given out; each is good once
}

// SecondStep is the request of CreateSessionWithFactor.
type SecondStep struct {
	Challenge string `json:"challenge"` // of the login
	FactorProof
	Passkey     json.RawMessage `json:"passkey,omitempty"`      // the PublicKeyCredential of navigator.credentials.get
	DeviceToken string          `json:"device_token,omitempty"` // as it was given with the login
	Client      string          `json:"-" header:"User-Agent"`  // the session is shown by this name
}

// Proof is the request of ProveIdentity. One of its members is given.
type Proof struct {
	Password string `json:"password,omitempty"` // of the account; not taken from who has a second factor
	FactorProof
	Passkey json.RawMessage `json:"passkey,omitempty"` // the PublicKeyCredential of navigator.credentials.get
}

// SecondFactor is an authenticator app of a person.
type SecondFactor struct {
	ID         ids.Factor `json:"id"`
	Kind       string     `json:"kind" enum:"totp"`       // what it is
	Name       string     `json:"name"`                   // what the person calls it
	Active     bool       `json:"active"`                 // whether its first code was given
	CreatedAt  time.Time  `json:"created_at"`             // when it was added
	LastUsedAt *time.Time `json:"last_used_at,omitempty"` // when a code of it was last taken
}

// SecondFactors are the authenticator apps of a person, and what else proves who the person is.
type SecondFactors struct {
	Items         []SecondFactor `json:"items"`                 // the oldest first
	RecoveryCodes int            `json:"recovery_codes"`        // how many are left
	Passkeys      int            `json:"passkeys"`              // how many there are: see GET /v1/me/passkeys
	Required      bool           `json:"required"`              // whether the person has to have a second factor
	FreshUntil    *time.Time     `json:"fresh_until,omitempty"` // until when no new proof is asked of this session
}

// NewFactor is the request of AddSecondFactor.
type NewFactor struct {
	Name string `json:"name" minLength:"1" maxLength:"100"` // what the person calls it
}

// Enrolment is a new authenticator app. Its secret is shown this once. It counts when its first code was given.
type Enrolment struct {
	ID     ids.Factor `json:"id"`
	Secret string     `json:"secret"` // base 32, for typing
	URI    string     `json:"uri"`    // otpauth://, for a QR code
}

// FactorRef names an authenticator app in a path.
type FactorRef struct {
	ID ids.Factor `json:"-" path:"id"`
}

// FirstCode is the request of ConfirmSecondFactor.
type FirstCode struct {
	FactorRef
	Code string `json:"code"` // that the app shows
}

// RecoveryCodes are shown this once; only hashes of them are kept.
type RecoveryCodes struct {
	RecoveryCodes []string `json:"recovery_codes"` // each is good once, in the place of any other second factor
}

// The endpoints of second factors, which the user service serves.
var (
	CreateSessionWithFactor = rpc.Endpoint[SecondStep, Tokens]{Spec: rpc.Spec{Service: "user", Name: "login_factor",
		Method: "POST", Path: "/v1/sessions/second-factor", Access: rpc.Public, Sealed: true,
		Headers: []string{"User-Agent"}, Status: 201, Limit: rpc.LoginLimit, Summary: "Log in: the second factor",
		Detail: "Wrong codes slow down further ones for the account, as wrong passwords do.",
		Faults: rpc.Faults{fault.Unauthenticated: "the code is wrong or was used, or the login is over: log in again"}}}
	ProveIdentity = rpc.Endpoint[Proof, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "prove", Method: "POST",
		Path: "/v1/sessions/current/proof", Access: rpc.User, Enrols: true, Sealed: true, Status: 204,
		Limit: rpc.LoginLimit, Summary: "Prove once more who one is",
		Detail: "For what is refused with `forbidden` and an error in the field `step_up`: changes of roles and " +
			"settings, larger refunds, second factors. A login counts too. How long it counts is said by the " +
			"setting user.step_up_ttl. Who has a second factor gives that, others the password.",
		Faults: rpc.Faults{fault.Forbidden: "it is wrong, or was used"}}}
	ListSecondFactors = rpc.Endpoint[rpc.None, SecondFactors]{Spec: rpc.Spec{Service: "user", Name: "list_factors",
		Method: "GET", Path: "/v1/me/second-factors", Access: rpc.User, Enrols: true,
		Summary: "The caller's second factors"}}
	AddSecondFactor = rpc.Endpoint[NewFactor, Enrolment]{Spec: rpc.Spec{Service: "user", Name: "add_factor",
		Method: "POST", Path: "/v1/me/second-factors", Access: rpc.User, Enrols: true, StepUp: true, Sealed: true,
		Status: 201, Summary: "Begin to add an authenticator app",
		Detail: "Takes the place of one whose first code was never given.",
		Faults: rpc.Faults{fault.Conflict: "there are too many"}}}
	ConfirmSecondFactor = rpc.Endpoint[FirstCode, RecoveryCodes]{Spec: rpc.Spec{Service: "user",
		Name: "confirm_factor", Method: "POST", Path: "/v1/me/second-factors/{id}/confirm", Access: rpc.User,
		Enrols: true, Sensitive: true, Sealed: true, Limit: rpc.LoginLimit,
		Summary: "Finish to add an authenticator app with its first code",
		Detail: "From now on logins ask for a second factor. With the first one of the account come recovery codes, " +
			"later ones bring none.",
		Faults: rpc.Faults{fault.NotFound: "the caller has no such app that waits for its first code",
			fault.Forbidden: "the code is wrong"}}}
	DeleteSecondFactor = rpc.Endpoint[FactorRef, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "delete_factor",
		Method: "DELETE", Path: "/v1/me/second-factors/{id}", Access: rpc.User, StepUp: true, Status: 204,
		Summary: "Remove an authenticator app", Detail: "Without a second factor left, recovery codes end, too.",
		Faults: rpc.Faults{fault.NotFound: "the caller has no such app", fault.Conflict: lastFactor}}}
	RenewRecoveryCodes = rpc.Endpoint[rpc.None, RecoveryCodes]{Spec: rpc.Spec{Service: "user",
		Name: "renew_recovery_codes", Method: "POST", Path: "/v1/me/recovery-codes", Access: rpc.User, StepUp: true,
		Sealed: true, Status: 201, Summary: "Make new recovery codes", Detail: "Those from before are worthless.",
		Faults: rpc.Faults{fault.Conflict: "there is no second factor"}}}
	ResetSecondFactors = rpc.Endpoint[UserRef, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "reset_factors",
		Audited: true,
		Method:  "DELETE", Path: "/v1/users/{id}/second-factors", Access: rpc.Admin, StepUp: true, Status: 204,
		Summary: "Remove all second factors of an account",
		Detail: "For a person who has lost them and the recovery codes, once it is clear who asks. Ends every " +
			"session of the account; the person is told."}}
)

func factorEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateSessionWithFactor.Describe(), ProveIdentity.Describe(),
		ListSecondFactors.Describe(), AddSecondFactor.Describe(), ConfirmSecondFactor.Describe(),
		DeleteSecondFactor.Describe(), RenewRecoveryCodes.Describe(), ResetSecondFactors.Describe()}
}

// FactorEvent is the payload of the topics of second factors.
type FactorEvent struct {
	UserID ids.User `json:"user_id"`
	Kind   string   `json:"kind"` // totp, passkey or recovery_code; empty: all of them
	// with RecoveryCodeWasUsed: how many are left
	Left int       `json:"left,omitempty"`
	At   time.Time `json:"at"`
}

// The topics of second factors.
var (
	FactorWasAdded    = Topic[FactorEvent]{"ev.user.factor.added", "a person has one more second factor"}
	FactorWasRemoved  = Topic[FactorEvent]{"ev.user.factor.removed", "a second factor of a person is gone"}
	FactorsHaveFailed = Topic[UserEvent]{"ev.user.factor.failed",
		"several wrong second factors came after the right password"}
	RecoveryCodeWasUsed = Topic[FactorEvent]{"ev.user.recovery_code.used",
		"a person logged in, or proved who they are, with a recovery code"}
)
