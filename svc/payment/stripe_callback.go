package payment

import (
	"encoding/json"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// stripeEvent is what we read of an event of Stripe, https://docs.stripe.com/api/events/object. The rest of it depends on
// the version of the API that the endpoint is set to; these members do not, and what happened is fetched anyway.
type stripeEvent struct {
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

// ParseCallback implements Provider. The signature is the scheme that verify knows,
// https://docs.stripe.com/webhooks#verify-manually; while a secret is rolled, either one is right.
func (s *stripeProvider) ParseCallback(cb *api.Callback) (CallbackEvent, error) {
	err := error(fault.New(fault.Unauthenticated, "there is no secret to check callbacks of Stripe with"))
	for _, secret := range s.secrets {
		if err = verify(secret, cb.StripeSignature, cb.Body, s.now()); err == nil {
			return parseStripeEvent(cb.Body)
		}
	}
	return CallbackEvent{}, err
}

// parseStripeEvent reads an event whose signature is right.
func parseStripeEvent(body []byte) (CallbackEvent, error) {
	var e stripeEvent
	if err := json.Unmarshal(body, &e); err != nil {
		return CallbackEvent{}, fault.Wrap(err, fault.Invalid, "the callback is not the JSON object that it should be")
	}
	remote := e.about()
	var check fault.Check
	check.Field(e.Object == "event", "object", "must be event")
	check.Field(printable(e.ID, maxRemoteID), "id", "must be 1 to %d printable ASCII characters", maxRemoteID)
	check.Field(printable(e.Type, maxStripeType), "type", "must be 1 to %d printable ASCII characters", maxStripeType)
	check.Field(remote == "" || printable(remote, maxRemoteID), "data.object", "must have an id of 1 to %d printable ASCII characters", maxRemoteID)
	if err := check.Err(); err != nil {
		return CallbackEvent{}, err
	}
	return CallbackEvent{ID: e.ID, RemoteID: remote, Type: e.Type}, nil
}

// maxStripeType bounds the type of an event, in bytes. The longest one that Stripe documents has 73.
const maxStripeType = 128

// about returns the session or intent that an event may have changed something of, or "".
func (e *stripeEvent) about() string {
	switch e.Type {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
		"checkout.session.expired":
		return e.Data.Object.ID
	case "payment_intent.succeeded", "payment_intent.processing", "payment_intent.payment_failed", "payment_intent.canceled",
		"payment_intent.requires_action", "payment_intent.partially_funded":
		return e.Data.Object.ID
	}
	if strings.HasPrefix(e.Type, "charge.") || strings.HasPrefix(e.Type, "refund.") { // charge.refund.updated is of a refund
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
