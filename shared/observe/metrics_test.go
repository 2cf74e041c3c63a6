package observe_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// sampleRegistry has one family of each kind, with labels that need care.
func sampleRegistry() *observe.Registry {
	reg := observe.NewRegistry()
	reg.Counter("starlight_requests_total", "Requests served.", "endpoint", "orders.create", "code", "ok").Add(3)
	reg.Counter("starlight_requests_total", "Requests served.", "endpoint", "orders.create", "code", "conflict").Inc()
	// Sorts between the two series above in the library's own order: families must be put together again.
	reg.Counter("starlight_requests_shed_total", "Requests refused because the queue was full.").Inc()
	reg.FloatCounter("starlight_busy_seconds_total", "Time spent at work.").Add(1.5)
	reg.Gauge("starlight_queue_depth", "Requests that wait.", "endpoint", "a\"b\\c\nd").Set(4)
	reg.GaugeFunc("starlight_seats", "Seats by state.", func() float64 { return 7 }, "state", "held")
	h := reg.Histogram("starlight_request_duration_seconds", "Time to answer.", "endpoint", "orders.create")
	h.Update(0.003)
	h.Update(0.2)
	return reg
}

func TestExpositionGroupsFamilies(t *testing.T) {
	var buf bytes.Buffer
	if _, err := sampleRegistry().WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	text := buf.String()
	checkStructure(t, text)
	for _, want := range []string{
		"# HELP starlight_requests_total Requests served.\n# TYPE starlight_requests_total counter\n",
		`starlight_requests_total{endpoint="orders.create",code="ok"} 3` + "\n",
		`starlight_queue_depth{endpoint="a\"b\\c\nd"} 4` + "\n",
		`starlight_seats{state="held"} 7` + "\n",
		"# TYPE starlight_request_duration_seconds histogram\n",
		`starlight_request_duration_seconds_bucket{endpoint="orders.create",le="0.005"} 1` + "\n",
		`starlight_request_duration_seconds_bucket{endpoint="orders.create",le="+Inf"} 2` + "\n",
		`starlight_request_duration_seconds_count{endpoint="orders.create"} 2` + "\n",
		"# TYPE go_goroutines gauge\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("exposition lacks %q", want)
		}
	}
	promtool(t, text, "check", "metrics")
}

func TestGaugeFuncIsReplaced(t *testing.T) {
	reg := observe.NewRegistry()
	reg.GaugeFunc("starlight_depth", "Depth.", func() float64 { return 1 })
	reg.GaugeFunc("starlight_depth", "Depth.", func() float64 { return 2 })
	var buf bytes.Buffer
	if _, err := reg.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(buf.String(), "\nstarlight_depth 2\n") {
		t.Errorf("the second function does not count:\n%s", buf.String())
	}
}

func TestWrongDeclarationsPanic(t *testing.T) {
	tests := map[string]func(*observe.Registry){
		"counter without _total": func(r *observe.Registry) { r.Counter("requests", "Requests.") },
		"gauge with _total":      func(r *observe.Registry) { r.Gauge("requests_total", "Requests.") },
		"no help":                func(r *observe.Registry) { r.Counter("requests_total", "") },
		"bad name":               func(r *observe.Registry) { r.Gauge("a-b", "Dash.") },
		"odd labels":             func(r *observe.Registry) { r.Gauge("a", "Odd.", "x") },
		"bad label":              func(r *observe.Registry) { r.Gauge("a", "Bad.", "x:y", "1") },
		"two kinds":              func(r *observe.Registry) { r.Gauge("a", "A."); r.Histogram("a", "A.") },
	}
	for name, declare := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			declare(observe.NewRegistry())
		})
	}
}

// checkStructure fails unless every family has one HELP and one TYPE, in front of all its samples.
func checkStructure(t *testing.T, text string) {
	t.Helper()
	current, seen, samples := "", map[string]bool{}, 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(rest, " ")
			if seen[name] {
				t.Errorf("family %s appears twice", name)
			}
			if help == "" {
				t.Errorf("family %s has no help", name)
			}
			current, seen[name] = name, true
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			if name, _, _ := strings.Cut(rest, " "); name != current {
				t.Errorf("TYPE of %s inside %s", name, current)
			}
			continue
		}
		samples++
		if current == "" || !strings.HasPrefix(line, current) {
			t.Errorf("sample %q inside family %s", line, current)
		}
	}
	if samples == 0 {
		t.Error("no samples")
	}
}

// promtool runs Prometheus' own checker over text. Without it the structural checks have to do, except in CI.
func promtool(t *testing.T, text string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("promtool is not installed (Debian package prometheus)")
		}
		t.Log("promtool is not installed: only the structure was checked")
		return
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}
