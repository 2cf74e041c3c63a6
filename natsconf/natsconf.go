// Package natsconf is everything about the NATS servers of the system: it starts the embedded one, makes the keys and
// the permissions of every role, connects roles to the embedded or to an outside server, and declares the streams and
// buckets. It is the only package that knows nats-server.
package natsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Limits of the embedded server. The .conf files say the same.
const (
	maxPayload     = 8 << 20         // bytes of one message: a picture that is uploaded
	leafPayload    = 1 << 20         // the same at a venue
	maxPending     = 64 << 20        // bytes that wait for a slow client before it is cut off
	maxControlLine = 32 << 10        // credentials that list many subjects make a long CONNECT
	firstWord      = 5 * time.Second // of a client, which may wait for the processor when everybody connects at once
	maxMemory      = 256 << 20       // bytes of JetStream in memory; the system keeps its streams in files

	// maxStore is far above any disk on purpose. Left to itself the server takes three quarters of what is free at
	// start, as if nothing were stored yet: a folder that holds more than that refuses writes after a restart.
	maxStore = 1 << 40

	readyWithin = 20 * time.Second // a large store is recovered before the server listens
)

// Config says how to start an embedded server.
type Config struct {
	Dir string // data folder: DIR/jetstream, DIR/nats (keys), DIR/creds (one .creds file for each role)
	// address for clients such as the nats tool: "127.0.0.1:4222", port 0 for a free one; empty: no listener
	Listen string
	Leaf   string // address for the leaf nodes of venues; empty: none may connect
	Name   string // of the server; default "starlight"
	Roles  []Role // who may connect
	Log    *slog.Logger

	TLSCert, TLSKey string // PEM files; both set: the listener speaks TLS, 1.2 or newer. Connections in process do not.
	// LeafTLS has the listener for leaf nodes speak TLS with a certificate of its own, if TLSCert is not set. The
	// credentials of venues then have the authority.
	LeafTLS bool

	// OnPermissionError is called, if set, whenever the server refuses a role a subject. It must not block.
	OnPermissionError func(role string, err error)
}

// Server is an embedded NATS server with JetStream.
type Server struct {
	cfg  Config
	log  *slog.Logger
	srv  *server.Server
	gate *gate
	lock *os.File
	stop sync.Once

	venues sync.Mutex // held while the account of a venue is changed
}

// Start starts a server and returns when JetStream has recovered its streams and clients can connect. The keys are made
// on the first start and used again later. Only one server may use a folder; a second one is refused.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Name == "" {
		cfg.Name = "starlight"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	log := cfg.Log.With("component", "nats-server")
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("natsconf: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	srv, err := start(ctx, cfg, log)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &Server{cfg: cfg, log: log, srv: srv, gate: &gate{srv: srv}, lock: lock}, nil
}

func start(ctx context.Context, cfg Config, log *slog.Logger) (*server.Server, error) {
	auth, err := prepare(cfg.Dir, cfg.Roles)
	if err != nil {
		return nil, err
	}
	opts, err := cfg.options(auth)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("natsconf: %w", err)
	}
	bridge := &logBridge{log: log, fatal: make(chan string, 1)}
	srv.SetLoggerV2(bridge, false, false, false)

	ready := make(chan bool, 1)
	go func() {
		srv.Start()
		ready <- srv.ReadyForConnections(readyWithin)
	}()
	select {
	case ok := <-ready:
		err = bridge.failure()
		if err == nil && !ok {
			err = fmt.Errorf("natsconf: the server was not ready within %s", readyWithin)
		}
		if err == nil && !srv.JetStreamEnabled() {
			err = fmt.Errorf("natsconf: JetStream did not start: %s", bridge.lastError())
		}
	case msg := <-bridge.fatal:
		err = fmt.Errorf("natsconf: %s", msg)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		srv.Shutdown()
		return nil, err
	}
	return srv, nil
}

func (cfg Config) options(auth *authority) (*server.Options, error) {
	opts := &server.Options{
		ServerName:         cfg.Name,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           filepath.Join(cfg.Dir, "jetstream"),
		SyncAlways:         true,
		JetStreamMaxMemory: maxMemory,
		JetStreamMaxStore:  maxStore,
		MaxPayload:         maxPayload,
		MaxPending:         maxPending,
		MaxControlLine:     maxControlLine,
		AuthTimeout:        firstWord.Seconds(),
	}
	if err := auth.apply(opts); err != nil {
		return nil, err
	}
	var err error
	if cfg.Listen == "" {
		opts.DontListen = true
	} else if opts.Host, opts.Port, err = listenAddress(cfg.Listen); err != nil {
		return nil, err
	}
	if cfg.Leaf != "" {
		if opts.LeafNode.Host, opts.LeafNode.Port, err = listenAddress(cfg.Leaf); err != nil {
			return nil, err
		}
		opts.LeafNode.IsolateLeafnodeInterest = true // venues have nothing to say to each other
		opts.LeafNode.NoAdvertise = true             // they reach it by the address that they were given
		opts.LeafNode.AuthTimeout = leafFirstInfo.Seconds()
		// What is asked of a venue whose line was cut without a word is lost for as long as it counts as connected.
		opts.PingInterval, opts.MaxPingsOut = 5*time.Second, 2
	}
	if cfg.TLSCert == "" && cfg.TLSKey == "" {
		if cfg.Leaf == "" || !cfg.LeafTLS {
			return opts, nil
		}
		pair, err := leafCertificate(cfg.Dir, time.Now())
		if err != nil {
			return nil, err
		}
		opts.LeafNode.TLSTimeout = leafFirstInfo.Seconds()
		opts.LeafNode.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
		return opts, nil
	}
	secure, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cfg.TLSCert, KeyFile: cfg.TLSKey})
	if err != nil {
		return nil, fmt.Errorf("natsconf: TLS: %w", err)
	}
	if cfg.Listen != "" {
		opts.TLS, opts.TLSConfig, opts.TLSTimeout = true, secure, 5
	}
	if cfg.Leaf != "" {
		opts.LeafNode.TLSConfig, opts.LeafNode.TLSTimeout = secure, leafFirstInfo.Seconds()
	}
	return opts, nil
}

// listenAddress splits a listen address. Port 0 becomes what NATS takes for a free one.
func listenAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("natsconf: listen address %q: %w", address, err)
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("natsconf: listen address %q: bad port", address)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// URL returns the address for clients outside the process, nats://host:port, or "" when the server does not listen.
func (s *Server) URL() string {
	if s.cfg.Listen == "" {
		return ""
	}
	return s.srv.ClientURL()
}

// LeafURL returns the address for leaf nodes, nats-leaf://host:port, or "" when there is no listener for them.
func (s *Server) LeafURL() string {
	if s.cfg.Leaf == "" {
		return ""
	}
	z, err := s.srv.Varz(nil)
	if err != nil {
		return ""
	}
	return "nats-leaf://" + net.JoinHostPort(z.LeafNode.Host, strconv.Itoa(z.LeafNode.Port))
}

// Creds returns the path of the credentials file of a role.
func (s *Server) Creds(role string) string { return credsFile(s.cfg.Dir, role) }

// Healthy returns nil while the server runs and JetStream answers for all its streams.
func (s *Server) Healthy() error {
	if !s.srv.Running() {
		return errors.New("natsconf: the server is not running")
	}
	if h := s.srv.Healthz(&server.HealthzOptions{}); h.Error != "" {
		return fmt.Errorf("natsconf: %s", h.Error)
	}
	return nil
}

// Failed returns why JetStream, or a stream of it, takes no writes any more, and nil while all do. A server closes what
// a full disk has failed, and opens it again only when it is started anew.
func (s *Server) Failed() error {
	if !s.srv.JetStreamEnabled() {
		return errors.New("natsconf: JetStream has stopped, as it does when the disk is full")
	}
	for _, e := range s.srv.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			return fmt.Errorf("natsconf: stream %s takes no writes: %s", e.Stream, e.Error)
		}
	}
	return nil
}

// Connect connects a role without a socket. The connection carries the role's name, permissions and inbox.
func (s *Server) Connect(role string) (*nats.Conn, error) {
	opts := connectOptions(role, s.cfg.Log, s.cfg.OnPermissionError)
	opts = append(opts, nats.InProcessServer(s.gate), nats.UserCredentials(s.Creds(role)))
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("natsconf: connect as %s: %w", role, err)
	}
	return nc, nil
}

// Shutdown stops the server and waits until its stores are closed, or until ctx ends. Drain the connections first.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.stop.Do(func() {
			s.srv.Shutdown()
			s.srv.WaitForShutdown()
			_ = s.lock.Close()
		})
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("natsconf: shutdown: %w", ctx.Err())
	}
}

// gate is what the parts of the process send through to their server. While it is closed, what they send waits.
type gate struct {
	mu  sync.RWMutex
	srv *server.Server
}

// InProcessConn implements nats.InProcessConnProvider.
func (g *gate) InProcessConn() (net.Conn, error) {
	conn, err := g.srv.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &gatedConn{Conn: conn, gate: g}, nil
}

type gatedConn struct {
	net.Conn
	gate *gate
}

// Write implements net.Conn.
func (c *gatedConn) Write(b []byte) (int, error) {
	c.gate.mu.RLock()
	defer c.gate.mu.RUnlock()
	return c.Conn.Write(b)
}

// Hold keeps everything back that the parts of the process send to the server, until release is called: requests,
// answers, messages for streams and acknowledgements. What has been sent may be on its way to the disk for a moment. A
// hold of more than ten seconds would end connections.
func (s *Server) Hold() (release func()) {
	s.gate.mu.Lock()
	return s.gate.mu.Unlock
}
