package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Span is one step of a request that is sampled.
type Span struct {
	span   trace.Span
	tracer *Tracer
}

// Child begins a step below s.
func (s *Span) Child(name string, kind Kind) *Span {
	if s == nil {
		return nil
	}
	return s.tracer.start(trace.ContextWithSpan(context.Background(), s.span), name, kind, time.Now())
}

// Traceparent returns the header for what s causes, "" for a nil span.
func (s *Span) Traceparent() string {
	if s == nil {
		return ""
	}
	c := s.span.SpanContext()
	return observe.Trace{TraceID: c.TraceID(), SpanID: c.SpanID(), Sampled: true}.String()
}

// TraceID returns the id of the trace, which is zero for a nil span.
func (s *Span) TraceID() [16]byte {
	if s == nil {
		return [16]byte{}
	}
	return s.span.SpanContext().TraceID()
}

// Set says something of the step, by a name of OpenTelemetry's conventions where there is one. What is said must not be
// a secret, nor tell who somebody is.
func (s *Span) Set(name, value string) {
	if s != nil {
		s.span.SetAttributes(attribute.String(name, value))
	}
}

// SetInt is Set for a number.
func (s *Span) SetInt(name string, value int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int(name, value))
	}
}

// End ends the step. Only what is our fault makes it a failed one: a caller's mistake is named, no more.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		code := fault.From(err).Code
		s.span.SetAttributes(attribute.String("error.type", string(code)))
		if code.Status() >= 500 {
			s.span.SetStatus(codes.Error, string(code))
		}
	}
	s.span.End()
}

// Key is that of a context whose value is the *Span at work.
type Key struct{}

// In returns a context in which s is at work.
func In(ctx context.Context, s *Span) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, Key{}, s)
}

// From returns the span at work, or nil.
func From(ctx context.Context) *Span {
	s, _ := ctx.Value(Key{}).(*Span)
	return s
}
