package observe_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// An outage is one warning and one line at its end, however often it is tried; a short one is neither.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		o := observe.NewOutage(slog.New(slog.NewTextHandler(&buf, nil)), "cannot publish", "publishes again", nil)
		down := errors.New("not connected")
		for range 2 {
			o.Report(t.Context(), down)
			time.Sleep(time.Second)
			o.Report(t.Context(), nil)
		}
		if buf.Len() > 0 {
			t.Errorf("an outage of a second is logged: %s", &buf)
		}
		for range 2 {
			buf.Reset()
			for range 60 {
				o.Report(t.Context(), down)
				time.Sleep(time.Second)
			}
			o.Report(t.Context(), nil)
			o.Report(t.Context(), nil)
			lines := strings.Split(strings.TrimSpace(buf.String()), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0],
				`level=WARN msg="cannot publish" error="not connected"`) ||
				!strings.Contains(lines[1], `level=INFO msg="publishes again" after=1m0s`) {
				t.Errorf("logged\n%s", &buf)
			}
		}
	})
}
