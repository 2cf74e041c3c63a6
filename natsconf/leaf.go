package natsconf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// LeafConfig says how a venue's computer reaches the hub.
type LeafConfig struct {
	Venue string // its id, and the name of its server
	Hub   string // nats-leaf://host:port, or tls://host:port
	Creds string // file with the venue's credentials
	Log   *slog.Logger
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
	cfg  LeafConfig
	log  *slog.Logger
	stop sync.Once
	srv  *server.Server
}

// StartLeaf starts the server of a venue. It does not wait for the hub, which may be away.
func StartLeaf(ctx context.Context, cfg LeafConfig) (*Leaf, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	hub, err := leafURL(cfg.Hub)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName: cfg.Venue, NoSigs: true, DontListen: true, MaxPayload: maxPayload, MaxPending: maxPending,
		PingInterval: 5 * time.Second, MaxPingsOut: 2, // a line that is cut says nothing
		LeafNode: server.LeafNodeOpts{
			ReconnectInterval: leafRedial, DialTimeout: leafDial,
			Remotes: []*server.RemoteLeafOpts{{
				URLs: []*url.URL{hub}, Credentials: cfg.Creds, FirstInfoTimeout: leafFirstInfo,
				TLS: hub.Scheme == "tls",
			}},
		},
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("natsconf: leaf node: %w", err)
	}
	log := cfg.Log.With("component", "nats-server")
	bridge := &logBridge{log: log, fatal: make(chan string, 1)}
	srv.SetLoggerV2(bridge, false, false, false)
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
		return nil, err
	}
	return &Leaf{cfg: cfg, log: log, srv: srv}, nil
}

// leafURL parses the address of a hub.
func leafURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Port() == "" {
		return nil, fmt.Errorf("natsconf: the address of the hub is nats-leaf://host:port or tls://host:port, not %q",
			text)
	}
	switch u.Scheme {
	case "nats-leaf", "tls":
		return u, nil
	}
	return nil, fmt.Errorf("natsconf: the address of the hub is nats-leaf://host:port or tls://host:port, not %q", text)
}

// Connect connects a part of the venue's process, without a socket.
func (l *Leaf) Connect() (*nats.Conn, error) {
	nc, err := nats.Connect("", append(connectOptions("edge", l.cfg.Log, nil), nats.InProcessServer(l.srv))...)
	if err != nil {
		return nil, fmt.Errorf("natsconf: connect to the leaf node: %w", err)
	}
	return nc, nil
}

// Linked reports whether there is a connection to the hub. A line that was just cut counts as one for up to ten
// seconds.
func (l *Leaf) Linked() bool { return l.srv.NumLeafNodes() > 0 }

// Shutdown stops the server, or gives up when ctx ends.
func (l *Leaf) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.stop.Do(func() {
			l.srv.Shutdown()
			l.srv.WaitForShutdown()
		})
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("natsconf: shutdown of the leaf node: %w", ctx.Err())
	}
}
