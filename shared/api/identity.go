package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// IdentityProvider is an OpenID Connect provider, such as that of an organization, through which people sign in.
type IdentityProvider struct {
	ID   ids.IdentityProvider `json:"id"`
	Name string               `json:"name" maxLength:"100"` // what people know it by, on one line
	// its URL as it names itself; below it is /.well-known/openid-configuration
	Issuer    string `json:"issuer"`
	ClientID  string `json:"client_id"`  // of this system at the provider
	HasSecret bool   `json:"has_secret"` // whether there is a client secret, which is not shown
	// the pages to which the provider sends people back; a sign-in that names none takes the first
	RedirectURIs []string `json:"redirect_uris" maxItems:"10"`
	// of the mail addresses that the provider vouches for
	Domains []string `json:"domains" maxItems:"50"`
	// whether who has no account gets one, with an address that is verified there and of one of the domains
	CreatesAccounts bool `json:"creates_accounts"`
	// values of amr or acr, any one of which says that the provider has asked for a second factor
	SecondFactor []string  `json:"second_factor" maxItems:"20"`
	Enabled      bool      `json:"enabled"`    // whether people can sign in through it
	Revision     int64     `json:"revision"`   // grows with each change
	CreatedAt    time.Time `json:"created_at"` // when it was made
	UpdatedAt    time.Time `json:"updated_at"` // when it was last changed
}

// ETag implements rpc.ETagger.
func (p IdentityProvider) ETag() string { return strconv.FormatInt(p.Revision, 36) }

// NewIdentityProvider is the request of CreateIdentityProvider.
type NewIdentityProvider struct {
	Name   string `json:"name" minLength:"1" maxLength:"100"` // what people know it by, on one line
	Issuer string `json:"issuer"`                             // its https URL, exactly as it names itself
	// of this system at the provider
	ClientID string `json:"client_id" minLength:"1" maxLength:"300"`
	// of this system at the provider; absent if that asks for none
	ClientSecret string `json:"client_secret" maxLength:"1000" required:"false"`
	// the https pages to which the provider may send people back; http on a loopback address. {id} becomes the id of
	// the provider. An answer without iss is refused at a page that another provider has, too: it could be of that one
	RedirectURIs []string `json:"redirect_uris" minItems:"1" maxItems:"10"`
	// of the mail addresses that the provider vouches for, such as example.org; those below it are others
	Domains []string `json:"domains" maxItems:"50" required:"false"`
	// whether who has no account gets one, with an address that is verified there and of one of the domains
	CreatesAccounts bool `json:"creates_accounts" required:"false"`
	// values of amr or acr, any one of which says that the provider has asked for a second factor
	SecondFactor []string `json:"second_factor" maxItems:"20" required:"false"`
}

// IdentityProviderRef names an identity provider in a path.
type IdentityProviderRef struct {
	ID ids.IdentityProvider `json:"-" path:"id"`
}

// PatchIdentityProvider is the request of UpdateIdentityProvider. What is absent stays as it is. Another issuer is
// another provider.
type PatchIdentityProvider struct {
	ID ids.IdentityProvider `json:"-" path:"id"`
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch  string  `json:"-" header:"If-Match"`
	Name     *string `json:"name,omitempty" minLength:"1" maxLength:"100"`      // what people know it by
	ClientID *string `json:"client_id,omitempty" minLength:"1" maxLength:"300"` // of this system at the provider
	// of this system at the provider; null if that asks for none
	ClientSecret codec.Patch[string] `json:"client_secret,omitzero" maxLength:"1000"`
	// all pages to which the provider may send people back
	RedirectURIs *[]string `json:"redirect_uris,omitempty" minItems:"1" maxItems:"10"`
	// all domains that the provider vouches for
	Domains *[]string `json:"domains,omitempty" maxItems:"50"`
	// whether who has no account gets one
	CreatesAccounts *bool `json:"creates_accounts,omitempty"`
	// all values of amr or acr that say that the provider has asked for a second factor
	SecondFactor *[]string `json:"second_factor,omitempty" maxItems:"20"`
	// false ends the sessions of those who have signed in through it
	Enabled *bool `json:"enabled,omitempty"`
}

// SignInProvider is an identity provider as everybody sees it.
type SignInProvider struct {
	ID   ids.IdentityProvider `json:"id"`
	Name string               `json:"name"` // what people know it by
}

// NewSignIn is the request of StartSignIn and StartLink.
type NewSignIn struct {
	ProviderID  ids.IdentityProvider `json:"provider_id"`
	RedirectURI string               `json:"redirect_uri,omitempty"` // one of the provider's; absent: the first
	// have the provider ask for a proof even of who is signed in there; only this counts as a fresh proof here
	Fresh bool `json:"fresh,omitempty"`
}

// StartedSignIn is a sign-in that goes on at an identity provider.
type StartedSignIn struct {
	AuthorizeURL string `json:"authorize_url"` // where the browser goes next
	// a secret of the client that goes on: the page to which the browser comes back gives it with code and state
	LoginToken string `json:"login_token"`
	ExpiresIn  int    `json:"expires_in"` // seconds until it is over
}

// ReturnedSignIn is what a provider has sent a person back with.
type ReturnedSignIn struct {
	LoginToken string `json:"login_token"`   // of the start
	State      string `json:"state"`         // the parameter of the page's address
	Code       string `json:"code"`          // the parameter of the page's address
	Issuer     string `json:"iss,omitempty"` // the parameter of the page's address, if it is there
	// The page's address without its parameters, from which it is seen whether it is this provider's. Without it an
	// answer that has no iss is refused while there is more than one provider.
	RedirectURI string `json:"redirect_uri,omitempty"`
}

// FinishedSignIn is the request of FinishSignIn.
type FinishedSignIn struct {
	ReturnedSignIn
	DeviceToken string `json:"device_token,omitempty"`     // from an earlier login
	Client      string `json:"-" header:"User-Agent"`      // the session is shown by this name
	Speaks      string `json:"-" header:"Accept-Language"` // of a new account
}

// Identity is a person's account at an identity provider, through which the person signs in.
type Identity struct {
	ID         ids.Identity         `json:"id"`
	ProviderID ids.IdentityProvider `json:"provider_id"`
	Provider   string               `json:"provider"`               // what people know it by
	Subject    string               `json:"subject"`                // the provider's name for the person
	Email      string               `json:"email,omitempty"`        // the address there, when it was linked
	CreatedAt  time.Time            `json:"created_at"`             // when it was linked
	LastUsedAt *time.Time           `json:"last_used_at,omitempty"` // when the person last signed in through it
}

// Identities are through what a person signs in besides passkeys.
type Identities struct {
	Items       []Identity `json:"items"`        // the oldest first
	HasPassword bool       `json:"has_password"` // whether the account has one; POST /v1/password-resets sets one
}

// IdentityRef names an identity in a path.
type IdentityRef struct {
	ID ids.Identity `json:"-" path:"id"`
}

const (
	noProvider    = "there is no such identity provider"
	startedNot    = "the provider does not answer"
	notConfirmed  = "the sign-in is over, was used, or is not confirmed by the provider"
	linkedToOther = "it is linked with another account"
)

// The endpoints of identity providers, which the user service serves.
var (
	ListSignInProviders = rpc.Endpoint[rpc.None, List[SignInProvider]]{Spec: rpc.Spec{Service: "user",
		Name: "list_sign_in_providers", Method: "GET", Path: "/v1/sessions/oidc", Access: rpc.Public,
		Summary: "The identity providers through which one can sign in"}}
	StartSignIn = rpc.Endpoint[NewSignIn, StartedSignIn]{Spec: rpc.Spec{Service: "user", Name: "start_sign_in",
		Method: "POST", Path: "/v1/sessions/oidc", Access: rpc.Public, Sealed: true, Limit: rpc.LoginLimit,
		Summary: "Sign in through an identity provider: the start",
		Detail: "The client keeps the login token, sends the browser to authorize_url, and goes on at the page to " +
			"which that comes back, within ten minutes.",
		Faults: rpc.Faults{fault.NotFound: noProvider, fault.Unavailable: startedNot}}}
	FinishSignIn = rpc.Endpoint[FinishedSignIn, SignIn]{Spec: rpc.Spec{Service: "user", Name: "finish_sign_in",
		Method: "POST", Path: "/v1/sessions/oidc/callback", Access: rpc.Public, Sealed: true, Status: 201,
		Headers: []string{"User-Agent", "Accept-Language"}, Limit: rpc.LoginLimit,
		Summary: "Sign in through an identity provider: the end",
		Detail: "Who is linked with an account signs in to that. An account with the same address is linked if the " +
			"address is confirmed here, verified there and of a domain of the provider, and the account has neither " +
			"rights nor a second factor. Who has a second factor here is asked for it as at any login, unless the " +
			"provider has asked for one.",
		Faults: rpc.Faults{fault.Unauthenticated: notConfirmed,
			fault.Forbidden: "no account is linked, and none may be; or an administrator has locked it"}}}
	StartLink = rpc.Endpoint[NewSignIn, StartedSignIn]{Spec: rpc.Spec{Service: "user", Name: "start_link",
		Method: "POST", Path: "/v1/me/identities", Access: rpc.User, StepUp: true, Sealed: true,
		Limit: rpc.LoginLimit, Summary: "Link an account at an identity provider: the start",
		Faults: rpc.Faults{fault.NotFound: noProvider, fault.Unavailable: startedNot}}}
	FinishLink = rpc.Endpoint[ReturnedSignIn, Identity]{Spec: rpc.Spec{Service: "user", Name: "finish_link",
		Method: "POST", Path: "/v1/me/identities/callback", Access: rpc.User, Sensitive: true, Sealed: true,
		Status: 201, Limit: rpc.LoginLimit, Summary: "Link an account at an identity provider: the end",
		Detail: "From now on the person signs in through it, too. Needs the session of the start.",
		Faults: rpc.Faults{fault.Forbidden: notConfirmed, fault.Conflict: linkedToOther}}}
	ListIdentities = rpc.Endpoint[rpc.None, Identities]{Spec: rpc.Spec{Service: "user", Name: "list_identities",
		Method: "GET", Path: "/v1/me/identities", Access: rpc.User,
		Summary: "The caller's accounts at identity providers"}}
	DeleteIdentity = rpc.Endpoint[IdentityRef, rpc.None]{Spec: rpc.Spec{Service: "user", Name: "delete_identity",
		Method: "DELETE", Path: "/v1/me/identities/{id}", Access: rpc.User, StepUp: true, Status: 204,
		Summary: "Sign in no more through an identity provider", Detail: "Ends the sessions that began there.",
		Faults: rpc.Faults{fault.NotFound: "the caller has no such identity",
			fault.Conflict: "the account has no other way to sign in: set a password first"}}}
	CreateIdentityProvider = rpc.Endpoint[NewIdentityProvider, IdentityProvider]{Spec: rpc.Spec{Service: "user",
		Name: "create_identity_provider", Method: "POST", Path: "/v1/identity-providers", Access: rpc.Admin,
		StepUp: true, Audited: true, Sealed: true, Status: 201, Location: "/v1/identity-providers/{id}",
		Summary: "Have people sign in through an identity provider",
		Faults:  rpc.Faults{fault.Conflict: "the issuer is known already"}}}
	ListIdentityProviders = rpc.Endpoint[rpc.None, List[IdentityProvider]]{Spec: rpc.Spec{Service: "user",
		Name: "list_identity_providers", Method: "GET", Path: "/v1/identity-providers", Access: rpc.Admin,
		Summary: "All identity providers, the oldest first"}}
	GetIdentityProvider = rpc.Endpoint[IdentityProviderRef, IdentityProvider]{Spec: rpc.Spec{Service: "user",
		Name: "get_identity_provider", Method: "GET", Path: "/v1/identity-providers/{id}", Access: rpc.Admin,
		Summary: "Read an identity provider", Faults: rpc.Faults{fault.NotFound: noProvider}}}
	UpdateIdentityProvider = rpc.Endpoint[PatchIdentityProvider, IdentityProvider]{Spec: rpc.Spec{Service: "user",
		Name: "update_identity_provider", Method: "PATCH", Path: "/v1/identity-providers/{id}", Access: rpc.Admin,
		StepUp: true, Audited: true, Sealed: true, Headers: []string{"If-Match"},
		Summary: "Change an identity provider, or switch it off",
		Detail:  "Switched off, no one signs in through it, and the sessions that began there end.",
		Faults:  rpc.Faults{fault.NotFound: noProvider}}}
	DeleteIdentityProvider = rpc.Endpoint[IdentityProviderRef, rpc.None]{Spec: rpc.Spec{Service: "user",
		Name: "delete_identity_provider", Method: "DELETE", Path: "/v1/identity-providers/{id}", Access: rpc.Admin,
		StepUp: true, Audited: true, Status: 204, Summary: "Remove an identity provider",
		Detail: "The sessions that began there end, and the links of accounts with it are gone. The accounts stay: " +
			"their owners set a password by a password reset.",
		Faults: rpc.Faults{fault.NotFound: noProvider}}}
)

// ProviderLogout is the request of ReceiveProviderLogout.
type ProviderLogout struct {
	ID   ids.IdentityProvider `json:"-" path:"id"`
	Body []byte               `json:"-" body:"raw"` // a form with the member logout_token
}

// ReceiveProviderLogout is called by identity providers.
var ReceiveProviderLogout = rpc.Endpoint[ProviderLogout, rpc.None]{Spec: rpc.Spec{Service: "user",
	Name: "provider_logout", Method: "POST", Path: "/v1/identity-providers/{id}/logout", Access: rpc.Public,
	Raw: true, Sealed: true, Status: 204, Summary: "A provider's word that a person has left",
	Detail: "OpenID Connect Back-Channel Logout 1.0: the address to register at the provider. The token names the " +
		"person by `sub`, a session there by `sid`, or both; the sessions end here that began through this provider, " +
		"with a `sid` those that began in that session.",
	Faults: rpc.Faults{fault.NotFound: noProvider, fault.Unavailable: startedNot}}}

func identityEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListSignInProviders.Describe(), StartSignIn.Describe(), FinishSignIn.Describe(),
		StartLink.Describe(), FinishLink.Describe(), ListIdentities.Describe(), DeleteIdentity.Describe(),
		CreateIdentityProvider.Describe(), ListIdentityProviders.Describe(), GetIdentityProvider.Describe(),
		UpdateIdentityProvider.Describe(), DeleteIdentityProvider.Describe(), ReceiveProviderLogout.Describe()}
}

// IdentityEvent is the payload of the topics of identities.
type IdentityEvent struct {
	UserID   ids.User  `json:"user_id"`
	Provider string    `json:"provider"` // what people know it by
	At       time.Time `json:"at"`
}

// The topics of identities.
var (
	IdentityWasLinked = Topic[IdentityEvent]{"ev.user.identity.linked",
		"a person can sign in through one more identity provider"}
	IdentityWasUnlinked = Topic[IdentityEvent]{"ev.user.identity.unlinked",
		"a person signs in no more through an identity provider"}
)
