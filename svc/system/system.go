// Package system puts the parts together: it starts NATS, the databases, the services and the gateway in the right
// order, in one process or as one member of a cluster, and stops them in the reverse. The command line and the tests
// start the same System.
package system

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/rpc/traffic"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/tracing"
	"github.com/starlightsymphony/starlight/svc/payment/stripe"
	"github.com/starlightsymphony/starlight/svc/user"
)

// Config says which parts run here and what they stand on. The zero value of a field is its default.
type Config struct {
	Roles []string // the parts to run; empty means all

	Data string // folder for everything that is kept here; default "./data"
	HTTP string // address of the gateway; default 127.0.0.1:8080
	Ops  string // address of the operations listener; default 127.0.0.1:9090, "off" for none
	NATS string // address of the embedded NATS server; default 127.0.0.1:4222
	Leaf string // address where it takes the leaf nodes of venues; empty: none may connect
	// LeafPlain has them connect without TLS, as behind a tunnel.
	LeafPlain bool

	NATSURL     string // an outside NATS server instead of the embedded one
	NATSCreds   string // credentials for it: a folder with ROLE.creds, or a file
	VenueCreds  string // folder of the credentials for the accounts of venues; default NATSCreds/venues
	NATSCA      string // PEM file of the authority of its certificate
	Replicas    int    // copies of each stream: 1 or 3
	DatabaseURL string // PostgreSQL instead of the embedded SQLite

	MediaDir string // folder of pictures, which all gateways and event services see; empty: they are kept in JetStream

	Traces string // collector of traces, as in http://collector:4318; empty: requests are not traced
	Zone   string // where this process runs, as listings name it: a data centre, a rack; may be empty

	PublicURL       string   // where people reach the gateway; default http(s)://HTTP
	CallbackURL     string   // where the sandbox provider reaches it; default PublicURL
	TLSCert, TLSKey string   // PEM files: the gateway speaks TLS
	TrustedProxies  []string // whose X-Forwarded-For counts: addresses and CIDR ranges

	AdminEmail, AdminPassword string // of the first administrator
	SandboxSecret             string // of the sandbox provider's signature
	OpsToken                  string // opens the operations listener from elsewhere
	Stripe                    stripe.Config
	VIESURL                   string // of what confirms VAT numbers; default that of the European Commission

	Keys *seal.Keys `json:"-"` // seal the secrets in the databases; nil: they lie there in plain

	Passwords string // file of stolen passwords that `starlight passwords` has made; empty: none is known

	SMTPURL     string        // where mails go; default the folder Data/outbox
	SMSURL      string        // where SMS go; default nowhere
	MailFrom    *mail.Address // of all mails; default no-reply at the host of PublicURL
	PushPrivate bool          // push endpoints may be in private networks and without TLS

	Sandbox bool             // turns the sandbox provider on unless its setting was ever changed
	Version string           // of the program
	LogTo   io.Writer        `json:"-"` // JSON lines; default standard error
	Now     func() time.Time `json:"-"` // the machine's clock; default time.Now

	// AroundCommit is called before each commit of a service's database and, with done, after it: a test can end the
	// process there.
	AroundCommit func(service string, done bool) `json:"-"`
}

func (c *Config) defaults() {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.Data, "./data")
	set(&c.HTTP, "127.0.0.1:8080")
	set(&c.Ops, "127.0.0.1:9090")
	set(&c.NATS, "127.0.0.1:4222")
	set(&c.Version, BuildVersion())
	if c.LogTo == nil {
		c.LogTo = os.Stderr
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(c.Roles) == 0 {
		c.Roles = Names()
	}
	if c.Replicas == 0 && c.NATSURL == "" {
		c.Replicas = 1
	}
}

func (c *Config) databaseURL() string {
	if c.DatabaseURL != "" {
		return c.DatabaseURL
	}
	return "sqlite:" + filepath.Join(c.Data, "sql")
}

func (c *Config) outboxDir() string { return filepath.Join(c.Data, "outbox") }

func (c *Config) runs(role string) bool { return slices.Contains(c.Roles, role) }

// System is a running process.
type System struct {
	cfg      Config
	instance string
	log      *slog.Logger
	level    *slog.LevelVar
	registry *observe.Registry
	health   *observe.Health
	shipper  *observe.Shipper
	traces   *tracing.Exporter // nil: requests are not traced

	embedded *natsconf.Server // nil with an outside server
	node     *nats.Conn
	live     *settings.Live
	traffic  *traffic.Control
	choice   *instances.Set
	silence  func() // ends saying who serves here; nil before it began
	members  []*member
	serving  serving
	gateway  *gateway.Gateway
	gateConn *nats.Conn
	unlist   func() error // the gateway from the listings of the mesh; nil before it is there

	httpURL, opsURL string
	proxies         []netip.Prefix // cfg.TrustedProxies
	listener        net.Listener   // of the gateway: taken first, because its address is part of what others are told
	newAdmin        string         // the password that was made up for the first administrator

	stop     context.CancelFunc // of everything in the background
	running  parts
	shipping context.Context    // of the log shipper, which hears out all others
	quiet    context.CancelFunc // ends it
	shipped  sync.WaitGroup
	closing  atomic.Bool
	failed   chan error
}

// Start starts what the configuration names and returns when it is ready. If it fails, nothing is left running.
func Start(ctx context.Context, cfg Config) (*System, error) {
	cfg.defaults()
	for _, name := range cfg.Roles {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("unknown role %q; the roles are %s", name, strings.Join(Names(), ", "))
		}
	}
	if cfg.NATSURL == "" || cfg.DatabaseURL == "" {
		if err := takesWrites(cfg.Data); err != nil {
			return nil, err
		}
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	shipping, quiet := context.WithCancel(context.WithoutCancel(ctx))
	s := &System{quiet: quiet, cfg: cfg, instance: instanceName(), level: &slog.LevelVar{},
		registry: observe.NewRegistry(), stop: stop, failed: make(chan error, 1)}
	s.health = observe.NewHealth(cfg.Now)
	s.shipper = observe.NewShipper(s.registry)
	s.log = s.logger("node")
	s.shipping = shipping
	if cfg.Traces != "" {
		var err error
		if s.traces, err = tracing.New(ctx, tracing.Config{URL: cfg.Traces, Instance: s.instance,
			Version: cfg.Version, Log: s.log, Registry: s.registry}); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(ctx, background context.Context) error{s.listen, s.startNATS, s.startLive,
		s.startServices, s.startGateway, s.startBeats,
		s.startOps} {
		if err := step(ctx, background); err != nil {
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if failed := s.Close(closing); failed != nil { // one clear line is worth more than what came of it
				s.log.Warn("what had been started did not end cleanly", "error", failed)
			}
			return nil, err
		}
	}
	if err := s.answerBackups(background); err != nil {
		s.log.Warn("no backups can be asked for", "error", err)
	}
	s.health.Start()
	s.running.run("health", func() { s.health.Watch(background, s.log, watchEvery) })
	secrets := func(r role) bool { return r.sealed != nil && cfg.runs(r.name) }
	if !cfg.Keys.Set() && slices.ContainsFunc(services(), secrets) {
		s.log.Warn("the private keys in the databases are not encrypted: set STARLIGHT_KEY or STARLIGHT_KEY_FILE")
	}
	s.log.Info("ready", "http", s.httpURL, "ops", s.opsURL, "nats", s.NATSURL(), "roles", cfg.Roles)
	return s, nil
}

func instanceName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func (s *System) logger(service string) *slog.Logger {
	return observe.NewShippingLogger(s.cfg.LogTo, service, s.instance, s.level, s.shipper)
}

// URL returns where the gateway listens, or "".
func (s *System) URL() string { return s.httpURL }

// OpsURL returns where the operations listener listens, or "".
func (s *System) OpsURL() string { return s.opsURL }

// NATSURL returns where NATS listens.
func (s *System) NATSURL() string {
	if s.embedded != nil {
		return s.embedded.URL()
	}
	return s.cfg.NATSURL
}

// LeafURL returns where venues connect, or "" if none can.
func (s *System) LeafURL() string {
	if s.embedded == nil {
		return ""
	}
	return s.embedded.LeafURL()
}

// NewAdminPassword returns the password that was made up for the first administrator at this start, or "".
func (s *System) NewAdminPassword() string { return s.newAdmin }

// AdminEmail returns the address of the first administrator.
func (s *System) AdminEmail() string {
	if s.cfg.AdminEmail != "" {
		return s.cfg.AdminEmail
	}
	return user.DefaultAdminEmail
}

// Ready returns the last line of the start: what listens where.
func (s *System) Ready() string {
	line := "ready"
	if s.httpURL != "" {
		line += "  " + s.httpURL + "  docs " + s.httpURL + "/docs"
	}
	if s.opsURL != "" {
		line += "  ops " + s.opsURL
	}
	if s.embedded != nil {
		line += "  nats " + s.embedded.URL() + " (" + s.embedded.Creds("ops") + ")"
	}
	if leaf := s.LeafURL(); leaf != "" {
		line += "  leaf " + leaf
	}
	return line
}

// Failed returns a channel that gets an error when a part ends by itself.
func (s *System) Failed() <-chan error { return s.failed }
