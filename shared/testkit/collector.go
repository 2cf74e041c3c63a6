package testkit

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as a collector has received it.
type Span struct {
	Service string // of the resource
	*otlp.Span
}

// Attribute returns an attribute as text, "" without it.
func (s Span) Attribute(name string) string { return attribute(s.Attributes, name) }

// Collector receives OTLP traces over HTTP, as any collector of OpenTelemetry does.
type Collector struct {
	URL string

	mu    sync.Mutex
	down  bool
	spans []Span
}

// NewCollector starts a collector that ends with the test.
func NewCollector(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.receive(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Refuse makes the collector refuse everything, or take it again.
func (c *Collector) Refuse(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Spans returns what has been received so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

func (c *Collector) receive(r *http.Request) error {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		body = unpacked
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var batch otlp.TracesData // the same on the wire as an ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &batch); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down || r.URL.Path != "/v1/traces" {
		return http.ErrNotSupported
	}
	for _, of := range batch.ResourceSpans {
		service := attribute(of.Resource.Attributes, "service.name")
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans = append(c.spans, Span{service, span})
			}
		}
	}
	return nil
}

func attribute(all []*common.KeyValue, name string) string {
	for _, a := range all {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}
