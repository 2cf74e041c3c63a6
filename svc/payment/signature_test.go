package payment

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

var (
	signedAt   = time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	testSecret = []byte("a secret of the sandbox, for tests only")
	testBody   = []byte(`{"id":"sbe_1","type":"payment.succeeded","payment":"sbp_1","created":1905256800}`)
)

func TestVerify(t *testing.T) {
	good := sign(testSecret, testBody, signedAt)
	stamp, mac, _ := strings.Cut(good, ",")
	other := sign([]byte("another secret"), testBody, signedAt)
	_, wrongMAC, _ := strings.Cut(other, ",")
	t0 := strconv.FormatInt(signedAt.Unix(), 10)

	tests := []struct {
		name   string
		header string
		body   []byte
		now    time.Time
		ok     bool
	}{
		{"fresh", good, testBody, signedAt, true},
		{"replayed within the tolerance", good, testBody, signedAt.Add(5 * time.Minute), true},
		{"from a clock that is ahead", good, testBody, signedAt.Add(-5 * time.Minute), true},
		{"spaces between members", stamp + ", " + mac, testBody, signedAt, true},
		{"two secrets, one of them ours", stamp + "," + wrongMAC + "," + mac, testBody, signedAt, true},
		{"members that are not known", good + ",v0=00,x", testBody, signedAt, true},

		{"old", good, testBody, signedAt.Add(5*time.Minute + time.Second), false},
		{"from the future", good, testBody, signedAt.Add(-5*time.Minute - time.Second), false},
		{"another body", good, bytes.Replace(testBody, []byte("sbp_1"), []byte("sbp_2"), 1), signedAt, false},
		{"a longer body", good, append(bytes.Clone(testBody), ' '), signedAt, false},
		{"no body", good, nil, signedAt, false},
		{"another key", other, testBody, signedAt, false},
		{"another time under the same signature", "t=" + strconv.FormatInt(signedAt.Unix()+1, 10) + "," + mac, testBody, signedAt, false},
		{"truncated", good[:len(good)-2], testBody, signedAt, false},
		{"truncated by half a byte", good[:len(good)-1], testBody, signedAt, false},
		{"signature only", mac, testBody, signedAt, false},
		{"time only", stamp, testBody, signedAt, false},
		{"time twice", stamp + "," + good, testBody, signedAt, false},
		{"time with a sign", "t=+" + t0 + "," + mac, testBody, signedAt, false},
		{"time with a zero in front", "t=0" + t0 + "," + mac, testBody, signedAt, false},
		{"time that overflows", "t=99999999999999999999," + mac, testBody, signedAt, false},
		{"the largest time", "t=9223372036854775807," + mac, testBody, signedAt, false},
		{"the smallest time", "t=-9223372036854775808," + mac, testBody, signedAt, false},
		{"empty", "", testBody, signedAt, false},
		{"empty signature", stamp + ",v1=", testBody, signedAt, false},
		{"not hex", stamp + ",v1=" + strings.Repeat("zz", 32), testBody, signedAt, false},
		{"garbage", "\x00\xff==,,=t=v1", testBody, signedAt, false},
		{"endless", stamp + strings.Repeat(","+mac, 20), testBody, signedAt, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := verify(testSecret, tt.header, tt.body, tt.now)
			if tt.ok && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !tt.ok && !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("got %v, want %s", err, fault.Unauthenticated)
			}
		})
	}
	if err := verify(nil, sign(nil, testBody, signedAt), testBody, signedAt); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("with an empty secret anybody can sign: got %v", err)
	}
}

func TestCallbackBody(t *testing.T) {
	good, err := parseCallbackBody(testBody)
	if want := (CallbackEvent{ID: "sbe_1", RemoteID: "sbp_1", Type: "payment.succeeded"}); err != nil || good != want {
		t.Errorf("got %+v, %v", good, err)
	}
	long := strings.Repeat("x", maxRemoteID+1)
	for _, body := range []string{"", "null", "[]", "{}", `{"id":1,"type":"a","payment":"b"}`, `{"id":"","type":"a","payment":"b"}`,
		`{"id":"a","type":"a"}`, `{"id":"a","payment":"b"}`, `{"id":"` + long + `","type":"a","payment":"b"}`,
		`{"id":"a","type":"a","payment":"` + long + `"}`, `{"id":"a\u0000","type":"a","payment":"b"}`, `{"id":"a b","type":"a","payment":"b"}`,
		`{"id":"ä","type":"a","payment":"b"}`, `{"id":"a","type":"a","payment":"b"`, `{"id":"a","type":"a","payment":"b"} x`} {
		if e, err := parseCallbackBody([]byte(body)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %+v, %v, want %s", body, e, err, fault.Invalid)
		}
	}
}

// FuzzCallback feeds headers and bodies to the door for callbacks: nothing may pass that was not signed, and what was
// signed is either understood within bounds or Invalid.
func FuzzCallback(f *testing.F) {
	f.Add(sign(testSecret, testBody, signedAt), testBody)
	f.Add("t=1905256800,v1="+strings.Repeat("0", 64), testBody)
	f.Add("t=,v1=,", []byte("{}"))
	f.Add("", []byte(`{"id":"\ud800","type":[],"payment":{}}`))
	s := &sandbox{secret: testSecret, now: func() time.Time { return signedAt }}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if _, err := s.ParseCallback(&api.Callback{SandboxSignature: header, Body: body}); !fault.Is(err, fault.Unauthenticated) && !signed(header, body) {
			t.Fatalf("an unsigned callback got in: %q", header)
		}
		event, err := s.ParseCallback(&api.Callback{SandboxSignature: sign(testSecret, body, signedAt), Body: body})
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("a signed body was refused with %v", err)
			}
			return
		}
		if !printable(event.ID, maxRemoteID) || !printable(event.RemoteID, maxRemoteID) || !printable(event.Type, maxType) {
			t.Fatalf("a wild event passed: %+v", event)
		}
		if !json.Valid(body) {
			t.Fatalf("a body passed that is no JSON: %q", body)
		}
	})
}

// signed reports whether the header holds the right signature for some second within the tolerance.
func signed(header string, body []byte) bool {
	tolerance := int(signatureTolerance / time.Second)
	for d := -tolerance; d <= tolerance; d++ {
		at := signedAt.Add(time.Duration(d) * time.Second)
		_, mac, _ := strings.Cut(sign(testSecret, body, at), "v1=")
		if strings.Contains(strings.ToLower(header), mac) {
			return true
		}
	}
	return false
}
