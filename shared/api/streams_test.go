package api_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Every subject that a service publishes on is kept by exactly the stream that is declared for it.
func TestSubjectsHaveTheirStream(t *testing.T) {
	want := map[string]string{
		api.NotifyEmailUrgent: api.NotificationsStream, api.NotifyEmailBulk: api.NotificationsStream,
		api.NotifySMS: api.NotificationsStream, api.NotifyPush: api.NotificationsStream,
		api.FactViews: api.AnalyticsStream, api.FactSearches: api.AnalyticsStream,
		api.ProbeSubject("host"): api.ProbeStream,
	}
	for _, topic := range api.Topics() {
		want[topic.Subject] = api.EventsStream
	}
	for subject, name := range want {
		var kept []string
		for _, s := range api.Streams() {
			if keeps(s, subject) {
				kept = append(kept, s.Name)
			}
		}
		if len(kept) != 1 || kept[0] != name {
			t.Errorf("%s is kept by %v, want %s", subject, kept, name)
		}
	}
}

// keeps reports whether a stream keeps a subject. The declared subjects all end in a wildcard for whatever follows.
func keeps(s jetstream.StreamConfig, subject string) bool {
	for _, filter := range s.Subjects {
		if strings.HasPrefix(subject, strings.TrimSuffix(filter, ">")) {
			return true
		}
	}
	return false
}
