package payment

import (
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

const testStripeSecret = "whsec_the_first"

// stripeSigned returns a callback that Stripe's own library has signed.
func stripeSigned(secret, body string, at time.Time) *api.Callback {
	p := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: at})
	return &api.Callback{Provider: stripeName, StripeSignature: p.Header, Body: p.Payload}
}

// event returns the body of an event with an object.
func event(kind, object string) string {
	return `{"id":"evt_1","object":"event","api_version":"2020-08-27","type":"` + kind + `","livemode":false,"data":{"object":` + object + `}}`
}

// TestStripeEvents reads the events that matter, in the forms that different versions of the API give them, and others.
func TestStripeEvents(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newTestStripe(t, "", now)
	session, intent := `{"id":"cs_1","object":"checkout.session","payment_intent":"pi_1"}`, `{"id":"pi_1","object":"payment_intent"}`
	for _, tt := range []struct{ kind, object, about string }{
		{"checkout.session.completed", session, "cs_1"},
		{"checkout.session.async_payment_succeeded", session, "cs_1"},
		{"checkout.session.async_payment_failed", session, "cs_1"},
		{"checkout.session.expired", session, "cs_1"},
		{"payment_intent.succeeded", intent, "pi_1"},
		{"payment_intent.processing", intent, "pi_1"},
		{"payment_intent.payment_failed", intent, "pi_1"},
		{"payment_intent.canceled", intent, "pi_1"},
		{"charge.refunded", `{"id":"ch_1","object":"charge","payment_intent":"pi_1"}`, "pi_1"},
		{"charge.refunded", `{"id":"ch_1","object":"charge","payment_intent":{"id":"pi_1","object":"payment_intent"}}`, "pi_1"},
		{"charge.succeeded", `{"id":"ch_1","object":"charge","payment_intent":null}`, ""}, // a charge without checkout
		{"charge.dispute.created", `{"id":"du_1","object":"dispute","payment_intent":"pi_1"}`, "pi_1"},
		{"refund.created", `{"id":"re_1","object":"refund","payment_intent":"pi_1"}`, "pi_1"},
		{"refund.failed", `{"id":"re_1","object":"refund","payment_intent":"pi_1"}`, "pi_1"},
		{"charge.refund.updated", `{"id":"re_1","object":"refund","payment_intent":"pi_1"}`, "pi_1"},
		{"payment_intent.created", intent, ""}, // nothing has happened yet
		{"customer.created", `{"id":"cus_1","object":"customer"}`, ""},
		{"account.updated", `{}`, ""},
	} {
		got, err := s.ParseCallback(stripeSigned(testStripeSecret, event(tt.kind, tt.object), now))
		if want := (CallbackEvent{ID: "evt_1", RemoteID: tt.about, Type: tt.kind}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", tt.kind, got, err, want)
		}
	}
	for _, body := range []string{"", "null", "[]", "no JSON", `{}`, event("x", `"no object"`), event("", session), event("a\\nb", session),
		event(strings.Repeat("x", 200), session), event("payment_intent.succeeded", `{"id":"`+strings.Repeat("x", 200)+`"}`),
		strings.Replace(event("charge.refunded", session), `"event"`, `"v2.core.event"`, 1)} {
		_, err := s.ParseCallback(stripeSigned(testStripeSecret, body, now))
		wantFault(t, err, fault.Invalid)
	}
}

// TestStripeSignatures is the corpus of what arrives at an open door.
func TestStripeSignatures(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newTestStripe(t, "", now) // with two secrets
	body := event("checkout.session.completed", `{"id":"cs_1"}`)
	good := stripeSigned(testStripeSecret, body, now)
	header := good.StripeSignature
	stamp, signature, _ := strings.Cut(header, ",")
	_, wrong, _ := strings.Cut(stripeSigned("whsec_wrong", body, now).StripeSignature, ",")
	with := func(header, body string) *api.Callback {
		return &api.Callback{Provider: stripeName, StripeSignature: header, Body: []byte(body)}
	}
	for name, cb := range map[string]*api.Callback{
		"as it is":               good,
		"replayed":               good, // the same event id is kept once, see TestStripePurchase
		"the second secret":      stripeSigned("whsec_the_second", body, now),
		"four minutes old":       stripeSigned(testStripeSecret, body, now.Add(-4*time.Minute)),
		"several v1, first":      with(header+","+wrong, body),
		"several v1, last":       with(stamp+","+wrong+","+signature, body),
		"with the old scheme v0": with(header+",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39", body),
	} {
		if _, err := s.ParseCallback(cb); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, cb := range map[string]*api.Callback{
		"none":                with("", body),
		"old":                 stripeSigned(testStripeSecret, body, now.Add(-6*time.Minute)),
		"from the future":     stripeSigned(testStripeSecret, body, now.Add(6*time.Minute)),
		"truncated signature": with(header[:len(header)-2], body),
		"truncated body":      with(header, body[:len(body)-1]),
		"wrong body":          with(header, strings.Replace(body, "cs_1", "cs_2", 1)),
		"wrong key":           stripeSigned("whsec_wrong", body, now),
		"both secrets as one": stripeSigned("whsec_the_first,whsec_the_second", body, now),
		"other time":          with("t=1,"+signature, body),
		"two times":           with("t=1,"+header, body),
		"no time":             with(signature, body),
		"only v0":             with(stamp+","+strings.Replace(signature, "v1", "v0", 1), body),
		"of the sandbox":      {Provider: stripeName, SandboxSignature: header, Body: []byte(body)},
		"empty":               with(stamp+",v1=", body),
	} {
		_, err := s.ParseCallback(cb)
		if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	s.secrets = nil
	_, err := s.ParseCallback(stripeSigned("", body, now))
	wantFault(t, err, fault.Unauthenticated)
}

// FuzzStripeCallback looks for a body or header that breaks the parser, or passes without a signature.
func FuzzStripeCallback(f *testing.F) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newTestStripe(f, "", now)
	for _, body := range []string{event("charge.refunded", `{"id":"ch_1","payment_intent":{"id":"pi_1"}}`), "null", `{"data":1}`} {
		f.Add(stripeSigned(testStripeSecret, body, now).StripeSignature, []byte(body))
	}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		_, err := s.ParseCallback(&api.Callback{StripeSignature: header, Body: body})
		if err == nil && verify([]byte(testStripeSecret), header, body, now) != nil {
			t.Fatal("a callback that nobody signed was taken")
		}
		got, err := s.ParseCallback(stripeSigned(testStripeSecret, string(body), now))
		switch {
		case err == nil && (!printable(got.ID, maxRemoteID) || got.RemoteID != "" && !printable(got.RemoteID, maxRemoteID)):
			t.Fatalf("%q passed", got)
		case err != nil && !fault.Is(err, fault.Invalid):
			t.Fatalf("a signed body is %v", err)
		}
	})
}
