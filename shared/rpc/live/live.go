// Package live is what services and the gateway agree on for live streams: an endpoint that is declared Live answers
// with the present state, and its service publishes every later change on a subject.
//
// The gateway subscribes before it asks for the state, so nothing falls between the two. A change may be in both.
package live

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// The headers of a change: the name and the id of the server-sent event it becomes. Both may be absent.
const (
	HeaderEvent   = "Starlight-Event"
	HeaderEventID = "Starlight-Event-Id"
)

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

// IsToken reports whether s can be a token: [A-Za-z0-9_-].
func IsToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
