package systemtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Lines returns the lines of the audit log about an act, newest first, once there are n.
func (s *Site) Lines(admin string, n int, query url.Values) (lines []api.AuditEntry) {
	s.T.Helper()
	testkit.Eventually(s.T, 20*time.Second, func() error {
		lines = Call[api.List[api.AuditEntry]](s, 200, "GET", "/v1/audit-log?"+query.Encode(), admin, nil).Items
		if len(lines) < n {
			return fmt.Errorf("%d lines of %v, want %d", len(lines), query, n)
		}
		return nil
	})
	return lines
}

// DeadLetter publishes, as the user service, what no other can handle, and returns the id of the dead letter that it
// becomes.
func (s *Site) DeadLetter(admin string,
	connect func(context.Context) (jetstream.JetStream, func(), error)) (id string) {
	s.T.Helper()
	js, done, err := connect(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	defer done()
	if _, err := js.Publish(s.T.Context(), api.UserRegistered.Subject, []byte("5")); err != nil {
		s.T.Fatal(err)
	}
	testkit.Eventually(s.T, 60*time.Second, func() error {
		list := Call[api.List[api.DeadLetter]](s, 200, "GET", "/v1/dead-letters", admin, nil).Items
		if len(list) == 0 {
			return errors.New("there is no dead letter")
		}
		id = list[0].ID
		return nil
	})
	return id
}
