// Package tracing makes OpenTelemetry spans of the requests that are sampled, and sends them to a collector by OTLP
// over HTTP. The ids travel as W3C trace context, in the header traceparent.
//
// The gateway decides which requests are sampled; everybody else makes spans below a traceparent that says so. A nil
// Exporter, Tracer or Span does nothing, so that nobody has to ask whether there is one, and a request that is not
// sampled costs a comparison.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// The bounds of what waits for the collector.
const (
	mostWaiting = 8192 // spans; what is more is dropped, and counted
	sendEvery   = 2 * time.Second
	sendWithin  = 10 * time.Second
)

// Config says where spans go, and whose they are.
type Config struct {
	URL      string // of the collector, as in http://collector:4318; a path is taken as it is, none is /v1/traces
	Instance string // names the process
	Version  string // of the program
	Log      *slog.Logger
	Registry *observe.Registry
}

// Exporter sends the spans of a process.
type Exporter struct {
	cfg       Config
	processor sdk.SpanProcessor
	made      *observe.Counter
}

// New returns an exporter. It connects when there is something to send.
func New(ctx context.Context, cfg Config) (*Exporter, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the collector of traces: %q is no address such as http://collector:4318", cfg.URL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	client, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression), otlptracehttp.WithTimeout(sendWithin))
	if err != nil {
		return nil, fmt.Errorf("the collector of traces: %w", err)
	}
	count := func(outcome string) *observe.Counter {
		return cfg.Registry.Counter("starlight_trace_spans_total",
			"Spans made, sent, failed; what is made and neither of the others was dropped.", "outcome", outcome)
	}
	sent := &reporting{SpanExporter: client, sent: count("sent"), failed: count("failed"),
		outage: observe.NewOutage(cfg.Log, "traces are lost: the collector does not take them",
			"the collector takes traces again", nil)}
	return &Exporter{cfg: cfg, made: count("made"), processor: sdk.NewBatchSpanProcessor(sent,
		sdk.WithMaxQueueSize(mostWaiting), sdk.WithBatchTimeout(sendEvery), sdk.WithExportTimeout(sendWithin))}, nil
}

// Close sends what still waits.
func (e *Exporter) Close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	if err := e.processor.Shutdown(ctx); err != nil {
		return fmt.Errorf("the last traces: %w", err)
	}
	return nil
}

// Tracer returns what makes the spans of one service.
func (e *Exporter) Tracer(service string) *Tracer {
	if e == nil {
		return nil
	}
	provider := sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(e.processor),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.namespace", "starlight"),
			attribute.String("service.name", service), attribute.String("service.version", e.cfg.Version),
			attribute.String("service.instance.id", e.cfg.Instance))))
	return &Tracer{made: e.made, tracer: provider.Tracer("github.com/starlightsymphony/starlight")}
}

// reporting is an exporter whose failures are logged once and counted: the SDK would print each of them.
type reporting struct {
	sdk.SpanExporter
	sent, failed *observe.Counter
	outage       *observe.Outage
}

// ExportSpans implements sdk.SpanExporter.
func (r *reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	r.outage.Report(ctx, err)
	if err != nil {
		r.failed.Add(len(spans))
		return nil
	}
	r.sent.Add(len(spans))
	return nil
}

// Tracer makes the spans of one service.
type Tracer struct {
	tracer trace.Tracer
	made   *observe.Counter
}

// Kind says which side of a conversation a span is.
type Kind int

// The kinds of spans, as OpenTelemetry has them.
const (
	Internal = Kind(trace.SpanKindInternal)
	Server   = Kind(trace.SpanKindServer)
	Client   = Kind(trace.SpanKindClient)
	Producer = Kind(trace.SpanKindProducer)
	Consumer = Kind(trace.SpanKindConsumer)
)

// Root begins the trace of a request from outside. The traceparent that came with it gives the trace its id if it is
// valid; whether it is sampled, strangers do not decide. Without a tracer, or if the request is not sampled, the span
// is nil.
func (t *Tracer) Root(traceparent, name string, sampled bool) *Span {
	if t == nil || !sampled {
		return nil
	}
	parent, ok := observe.ParseTraceparent(traceparent)
	if !ok {
		return t.start(context.Background(), name, Server, time.Now())
	}
	parent.Sampled = true
	return t.below(parent, name, Server, time.Now())
}

// Start begins a span at a moment, below what a traceparent names. It is nil if that is not sampled.
func (t *Tracer) Start(traceparent, name string, kind Kind, at time.Time) *Span {
	if t == nil || !sampled(traceparent) {
		return nil
	}
	parent, ok := observe.ParseTraceparent(traceparent)
	if !ok {
		return nil
	}
	return t.below(parent, name, kind, at)
}

// sampled reads the flag at the end of a traceparent, which every request has, and few are sampled.
func sampled(traceparent string) bool {
	const size, flag = 55, 54
	return len(traceparent) >= size && traceparent[flag]&1 == 1
}

func (t *Tracer) below(parent observe.Trace, name string, kind Kind, at time.Time) *Span {
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: parent.TraceID, SpanID: parent.SpanID,
		TraceFlags: trace.FlagsSampled, Remote: true})
	return t.start(trace.ContextWithRemoteSpanContext(context.Background(), remote), name, kind, at)
}

func (t *Tracer) start(parent context.Context, name string, kind Kind, at time.Time) *Span {
	t.made.Inc()
	_, span := t.tracer.Start(parent, name, trace.WithSpanKind(trace.SpanKind(kind)), trace.WithTimestamp(at))
	return &Span{span: span, tracer: t}
}

type tracerKey struct{}

// With returns a context in which t makes the spans of background work.
func With(ctx context.Context, t *Tracer) context.Context {
	if t == nil {
		return ctx
	}
	return context.WithValue(ctx, tracerKey{}, t)
}

// Of returns the tracer of ctx, or nil.
func Of(ctx context.Context) *Tracer {
	t, _ := ctx.Value(tracerKey{}).(*Tracer)
	return t
}
