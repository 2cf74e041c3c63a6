// Package live is what services and the gateway agree on for live streams: an endpoint that is declared Live answers
// with a Snapshot, which names a subject, and the service publishes every later change there.
package live

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// The headers of live streams: in the reply of a live endpoint the subject to subscribe to, in a message on that subject
// the name and the id of the server-sent event it becomes. Event and id may be absent.
const (
	HeaderSubject = "Starlight-Live"
	HeaderEvent   = "Starlight-Event"
	HeaderEventID = "Starlight-Event-Id"
)

// Snapshot is implemented by the responses of endpoints that are declared Live: the present state, and where every later
// change of it is published.
//
// The gateway subscribes before it asks for the snapshot that the client is sent, so nothing falls between the two. A
// change may be in both.
type Snapshot interface {
	// LiveSubject returns a subject made by Subject, for the service of the endpoint.
	LiveSubject() string
}

// Subject returns live.<service>.<token>…, on which a service publishes changes. The tokens are ids.
func Subject(service string, tokens ...string) string {
	return prefix + service + "." + strings.Join(tokens, ".")
}

// SubjectsOf returns the subjects on which a service publishes changes.
func SubjectsOf(service string) string { return prefix + service + ".>" }

// Subjects are those of all services.
const (
	Subjects = prefix + ">"
	prefix   = "live."
)

// Publish publishes a change to the present subscribers, at most once: what must not be lost is in the next snapshot.
// The payload is sent as JSON. The id may be empty.
func Publish(nc *nats.Conn, subject, event, id string, payload any) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("live: payload of %s: %w", event, err)
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{HeaderEvent: {event}}, Data: data}
	if id != "" {
		msg.Header[HeaderEventID] = []string{id}
	}
	return nc.PublishMsg(msg)
}

// SubjectOf returns the subject that the reply of a live endpoint names. It reports false for anything but plain tokens
// below the endpoint's own service.
func SubjectOf(service string, reply *nats.Msg) (subject string, ok bool) {
	subject = reply.Header.Get(HeaderSubject)
	rest, ok := strings.CutPrefix(subject, prefix+service+".")
	if !ok || len(subject) > 255 {
		return "", false
	}
	for t := range strings.SplitSeq(rest, ".") {
		if !isPlain(t) {
			return "", false
		}
	}
	return subject, true
}

// isPlain reports whether s is a token of [A-Za-z0-9_-].
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}
