package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// SignatureTolerance is how far the time in a signature may be from ours, in either direction.
const SignatureTolerance = 5 * time.Minute

// maxSignature bounds the header that is looked at, in bytes: a time and a few signatures.
const maxSignature = 1024

// Sign returns the signature header of body: "t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">".
func Sign(secret, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(signatureOf(secret, t, body))
}

func signatureOf(secret []byte, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return mac.Sum(nil)
}

// Verify checks a signature header made by Sign. Several v1 members may stand in it, as while a secret is changed; one
// has to match. Every refusal is Unauthenticated with the same detail, so that a forger learns nothing from it.
func Verify(secret []byte, header string, body []byte, now time.Time) error {
	refused := fault.New(fault.Unauthenticated, "the signature of the callback is missing, wrong or too old")
	if len(secret) == 0 || len(header) > maxSignature {
		return refused
	}
	var stamp string
	var candidates [][]byte
	for member := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		switch name {
		case "t":
			if stamp != "" {
				return refused
			}
			stamp = value
		case "v1":
			raw, err := hex.DecodeString(value)
			if err != nil || len(raw) != sha256.Size {
				return refused
			}
			candidates = append(candidates, raw)
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != stamp {
		return refused
	}
	want := signatureOf(secret, stamp, body)
	ok := false
	for _, c := range candidates {
		ok = hmac.Equal(c, want) || ok
	}
	// Compared in whole seconds: a wild number of seconds would overflow a Duration.
	tolerance := int64(SignatureTolerance / time.Second)
	if age := now.Unix() - seconds; !ok || age > tolerance || age < -tolerance {
		return refused
	}
	return nil
}
