package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc/identity"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// ServerConfig says what a Server is. Service, Log and Registry are required, and Answers if an endpoint is Idempotent.
type ServerConfig struct {
	Service     string // the role; also the queue group
	Version     string // semantic version; "" means 0.0.0
	Instance    string // names this process in listings, may be empty
	Description string
	Metadata    map[string]string // more for listings, beside the instance
	ByName      bool              // takes calls for this very instance too: see package instances
	Ejects      func() []string   // for listings: whom this process leaves alone; may be nil
	Log         *slog.Logger
	Registry    *observe.Registry
	Answers     Answers

	// Identity checks for whom requests are made. Without one, a connection that has credentials serves no request
	// with a principal; on one that has none, as in tests, nothing could prove a principal, and it is believed.
	Identity *identity.Identity
	Tracer   *tracing.Tracer  // nil: requests are not traced
	Now      func() time.Time // judges the age of proofs; nil means time.Now
}

// Server answers the requests of one service. Bind its endpoints with Handle, then Start it.
type Server struct {
	nc       *nats.Conn
	cfg      ServerConfig
	bindings []*binding
	problems []error // of the bindings; Start returns them

	base   context.Context // of all handlers
	cancel context.CancelFunc
	micro  *microService
	ready  atomic.Bool

	authenticated bool // NATS knows who is who

	acknowledge func(ctx context.Context, params string) error // see BeforeAcknowledging; may be nil
	hashSecrets func(secrets []byte) []byte                    // see HashSecrets; may be nil
	done        chan struct{}                                  // closed when the workers shall end
	workers     sync.WaitGroup
}

// NewServer returns a server that has no endpoints yet.
func NewServer(nc *nats.Conn, cfg ServerConfig) *Server {
	if cfg.Version == "" {
		cfg.Version = "0.0.0"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	base, cancel := context.WithCancel(context.Background())
	return &Server{nc: nc, cfg: cfg, base: base, cancel: cancel, done: make(chan struct{}),
		authenticated: cfg.Identity != nil || nc != nil && nc.Opts.UserJWT != nil}
}

// BeforeAcknowledging sets what must be done before an endpoint of HTTP other than a GET answers with a success, also
// with a stored answer. It gets the path and query values in the form of a query. Its error is sent instead: then the
// change has happened, but is not acknowledged. Call it before Start.
func (s *Server) BeforeAcknowledging(fn func(ctx context.Context, params string) error) {
	s.acknowledge = fn
}

// HashSecrets sets how the members of a body that Spec.Secrets names count in what is stored of an idempotent request:
// by a keyed hash, which tells nothing without the key. Without it they do not count. Call it before Start.
func (s *Server) HashSecrets(fn func(secrets []byte) []byte) { s.hashSecrets = fn }

// Bound returns the specs of the endpoints that have a handler.
func (s *Server) Bound() []Spec {
	specs := make([]Spec, 0, len(s.bindings))
	for _, b := range s.bindings {
		specs = append(specs, b.spec)
	}
	return specs
}

// Ready reports whether the server is subscribed and takes requests.
func (s *Server) Ready() bool { return s.ready.Load() }

// add adds a binding. A mistake is kept for Start, so that a service's list of handlers stays a list.
func (s *Server) add(b *binding) {
	if b.spec.Service != s.cfg.Service {
		s.problems = append(s.problems, fmt.Errorf("%s is not an endpoint of %s", b.spec.Subject(), s.cfg.Service))
	}
	for _, other := range s.bindings {
		if other.spec.Name == b.spec.Name {
			s.problems = append(s.problems, fmt.Errorf("%s has two handlers", b.spec.Subject()))
		}
	}
	if b.spec.Idempotent && s.cfg.Answers == nil {
		s.problems = append(s.problems,
			fmt.Errorf("%s is idempotent, but the server has no store of answers", b.spec.Subject()))
	}
	s.bindings = append(s.bindings, b)
}

// Start registers the service and returns when requests reach it. It fails if a binding is wrong, or if the connection
// may not subscribe to one of the subjects, which NATS reports only asynchronously.
func (s *Server) Start(ctx context.Context) error {
	if err := errors.Join(s.problems...); err != nil {
		return fmt.Errorf("rpc: %s: %w", s.cfg.Service, err)
	}
	metadata := map[string]string{"instance": s.cfg.Instance}
	maps.Copy(metadata, s.cfg.Metadata)
	before := s.nc.LastError()
	s.micro = &microService{nc: s.nc, bindings: s.bindings, description: s.cfg.Description, byName: s.cfg.ByName,
		ejects: s.cfg.Ejects,
		id: micro.ServiceIdentity{Name: s.cfg.Service, Version: s.cfg.Version,
			Metadata: metadata},
		log: func(subject string, err error) {
			s.cfg.Log.Warn("a request for information about this service was not answered",
				"subject", subject, "error", err)
		}}
	if err := s.micro.start(); err != nil {
		return s.abandon(fmt.Errorf("rpc: %s: %w", s.cfg.Service, err))
	}
	if err := s.flush(ctx); err != nil {
		return s.abandon(fmt.Errorf("rpc: %s: %w", s.cfg.Service, err))
	}
	if err := s.nc.LastError(); err != before && errors.Is(err, nats.ErrPermissionViolation) &&
		strings.Contains(err.Error(), "Subscription") {
		return s.abandon(fmt.Errorf("rpc: %s may not serve its endpoints: %w", s.cfg.Service, err))
	}
	s.ready.Store(true)
	return nil
}

// Instance returns by which name the server is called, once it is ready.
func (s *Server) Instance() instances.Member {
	return instances.Member{Service: s.cfg.Service, ID: s.micro.id.ID}
}

// flush waits until the NATS server has seen everything sent so far.
func (s *Server) flush(ctx context.Context) error { return flush(ctx, s.nc) }

func flush(ctx context.Context, nc *nats.Conn) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
	}
	return nc.FlushWithContext(ctx)
}

func (s *Server) abandon(err error) error {
	s.finish()
	return errors.Join(err, s.micro.stop())
}

// Drain takes no new requests, waits until those under way are answered, and ends the workers. If ctx ends first, the
// handlers still running are cancelled and the error says how many there were. The connection stays open.
func (s *Server) Drain(ctx context.Context) error {
	defer s.finish()
	s.ready.Store(false)
	if s.micro == nil {
		return nil
	}
	if err := s.micro.stop(); err != nil {
		return fmt.Errorf("rpc: %s: stop: %w", s.cfg.Service, err)
	}
	if s.nc.IsClosed() {
		return nil
	}
	// After this round trip everything that the server had on its way to us is here.
	if err := s.flush(ctx); err != nil {
		return fmt.Errorf("rpc: %s: drain: %w", s.cfg.Service, err)
	}
	if err := s.waitIdle(ctx); err != nil {
		return err
	}
	return s.flush(ctx) // the last replies
}

// waitIdle waits until no request is under way and none was accepted for a moment: nats.go hands over what it has
// already received by goroutines that cannot be waited for.
func (s *Server) waitIdle(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	const calm = 5 // ticks
	var seen uint64
	for still := 0; still < calm; {
		busy, accepted := s.load()
		if busy > 0 || accepted != seen {
			still = 0
		} else {
			still++
		}
		seen = accepted
		select {
		case <-ctx.Done():
			if busy == 0 {
				return nil
			}
			return fmt.Errorf("rpc: %s: %d requests were cut off: %w", s.cfg.Service, busy, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// UnderWay returns how many requests wait or run.
func (s *Server) UnderWay() int64 {
	busy, _ := s.load()
	return busy
}

func (s *Server) load() (busy int64, accepted uint64) {
	for _, b := range s.bindings {
		busy += b.queue.busy()
		accepted += b.stats.requests.Load()
	}
	return busy, accepted
}

// finish cancels what still runs and ends the workers. It does nothing the second time.
func (s *Server) finish() {
	s.cancel()
	for _, b := range s.bindings {
		b.close()
	}
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.workers.Wait()
	for _, b := range s.bindings {
		b.stats.end()
	}
}
