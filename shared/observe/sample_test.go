package observe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

func TestSampler(t *testing.T) {
	now, registry := time.Unix(1e9, 0), observe.NewRegistry()
	s := observe.NewSampler(registry, func() time.Time { return now })
	take := func(kind string, wantLeft int, want bool) {
		t.Helper()
		if left, ok := s.Take(kind); left != wantLeft || ok != want {
			t.Errorf("%s: %d %t, want %d %t", kind, left, ok, wantLeft, want)
		}
	}
	take("a", 0, true)
	take("a", 0, false)
	take("a", 0, false)
	take("b", 0, true)
	now = now.Add(time.Second)
	take("a", 2, true)
	take("a", 0, false)
	now = now.Add(-time.Hour) // a clock that was set does not silence a kind
	take("a", 1, true)
	var text strings.Builder
	if _, err := registry.WriteTo(&text); err != nil || !strings.Contains(text.String(),
		"starlight_log_lines_sampled_total{kind=\"a\"} 3\n") {
		t.Errorf("%v in %s", err, text.String())
	}
}
