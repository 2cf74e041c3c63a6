package auditlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// ByTool is who writes a setting without the config service: a holder of the credentials ops or admin.
const ByTool = "nats"

// claimFor is how long a claim is good, since NATS and the config service may have different clocks.
const claimFor = 5 * time.Minute

// Claims tells who wrote the values in the bucket of settings.
//
// A value names its claim in a header, and only the config service may publish claims. A header with the name of a
// person would do without the second read, but whoever holds ops.creds could write any name there.
type Claims struct{ settings, audit jetstream.Stream }

// OpenClaims returns the claims of a system. Its connection must be allowed to read single messages of both streams.
func OpenClaims(ctx context.Context, js jetstream.JetStream) (c Claims, err error) {
	if c.settings, err = js.Stream(ctx, api.ConfigStream); err != nil {
		return c, err
	}
	c.audit, err = js.Stream(ctx, api.AuditStream)
	return c, err
}

// Of returns what the config service has said that it is about to write, nil for a value that was written with a tool.
// A tool could name a claim that is there, which is why the value counts, too. Of a value that is older than all that
// the stream of claims keeps, the line has no author: that is not known any more.
func (c Claims) Of(ctx context.Context, e jetstream.KeyValueEntry) (*api.AuditLine, error) {
	m, err := found(c.settings.GetMsg(ctx, e.Revision()))
	if err != nil || m == nil {
		return nil, err
	}
	id, err := ids.Parse[ids.AuditKind](m.Header.Get(api.HeaderAuditClaim))
	if err != nil {
		return nil, nil
	}
	if m, err = found(c.audit.GetLastMsgForSubject(ctx, api.AuditClaim(id))); err != nil {
		return nil, err
	}
	if m == nil {
		return c.forgotten(ctx, id, e)
	}
	line := new(api.AuditLine)
	if err := json.Unmarshal(m.Data, line); err != nil {
		return nil, fmt.Errorf("the claim %s is not readable: %w", id, err)
	}
	var value json.RawMessage
	if e.Operation() == jetstream.KeyValuePut {
		if value, err = json.Marshal(string(e.Value())); err != nil {
			return nil, err
		}
	}
	if line.Object != e.Key() || e.Created().Sub(line.At).Abs() >= claimFor ||
		!bytes.Equal(line.After["value"], value) {
		return nil, nil
	}
	return line, nil
}

// forgotten returns the line without an author of a value whose claim is not there, if claims of its time are not kept.
func (c Claims) forgotten(ctx context.Context, id ids.Audit, e jetstream.KeyValueEntry) (*api.AuditLine, error) {
	info, err := c.audit.Info(ctx)
	if err != nil {
		return nil, err
	}
	if first := info.State.FirstTime; info.State.Msgs > 0 && e.Created().After(first) {
		return nil, nil
	}
	return &api.AuditLine{ID: id, Object: e.Key()}, nil
}

// found returns a message of a stream, nil if it is not there.
func found(m *jetstream.RawStreamMsg, err error) (*jetstream.RawStreamMsg, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}
