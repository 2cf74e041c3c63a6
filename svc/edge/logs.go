package edge

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	logsEvery    = 2 * time.Second
	waitingLines = 2000      // of the log, for a line to the hub
	logsBytes    = 512 << 10 // of a request
)

// Logs is the writer of a computer's log. What is written goes on to the log, and a copy waits for the hub. Not many
// wait: the oldest give way, and are counted.
type Logs struct {
	log io.Writer

	mu      sync.Mutex
	lines   []string
	dropped int64
}

// NewLogs returns a writer that goes on to log.
func NewLogs(log io.Writer) *Logs { return &Logs{log: log} }

// Write takes one line, as slog writes it.
func (l *Logs) Write(text []byte) (int, error) {
	l.mu.Lock()
	if len(text) > line.LogLineLimit {
		l.dropped++
	} else {
		l.lines = append(l.lines, strings.TrimRight(string(text), "\n"))
	}
	if over := len(l.lines) - waitingLines; over > 0 {
		l.lines = l.lines[over:]
		l.dropped += int64(over)
	}
	l.mu.Unlock()
	return l.log.Write(text)
}

// take returns the oldest lines, as many as a request has room for, and how many are missing before them.
func (l *Logs) take() (lines []string, dropped int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.lines) && n < line.LogsLimit && size+len(l.lines[n]) <= logsBytes {
		size += len(l.lines[n])
		n++
	}
	lines, l.lines = l.lines[:n:n], l.lines[n:]
	dropped, l.dropped = l.dropped, 0
	return lines, dropped
}

// lost counts lines that did not get through.
func (l *Logs) lost(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped += n
}

// handUpLogs sends what has been logged, while there is a line. It does not fail: a log of a log's failures would never
// end, and the hub is told how many lines are missing.
func (s *Service) handUpLogs(ctx context.Context) error {
	session, ok := s.talking()
	for ok && s.cfg.Line().Up && ctx.Err() == nil {
		lines, dropped := s.cfg.Logs.take()
		if len(lines) == 0 && dropped == 0 {
			return nil
		}
		if _, err := rpc.Call(ctx, s.client, line.HandLogs,
			&line.Logs{Session: session, Lines: lines, Dropped: dropped}); err != nil {
			s.cfg.Logs.lost(int64(len(lines)) + dropped)
			return nil
		}
	}
	return nil
}
