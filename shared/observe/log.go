package observe

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
)

// NewLogger returns a logger that writes one JSON object a line to w: time, level (debug, info, warn, error), msg,
// service, instance, the attributes, and the ids of the request that the context works for (see [ContextWithRequest]).
// Secrets are taken out by the name of the attribute and by what they look like.
//
// level is usually a *slog.LevelVar that follows a live setting.
func NewLogger(w io.Writer, service, instance string, level slog.Leveler) *slog.Logger {
	return NewShippingLogger(w, service, instance, level, nil)
}

// NewShippingLogger is NewLogger whose lines also go to s, which publishes them on logs.<service>.<level>. The service
// must be a NATS subject token. A nil s ships nothing.
func NewShippingLogger(w io.Writer, service, instance string, level slog.Leveler, s *Shipper) *slog.Logger {
	if s != nil {
		w = &teeWriter{w: w, shipper: s, prefix: logPrefix + service + "."}
	}
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replaceAttr})
	return slog.New(requestHandler{h}).With("service", service, "instance", instance)
}

// levelName returns one of the four names that levels have on the wire.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// requestHandler adds the ids of the request to each record.
type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, r slog.Record) error {
	if req, ok := RequestFrom(ctx); ok {
		r = r.Clone()
		if req.ID != "" {
			r.AddAttrs(slog.String("request_id", req.ID))
		}
		r.AddAttrs(slog.String("trace_id", req.Trace.String()[3:35]), slog.String("span_id", req.Trace.String()[36:52]))
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}

// teeWriter hands a copy of each line to the shipper. slog writes a record with exactly one call.
type teeWriter struct {
	w       io.Writer
	shipper *Shipper
	prefix  string
}

func (t *teeWriter) Write(line []byte) (int, error) {
	t.shipper.enqueue(t.prefix+lineLevel(line), line)
	return t.w.Write(line)
}

// lineLevel reads the level back from a line. The handler writes time and level before anything that a caller chose, so
// the first match is the real one.
func lineLevel(line []byte) string {
	_, rest, _ := bytes.Cut(line, []byte(`"level":"`))
	level, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return "info"
	}
	return strings.ToLower(string(level))
}

// shipQueue is how many lines wait for the network before new ones are dropped, and maxShipped how long a line may be.
const (
	shipQueue  = 4096
	maxShipped = 64 << 10
)

// Shipper publishes log lines over NATS without ever making a caller wait: what does not fit into its queue, and what
// cannot be sent, is dropped and counted in starlight_log_lines_dropped_total.
//
// It exists before there is a connection, so that lines written during start-up are kept for Run.
type Shipper struct {
	queue   chan shippedLine
	dropped *Counter
	shipped *Counter
}

type shippedLine struct {
	subject string
	line    []byte
}

// NewShipper returns a shipper that keeps lines until Run.
func NewShipper(reg *Registry) *Shipper {
	return &Shipper{
		queue: make(chan shippedLine, shipQueue),
		dropped: reg.Counter("starlight_log_lines_dropped_total",
			"Log lines that were not shipped to the stream LOGS."),
		shipped: reg.Counter("starlight_log_lines_shipped_total", "Log lines published for the stream LOGS."),
	}
}

func (s *Shipper) enqueue(subject string, line []byte) {
	if len(line) > maxShipped {
		s.dropped.Inc()
		return
	}
	select {
	case s.queue <- shippedLine{subject, bytes.Clone(bytes.TrimRight(line, "\n"))}:
	default:
		s.dropped.Inc()
	}
}

// Run publishes until ctx ends, then what is still queued, and returns. The connection must be allowed to publish
// logs.<service>.> for each service that logs through s. Publishing is not acknowledged: a log line is not worth the
// wait.
func (s *Shipper) Run(ctx context.Context, nc *nats.Conn) {
	for {
		select {
		case l := <-s.queue:
			s.publish(nc, l)
		case <-ctx.Done():
			for {
				select {
				case l := <-s.queue:
					s.publish(nc, l)
				default:
					return
				}
			}
		}
	}
}

func (s *Shipper) publish(nc *nats.Conn, l shippedLine) {
	// Errors are only counted: logging them would make more lines.
	if err := nc.Publish(l.subject, l.line); err != nil {
		s.dropped.Inc()
		return
	}
	s.shipped.Inc()
}
