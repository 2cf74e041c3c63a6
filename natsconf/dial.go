package natsconf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// DialConfig says how a role connects to an outside server.
type DialConfig struct {
	URL   string // nats://host:port, several separated by commas; tls:// for TLS
	Role  string
	Creds string // a credentials file, or a folder that holds ROLE.creds, or empty for none
	CA    string // PEM file of authorities to trust for TLS; empty: those of the system
	Log   *slog.Logger

	// HomeAfter is about how long the connection stays at another server before it goes back to its own; 0 means 10 s.
	HomeAfter time.Duration

	// OnPermissionError is called, if set, whenever the server refuses the role a subject. It must not block.
	OnPermissionError func(role string, err error)
}

// Dial connects to an outside server. While the server cannot be reached it tries again until ctx ends, so that
// processes may be started in any order; a refusal of the credentials is final. A server that dies or hangs is left for
// another of the list within seconds, and taken again once it is back. More options come last.
func Dial(ctx context.Context, cfg DialConfig, more ...nats.Option) (*nats.Conn, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	opts := append(connectOptions(cfg.Role, cfg.Log, cfg.OnPermissionError),
		nats.Timeout(dialTimeout), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsMissed))
	if cfg.Creds != "" {
		path, err := credsPath(cfg.Creds, cfg.Role)
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentials(path))
	}
	if cfg.CA != "" {
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	opts = append(opts, more...)
	home, servers := newHome(cfg.URL, cfg.HomeAfter, cfg.Log)
	home.probe = serves(home.url, opts)
	opts = append(opts, home.options()...)
	opts = append(opts, nats.ReconnectHandler(func(nc *nats.Conn) {
		cfg.Log.Info("connected to NATS again", "component", "nats", "role", cfg.Role,
			"server", nc.ConnectedServerName())
		home.check(nc)
	}))
	wait := 100 * time.Millisecond
	for {
		nc, err := nats.Connect(strings.Join(servers, ","), opts...)
		if err == nil {
			return nc, nil
		}
		if !unreachable(err) {
			home.close()
			return nil, fmt.Errorf("natsconf: connect as %s: %w", cfg.Role, err)
		}
		cfg.Log.Warn("NATS cannot be reached yet", "role", cfg.Role, "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			home.close()
			return nil, fmt.Errorf("natsconf: connect as %s: %w (%w)", cfg.Role, err, ctx.Err())
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// unreachable reports whether trying again may help.
func unreachable(err error) bool {
	if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) {
		return true
	}
	// What the dialer says: refused, unknown host, time out.
	var network interface{ Timeout() bool }
	return errors.As(err, &network)
}

// connectOptions are the options that every connection of the system has.
func connectOptions(role string, log *slog.Logger, denied func(string, error)) []nats.Option {
	log = log.With("component", "nats", "role", role)
	return []nats.Option{
		nats.Name(role),
		nats.CustomInboxPrefix(InboxPrefix(role)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		// What cannot be sent fails at once. Kept back and sent after a reconnect it would reach a service whose
		// caller has long gone.
		nats.ReconnectBufSize(-1),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(15 * time.Second),
		nats.PermissionErrOnSubscribe(true),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Info("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again",
				"server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			attrs := []any{"error", err}
			if sub != nil {
				attrs = append(attrs, "subject", sub.Subject)
			}
			log.Error("NATS reports an error", attrs...)
			if denied != nil && errors.Is(err, nats.ErrPermissionViolation) {
				denied(role, err)
			}
		}),
	}
}
