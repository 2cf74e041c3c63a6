package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

var (
	signedAt   = time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	testSecret = []byte("a secret of the sandbox, for tests only")
	testBody   = []byte(`{"id":"sbe_1","type":"payment.succeeded","payment":"sbp_1","created":1905256800}`)
)

func TestCallbackBody(t *testing.T) {
	good, err := parseCallbackBody(testBody)
	if want := (provider.CallbackEvent{ID: "sbe_1", RemoteID: "sbp_1", Type: "payment.succeeded"}); err != nil || good != want {
		t.Errorf("got %+v, %v", good, err)
	}
	long := strings.Repeat("x", provider.MaxID+1)
	for _, body := range []string{"", "null", "[]", "{}", `{"id":1,"type":"a","payment":"b"}`, `{"id":"","type":"a","payment":"b"}`,
		`{"id":"a","type":"a"}`, `{"id":"a","payment":"b"}`, `{"id":"` + long + `","type":"a","payment":"b"}`,
		`{"id":"a","type":"a","payment":"` + long + `"}`, `{"id":"a\u0000","type":"a","payment":"b"}`, `{"id":"a b","type":"a","payment":"b"}`,
		`{"id":"ä","type":"a","payment":"b"}`, `{"id":"a","type":"a","payment":"b"`, `{"id":"a","type":"a","payment":"b"} x`} {
		if e, err := parseCallbackBody([]byte(body)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %+v, %v, want %s", body, e, err, fault.Invalid)
		}
	}
}

// FuzzCallback feeds headers and bodies to the parser of callbacks: nothing may pass that was not signed, and what was
// signed is either understood within bounds or Invalid.
func FuzzCallback(f *testing.F) {
	f.Add(provider.Sign(testSecret, testBody, signedAt), testBody)
	f.Add("t=1905256800,v1="+strings.Repeat("0", 64), testBody)
	f.Add("t=,v1=,", []byte("{}"))
	f.Add("", []byte(`{"id":"\ud800","type":[],"payment":{}}`))
	s := &Provider{secret: testSecret, now: func() time.Time { return signedAt }}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if _, err := s.ParseCallback(&api.Callback{Headers: map[string]string{signatureHeader: header}, Body: body}); !fault.Is(err, fault.Unauthenticated) && !signed(header, body) {
			t.Fatalf("an unsigned callback got in: %q", header)
		}
		event, err := s.ParseCallback(&api.Callback{Headers: map[string]string{signatureHeader: provider.Sign(testSecret, body, signedAt)}, Body: body})
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("a signed body was refused with %v", err)
			}
			return
		}
		if !provider.Printable(event.ID, provider.MaxID) || !provider.Printable(event.RemoteID, provider.MaxID) || !provider.Printable(event.Type, maxType) {
			t.Fatalf("a wild event passed: %+v", event)
		}
		if !json.Valid(body) {
			t.Fatalf("a body passed that is no JSON: %q", body)
		}
	})
}

// signed reports whether the header holds the right signature for some second within the tolerance.
func signed(header string, body []byte) bool {
	tolerance := int(provider.SignatureTolerance / time.Second)
	for d := -tolerance; d <= tolerance; d++ {
		at := signedAt.Add(time.Duration(d) * time.Second)
		_, mac, _ := strings.Cut(provider.Sign(testSecret, body, at), "v1=")
		if strings.Contains(strings.ToLower(header), mac) {
			return true
		}
	}
	return false
}
