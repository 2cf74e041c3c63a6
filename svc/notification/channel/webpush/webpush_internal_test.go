package webpush

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/web"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// The example of RFC 8291, section 5.
func TestSealIsThatOfTheRFC(t *testing.T) {
	raw := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	private, err := ecdh.P256().NewPrivateKey(raw("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	if err != nil {
		t.Fatal(err)
	}
	const (
		theirs = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
		auth   = "BTBZMqHH6r4Tts7J_aSIgg"
		want   = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
	)
	got, err := seal([]byte("When I grow up, I want to be a watermelon"), theirs, auth, private, raw("DGv6ra1nlYgDCS1FRnbzlw"))
	if err != nil || base64.RawURLEncoding.EncodeToString(got) != want {
		t.Errorf("sealed %s, %v", base64.RawURLEncoding.EncodeToString(got), err)
	}
	for _, keys := range [][2]string{{"", auth}, {theirs, ""}, {"AAAA", auth}, {theirs[:len(theirs)-4] + "AAAA", auth}} {
		if _, _, err := subscriptionKeys(keys[0], keys[1]); err == nil {
			t.Errorf("keys %q were taken", keys)
		}
	}
}

// No address of this machine, of a private network or of a reserved range is dialed.
func TestIsPublic(t *testing.T) {
	for text, want := range map[string]bool{"142.250.1.1": true, "2a00:1450:4001::1": true, "127.0.0.1": false, "10.1.2.3": false, "169.254.169.254": false,
		"192.168.1.1": false, "100.64.0.1": false, "::1": false, "fe80::1": false, "fd00::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false,
		"224.0.0.1": false, "64:ff9b::a00:1": false, "::127.0.0.1": false, "::a00:1": false, "fec0::1": false, "3fff::1": false, "5f00::1": false,
		"2606:4700::1": true, "255.255.255.255": false} {
		if got := web.IsPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
}

// Who knows the address of a device may write to it: it stands in no error, and so in no log.
func TestErrorsDoNotNameTheEndpoint(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	sender, err := New(Config{Key: key, Contact: "mailto:ops@example.org", Now: time.Now, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	device, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	err = sender.Send(t.Context(), Subscription{Endpoint: "http://127.0.0.1:1/secret-of-the-device", P256dh: encode(device.PublicKey().Bytes()),
		Auth: encode(make([]byte, 16))}, Message{Body: []byte("x"), TTL: time.Minute})
	if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "secret-of-the-device") {
		t.Errorf("error is %v", err)
	}
}
