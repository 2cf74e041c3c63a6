package observing_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A collector of OpenTelemetry takes the traces of a purchase at a system of two processes, and hands them on as what
// they are: one from the callback of the payment over NATS, the databases, outboxes and queues to the mail, each span
// below the one that caused it, with the service it is of, a status and an end after its beginning.
func TestCollector(t *testing.T) {
	behind := testkit.NewCollector(t)
	cfg := config(t)
	cfg.Traces = startCollector(t, behind.URL)
	s, sys, _ := systemtest.Start(t, cfg)
	join(t, sys, cfg, "ticketing")
	sell(t, sys) // with all of the season, which nobody has to see
	s.Set(s.Login(systemtest.AdminEmail), api.TraceSampled.Key(), "10000")
	sell(t, sys)

	want := []string{
		"gateway POST /v1/payments/callbacks/{provider}", "gateway payment.callback", "payment payment.callback",
		"payment sandbox fetch", "payment wait for a batch", "payment publish ev.payment.payment.succeeded",
		"ticketing ticketing ev.payment.payment.succeeded",
		"ticketing wait for a batch", "ticketing publish ev.ticketing.order.paid",
		"notification notification ev.ticketing.order.paid",
		"notification send email",
	}
	var spans []testkit.Span
	testkit.Eventually(t, 60*time.Second, func() error {
		traces := map[string][]testkit.Span{}
		for _, one := range behind.Spans() {
			traces[string(one.TraceId)] = append(traces[string(one.TraceId)], one)
		}
		err := errors.New("no trace has a callback and a mail")
		for _, spans = range traces {
			if has(spans, want[0]) && has(spans, want[len(want)-1]) {
				if err = whole(spans); err == nil {
					return nil
				}
			}
		}
		return err
	})
	for _, step := range want {
		if !has(spans, step) {
			t.Errorf("the trace does not have %q", step)
		}
	}
	databases := map[string]bool{}
	for _, one := range spans {
		if one.Attribute("db.query.text") != "" {
			databases[one.Service] = true
		}
		if one.EndTimeUnixNano < one.StartTimeUnixNano || one.Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
			t.Errorf("%s: %s", name(one), one.Status)
		}
	}
	if !databases["ticketing"] || !databases["notification"] {
		t.Errorf("the trace has the databases of %v", databases)
	}
}

func name(one testkit.Span) string { return one.Service + " " + one.Name }

func has(spans []testkit.Span, step string) bool {
	return slices.ContainsFunc(spans, func(one testkit.Span) bool { return name(one) == step })
}

// whole tells what a trace lacks: a root, or what one of its spans is below.
func whole(spans []testkit.Span) error {
	ids, roots := map[string]bool{}, 0
	for _, one := range spans {
		ids[string(one.SpanId)] = true
	}
	for _, one := range spans {
		if len(one.ParentSpanId) == 0 {
			roots++
		} else if !ids[string(one.ParentSpanId)] {
			return fmt.Errorf("%s is below a span that is not there", name(one))
		}
	}
	if roots != 1 {
		return fmt.Errorf("%d roots", roots)
	}
	return nil
}

// startCollector starts a collector of OpenTelemetry that takes traces by OTLP over HTTP, and hands them on to a URL. It
// returns where it is.
func startCollector(t *testing.T, to string) (url string) {
	t.Helper()
	path, err := exec.LookPath("otelcol")
	if err != nil {
		testkit.Missing(t, "otelcol is not installed; .ci/run builds it")
	}
	at := testkit.FreeAddress(t)
	file := filepath.Join(t.TempDir(), "otelcol.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
exporters: {otlp_http: {endpoint: %q, sending_queue: {enabled: false}}}
service:
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines: {traces: {receivers: [otlp], exporters: [otlp_http]}}
`, at, to), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, path, "--config", file)
	testkit.Eventually(t, 30*time.Second, func() error {
		resp, err := http.Post("http://"+at+"/v1/traces", "application/json", strings.NewReader(`{}`))
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	return "http://" + at
}
