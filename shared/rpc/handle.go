package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Encoded is an answer that is JSON already, with its version if it has one. HandleCached takes it. The bytes are not
// changed and may be shared by all requests.
type Encoded struct {
	JSON []byte
	Tag  string // opaque token without quotes; "" means no ETag

	// Shared is how long the answer is the same for all callers, unless it is invalidated: the gateway may keep it. 0
	// means that it is not shared.
	Shared time.Duration
}

// Handle binds a handler to an endpoint. A mistake in the declaration is reported by Start.
//
// The request is decoded and checked before the handler runs; its context ends when the caller stops waiting. A nil
// answer without an error is an empty body. Errors that are not faults reach the caller as Internal, without their
// text.
func Handle[Req, Resp any](s *Server, ep Endpoint[Req, Resp], handler func(context.Context, *Req) (*Resp, error)) {
	bind[Req](s, ep.Describe(), func(ctx context.Context, req *Req) (answer, error) {
		resp, err := handler(ctx, req)
		if err != nil || resp == nil {
			return answer{}, err
		}
		return answerOf(resp), nil
	})
}

// HandleCached is Handle for answers that are often in memory already. Cached is asked first, on the goroutine that
// receives the messages: it saves the way through the queue, and must not wait for anything. What it does not have, by
// false, is left to the handler. It may be nil.
func HandleCached[Req, Resp any](s *Server, ep Endpoint[Req, Resp], cached func(context.Context, *Req) (Encoded, bool),
	handler func(context.Context, *Req) (Encoded, error)) {
	b := bind[Req](s, ep.Describe(), func(ctx context.Context, req *Req) (answer, error) {
		e, err := handler(ctx, req)
		return answer{body: e.JSON, etag: e.Tag, shared: e.Shared}, err
	})
	if b == nil || cached == nil || b.spec.Sealed {
		return
	}
	b.quick = func(ctx context.Context, h nats.Header, body []byte) (answer, bool) {
		req := new(Req)
		if b.decode(req, h, body) != nil {
			return answer{}, false
		}
		e, ok := cached(ctx, req)
		return b.unlessKnown(h, answer{body: e.JSON, etag: e.Tag, shared: e.Shared}), ok
	}
}

// bind adds a binding. It returns nil if the declaration is wrong, which Start reports.
func bind[Req any](s *Server, d Descriptor, run func(context.Context, *Req) (answer, error)) *binding {
	c, err := codecOf(d.Spec, d.Request)
	if err != nil {
		s.problems = append(s.problems, err)
		return nil
	}
	if err := checkSpec(d); err != nil {
		s.problems = append(s.problems, err)
		return nil
	}
	b := &binding{server: s, spec: d.Spec, name: d.Service + "." + d.Name, codec: c, metadata: Metadata(d)}
	b.queue = queue{workers: d.workers(), room: d.queue(), timeout: d.timeout(), patient: d.OwnQueue}
	b.jobs = make(chan job, d.workers())
	b.stats.register(s.cfg.Registry, b)
	b.call = func(ctx context.Context, h nats.Header, body []byte) (answer, error) {
		req := new(Req)
		if err := b.decode(req, h, body); err != nil {
			return answer{}, err
		}
		a, err := run(ctx, req)
		if err != nil {
			return answer{}, err
		}
		return b.unlessKnown(h, a).encode()
	}
	s.add(b)
	return b
}

// checkSpec reports what is declared of an endpoint but cannot be.
func checkSpec(d Descriptor) error {
	names := codec.PathNames(d.Path)
	switch {
	case d.Live.Is() && d.Method != "GET":
		return fmt.Errorf("%s is live, but no GET", d.Subject())
	case d.Live.Is() && d.Live != LiveByCaller() && !slices.Contains(names, d.Live.token):
		return fmt.Errorf("%s is live by {%s}, which its path has not", d.Subject(), d.Live.token)
	case d.Traffic != nil && d.Traffic.Path != "" && !slices.Contains(names, d.Traffic.Path):
		return fmt.Errorf("%s counts {%s}, which its path has not", d.Subject(), d.Traffic.Path)
	case d.Near != nil && (d.Method != "GET" || d.Near.Path != "" && !slices.Contains(names, d.Near.Path)):
		return fmt.Errorf("%s is kept near by {%s}, but is no GET with that in its path", d.Subject(), d.Near.Path)
	case d.Joint && (d.Method != "GET" || d.Near != nil || d.Waits != "" || d.Live.Is()):
		return fmt.Errorf("%s is joint, but is no plain GET", d.Subject())
	case d.Waits != "" && (d.Method != "GET" || !slices.Contains(names, d.Waits)):
		return fmt.Errorf("%s waits for {%s}, but is no GET with that in its path", d.Subject(), d.Waits)
	case len(d.Scopes) > 0 && (d.Access == Internal || d.Access == Public || d.Access == Admin || d.Live.Is()):
		return fmt.Errorf("%s has scopes, but no key may call it", d.Subject())
	case d.OnBehalf && d.Access != Internal:
		return fmt.Errorf("%s is called on behalf of a person, but is not internal", d.Subject())
	case d.PassesOn && (d.Access == Internal || d.Access == Public):
		return fmt.Errorf("%s passes an identity on, but is given none", d.Subject())
	case d.Guests && d.Access != User:
		return fmt.Errorf("%s is for guests, but not for people who are signed in", d.Subject())
	case d.Guests && d.StepUp:
		return fmt.Errorf("%s is for guests, who cannot prove who they are", d.Subject())
	case d.Sealed && d.Near != nil:
		return fmt.Errorf("%s is sealed, but is kept near", d.Subject())
	case d.Location != "" && !beginsWithID(d.Response):
		return fmt.Errorf("%s has a location, but its answer does not begin with an id", d.Subject())
	}
	return nil
}

func beginsWithID(t reflect.Type) bool {
	for _, f := range codec.Fields(t) {
		if f.In == codec.Body {
			return f.Key == "id"
		}
	}
	return false
}

// decode reads a request into req.
func (b *binding) decode(req any, h nats.Header, body []byte) error {
	return b.codec.Decode(req, codec.Message{Params: header(h, HeaderParams), Header: h, Body: body})
}

// codecOf returns the codec of an endpoint's request type.
func codecOf(spec Spec, t reflect.Type) (*codec.Request, error) {
	c, err := codec.NewRequest(t, codec.Config{Path: spec.Path, Patch: spec.Method == "PATCH",
		HeaderPrefix: HeaderHTTP})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Subject(), err)
	}
	return c, nil
}

// unlessKnown turns an answer that the caller has already, by its If-None-Match, into a 304.
func (b *binding) unlessKnown(h nats.Header, a answer) answer {
	if a.etag != "" && b.spec.Method == "GET" && NoneMatch(header(h, HeaderHTTP+IfNoneMatch), a.etag) {
		return answer{status: 304, etag: a.etag}
	}
	return a
}

// answerOf describes a response. It is encoded by encode, if it is sent at all.
func answerOf(resp any) answer {
	a := answer{resp: resp}
	if t, ok := resp.(ETagger); ok {
		a.etag = t.ETag()
	}
	if t, ok := resp.(Transient); ok {
		a.transient = t.IsTransient()
	}
	if t, ok := resp.(Partial); ok && t.IsPartial() {
		a.status = 200
	}
	return a
}

func (a answer) encode() (answer, error) {
	switch r := a.resp.(type) {
	case nil, *None:
		return a, nil
	case *Blob:
		a.contentType, a.body, a.disposition = r.ContentType, r.Data, attachment(r.Filename)
		return a, nil
	}
	body, err := json.Marshal(a.resp)
	if err != nil {
		return a, fault.Wrap(err, fault.Internal, "something went wrong on our side")
	}
	a.body = body
	return a, nil
}

// attachment is the Content-Disposition of a file, or "".
func attachment(filename string) string {
	if filename == "" {
		return ""
	}
	return mime.FormatMediaType("attachment", map[string]string{"filename": filename})
}

// Metadata is what the micro protocol shows of an endpoint: access, summary, method and path, and the JSON Schemas of
// request and response.
func Metadata(d Descriptor) map[string]string {
	m := map[string]string{"access": d.Access.String(), "summary": d.Summary}
	if d.Method != "" {
		m["method"], m["path"] = d.Method, d.Path
	}
	if text := inlineSchema(d.Request, true); text != "" {
		m["request"] = text
	}
	if text := inlineSchema(d.Response, false); text != "" {
		m["response"] = text
	}
	return m
}

func inlineSchema(t reflect.Type, request bool) string {
	schema := codec.NewSchemas("#/$defs/")
	var top map[string]any
	if request {
		top = schema.Request(t)
	} else {
		top = schema.Response(t)
	}
	if top == nil {
		return ""
	}
	if len(schema.Named) > 0 {
		top["$defs"] = schema.Named
	}
	b, err := json.Marshal(top)
	if err != nil {
		return ""
	}
	return string(b)
}

func (s Spec) timeout() time.Duration { return orDefault(s.Timeout, DefaultTimeout) }
func (s Spec) workers() int           { return orDefault(s.Workers, DefaultWorkers) }
func (s Spec) queue() int             { return orDefault(s.Queue, DefaultQueue) }

// Success returns the HTTP status of success.
func (s Spec) Success() int { return orDefault(s.Status, 200) }

// BodyLimit returns how many bytes a body may have.
func (s Spec) BodyLimit() int { return orDefault(s.MaxBody, DefaultMaxBody) }

// orDefault returns v unless it is zero.
func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
