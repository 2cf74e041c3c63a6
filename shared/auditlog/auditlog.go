// Package auditlog writes the lines of the audit log: which person did what, to what, and what it was before.
//
// A service adds a line to the transaction of the act itself, so neither is there without the other, whatever crashes
// in between. The outbox takes it to the stream AUDIT, which deletes nothing, and the audit service puts it into the
// chain that GET /v1/audit-log reads.
//
// A line has ids, amounts, states and settings. Names and addresses of people, what they wrote, and secrets have no
// place in it: it outlives their deletion.
package auditlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// longestDevice is how much of what a client says of itself is kept, in bytes.
const longestDevice = 200

// Act is what was done. Act and At may be left out: it is then the endpoint that is being served, now.
type Act struct {
	Act     string // service.endpoint, or what has no endpoint, such as payment.dispute
	Object  string // the id of what it was done to
	Event   ids.Event
	Of      ids.Organizer // whose event it is, where that is known
	Refused bool          // it was tried

	// Before and After are what encodes as JSON objects; nil is nothing. Of their members only those are kept that
	// differ, and none of Without.
	Before, After any
	Without       []string

	At time.Time
	By *api.AuditAuthor // nil: of the request in the context, see Author
}

// Author returns which person or key makes the request in ctx, and from where. Without a request it is the service
// itself.
func Author(ctx context.Context, service string) *api.AuditAuthor {
	m := rpc.From(ctx)
	by := &api.AuditAuthor{UserID: m.Principal.User, SessionID: m.Principal.Session, KeyID: m.Principal.Key,
		Address: m.Address, RequestID: m.RequestID, Device: device(m.Device)}
	if by.UserID == "" && by.KeyID == "" {
		by.Service = service
		if m.Caller != "" && m.Caller != "gateway" {
			by.Service = m.Caller
		}
	}
	return by
}

// device cuts what a client says of itself to one printable line.
func device(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), longestDevice)], "")
}

// Add writes a line as part of the transaction tx, of the service whose database it is.
func Add(ctx context.Context, tx bun.IDB, service string, act Act) error {
	m, err := NewMessage(ctx, service, act)
	if err != nil {
		return err
	}
	return stream.AddAll(ctx, tx, m)
}

// NewMessage returns the message of a line, for code that hands it to a transaction which has another context.
func NewMessage(ctx context.Context, service string, act Act) (stream.Message, error) {
	line, err := NewLine(ctx, service, act)
	if err != nil {
		return stream.Message{}, err
	}
	return stream.Message{Subject: api.AuditSubject(service), Payload: line, ID: line.ID.String()}, nil
}

// Publish writes a line for what has no database, such as a command: before the act. Its connection must be allowed to
// publish the lines of the service.
func Publish(ctx context.Context, js jetstream.JetStream, service string, act Act) error {
	line, err := NewLine(ctx, service, act)
	if err != nil {
		return err
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if _, err = js.Publish(ctx, api.AuditSubject(service), data, jetstream.WithMsgID(line.ID.String())); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

// NewLine returns a line.
func NewLine(ctx context.Context, service string, act Act) (*api.AuditLine, error) {
	if act.Act == "" {
		act.Act = rpc.From(ctx).Endpoint
	}
	if act.By == nil {
		act.By = Author(ctx, service)
	}
	if act.At.IsZero() {
		act.At = time.Now()
	}
	before, err := members(act.Before)
	if err != nil {
		return nil, fmt.Errorf("audit log: %s: before: %w", act.Act, err)
	}
	after, err := members(act.After)
	if err != nil {
		return nil, fmt.Errorf("audit log: %s: after: %w", act.Act, err)
	}
	for name, value := range before {
		if other, ok := after[name]; ok && bytes.Equal(value, other) {
			delete(before, name)
			delete(after, name)
		}
	}
	for _, name := range act.Without {
		delete(before, name)
		delete(after, name)
	}
	return &api.AuditLine{ID: ids.New[ids.AuditKind](act.At), At: act.At.UTC().Truncate(time.Millisecond),
		Act: act.Act, Object: act.Object, EventID: act.Event, OrganizerID: act.Of, Refused: act.Refused, By: *act.By,
		Before: before, After: after}, nil
}

// members returns the members of an object.
func members(v any) (map[string]json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out map[string]json.RawMessage
	err = json.Unmarshal(data, &out)
	return out, err
}
