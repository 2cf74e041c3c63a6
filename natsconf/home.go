package natsconf

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// How an outside server is noticed that hangs: it takes what is sent and answers nothing, and only a missing answer to
// a ping tells. Three intervals without one end the connection, so that is known after 3 to 4.5 s.
const (
	pingInterval = 1500 * time.Millisecond
	pingsMissed  = 2
	dialTimeout  = 3 * time.Second // for one server to greet
)

// homeAfter is about how long a connection stays elsewhere before its own server is tried again.
const homeAfter = 10 * time.Second

// home is the server that a connection belongs to. Each connection draws one from the list, so that they are spread
// evenly. After a failure all of them are where the failure was not; each goes back once its own server serves again.
type home struct {
	url   string
	host  string
	every time.Duration
	probe func(context.Context) error // whether the server serves
	log   *slog.Logger

	returning atomic.Bool // the next connection shall be at home
	away      atomic.Bool // a goroutine waits for home
	closed    context.Context
	close     context.CancelFunc
}

// newHome returns the list in random order, with its first server as home.
func newHome(list string, every time.Duration, log *slog.Logger) (*home, []string) {
	var urls []string
	for u := range strings.SplitSeq(list, ",") {
		if u = strings.TrimSpace(u); u != "" {
			urls = append(urls, u)
		}
	}
	rand.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	h := &home{every: every, log: log}
	if every == 0 {
		h.every = homeAfter
	}
	if len(urls) > 1 { // an only server is where the connection is anyway
		h.url, h.host = urls[0], hostPort(urls[0])
	}
	h.closed, h.close = context.WithCancel(context.Background())
	return h, urls
}

// hostPort returns what a connection would say that it is connected to.
func hostPort(server string) string {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "4222")
	}
	return u.Host
}

// options make a connection look after where it is.
func (h *home) options() []nats.Option {
	return []nats.Option{
		nats.DontRandomize(),
		nats.ConnectHandler(h.check),
		nats.ReconnectToServer(h.choose),
		nats.ClosedHandler(func(*nats.Conn) { h.close() }),
	}
}

// choose leads a connection home that was ended to go there, and leaves all others to the usual order.
func (h *home) choose(servers []nats.Server, _ nats.ServerInfo) (*nats.Server, time.Duration) {
	if !h.returning.Swap(false) {
		return nil, 0
	}
	for i := range servers {
		if servers[i].URL != nil && servers[i].URL.Host == h.host {
			return &servers[i], 0
		}
	}
	return nil, 0
}

// check starts the wait for home if nc is elsewhere.
func (h *home) check(nc *nats.Conn) {
	if h.host == "" || hostPort(nc.ConnectedUrl()) == h.host || !h.away.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer h.away.Store(false)
		for h.wait() {
			at := nc.ConnectedUrl()
			if at == "" { // between servers
				continue
			}
			if hostPort(at) == h.host {
				return
			}
			if err := h.probe(h.closed); err != nil {
				continue
			}
			h.log.Debug("going back to a server that serves again", "server", h.host)
			h.returning.Store(true)
			if err := nc.ForceReconnect(); err != nil {
				return // closed
			}
		}
	}()
}

// wait waits for about the time between two looks, and reports whether the connection is still open.
func (h *home) wait() bool {
	select {
	case <-h.closed.Done():
		return false
	case <-time.After(h.every + rand.N(h.every)):
		return true
	}
}

// serves returns a probe that logs in at the server as the connection itself does.
func serves(server string, opts []nats.Option) func(context.Context) error {
	opts = append(opts[:len(opts):len(opts)], nats.NoReconnect(), nats.DisconnectErrHandler(nil),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	return func(ctx context.Context) error {
		nc, err := nats.Connect(server, opts...)
		if err != nil {
			return err
		}
		defer nc.Close()
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return nc.FlushWithContext(ctx)
	}
}
