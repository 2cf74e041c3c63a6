package edge

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/run"
)

// retryPauses are the pauses after the hub did not take the journal.
func retryPauses() run.Backoff {
	return run.Backoff{First: 250 * time.Millisecond, Last: 5 * time.Second}
}

// waitFor waits for d, or until something comes.
func waitFor(ctx context.Context, d time.Duration, come <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-come:
	case <-ctx.Done():
	}
}
