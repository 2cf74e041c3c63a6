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

// turn is a time in which the line to the hub did not change.
type turn struct {
	since  time.Time
	asking context.Context // ends with it
	end    context.CancelFunc
}

// lookAtLine ends what is being asked of the hub when the line has changed: over a line that was cut no answer comes.
// The next question is worth asking as soon as it is up.
func (s *Service) lookAtLine(context.Context) error {
	now := s.cfg.Line()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Since.Equal(s.line.since) {
		return nil
	}
	s.line.end()
	s.line.since = now.Since
	s.line.asking, s.line.end = context.WithCancel(context.Background())
	if now.Up {
		s.wake()
		select {
		case s.joined <- struct{}{}:
		default:
		}
	}
	return nil
}

// onThisLine returns a context that also ends when the line changes. Call end when nothing is asked any more.
func (s *Service) onThisLine(ctx context.Context) (asking context.Context, end func()) {
	s.mu.Lock()
	line := s.line.asking
	s.mu.Unlock()
	asking, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(line, cancel)
	return asking, func() {
		stop()
		cancel()
	}
}
