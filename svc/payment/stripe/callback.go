package stripe

import (
	"encoding/json"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// event is what we read of an event of Stripe, https://docs.stripe.com/api/events/object. The rest of it depends on
// the version of the API that the endpoint is set to; these members do not, and what happened is fetched anyway.
type event struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Type   string `json:"type"`
	Data   struct {
		Object struct {
			ID            string          `json:"id"`
			PaymentIntent json.RawMessage `json:"payment_intent"` // of charges and refunds: an id, an object, or null
		} `json:"object"`
	} `json:"data"`
}

// SignatureHeader is the header in which the signature of a callback comes.
const SignatureHeader = "Stripe-Signature"

// ParseCallback implements provider.Provider. The signature is the scheme of provider.Verify,
// https://docs.stripe.com/webhooks#verify-manually; while a secret is rolled, either one is right.
func (s *Provider) ParseCallback(cb *api.Callback) (provider.CallbackEvent, error) {
	err := error(fault.New(fault.Unauthenticated, "there is no secret to check callbacks of Stripe with"))
	for _, secret := range s.secrets {
		if err = provider.Verify(secret, cb.Headers[SignatureHeader], cb.Body, s.now()); err == nil {
			return parseEvent(cb.Body)
		}
	}
	return provider.CallbackEvent{}, err
}

// parseEvent reads an event whose signature is right.
func parseEvent(body []byte) (provider.CallbackEvent, error) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		return provider.CallbackEvent{}, fault.Wrap(err, fault.Invalid,
			"the callback is not the JSON object that it should be")
	}
	remote := e.about()
	var check fault.Check
	check.Field(e.Object == "event", "object", "must be event")
	check.Field(provider.Printable(e.ID, provider.MaxID), "id",
		"must be 1 to %d printable ASCII characters", provider.MaxID)
	check.Field(provider.Printable(e.Type, maxType), "type", "must be 1 to %d printable ASCII characters", maxType)
	check.Field(remote == "" || provider.Printable(remote, provider.MaxID), "data.object",
		"must have an id of 1 to %d printable ASCII characters", provider.MaxID)
	if err := check.Err(); err != nil {
		return provider.CallbackEvent{}, err
	}
	return provider.CallbackEvent{ID: e.ID, RemoteID: remote, Type: e.Type}, nil
}

// maxType bounds the type of an event, in bytes. The longest one that Stripe documents has 73.
const maxType = 128

// about returns the session or intent that an event may have changed something of, or "".
func (e *event) about() string {
	switch e.Type {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded",
		"checkout.session.async_payment_failed", "checkout.session.expired":
		return e.Data.Object.ID
	case "payment_intent.succeeded", "payment_intent.processing", "payment_intent.payment_failed",
		"payment_intent.canceled", "payment_intent.requires_action", "payment_intent.partially_funded":
		return e.Data.Object.ID
	}
	// charge.refund.updated is of a refund
	if strings.HasPrefix(e.Type, "charge.") || strings.HasPrefix(e.Type, "refund.") {
		return intentOf(e.Data.Object.PaymentIntent)
	}
	return ""
}

// intentOf returns the id in a member that may hold an id, the object itself, or nothing.
func intentOf(raw json.RawMessage) string {
	var id string
	if json.Unmarshal(raw, &id) == nil {
		return id
	}
	var object struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(raw, &object) == nil {
		return object.ID
	}
	return ""
}
