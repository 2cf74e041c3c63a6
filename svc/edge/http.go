package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/web"
)

// The limits of the HTTP server. A phone at a gate keeps its connection.
const (
	readTimeout  = 15 * time.Second
	writeTimeout = 15 * time.Second
	idleTimeout  = 5 * time.Minute
	headerBytes  = 16 << 10
	// mostRead is how much of a body is read. What is too large is read and then refused: a server that stops reading
	// resets the connection, and the client may never see why.
	mostRead = 4 * rpc.DefaultMaxBody
)

// Server is the HTTP server of a venue.
type Server struct {
	s       *Service
	health  *observe.Health
	app     *fiber.App
	took    *observe.Histogram
	refused *observe.Counter

	mu   sync.Mutex
	ln   net.Listener // of Serve
	over bool         // Shutdown was called
}

// NewServer returns the HTTP server of a service. health answers /readyz.
func NewServer(s *Service, health *observe.Health) (*Server, error) {
	h := &Server{s: s, health: health,
		took:    s.cfg.Registry.Histogram("starlight_edge_http_seconds", "How long requests at the venue take."),
		refused: s.cfg.Registry.Counter("starlight_edge_http_refused_total", "Requests at the venue that failed.")}
	h.app = fiber.New(fiber.Config{Immutable: true, StrictRouting: true, CaseSensitive: true,
		BodyLimit: mostRead, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ReadBufferSize: headerBytes, DisableStartupMessage: true, ErrorHandler: h.complain})
	err := h.mount()
	h.app.Server().Handler = h.app.Handler() // which knows the routes from now on
	return h, err
}

// Serve answers requests on ln until Shutdown. It closes ln.
func (h *Server) Serve(ln net.Listener) error {
	h.mu.Lock()
	h.ln = ln
	over := h.over
	h.mu.Unlock()
	if over {
		return ln.Close()
	}
	if err := h.app.Server().Serve(ln); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

// Shutdown takes no new connections and waits until the requests under way are answered, or until ctx ends.
func (h *Server) Shutdown(ctx context.Context) error {
	err := h.app.Server().ShutdownWithContext(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.ln != nil { // which the server does not know if Serve was called a moment ago
		if also := h.ln.Close(); also != nil && !errors.Is(also, net.ErrClosed) {
			err = errors.Join(err, also)
		}
	}
	return err
}

// exchange is one request.
type exchange struct {
	context.Context
	rc     *fasthttp.RequestCtx
	caller caller // unless the route is open
}

// route mounts an endpoint: its request is decoded by the rules of the whole system.
func route[Req any](h *Server, method, path string, open bool, status int,
	serve func(*exchange, *Req) (any, error)) error {
	spec := &rpc.Spec{Method: method, Path: path}
	request, err := codec.NewRequest(reflect.TypeFor[Req](), codec.Config{Path: path, HeaderPrefix: rpc.HeaderHTTP})
	if err != nil {
		return fmt.Errorf("edge: %s %s: %w", method, path, err)
	}
	names := codec.PathNames(path)
	h.handle(method, path, func(c *fiber.Ctx, x *exchange) error {
		if !open {
			token, err := bearer(x.rc)
			if err != nil {
				return err
			}
			x.caller = h.s.identify(token)
		}
		body, err := web.Body(x.rc, spec)
		if err != nil {
			return err
		}
		params, err := web.Params(names, func(name string) string { return c.Params(name) }, x.rc.URI().QueryString())
		if err != nil {
			return err
		}
		req := new(Req)
		if err := request.Decode(req, codec.Message{Params: params, Body: body}); err != nil {
			return err
		}
		answer, err := serve(x, req)
		if err != nil {
			return err
		}
		return x.json(status, answer)
	})
	return nil
}

func bearer(rc *fasthttp.RequestCtx) ([]byte, error) {
	scheme, token, _ := bytes.Cut(rc.Request.Header.Peek(fasthttp.HeaderAuthorization), []byte(" "))
	if token = bytes.TrimSpace(token); !bytes.EqualFold(scheme, []byte("Bearer")) || len(token) == 0 {
		return nil, fault.New(fault.Unauthenticated,
			"this needs Authorization: Bearer and the secret of a pass, or a token of POST /v1/sessions")
	}
	return token, nil
}

// json answers with a value.
func (x *exchange) json(status int, value any) error {
	x.rc.Response.SetStatusCode(status)
	x.rc.Response.Header.Set("Cache-Control", "no-store")
	if value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	x.rc.Response.Header.SetContentType("application/json")
	x.rc.Response.SetBodyRaw(text)
	return nil
}

// handle does for a route what all have in common.
func (h *Server) handle(method, path string, serve func(*fiber.Ctx, *exchange) error) {
	pattern := strings.NewReplacer("{", ":", "}", "").Replace(path)
	h.app.Add(method, pattern, func(c *fiber.Ctx) error {
		began := time.Now()
		rc := c.Context()
		web.Secure(rc)
		id := web.RequestID(rc)
		x := &exchange{Context: rpc.WithMeta(context.Background(), rpc.Meta{RequestID: id}), rc: rc}
		if err := guard(func() error { return serve(c, x) }); err != nil {
			h.problem(x, id, err)
		}
		h.took.Update(time.Since(began).Seconds())
		return nil
	})
}

// problem answers with an error, and logs what is ours.
func (h *Server) problem(x *exchange, id string, err error) {
	h.refused.Inc()
	if fault.From(err).Code == fault.Internal {
		h.s.log.ErrorContext(x, "a request failed", "path", string(x.rc.Path()), "error", err)
	}
	web.Problem(x.rc, id, err)
}

func guard(serve func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return serve()
}

// complain is Fiber's error handler: no route matched, or the request could not be read.
func (h *Server) complain(c *fiber.Ctx, err error) error {
	rc := c.Context()
	web.Secure(rc)
	var e *fiber.Error
	if errors.As(err, &e) {
		err = web.OfStatus(e.Code, err)
	}
	h.problem(&exchange{Context: context.Background(), rc: rc}, web.RequestID(rc), err)
	return nil
}
