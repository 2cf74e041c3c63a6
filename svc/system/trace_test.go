package system_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A callback of a payment is one trace, from the gateway through all services and their queues to the mail, which tells
// nobody who the buyer is. How many requests are traced is a live setting, and a caller cannot ask for it.
func TestAPurchaseIsOneTrace(t *testing.T) {
	t.Parallel()
	collector := testkit.NewCollector(t)
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox, cfg.Traces = true, collector.URL
	s, _, stop := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, api.TraceSampled.Key(), "0")
	const asked = "00-11111111111111111111111111111111-2222222222222222-01"
	if _, err := s.Send("GET", "/v1/events", "", nil, "traceparent", asked); err != nil {
		t.Fatal(err)
	}
	_, ada := s.Join("ada@example.org")
	event := s.Concert(admin, 10, 2500)
	s.Set(admin, api.TraceSampled.Key(), "10000")
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", ada, systemtest.Seats(event, 1))
	s.Pay(ada, order)
	testkit.Eventually(t, 30*time.Second, func() error {
		for _, one := range collector.Spans() {
			if one.Name == "send email" {
				return nil
			}
		}
		return errors.New("no mail is in a trace")
	})
	stop()

	traces := map[string][]testkit.Span{}
	for _, one := range collector.Spans() {
		id := fmt.Sprintf("%x", one.TraceId)
		traces[id] = append(traces[id], one)
		for _, said := range one.Attributes {
			if text := said.String(); strings.Contains(text, "ada@") || strings.Contains(text, "Ada") || strings.Contains(text, ada) {
				t.Errorf("%s tells %s", one.Name, text)
			}
		}
	}
	if strange := traces["11111111111111111111111111111111"]; len(strange) > 0 {
		t.Errorf("a caller had %d spans made", len(strange))
	}
	var mailed []string
	for _, spans := range traces {
		way := connected(t, spans)
		if slices.Contains(way, "notification send email") {
			mailed = way
		}
	}
	for _, step := range []string{
		"gateway POST /v1/payments/callbacks/{provider}", "gateway payment.callback", "payment payment.callback", "payment sandbox fetch",
		"payment publish ev.payment.payment.succeeded", "ticketing ticketing ev.payment.payment.succeeded",
		"ticketing publish ev.ticketing.order.paid", "notification notification ev.ticketing.order.paid", "notification send email",
	} {
		if !slices.Contains(mailed, step) {
			t.Errorf("the trace of the mail does not have %q, but %q", step, mailed)
		}
	}
}

// connected proves that all spans of a trace hang on one root, and returns what they are.
func connected(t *testing.T, spans []testkit.Span) (way []string) {
	t.Helper()
	ids := map[string]bool{}
	for _, one := range spans {
		ids[string(one.SpanId)] = true
	}
	roots := 0
	for _, one := range spans {
		way = append(way, one.Service+" "+one.Name)
		if len(one.ParentSpanId) == 0 {
			roots++
		} else if !ids[string(one.ParentSpanId)] {
			t.Errorf("%s %s is below a span that is not there", one.Service, one.Name)
		}
	}
	if roots != 1 {
		t.Errorf("%d roots of the trace of %q", roots, way)
	}
	return way
}
