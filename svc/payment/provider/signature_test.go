package provider

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

var (
	signedAt   = time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC)
	testSecret = []byte("a secret of the sandbox, for tests only")
	testBody   = []byte(`{"id":"sbe_1","type":"payment.succeeded","payment":"sbp_1","created":1905256800}`)
)

func TestVerify(t *testing.T) {
	good := Sign(testSecret, testBody, signedAt)
	stamp, mac, _ := strings.Cut(good, ",")
	other := Sign([]byte("another secret"), testBody, signedAt)
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
			err := Verify(testSecret, tt.header, tt.body, tt.now)
			if tt.ok && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !tt.ok && !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("got %v, want %s", err, fault.Unauthenticated)
			}
		})
	}
	if err := Verify(nil, Sign(nil, testBody, signedAt), testBody, signedAt); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("with an empty secret any sender can sign: got %v", err)
	}
}
