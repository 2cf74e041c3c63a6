package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// Lines go to a log store when so many bytes wait, or the first of them has waited so long. A store that does not take
// them is tried again after a pause that grows: the stream keeps what comes meanwhile.
const (
	mostLogBytes  = 1 << 20
	logLinger     = time.Second
	shortLogPause = time.Second
	longLogPause  = time.Minute
)

// logStore is a store that takes JSON lines by POST.
type logStore struct {
	url    string
	client http.Client
	say    io.Writer // to a person, about what fails
}

// take posts what comes from lines, until they are closed, and returns when all is taken or ctx ends.
func (l *logStore) take(ctx context.Context, lines <-chan []byte) error {
	var waiting bytes.Buffer
	due := time.NewTimer(logLinger)
	defer due.Stop()
	for open := true; open; {
		var line []byte
		select {
		case line, open = <-lines:
			if len(line) > 0 {
				waiting.Write(bytes.TrimRight(line, "\n"))
				waiting.WriteByte('\n')
			}
			if open && waiting.Len() < mostLogBytes {
				continue
			}
		case <-due.C:
		}
		if waiting.Len() > 0 {
			if err := l.deliver(ctx, waiting.Bytes()); err != nil {
				return err
			}
			waiting.Reset()
		}
		due.Reset(logLinger)
	}
	return nil
}

// deliver posts lines until the store has them. A store that refuses them for what they are will not take them later
// either: that is said, and they are left out.
func (l *logStore) deliver(ctx context.Context, lines []byte) error {
	for pause := shortLogPause; ; pause = min(2*pause, longLogPause) {
		again, err := l.post(ctx, lines)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintln(l.say, "starlight:", err)
		if !again {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (l *logStore) post(ctx context.Context, lines []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(lines))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := l.client.Do(req)
	if err != nil {
		return true, fmt.Errorf("the log store does not answer: %w", err)
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status < 300:
		return false, nil
	case status == http.StatusTooManyRequests || status >= 500:
		return true, fmt.Errorf("the log store answers %s", resp.Status)
	default:
		return false, fmt.Errorf("the log store refuses %d bytes of lines: %s", len(lines), resp.Status)
	}
}

// sendTo sends log lines to a store instead of printing them.
func (c logsCommand) sendTo(s *streams, tail func(ctx context.Context, fn func(observe.Entry) error) error) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	lines, taken := make(chan []byte), make(chan error, 1)
	store := &logStore{url: c.To, client: http.Client{Timeout: 30 * time.Second}, say: s.err}
	go func() {
		defer cancel() // a store that has ended takes no more
		taken <- store.take(ctx, lines)
	}()
	err := tail(ctx, func(e observe.Entry) error {
		select {
		case lines <- e.Line:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(lines)
	return errors.Join(err, <-taken)
}
