package natsconf_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
)

func TestRetry(t *testing.T) {
	electing := &jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "JetStream system temporarily unavailable"}
	watching := &nats.APIError{Code: 503, ErrorCode: 10008, Description: electing.Description} // what the watch of a bucket returns
	tries := 0
	for _, electing := range []error{electing, watching, jetstream.ErrBucketNotFound} { // one is made again, or not read of yet
		tries = 0
		err := natsconf.Retry(t.Context(), func(context.Context) error {
			if tries++; tries < 3 {
				return fmt.Errorf("reading a bucket: %w", electing)
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Errorf("%T: an election was waited for with %d tries: %v", electing, tries, err)
		}
	}
	wrong := errors.New("the bucket is broken")
	tries = 0
	if err := natsconf.Retry(t.Context(), func(context.Context) error { tries++; return wrong }); !errors.Is(err, wrong) || tries != 1 {
		t.Errorf("what is wrong for good was tried %d times: %v", tries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := natsconf.Retry(ctx, func(context.Context) error { cancel(); return electing }); !errors.Is(err, electing) {
		t.Errorf("the end of the context hides the reason: %v", err)
	}
}
