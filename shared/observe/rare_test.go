package observe_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// What was never counted shows nothing, not even its family; what was counted by many at a time is counted once each.
func TestRare(t *testing.T) {
	reg := observe.NewRegistry()
	seldom := reg.Rare("starlight_seldom_total", "Seldom.", "of", "things")
	slow := reg.RareHistogram("starlight_slow_seconds", "Slow.", "of", "things")
	text := func() string {
		var out bytes.Buffer
		if _, err := reg.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := text(); strings.Contains(got, "starlight_") || seldom.Get() != 0 {
		t.Errorf("before its first use: %d\n%s", seldom.Get(), got)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				seldom.Inc()
				slow.Update(0.002)
			}
		})
	}
	all.Wait()
	got := text()
	for _, want := range []string{"# TYPE starlight_seldom_total counter\n", `starlight_seldom_total{of="things"} 800` + "\n",
		`starlight_slow_seconds_count{of="things"} 800` + "\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if n := testing.AllocsPerRun(100, seldom.Inc); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
	reg.Rare("starlight_shown_total", "Shown.").Show()
	if !strings.Contains(text(), "starlight_shown_total 0\n") && !strings.Contains(text(), "starlight_shown_total{} 0\n") {
		t.Error("what is shown is not at 0")
	}
}
