package natsconf

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// A cluster that has not yet heard of enough of its servers refuses to make a stream, and takes it a moment later.
func TestIncompleteClusterIsWaitedFor(t *testing.T) {
	// As nats-server 2.15 answers: its own code, and 400 like for a mistake of the caller.
	if !passing(&jetstream.APIError{Code: 400, ErrorCode: 10005, Description: "no suitable peers for placement"}) {
		t.Error("Ensure gives up at once")
	}
	if passing(&jetstream.APIError{Code: 400, ErrorCode: 10052, Description: "invalid stream configuration"}) {
		t.Error("Ensure repeats what is wrong for good")
	}
}
