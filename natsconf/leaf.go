package natsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf/certificate"
)

// LeafConfig says how a venue's computer reaches the hub.
type LeafConfig struct {
	Venue string // its id
	// of its server: another for each data folder, and the same after a restart, so that a connection that was left
	// hanging makes room for the next; default Venue
	Name string
	Hub  string // nats-leaf://host:port, or tls://host:port; several separated by commas
	// PEM file of the authority that signed the hub's certificate; empty: that in Creds, else those that the machine
	// knows
	CA    string
	Creds string // file with the venue's credentials
	Plain bool   // the line has no TLS; otherwise an address without tls:// needs an authority
	Log   *slog.Logger

	// Patience is how long the hub may not answer before the server is started anew; 0 means 30 s. It doubles with each
	// time that this did not help, up to ten times as long.
	Patience time.Duration
	// OnChange is called, if set, whenever the line comes or goes, one call at a time. It must not block.
	OnChange func(LineState)
}

// LineState is how the line to the hub is.
type LineState struct {
	Up       bool      // the hub answers
	Since    time.Time // by the venue's clock
	Reason   string    // why it is not up, as far as is known
	Restarts int       // of the server, because the line did not come back otherwise
}

// Limits of a line that may be a mobile one.
const (
	leafDial      = 5 * time.Second
	leafFirstInfo = 10 * time.Second // half a second each way, and lost packets in between
	leafRedial    = time.Second
	leafReady     = 10 * time.Second
)

// Leaf is the NATS server of a venue: without a listener and without JetStream, a way to the hub that is there or not.
type Leaf struct {
	cfg LeafConfig
	log *slog.Logger
	hub []*url.URL
	tls *tls.Config // nil: none

	srv    atomic.Pointer[server.Server] // another one after a restart
	errors atomic.Pointer[leafLog]       // what the server complains of
	state  atomic.Pointer[LineState]

	stop   sync.Once
	cancel context.CancelFunc // of the watch
	watch  sync.WaitGroup
	nc     *nats.Conn // of the watch

	mu    sync.Mutex
	conns []*nats.Conn // of the parts of the process
}

// StartLeaf starts the server of a venue. It does not wait for the hub, which may be away.
func StartLeaf(ctx context.Context, cfg LeafConfig) (*Leaf, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Venue
	}
	if cfg.Patience == 0 {
		cfg.Patience = linePatience
	}
	hub, err := leafURLs(cfg.Hub)
	if err != nil {
		return nil, err
	}
	secure, err := cfg.secure(hub[0].Scheme)
	if err != nil {
		return nil, err
	}
	l := &Leaf{cfg: cfg, log: cfg.Log.With("component", "nats-server"), hub: hub, tls: secure}
	l.state.Store(&LineState{Since: time.Now(), Reason: "the hub has not been reached yet"})
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	if l.nc, err = l.connect("line"); err != nil {
		l.srv.Load().Shutdown()
		return nil, err
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.watch.Go(func() { l.watchLine(watching) })
	return l, nil
}

// start starts a server and keeps it.
func (l *Leaf) start(ctx context.Context) error {
	opts := &server.Options{
		ServerName: l.cfg.Name, NoSigs: true, DontListen: true, MaxPayload: leafPayload, MaxPending: maxPending,
		PingInterval: 5 * time.Second, MaxPingsOut: 2, // a line that is cut says nothing
		LeafNode: server.LeafNodeOpts{
			ReconnectInterval: leafRedial, DialTimeout: leafDial,
			Remotes: []*server.RemoteLeafOpts{{
				URLs: l.hub, Credentials: l.cfg.Creds, FirstInfoTimeout: leafFirstInfo,
				TLS: l.tls != nil, TLSConfig: l.tls.Clone(), TLSTimeout: leafFirstInfo.Seconds(),
				// A hub behind a router or a proxy would tell of addresses that only its own network knows.
				IgnoreDiscoveredServers: true,
			}},
		},
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("natsconf: leaf node: %w", err)
	}
	bridge := &logBridge{log: l.log, fatal: make(chan string, 1)}
	complaints := &leafLog{logBridge: bridge}
	srv.SetLoggerV2(complaints, false, false, false)
	ready := make(chan bool, 1)
	go func() {
		srv.Start()
		ready <- srv.ReadyForConnections(leafReady)
	}()
	select {
	case ok := <-ready:
		if err = bridge.failure(); err == nil && !ok {
			err = errors.New("natsconf: the leaf node was not ready in time")
		}
	case msg := <-bridge.fatal:
		err = fmt.Errorf("natsconf: leaf node: %s", msg)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		srv.Shutdown()
		return err
	}
	l.srv.Store(srv)
	l.errors.Store(complaints)
	return nil
}

// leafURLs parses the addresses of a hub.
func leafURLs(list string) ([]*url.URL, error) {
	var urls []*url.URL
	for text := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" || u.Port() == "" || u.Scheme != "nats-leaf" && u.Scheme != "tls" {
			return nil, fmt.Errorf(
				"natsconf: the address of the hub is nats-leaf://host:port or tls://host:port, not %q", text)
		}
		if urls = append(urls, u); u.Scheme != urls[0].Scheme {
			return nil, errors.New("natsconf: of the addresses of the hub all have TLS or none")
		}
	}
	return urls, nil
}

// secure returns how the hub proves who it is, or nil for a line without TLS.
func (cfg LeafConfig) secure(scheme string) (*tls.Config, error) {
	creds, err := os.ReadFile(cfg.Creds)
	if err != nil {
		return nil, fmt.Errorf("natsconf: the venue's credentials: %w", err)
	}
	if cfg.Plain {
		if scheme == "tls" || cfg.CA != "" {
			return nil, errors.New("natsconf: a plain line has neither an address tls:// nor an authority")
		}
		return nil, nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		text, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("natsconf: the authority of the hub's certificate: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("natsconf: %s has no certificate of an authority", cfg.CA)
		}
		return secure, nil
	}
	pool, own := authorities(creds)
	secure.RootCAs = pool
	if own {
		secure.ServerName = leafHost
	}
	if pool == nil && scheme != "tls" {
		return nil, errors.New("natsconf: the credentials do not say by which authority the hub is known: use an " +
			"address tls://, name the authority, or say that the line is plain")
	}
	return secure, nil
}

// The listener for venues of an embedded server has a certificate of its own, and an authority that signs nothing else:
// DIR/tls/leaf.pem, DIR/tls/leaf-ca.pem. A venue gets the authority with its credentials. So the name in the
// certificate is a fixed one, whatever addresses and names the machine is reached by.
const (
	leafHost      = "leaf.starlight.internal"
	leafAuthority = "starlight venues"
)

// leafCertificate returns the certificate of the listener for venues. It is made on the first call, and anew before it
// ends; the authority stays.
func leafCertificate(dir string, now time.Time) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "tls", "leaf.pem"), filepath.Join(dir, "tls", "leaf.key")
	caFile, caKey := leafAuthorityFiles(dir)
	authority, key, err := certificate.Authority(caFile, caKey, leafAuthority, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("natsconf: the authority of the certificate for venues: %w", err)
	}
	have, _, err := certificate.Read(certFile, keyFile) // a pair that was written by half is made anew
	if err != nil || !now.Add(certificate.RenewBefore).Before(have.NotAfter) ||
		have.CheckSignatureFrom(authority) != nil {
		_, _, err = certificate.New(certFile, keyFile, &x509.Certificate{Subject: pkix.Name{CommonName: leafHost},
			DNSNames: []string{leafHost}, NotAfter: now.Add(certificate.Life), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, authority, key, now)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("natsconf: the certificate for venues: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return pair, fmt.Errorf("natsconf: the certificate for venues: %w", err)
	}
	return pair, nil
}

// hubAuthority returns the certificate of the authority that a venue knows the hub by, in PEM: that of auth init for
// outside servers, or else of the embedded one, which may not have listened for venues yet.
func hubAuthority(dir string, now time.Time) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(dir, "auth.conf")); err == nil {
		text, err := os.ReadFile(filepath.Join(dir, "tls", "ca.pem"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return text, err
	}
	certFile, keyFile := leafAuthorityFiles(dir)
	if _, _, err := certificate.Authority(certFile, keyFile, leafAuthority, now); err != nil {
		return nil, err
	}
	return os.ReadFile(certFile)
}

func leafAuthorityFiles(dir string) (certFile, keyFile string) {
	return filepath.Join(dir, "tls", "leaf-ca.pem"), filepath.Join(dir, "nats", "leaf-ca.key")
}

// authorities returns the certificates in a file of credentials; nil if there is none.
func authorities(text []byte) (pool *x509.CertPool, own bool) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return pool, own
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if pool == nil {
			pool = x509.NewCertPool()
		}
		pool.AddCert(c)
		own = own || c.Subject.CommonName == leafAuthority
	}
}

// Connect connects a part of the venue's process, without a socket. The connection comes back by itself when the server
// is started anew.
func (l *Leaf) Connect() (*nats.Conn, error) {
	nc, err := l.connect("edge")
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, nc)
	return nc, nil
}

// connections returns all that are open.
func (l *Leaf) connections() []*nats.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, (*nats.Conn).IsClosed)
	return append(slices.Clone(l.conns), l.nc)
}

func (l *Leaf) connect(role string) (*nats.Conn, error) {
	nc, err := nats.Connect("", append(connectOptions(role, l.cfg.Log, nil), nats.InProcessServer(l))...)
	if err != nil {
		return nil, fmt.Errorf("natsconf: connect to the leaf node: %w", err)
	}
	return nc, nil
}

// InProcessConn implements nats.InProcessConnProvider.
func (l *Leaf) InProcessConn() (net.Conn, error) { return l.srv.Load().InProcessConn() }

// Linked reports whether there is a connection to the hub. A line that was just cut counts as one for up to fifteen
// seconds. See State for whether the hub answers.
func (l *Leaf) Linked() bool { return l.srv.Load().NumLeafNodes() > 0 }

// State returns how the line is.
func (l *Leaf) State() LineState { return *l.state.Load() }

// Shutdown stops the server, or gives up when ctx ends.
func (l *Leaf) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.stop.Do(func() {
			l.cancel()
			l.watch.Wait()
			l.nc.Close()
			l.end()
		})
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("natsconf: shutdown of the leaf node: %w", ctx.Err())
	}
}

// end ends the server.
func (l *Leaf) end() {
	srv := l.srv.Load()
	srv.Shutdown()
	srv.WaitForShutdown()
}
