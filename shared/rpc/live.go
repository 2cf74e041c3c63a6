package rpc

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// The headers of live streams: in the reply of a live endpoint the subject to follow, in a message on that subject the
// name and the id of the server-sent event it becomes. Event and id may be absent.
const (
	HeaderLive      = "Starlight-Live"
	HeaderLiveEvent = "Starlight-Event"
	HeaderLiveID    = "Starlight-Event-Id"
)

// LiveSnapshot is implemented by the responses of endpoints that are declared Live: the state as it is now, and where
// every later change of it is told.
//
// The gateway follows LiveSubject before it asks for the snapshot that the client is sent, so nothing falls between the
// two; a change may be in both.
type LiveSnapshot interface {
	// LiveSubject returns a subject that LiveSubject made, for the service of the endpoint.
	LiveSubject() string
}

// LiveSubject returns the subject live.<service>.<token>…, on which a service tells of changes. The tokens are ids.
func LiveSubject(service string, tokens ...string) string {
	return livePrefix + service + "." + strings.Join(tokens, ".")
}

// LiveSubjectsOf returns the subjects on which a service tells of changes.
func LiveSubjectsOf(service string) string { return livePrefix + service + ".>" }

// LiveSubjects are those of all services.
const (
	LiveSubjects = livePrefix + ">"
	livePrefix   = "live."
)

// PublishLive tells those who follow a subject of a change, at most once and to whoever is there: what must not be lost
// is in the next snapshot. The payload is sent as JSON; the id may be empty.
func PublishLive(nc *nats.Conn, subject, event, id string, payload any) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("rpc: live payload of %s: %w", event, err)
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{HeaderLiveEvent: {event}}, Data: data}
	if id != "" {
		msg.Header[HeaderLiveID] = []string{id}
	}
	return nc.PublishMsg(msg)
}

// LiveOf returns the subject that the reply of a live endpoint names. It reports false for anything but plain tokens
// below the endpoint's own service.
func LiveOf(spec Spec, reply *nats.Msg) (subject string, ok bool) {
	subject = header(reply.Header, HeaderLive)
	rest, ok := strings.CutPrefix(subject, livePrefix+spec.Service+".")
	if !ok || len(subject) > 255 {
		return "", false
	}
	for t := range strings.SplitSeq(rest, ".") {
		if !plainToken(t) {
			return "", false
		}
	}
	return subject, true
}

// plainToken reports whether s is a token of [A-Za-z0-9_-].
func plainToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}
