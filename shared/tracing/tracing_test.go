package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

const (
	long      = 20 * time.Second
	sampled   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func exporter(t *testing.T, c *testkit.Collector, reg *observe.Registry) *tracing.Exporter {
	t.Helper()
	e, err := tracing.New(t.Context(), tracing.Config{URL: c.URL, Instance: "one", Version: "1.2.3", Log: testkit.Log(t), Registry: reg})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSpansReachTheCollector(t *testing.T) {
	c := testkit.NewCollector(t)
	e := exporter(t, c, observe.NewRegistry())
	root := e.Tracer("gateway").Root(unsampled, "POST /v1/orders", true)
	call := root.Child("ticketing.order", tracing.Client)
	served := e.Tracer("ticketing").Start(call.Traceparent(), "ticketing.order", tracing.Server, time.Now().Add(-time.Second))
	served.Set("starlight.caller", "gateway")
	served.Child("transaction", tracing.Client).End(nil)
	served.End(fault.New(fault.Unavailable, "no"))
	call.End(fault.New(fault.Conflict, "sold out"))
	root.End(nil)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	if len(spans) != 4 {
		t.Fatalf("%d spans, want 4", len(spans))
	}
	byName := map[string]testkit.Span{}
	for _, s := range spans {
		byName[s.Service+" "+s.Name+" "+s.Kind.String()] = s
		if got := fmt.Sprintf("%x", s.TraceId); got != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is of trace %s", s.Name, got)
		}
	}
	one := byName["gateway POST /v1/orders SPAN_KIND_SERVER"]
	two := byName["gateway ticketing.order SPAN_KIND_CLIENT"]
	three := byName["ticketing ticketing.order SPAN_KIND_SERVER"]
	four := byName["ticketing transaction SPAN_KIND_CLIENT"]
	for _, of := range []struct{ child, parent testkit.Span }{{two, one}, {three, two}, {four, three}} {
		if of.child.Span == nil || of.parent.Span == nil || string(of.child.ParentSpanId) != string(of.parent.SpanId) {
			t.Fatalf("%v is not below %v", of.child, of.parent)
		}
	}
	if fmt.Sprintf("%x", one.ParentSpanId) != "b7ad6b7169203331" {
		t.Errorf("the root is below %x, not below its caller", one.ParentSpanId)
	}
	if two.Status.GetCode() != 0 || two.Attribute("error.type") != "conflict" {
		t.Errorf("a caller's mistake is %v, %q", two.Status, two.Attribute("error.type"))
	}
	if three.Status.GetCode() != 2 || three.Attribute("error.type") != "unavailable" || three.Attribute("starlight.caller") != "gateway" {
		t.Errorf("our failure is %v, %v", three.Status, three.Attributes)
	}
	if took := three.EndTimeUnixNano - three.StartTimeUnixNano; took < uint64(time.Second) {
		t.Errorf("the span took %d ns, without its time in the queue", took)
	}
}

// Strangers do not decide what is traced, and what is not costs nothing.
func TestNothingIsMadeOfWhatIsNotSampled(t *testing.T) {
	c := testkit.NewCollector(t)
	reg := observe.NewRegistry()
	e := exporter(t, c, reg)
	tracer := e.Tracer("gateway")
	for _, s := range []*tracing.Span{
		tracer.Root(sampled, "GET /", false), tracer.Start(unsampled, "x", tracing.Server, time.Now()), tracer.Start("", "x", tracing.Server, time.Now()),
		tracer.Start(strings.ToUpper(sampled), "x", tracing.Server, time.Now()), tracing.From(t.Context()).Child("x", tracing.Internal),
		(*tracing.Exporter)(nil).Tracer("x").Root(sampled, "GET /", true), tracing.Of(t.Context()).Start(sampled, "x", tracing.Server, time.Now()),
	} {
		if s != nil {
			t.Error("a span was made")
		}
		s.Set("a", "b")
		s.SetInt("a", 1)
		s.End(errors.New("x"))
		if s.Traceparent() != "" {
			t.Error("a span that is none has a traceparent")
		}
	}
	ctx := t.Context()
	if tracing.In(ctx, nil) != ctx || tracing.With(ctx, nil) != ctx {
		t.Error("a context was made for nothing")
	}
	if got := testing.AllocsPerRun(100, func() { tracer.Start(unsampled, "x", tracing.Server, time.Time{}).End(nil) }); got != 0 {
		t.Errorf("%v allocations for a request that is not sampled", got)
	}
	if err := e.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Spans()); n != 0 {
		t.Errorf("%d spans were sent", n)
	}
}

// Spans that a collector refuses are counted; the next ones go on.
func TestACollectorThatRefuses(t *testing.T) {
	c := testkit.NewCollector(t)
	reg := observe.NewRegistry()
	e := exporter(t, c, reg)
	tracer := e.Tracer("gateway")
	count := func(outcome string) int {
		const help = "Spans made, sent, failed; what is made and neither of the others was dropped."
		return int(reg.Counter("starlight_trace_spans_total", help, "outcome", outcome).Get())
	}
	c.Refuse(true)
	tracer.Root("", "one", true).End(nil)
	testkit.Eventually(t, long, func() error {
		if count("failed") != 1 {
			return fmt.Errorf("%d spans failed", count("failed"))
		}
		return nil
	})
	c.Refuse(false)
	tracer.Root("", "two", true).End(nil)
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if count("made") != 2 || count("sent") != 1 || len(c.Spans()) != 1 || c.Spans()[0].Name != "two" {
		t.Errorf("made %d, sent %d, received %v", count("made"), count("sent"), c.Spans())
	}
}

func TestAddressesOfCollectors(t *testing.T) {
	for _, bad := range []string{"collector:4318", "ftp://collector", "http://", "://"} {
		_, err := tracing.New(t.Context(), tracing.Config{URL: bad, Log: testkit.Log(t), Registry: observe.NewRegistry()})
		if err == nil || !strings.Contains(err.Error(), "http://collector:4318") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
