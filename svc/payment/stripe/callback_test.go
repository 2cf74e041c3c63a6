package stripe

import (
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/payment/provider"

	"github.com/starlightsymphony/starlight/svc/payment/stripe/stripetest"
)

// signed returns a callback that Stripe's own library has signed.
func signed(secret, body string, at time.Time) *api.Callback {
	return &api.Callback{Provider: Name, Headers: map[string]string{SignatureHeader: stripetest.Sign(secret, body, at)}, Body: []byte(body)}
}

// TestStripeEvents reads the events that matter, in the forms that different versions of the API give them, and others.
func TestStripeEvents(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newTest(t, "", now)
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
		got, err := s.ParseCallback(signed(stripetest.Secret, stripetest.Event(tt.kind, tt.object), now))
		if want := (provider.CallbackEvent{ID: "evt_1", RemoteID: tt.about, Type: tt.kind}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", tt.kind, got, err, want)
		}
	}
	for _, body := range []string{"", "null", "[]", "no JSON", `{}`, stripetest.Event("x", `"no object"`), stripetest.Event("", session), stripetest.Event("a\\nb", session),
		stripetest.Event(strings.Repeat("x", 200), session), stripetest.Event("payment_intent.succeeded", `{"id":"`+strings.Repeat("x", 200)+`"}`),
		strings.Replace(stripetest.Event("charge.refunded", session), `"event"`, `"v2.core.event"`, 1)} {
		_, err := s.ParseCallback(signed(stripetest.Secret, body, now))
		wantFault(t, err, fault.Invalid)
	}
}

// TestStripeSignatures is the corpus of what arrives at an open door.
func TestStripeSignatures(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newTest(t, "", now) // with two secrets
	body := stripetest.Event("checkout.session.completed", `{"id":"cs_1"}`)
	good := signed(stripetest.Secret, body, now)
	header := good.Headers[SignatureHeader]
	stamp, signature, _ := strings.Cut(header, ",")
	_, wrong, _ := strings.Cut(signed("whsec_wrong", body, now).Headers[SignatureHeader], ",")
	with := func(header, body string) *api.Callback {
		return &api.Callback{Provider: Name, Headers: map[string]string{SignatureHeader: header}, Body: []byte(body)}
	}
	for name, cb := range map[string]*api.Callback{
		"as it is":               good,
		"replayed":               good, // the same event id is kept once, see TestStripePurchase
		"the second secret":      signed(stripetest.SecondSecret, body, now),
		"four minutes old":       signed(stripetest.Secret, body, now.Add(-4*time.Minute)),
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
		"old":                 signed(stripetest.Secret, body, now.Add(-6*time.Minute)),
		"from the future":     signed(stripetest.Secret, body, now.Add(6*time.Minute)),
		"truncated signature": with(header[:len(header)-2], body),
		"truncated body":      with(header, body[:len(body)-1]),
		"wrong body":          with(header, strings.Replace(body, "cs_1", "cs_2", 1)),
		"wrong key":           signed("whsec_wrong", body, now),
		"both secrets as one": signed("whsec_the_first,whsec_the_second", body, now),
		"other time":          with("t=1,"+signature, body),
		"two times":           with("t=1,"+header, body),
		"no time":             with(signature, body),
		"only v0":             with(stamp+","+strings.Replace(signature, "v1", "v0", 1), body),
		"of the sandbox":      {Provider: Name, Headers: map[string]string{"Sandbox-Signature": header}, Body: []byte(body)},
		"empty":               with(stamp+",v1=", body),
	} {
		_, err := s.ParseCallback(cb)
		if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	s.secrets = nil
	_, err := s.ParseCallback(signed("", body, now))
	wantFault(t, err, fault.Unauthenticated)
}

// FuzzStripeCallback looks for a body or header that breaks the parser, or passes without a signature.
func FuzzStripeCallback(f *testing.F) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newTest(f, "", now)
	for _, body := range []string{stripetest.Event("charge.refunded", `{"id":"ch_1","payment_intent":{"id":"pi_1"}}`), "null", `{"data":1}`} {
		f.Add(signed(stripetest.Secret, body, now).Headers[SignatureHeader], []byte(body))
	}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		_, err := s.ParseCallback(&api.Callback{Headers: map[string]string{SignatureHeader: header}, Body: body})
		if err == nil && provider.Verify([]byte(stripetest.Secret), header, body, now) != nil {
			t.Fatal("a callback without a signature was accepted")
		}
		got, err := s.ParseCallback(signed(stripetest.Secret, string(body), now))
		switch {
		case err == nil && (!provider.Printable(got.ID, provider.MaxID) || got.RemoteID != "" && !provider.Printable(got.RemoteID, provider.MaxID)):
			t.Fatalf("%q passed", got)
		case err != nil && !fault.Is(err, fault.Invalid):
			t.Fatalf("a signed body is %v", err)
		}
	})
}
