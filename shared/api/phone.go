package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// ConfirmPhone is the request of ConfirmPhoneNumber.
type ConfirmPhone struct {
	Code string `json:"code" pattern:"^[0-9]{6}$"` // from the text message
}

// MintPhone is the request of the internal endpoint MintPhoneCode.
type MintPhone struct {
	ConfirmationID string `json:"confirmation_id"`
}

// MintedPhone is a request to prove a number, ready to be sent there. The code exists nowhere else.
type MintedPhone struct {
	Contact   Contact   `json:"contact"` // with the number to prove
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"`
}

// PhoneEvent is the payload of PhoneConfirmationRequested.
type PhoneEvent struct {
	UserID         ids.User  `json:"user_id"`
	ConfirmationID string    `json:"confirmation_id"` // not the secret
	At             time.Time `json:"at"`
}

// The endpoints and topics of phone numbers, which the user service serves.
var (
	RequestPhoneConfirmation = rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "user",
		Name: "request_phone_confirmation", Method: "POST", Path: "/v1/phone-confirmations", Access: rpc.User,
		Status: 202, Limit: rpc.LoginLimit, Summary: "Have a code sent that confirms the own phone number",
		Detail: "To the number of the profile, if it is that of a mobile phone in a country that the setting " +
			"notification.sms_countries names. A code that was sent before is over.",
		Faults: rpc.Faults{fault.Conflict: "there is no number, it is confirmed already, or no messages go there"}}}
	ConfirmPhoneNumber = rpc.Endpoint[ConfirmPhone, rpc.None]{Spec: rpc.Spec{Service: "user",
		Name: "confirm_phone", Method: "POST", Path: "/v1/phone-confirmations/confirm", Access: rpc.User,
		Sealed: true, Status: 204, Limit: rpc.LoginLimit,
		Summary: "Confirm the own phone number with the code from the text message",
		Detail:  "Five wrong codes end the code that was sent, as do ten minutes.",
		Faults:  rpc.Faults{fault.Expired: "there is no code that could be used"}}}
	MintPhoneCode = rpc.Endpoint[MintPhone, MintedPhone]{Spec: rpc.Spec{Service: "user", Name: "mint_phone_code",
		Access: rpc.Internal, Sealed: true, Callers: []string{"notification"},
		Summary: "Make the code that confirms a phone number, at the moment it is sent"}}

	PhoneConfirmationRequested = Topic[PhoneEvent]{"ev.user.phone.requested",
		"a code is to be sent that confirms a phone number"}
	PhoneChanged = Topic[UserEvent]{"ev.user.phone.changed", "the phone number of an account was changed or removed"}
)
