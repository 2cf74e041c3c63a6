package observe_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// Several parts of a process have a series in common, and those that have ended count no more.
func TestGaugeSum(t *testing.T) {
	reg := observe.NewRegistry()
	part := func(n float64) func() {
		return reg.GaugeSum("starlight_busy", "Requests.", func() float64 { return n }, "service", "hub")
	}
	first, second := part(3), part(4)
	for _, c := range []struct {
		end  func()
		want string
	}{{func() {}, "7"}, {first, "4"}, {first, "4"}, {second, "0"}} {
		c.end()
		var out bytes.Buffer
		if _, err := reg.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "starlight_busy{service=\"hub\"} "+c.want+"\n") {
			t.Errorf("want %s:\n%s", c.want, out.String())
		}
	}
}
