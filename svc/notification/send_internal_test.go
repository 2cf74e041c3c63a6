package notification

import (
	"context"
	"testing"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/notification/render"
	"github.com/starlightsymphony/starlight/svc/notification/throttle"
)

// A mail is not written before its turn; one that had no turn in time is tried again.
func TestMailWaitsForItsTurn(t *testing.T) {
	s := &Service{throttle: throttle.New(1, nil)}
	leave, err := s.throttle.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.write(ctx, nil, render.View{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v, want %v", err, fault.Unavailable)
	}
}
