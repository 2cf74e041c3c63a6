package api

import (
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Passkey is a WebAuthn credential of a person.
type Passkey struct {
	ID         ids.Passkey `json:"id"`
	Name       string      `json:"name"`                   // what the person calls it
	CreatedAt  time.Time   `json:"created_at"`             // when it was added
	LastUsedAt *time.Time  `json:"last_used_at,omitempty"` // when it last proved who the person is
}

// PasskeyOptions are for the WebAuthn API of a browser.
type PasskeyOptions struct {
	// for PublicKeyCredential.parseCreationOptionsFromJSON or parseRequestOptionsFromJSON; good for five minutes
	PublicKey json.RawMessage `json:"public_key"`
}

// PasskeyRequest is the request of GetPasskeyOptions.
type PasskeyRequest struct {
	Challenge string `json:"challenge,omitempty"` // of a login that asks for a second factor
}

// NewPasskey is the request of AddPasskey.
type NewPasskey struct {
	Name       string          `json:"name" minLength:"1" maxLength:"100"` // what the person calls it
	Credential json.RawMessage `json:"credential"`                         // the PublicKeyCredential, by its toJSON
}

// AddedPasskey is a new passkey.
type AddedPasskey struct {
	Passkey
	// with the first second factor of the account; shown this once
	RecoveryCodes []string `json:"recovery_codes"`
}

// PasskeyRef names a passkey in a path.
type PasskeyRef struct {
	ID ids.Passkey `json:"-" path:"id"`
}

// PasskeyName is the request of RenamePasskey.
type PasskeyName struct {
	PasskeyRef
	Name string `json:"name" minLength:"1" maxLength:"100"` // what the person calls it
}

// PasskeyLogin is the request of CreateSessionWithPasskey.
type PasskeyLogin struct {
	Credential  json.RawMessage `json:"credential"`             // the PublicKeyCredential, by its toJSON
	DeviceToken string          `json:"device_token,omitempty"` // from an earlier login
	Client      string          `json:"-" header:"User-Agent"`  // the session is shown by this name
}

// The endpoints of passkeys, which the user service serves.
var (
	GetPasskeyOptions = rpc.Endpoint[PasskeyRequest, PasskeyOptions]{Spec: rpc.Spec{Service: "user",
		Name: "passkey_options", Method: "POST", Path: "/v1/passkeys/options", Access: rpc.Optional, Enrols: true,
		Sealed: true, Limit: rpc.LoginLimit, Summary: "Options to prove with a passkey who one is",
		Detail: "For POST /v1/sessions/passkey; with the challenge of a login, for its second step; with an access " +
			"token, for POST /v1/sessions/current/proof.",
		Faults: rpc.Faults{fault.Unauthenticated: "the access token is wrong, or the login is over"}}}
	CreateSessionWithPasskey = rpc.Endpoint[PasskeyLogin, Tokens]{Spec: rpc.Spec{Service: "user",
		Name: "login_passkey", Method: "POST", Path: "/v1/sessions/passkey", Access: rpc.Public, Sealed: true,
		Headers: []string{"User-Agent"}, Status: 201, Limit: rpc.LoginLimit,
		Summary: "Log in with a passkey, without address and password",
		Detail:  "The authenticator has verified the person: no second factor is asked for.",
		Faults:  rpc.Faults{fault.Unauthenticated: "the passkey is not known, or its answer is not valid"}}}
	ListPasskeys = rpc.Endpoint[rpc.None, List[Passkey]]{Spec: rpc.Spec{Service: "user", Name: "list_passkeys",
		Method: "GET", Path: "/v1/me/passkeys", Access: rpc.User, Enrols: true,
		Summary: "The caller's passkeys, the oldest first"}}
	GetNewPasskeyOptions = rpc.Endpoint[rpc.None, PasskeyOptions]{Spec: rpc.Spec{Service: "user",
		Name: "new_passkey_options", Method: "POST", Path: "/v1/me/passkeys/options", Access: rpc.User, Enrols: true,
		StepUp: true, Summary: "Options to make a passkey"}}
	AddPasskey = rpc.Endpoint[NewPasskey, AddedPasskey]{Spec: rpc.Spec{Service: "user", Name: "add_passkey",
		Method: "POST", Path: "/v1/me/passkeys", Access: rpc.User, Enrols: true, StepUp: true, Sealed: true,
		Status: 201, Summary: "Add a passkey",
		Detail: "From now on logins with a password ask for a second factor. With the first one of the account come " +
			"recovery codes, later ones bring none.",
		Faults: rpc.Faults{fault.Conflict: "it is known already, or there are too many"}}}
	RenamePasskey = rpc.Endpoint[PasskeyName, Passkey]{Spec: rpc.Spec{Service: "user", Name: "rename_passkey",
		Method: "PATCH", Path: "/v1/me/passkeys/{id}", Access: rpc.User, Summary: "Rename a passkey",
		Faults: rpc.Faults{fault.NotFound: "the caller has no such passkey"}}}
	DeletePasskey = rpc.Endpoint[PasskeyRef, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "delete_passkey",
		Method: "DELETE", Path: "/v1/me/passkeys/{id}", Access: rpc.User, StepUp: true, Status: 204,
		Summary: "Remove a passkey", Detail: "Without a second factor left, recovery codes end, too.",
		Faults: rpc.Faults{fault.NotFound: "the caller has no such passkey", fault.Conflict: lastFactor}}}
)

func passkeyEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetPasskeyOptions.Describe(), CreateSessionWithPasskey.Describe(),
		ListPasskeys.Describe(), GetNewPasskeyOptions.Describe(), AddPasskey.Describe(), RenamePasskey.Describe(),
		DeletePasskey.Describe()}
}
