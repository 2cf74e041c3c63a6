// Package listen bounds what a listener takes, and keeps it listening when descriptors run out: a process that lacks
// one for the next connection still has those it serves.
package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
)

const (
	shortestPause = 5 * time.Millisecond
	longestPause  = time.Second
	quiet         = time.Minute // between two log lines about the same trouble
)

// Config says what a Listener takes. Name, Log and Registry are required.
type Config struct {
	Name     string // of the listener, in logs and metrics
	Log      *slog.Logger
	Registry *observe.Registry

	Total      int                   // connections that may be open; 0 means any number
	PerAddress func() int            // the same for one address, or one /64 of IPv6; nil or 0 means any number
	Exempt     func(netip.Addr) bool // addresses that PerAddress does not bind, such as proxies; nil means none
	Now        func() time.Time      // nil means time.Now
}

// Listener is a net.Listener that closes connections above its bounds, and waits while the system has no descriptor to
// give.
type Listener struct {
	net.Listener
	cfg  Config
	done context.Context
	stop context.CancelFunc

	mu        sync.Mutex
	open      int
	byAddress map[netip.Addr]int

	reported                             [3]atomic.Int64 // when each kind of trouble was last logged, in nanoseconds
	overTotal, overAddress, noDescriptor *observe.Counter
}

// New wraps ln. Closing the Listener closes ln.
func New(ln net.Listener, cfg Config) *Listener {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Listener{Listener: ln, cfg: cfg, byAddress: map[netip.Addr]int{}}
	l.done, l.stop = context.WithCancel(context.Background())
	refused := func(reason string) *observe.Counter {
		return cfg.Registry.Counter("starlight_connections_refused_total",
			"Connections closed at once, or not taken for a while.",
			"listener", cfg.Name, "reason", reason)
	}
	l.overTotal, l.overAddress, l.noDescriptor = refused("total"), refused("address"), refused("descriptors")
	cfg.Registry.GaugeFunc("starlight_connections", "Connections that are open.", func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(l.open)
	}, "listener", cfg.Name)
	return l
}

// Accept returns the next connection within the bounds. It fails only when the listener is closed or broken for good.
func (l *Listener) Accept() (net.Conn, error) {
	retry := run.Backoff{First: shortestPause, Last: longestPause}
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			retry.Reset()
			if taken := l.take(c); taken != nil {
				return taken, nil
			}
			_ = c.Close() // what the peer makes of it is its business
		case passing(err):
			l.noDescriptor.Inc()
			l.warn(0, "connections cannot be taken at the moment", "error", err)
			if !retry.Wait(l.done) {
				return nil, net.ErrClosed
			}
		default:
			return nil, err
		}
	}
}

// Close closes the listener, and ends a wait of Accept. Connections stay open.
func (l *Listener) Close() error {
	l.stop()
	return l.Listener.Close()
}

// passing reports whether the listener itself is sound: this process or the machine is out of descriptors or memory, or
// the peer went before it was taken.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.ECONNRESET, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// take counts a connection, or returns nil if it is one too many.
func (l *Listener) take(c net.Conn) net.Conn {
	key := address(c.RemoteAddr())
	most := 0
	if l.cfg.PerAddress != nil && (l.cfg.Exempt == nil || !l.cfg.Exempt(key)) {
		most = l.cfg.PerAddress()
	}
	key = network(key)
	l.mu.Lock()
	overTotal := l.cfg.Total > 0 && l.open >= l.cfg.Total
	overAddress := !overTotal && most > 0 && l.byAddress[key] >= most
	if !overTotal && !overAddress {
		l.open++
		l.byAddress[key]++
	}
	l.mu.Unlock()
	switch {
	case overTotal:
		l.overTotal.Inc()
		l.warn(1, "connections are refused: as many are open as descriptors allow", "open", l.cfg.Total)
		return nil
	case overAddress:
		l.overAddress.Inc()
		l.warn(2, "connections of an address are refused: it has as many as it may", "address", key.String(), "open",
			most)
		return nil
	}
	return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(key) })}
}

func (l *Listener) leave(key netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddress[key]--; l.byAddress[key] == 0 {
		delete(l.byAddress, key)
	}
}

// warn logs a kind of trouble once a minute: a flood of connections must not become a flood of lines.
func (l *Listener) warn(kind int, msg string, attrs ...any) {
	now := l.cfg.Now().UnixNano()
	if last := l.reported[kind].Load(); last != 0 && now-last < int64(quiet) ||
		!l.reported[kind].CompareAndSwap(last, now) {
		return
	}
	l.cfg.Log.Warn(msg, append(attrs, "listener", l.cfg.Name)...)
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// address returns who is at the other end; the zero Addr if that has no IP address.
func address(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// network returns what an address is counted by: a customer with IPv6 has a whole /64.
func network(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
