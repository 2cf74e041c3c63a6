package edge

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
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
	since  time.Time       // as the line says
	heard  time.Time       // the last answer of the hub, or the begin; by a clock that only counts steps
	asking context.Context // ends with it
	end    context.CancelFunc
}

// silentFor is how long the hub may answer nothing before the line counts as cut.
const silentFor = 15 * time.Second

// lineNow returns how the line is. Somebody may answer at its other end while the hub does not: its database is away,
// or a process of it hangs.
func (s *Service) lineNow() Line {
	now := s.cfg.Line()
	s.mu.Lock()
	heard := s.line.heard
	s.mu.Unlock()
	end := heard.Add(s.cfg.Silence)
	if !now.Up || time.Now().Before(end) || s.doors.Fenced() != "" { // a fenced computer asks nothing
		return now
	}
	now.Up, now.Since, now.Reason = false, end, "the system is reached, and does not answer"
	return now
}

// ask asks the hub. An answer that says no is one, too.
func ask[Req, Resp any](ctx context.Context, s *Service, e rpc.Endpoint[Req, Resp], req *Req) (*Resp, error) {
	out, err := rpc.Call(ctx, s.client, e, req)
	if fault.Is(err, fault.Timeout) || fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Internal) {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line.heard = time.Now()
	return out, err
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
	s.line.since, s.line.heard = now.Since, time.Now()
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
