package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/listen"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/identity"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/tracing"
	"github.com/starlightsymphony/starlight/svc/user"
)

// startNATS starts or finds NATS, and makes the streams what they shall be.
func (s *System) startNATS(ctx, background context.Context) error {
	if s.cfg.NATSURL == "" {
		var err error
		s.embedded, err = natsconf.Start(ctx, natsconf.Config{Dir: s.cfg.Data, Listen: s.cfg.NATS,
			Leaf: s.cfg.Leaf, LeafTLS: !s.cfg.LeafPlain, Roles: Roles(), Log: s.logger("nats")})
		if err != nil {
			return err
		}
	}
	var err error
	if s.node, err = s.connect(ctx, roleNode); err != nil {
		return err
	}
	js, err := jetstream.New(s.node)
	if err != nil {
		return err
	}
	if err := natsconf.Ensure(ctx, js, api.Streams(), s.cfg.Replicas); err != nil {
		return err
	}
	removed := s.registry.Counter("starlight_streams_removed_total",
		"Streams that were removed because they collected requests or published some.")
	s.background(background, "stream guard", func(background context.Context) error {
		return natsconf.Guard(background, js, natsconf.GuardConfig{Streams: api.Streams(), Replicas: s.cfg.Replicas,
			Reserved: reserved(), Log: s.log, Removed: func(string) { removed.Inc() },
			Seen: s.showStream})
	})
	clock, err := stream.NewClock(ctx, js, api.InventoryStream, s.cfg.Now, s.log, s.registry)
	if err != nil {
		return err
	}
	s.cfg.Now = clock.Now // from here on all processes of the system agree what time it is
	s.running.run("clock", func() { clock.Run(background) })
	s.shipped.Go(func() { s.shipper.Run(s.shipping, s.node) })
	if _, err := observe.AnswerMetrics(s.node, s.instance, s.registry, s.log); err != nil {
		return err
	}
	if s.embedded != nil {
		s.health.Add(observe.Check{Name: "nats", Run: func(context.Context) error { return s.embedded.Failed() }})
		s.background(background, "nats", s.watchStores)
	}
	s.health.Add(observe.Check{Name: "jetstream", Run: func(ctx context.Context) error {
		_, err := js.Publish(ctx, api.ProbeSubject(natsToken(s.instance)),
			[]byte(s.cfg.Now().UTC().Format(time.RFC3339Nano)))
		return err
	}})
	return nil
}

// natsToken makes one subject token of a name.
func natsToken(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '*' || r == '>' || r <= ' ' {
			return '_'
		}
		return r
	}, s)
}

func (s *System) connect(ctx context.Context, role string) (*nats.Conn, error) {
	if s.embedded != nil {
		return s.embedded.Connect(role)
	}
	return natsconf.Dial(ctx, natsconf.DialConfig{URL: s.cfg.NATSURL, Role: role, Creds: s.cfg.NATSCreds,
		CA: s.cfg.NATSCA, Log: s.log})
}

// identity returns what a role proves itself by to others. Its keys are in its credentials. On a NATS server without
// accounts there is nothing to prove it by.
func (s *System) identity(role string) (*identity.Identity, error) {
	creds := s.cfg.NATSCreds
	if s.embedded != nil {
		creds = s.embedded.Creds(role)
	}
	if creds == "" {
		s.log.Warn("NATS is used without credentials: who reaches it can act for every person", "role", role)
		return nil, nil
	}
	own, err := natsconf.ReadIdentity(creds, role)
	if err != nil {
		return nil, err
	}
	return identity.New(identity.Keys{Role: own.Role, Exchange: own.Exchange, Sign: own.Sign,
		Certificate: own.Certificate, Verify: func(certificate string) (identity.Public, error) {
			p, err := own.Verify(certificate)
			return identity.Public(p), err
		}}), nil
}

// liveWithin is how long a process waits for the live settings.
const liveWithin = 30 * time.Second

// startLive opens the live settings.
func (s *System) startLive(ctx, background context.Context) error {
	js, err := jetstream.New(s.node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, liveWithin)
	defer cancel()
	err = natsconf.Retry(ctx, func(ctx context.Context) error { // a leader may be elected just now
		kv, err := js.KeyValue(ctx, settings.Bucket)
		if err != nil {
			return err
		}
		s.live, err = settings.Open(background, kv, api.Settings(), s.log, s.registry)
		return err
	})
	if err != nil {
		return err
	}
	s.traffic = api.Traffic(s.live, s.registry)
	s.choice = api.Instances(s.live, instances.Config{Zone: s.cfg.Zone, Log: s.log, Registry: s.registry,
		Now: time.Now}) // not cfg.Now: it measures a time that passes
	level := func() { s.level.Set(api.LogLevel.Get(s.live)) }
	level()
	s.live.OnChange(api.LogLevel, level)
	return nil
}

func (s *System) startServices(ctx, background context.Context) error {
	for _, r := range services() {
		if !s.cfg.runs(r.name) {
			continue
		}
		if err := s.startService(ctx, background, r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func (s *System) startService(ctx, background context.Context, r role) error {
	m := &member{sys: s, name: r.name, log: s.logger(r.name)}
	s.members = append(s.members, m)
	var err error
	if m.nc, err = s.connect(ctx, r.name); err != nil {
		return err
	}
	if m.js, err = jetstream.New(m.nc); err != nil {
		return err
	}
	own, err := s.identity(r.name)
	if err != nil {
		return err
	}
	m.client = rpc.NewClient(m.nc, rpc.ClientConfig{Name: r.name, Identity: own, Now: s.cfg.Now,
		Traffic: s.traffic, Instances: s.choice})
	cfg := rpc.ServerConfig{Service: r.name, Version: s.cfg.Version, Instance: s.instance, Description: r.description,
		Log: m.log, Registry: s.registry, Identity: own, Tracer: s.traces.Tracer(r.name), Now: s.cfg.Now,
		Metadata: s.listed(), ByName: true, Ejects: s.choice.Ejected}
	background = tracing.With(background, cfg.Tracer)
	if r.migrations != nil {
		if m.db, err = store.Open(ctx, s.cfg.databaseURL(), r.name, r.migrations(), m.log); err != nil {
			return err
		}
		if around := s.cfg.AroundCommit; around != nil {
			m.db.AroundCommit(func(done bool) { around(r.name, done) })
		}
		s.showDatabase(m.db)
		cfg.Answers = idempotency.In(m.db)
		s.health.Add(observe.Check{Name: "sql " + r.name, Run: m.db.Ping})
		outbox := &outboxWatch{db: m.db, now: time.Now} // not cfg.Now: it measures a time that passes
		s.health.Add(observe.Check{Name: "outbox " + r.name, Run: outbox.check})
	}
	m.server = rpc.NewServer(m.nc, cfg)
	started, err := r.start(ctx, m)
	if err != nil {
		return err // and started is a nil pointer in an interface, which is not nil
	}
	m.service = started
	if r.name == "config" && s.cfg.Sandbox {
		if err := s.enableSandbox(ctx, m.js); err != nil {
			return err
		}
	}
	if people, ok := m.service.(*user.Service); ok {
		if _, s.newAdmin, err = people.EnsureAdmin(ctx, s.cfg.AdminEmail, s.cfg.AdminPassword); err != nil {
			return err
		}
	}
	if c, ok := m.service.(interface{ Ready(context.Context) error }); ok {
		s.health.Add(observe.Check{Name: r.name, Run: c.Ready})
	}
	m.service.Register(m.server)
	if err := m.server.Start(ctx); err != nil {
		return err
	}
	s.serving.add(m.server)
	if r, ok := m.service.(interface{ Run(context.Context) error }); ok {
		s.background(background, m.name, r.Run)
	}
	if m.db != nil {
		s.background(background, m.name+" tidying", m.tidy)
	}
	return nil
}

// startBeats says who serves here, and hears of the others.
func (s *System) startBeats(_, background context.Context) error {
	speaking, stop := context.WithCancel(background)
	ended := make(chan struct{})
	s.silence = func() {
		stop()
		<-ended
	}
	s.running.run("beats", func() {
		defer close(ended)
		s.choice.Run(speaking, s.node, instances.Beat{Version: s.cfg.Version, Zone: s.cfg.Zone}, s.serving.members)
	})
	return nil
}

// listed is what the listings of the mesh have of each member of this process.
func (s *System) listed() map[string]string {
	m := map[string]string{"instance": s.instance}
	if s.cfg.Zone != "" {
		m["zone"] = s.cfg.Zone
	}
	return m
}

// serving are the servers of this process.
type serving struct {
	mu      sync.Mutex
	servers []*rpc.Server
}

func (s *serving) add(srv *rpc.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, srv)
}

// members returns who serves.
func (s *serving) members() (out []instances.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, srv := range s.servers {
		if srv.Ready() {
			out = append(out, srv.Instance())
		}
	}
	return out
}

// underWay returns how many requests wait or run in this process.
func (s *serving) underWay() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, srv := range s.servers {
		n += srv.UnderWay()
	}
	return n
}

// How long stored answers and the marks of handled messages are kept: an idempotency key works for 24 hours at least,
// and a message may come again as long as it stays in its stream.
const (
	answersAge   = 48 * time.Hour
	countsAge    = 7 * 24 * time.Hour
	processedAge = 400 * 24 * time.Hour
)

// tidy deletes what a database need not remember any more, every hour, and keeps the log of SQLite small, until ctx
// ends.
func (m *member) tidy(ctx context.Context) error {
	work := run.NewGroup(m.log)
	work.Every(run.Loop{Name: "old answers and marks", Interval: time.Hour, Jitter: time.Minute, Do: m.forget})
	work.Every(run.Loop{Name: "write-ahead log", Interval: 10 * time.Second, Do: m.db.Checkpoint})
	return work.Run(ctx)
}

func (m *member) forget(ctx context.Context) error {
	now := m.sys.cfg.Now()
	_, answers := idempotency.In(m.db).DeleteBefore(ctx, now.Add(-answersAge))
	_, marks := stream.Forget(ctx, m.db, now.Add(-processedAge))
	return errors.Join(answers, marks, quota.Forget(ctx, m.db, now.Add(-countsAge)))
}

// opsConnections may be open to the operations listener: a few scrapers and people.
const opsConnections = 128

func (s *System) startOps(_, background context.Context) error {
	if s.cfg.Ops == "off" {
		return nil
	}
	ln, err := net.Listen("tcp", s.cfg.Ops)
	if err != nil {
		return fmt.Errorf("operations listener: %w; --ops gives it another address, --ops off none", err)
	}
	s.opsURL = "http://" + ln.Addr().String()
	ln = listen.New(ln, listen.Config{Name: "ops", Log: s.log, Registry: s.registry,
		Total: opsConnections, Now: s.cfg.Now})
	ops := &observe.Ops{Instance: s.instance, Registry: s.registry, NATS: s.node, Health: s.health, Log: s.log,
		Token: s.cfg.OpsToken}
	s.background(background, "operations listener", func(ctx context.Context) error { return ops.Serve(ctx, ln) })
	return nil
}
