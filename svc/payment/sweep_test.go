package payment

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A sweep that keeps failing, as while the database is away, is one warning and one line at the end.
func TestFailingSweepIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &Service{log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		s.sweep(ctx, "refunds", time.Second, nil, func(context.Context) error {
			switch tries++; {
			case tries <= 30:
				return errors.New("the database is away")
			case tries == 40:
				cancel()
			}
			return nil
		})
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "what=refunds") ||
			!strings.Contains(lines[1], "level=INFO") {
			t.Errorf("logged\n%s", &log)
		}
	})
}
