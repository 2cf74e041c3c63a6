package observe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
)

// Trace is the W3C trace context of one hop: which trace it belongs to, and which span of it this hop is.
type Trace struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool
}

// NewTrace starts a trace with random ids.
func NewTrace() Trace {
	t := Trace{Sampled: true}
	rand.Read(t.TraceID[:]) // never fails: crypto/rand ends the process instead
	rand.Read(t.SpanID[:])
	return t
}

// Child returns the same trace with a new span id, for the next hop.
func (t Trace) Child() Trace {
	rand.Read(t.SpanID[:])
	return t
}

// Valid tells whether both ids are set.
func (t Trace) Valid() bool { return t.TraceID != [16]byte{} && t.SpanID != [8]byte{} }

// String returns the trace as a traceparent header of version 00.
func (t Trace) String() string {
	flags := "00"
	if t.Sampled {
		flags = "01"
	}
	return "00-" + hex.EncodeToString(t.TraceID[:]) + "-" + hex.EncodeToString(t.SpanID[:]) + "-" + flags
}

// ParseTraceparent reads a traceparent header. Of versions later than 00 it reads the part that version 00 has, as the
// W3C recommendation asks; anything else malformed is refused.
func ParseTraceparent(s string) (Trace, bool) {
	const size = 55 // 2+1+32+1+16+1+2
	var t Trace
	if len(s) < size || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Trace{}, false
	}
	version := s[:2]
	if version == "ff" || !lowerHex(s[:2]) || (version == "00" && len(s) != size) || (len(s) > size && s[size] != '-') {
		return Trace{}, false
	}
	if !lowerHex(s[3:35]) || !lowerHex(s[36:52]) || !lowerHex(s[53:55]) {
		return Trace{}, false
	}
	hex.Decode(t.TraceID[:], []byte(s[3:35])) // cannot fail: checked above
	hex.Decode(t.SpanID[:], []byte(s[36:52]))
	var flags [1]byte
	hex.Decode(flags[:], []byte(s[53:55]))
	t.Sampled = flags[0]&1 == 1
	return t, t.Valid()
}

func lowerHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Request is the identity of the request that a context works for.
type Request struct {
	ID    string
	Trace Trace
}

type requestKey struct{}

// ContextWithRequest says which request ctx works for; every log line written with it carries the ids. A traceparent
// that cannot be read starts a new trace; a valid one is taken as it is, so a server passes the header it received and
// a client sends [Trace.Child] of what [RequestFrom] returns.
func ContextWithRequest(ctx context.Context, requestID, traceparent string) context.Context {
	t, ok := ParseTraceparent(traceparent)
	if !ok {
		t = NewTrace()
	}
	return context.WithValue(ctx, requestKey{}, Request{ID: requestID, Trace: t})
}

// RequestFrom returns what ContextWithRequest put there; ok is false when there is nothing.
func RequestFrom(ctx context.Context) (r Request, ok bool) {
	r, ok = ctx.Value(requestKey{}).(Request)
	return r, ok
}
