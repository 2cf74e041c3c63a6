package observe_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/observe/exposition"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

var (
	traced = [16]byte{0x0a, 0xf7, 15: 0x9c}
	later  = [16]byte{15: 2}
	noon   = time.Date(2026, 3, 1, 12, 0, 0, int(250*time.Millisecond), time.UTC)
)

const (
	tracedExemplar = ` # {trace_id="0af7000000000000000000000000009c"} `
	laterExemplar  = ` # {trace_id="00000000000000000000000000000002"} `
	hostile        = "a\"} 1 # {x=\"1\"} 2\n,le=\\"
)

func gathered(t *testing.T, f exposition.Format, nc *nats.Conn, instance string, reg *observe.Registry) string {
	t.Helper()
	var buf bytes.Buffer
	if err := observe.GatherMetrics(t.Context(), &buf, f, nc, instance, reg); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// The newest request of each bucket that was sampled is shown, where there was one, and only in OpenMetrics.
func TestExemplars(t *testing.T) {
	reg := observe.NewRegistry()
	h := reg.RareHistogram("starlight_took_seconds", "How long it took.", "route", hostile)
	if got := gathered(t, exposition.OpenMetrics, nil, "a", reg); strings.Contains(got, "starlight_took") {
		t.Error("there is a series before its first request")
	}
	h.UpdateTraced(0.004, [16]byte{}, noon)
	if got := gathered(t, exposition.OpenMetrics, nil, "a", reg); strings.Contains(got, "trace_id") {
		t.Errorf("a request that was not sampled left an exemplar:\n%s", got)
	}
	h.UpdateTraced(0.004, traced, noon)
	h.UpdateTraced(0.003, later, noon.Add(time.Second)) // in its place
	h.UpdateTraced(0.0031, [16]byte{}, noon.Add(time.Minute))
	h.UpdateTraced(1, traced, noon) // a bound belongs to its bucket
	h.UpdateTraced(70, traced, noon)
	h.UpdateTraced(-1, later, noon)

	text := gathered(t, exposition.OpenMetrics, nil, "a", reg)
	const series = `starlight_took_seconds_bucket{instance="a",route="a\"} 1 # {x=\"1\"} 2\n,le=\\",le=`
	for bound, want := range map[string]string{
		"0.0005": "0", "0.0025": "0",
		"0.005": "4" + laterExemplar + "0.003 1772366401.250",
		"0.5":   "4", "1.0": "5" + tracedExemplar + "1 1772366400.250", "10.0": "5",
		"+Inf": "6" + tracedExemplar + "70 1772366400.250",
	} {
		if line := fmt.Sprintf("\n%s%q} %s\n", series, bound, want); !strings.Contains(text, line) {
			t.Errorf("there is no%sin\n%s", line, text)
		}
	}
	if n := strings.Count(text, "trace_id"); n != 3 {
		t.Errorf("%d exemplars", n)
	}
	text = gathered(t, exposition.Text, nil, "a", reg)
	if strings.Contains(text, "trace_id") || !strings.Contains(text, series+`"1"} 5`+"\n") {
		t.Errorf("in the text format:\n%s", text)
	}
	promtool(t, text, "check", "metrics")
}

// What is gathered from other processes has its exemplars when OpenMetrics is asked for, and none otherwise.
func TestGatheredExemplars(t *testing.T) {
	srv, log := testkit.NATS(t), testkit.Log(t)
	for _, instance := range []string{"ticketing-1", "gateway-1"} {
		reg := sampleRegistry()
		reg.RareHistogram("starlight_took_seconds", "How long.", "b", "c").UpdateTraced(0.2, traced, noon)
		nc := srv.Connect()
		if _, err := observe.AnswerMetrics(nc, instance, reg, log); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	mine := sampleRegistry()
	mine.RareHistogram("starlight_took_seconds", "How long.", "b", "c").UpdateTraced(0.3, later, noon)
	text := gathered(t, exposition.OpenMetrics, srv.Conn, "gateway-1", mine)
	checkOpenMetrics(t, text)
	for _, want := range []string{
		`starlight_took_seconds_bucket{instance="ticketing-1",b="c",le="0.25"} 1` + tracedExemplar + "0.2 1772366400.250\n",
		`starlight_took_seconds_bucket{instance="gateway-1",b="c",le="0.5"} 1` + laterExemplar + "0.3 1772366400.250\n",
		"# TYPE starlight_requests counter\n# HELP starlight_requests Requests served.\n",
		"# TYPE starlight_busy_seconds counter\n# UNIT starlight_busy_seconds seconds\n",
		`starlight_requests_total{instance="ticketing-1",endpoint="orders.create",code="ok"} 3` + "\n",
		"# TYPE process_resident_memory_bytes gauge\n# UNIT process_resident_memory_bytes bytes\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once", want)
		}
	}
	text = gathered(t, exposition.Text, srv.Conn, "gateway-1", mine)
	checkStructure(t, text)
	if strings.Contains(text, "trace_id") {
		t.Error("the text format has exemplars")
	}
	promtool(t, text, "check", "metrics")
}

// checkOpenMetrics fails unless each family is described once, in front of its samples, and all ends as it has to.
func checkOpenMetrics(t *testing.T, text string) {
	t.Helper()
	text, whole := strings.CutSuffix(text, "\n# EOF\n")
	if !whole || strings.Contains(text, "# EOF") {
		t.Error("there is not one end")
	}
	current, kind, seen := "", "", map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			current, kind, _ = strings.Cut(rest, " ")
			if seen[current] || strings.HasSuffix(current, "_total") && kind == "counter" {
				t.Errorf("family %s appears twice, or has the name of its samples", current)
			}
			seen[current] = true
			continue
		}
		if strings.HasPrefix(line, "# ") {
			if fields := strings.Fields(line); fields[2] != current {
				t.Errorf("%q inside %s", line, current)
			}
			continue
		}
		name := line[:max(strings.IndexAny(line, "{ "), 0)]
		if kind == "counter" && name != current+"_total" || !strings.HasPrefix(name, current) {
			t.Errorf("sample %q inside family %s", line, current)
		}
	}
}

// A counter whose family would be called like another one is of no known type: no name stands for two families.
func TestNamesInOpenMetrics(t *testing.T) {
	reg := observe.NewRegistry()
	reg.Gauge("starlight_seats", `A "gauge" of \.`).Set(1)
	reg.Counter("starlight_seats_total", "A counter.").Inc()
	text := gathered(t, exposition.OpenMetrics, nil, "a", reg)
	checkOpenMetrics(t, text)
	for _, want := range []string{
		"# TYPE starlight_seats gauge\n" + `# HELP starlight_seats A \"gauge\" of \\.` + "\n",
		"# TYPE starlight_seats_total unknown\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}

func TestFormatFor(t *testing.T) {
	const open = "application/openmetrics-text"
	for accept, want := range map[string]exposition.Format{
		"":                     exposition.Text,
		"*/*":                  exposition.Text,
		"text/plain":           exposition.Text,
		"text/html, */*;q=0.8": exposition.Text,
		"nonsense;;;":          exposition.Text,
		open:                   exposition.OpenMetrics,
		"APPLICATION/OpenMetrics-Text ; Version=1.0.0": exposition.OpenMetrics,
		"application/*":               exposition.OpenMetrics,
		open + ";version=0.0.1":       exposition.Text,
		open + ";version=2.0.0, */*":  exposition.Text,
		open + ", text/plain":         exposition.OpenMetrics,
		open + ";q=0":                 exposition.Text,
		open + ";q=0, application/*":  exposition.Text,
		open + ";q=0.3, text/plain":   exposition.Text,
		open + ";q=0.3, */*;q=0.2":    exposition.OpenMetrics,
		open + ";q=0.3, */*":          exposition.Text,
		open + ";q=2":                 exposition.Text,
		open + ";q=NaN":               exposition.Text,
		open + ", text/plain;q=x":     exposition.OpenMetrics,
		"*/*, text/plain;q=0.1":       exposition.OpenMetrics,
		"text/*;q=0.1, application/*": exposition.OpenMetrics,
		// what Prometheus 2 and 3 send, and what the latter does when it is told to prefer the text format
		open + ";version=1.0.0," + open + ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": exposition.OpenMetrics,
		open + ";version=1.0.0;escaping=allow-utf-8;q=0.5," + open + ";version=0.0.1;q=0.4," +
			"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1": exposition.OpenMetrics,
		"text/plain;version=0.0.4;q=0.6," + open + ";version=1.0.0;q=0.5,*/*;q=0.4": exposition.Text,
	} {
		if got := exposition.FormatFor(accept); got != want {
			t.Errorf("%q: %s", accept, got.ContentType())
		}
	}
}

// The ops listener answers in the format that is asked for, also in two lines of the header.
func TestOpsFormats(t *testing.T) {
	reg := sampleRegistry()
	reg.RareHistogram("starlight_took_seconds", "How long.").UpdateTraced(0.2, traced, noon)
	ops := &observe.Ops{Instance: "a", Registry: reg, Log: testkit.Log(t), Health: observe.NewHealth(time.Now)}
	for want, accept := range map[string][]string{
		"text/plain; version=0.0.4; charset=utf-8":                   {"*/*"},
		"application/openmetrics-text; version=1.0.0; charset=utf-8": {"text/plain;q=0.5", "application/openmetrics-text"},
	} {
		r := httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil)
		r.Header["Accept"] = accept
		w := httptest.NewRecorder()
		ops.Handler().ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); got != want || w.Header().Get("Vary") != "Accept" {
			t.Errorf("%v: %s", accept, got)
		}
		if open := len(accept) == 2; strings.Contains(w.Body.String(), tracedExemplar) != open ||
			strings.HasSuffix(w.Body.String(), "\n# EOF\n") != open {
			t.Errorf("%v: %s", accept, w.Body)
		}
	}
}

func TestExemplarsAllocateOnlyWhenSampled(t *testing.T) {
	h := observe.NewRegistry().RareHistogram("starlight_took_seconds", "How long.")
	h.Update(1)
	if n := testing.AllocsPerRun(1000, func() { h.UpdateTraced(0.01, [16]byte{}, noon) }); n != 0 {
		t.Errorf("%v allocations without a trace", n)
	}
	if n := testing.AllocsPerRun(1000, func() { h.UpdateTraced(0.01, traced, noon) }); n > 1 {
		t.Errorf("%v allocations with a trace", n)
	}
}

// Requests end at a time, and metrics are read meanwhile.
func TestExemplarsAtATime(t *testing.T) {
	reg := observe.NewRegistry()
	h := reg.RareHistogram("starlight_took_seconds", "How long.")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				h.UpdateTraced(float64(n%12), [16]byte{byte(i + 1)}, noon)
			}
		})
	}
	for range 20 {
		checkOpenMetrics(t, gathered(t, exposition.OpenMetrics, nil, "a", reg))
	}
	wg.Wait()
	if n := strings.Count(gathered(t, exposition.OpenMetrics, nil, "a", reg), "trace_id"); n != 6 { // 0.0005, 1, 2.5, 5, 10, +Inf
		t.Errorf("%d exemplars", n)
	}
}

func BenchmarkUpdate(b *testing.B) {
	h := observe.NewRegistry().RareHistogram("starlight_took_seconds", "How long.")
	h.UpdateTraced(0.01, traced, noon)
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Update(0.01)
		}
	})
	b.Run("unsampled", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.UpdateTraced(0.01, [16]byte{}, noon)
		}
	})
	b.Run("sampled", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.UpdateTraced(0.01, traced, noon)
		}
	})
}
