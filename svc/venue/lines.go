package venue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Accounts are the venues' accounts on NATS, as far as this process reaches them.
type Accounts interface {
	// Venues returns the ids of the venues that have an account; it is asked every second.
	Venues() ([]string, error)
	// DialVenue connects the system to the account of a venue. The connection comes back by itself.
	DialVenue(ctx context.Context, id string) (*nats.Conn, error)
}

const (
	lookEvery  = time.Second     // for new accounts
	dialWithin = 5 * time.Second // one account
	dials      = 8               // at the same time
	endWithin  = 5 * time.Second // of the requests that are under way at the end
)

// account is the connection of this instance to the account of a venue, where it serves as line.Hub. Each instance has
// one: requests of the edge go to any of them.
type account struct {
	venue  ids.Venue
	nc     *nats.Conn
	client *rpc.Client
	server *rpc.Server
}

// accounts are the connections that are open.
type accounts struct {
	mu   sync.Mutex
	open map[ids.Venue]*account
}

// of returns the connection to the account of a venue, or nil.
func (a *accounts) of(venue ids.Venue) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open[venue]
}

// venues returns the venues with a connection.
func (a *accounts) venues() []ids.Venue {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []ids.Venue
	for id := range a.open {
		out = append(out, id)
	}
	return out
}

// put keeps a connection.
func (a *accounts) put(one *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[one.venue] = one
}

// take returns the connections that keep does not want, and forgets them.
func (a *accounts) take(keep func(*account) bool) []*account {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*account
	for id, one := range a.open {
		if !keep(one) {
			out = append(out, one)
			delete(a.open, id)
		}
	}
	return out
}

// connect opens the connections that are missing, and closes those to accounts that are gone.
func (s *Service) connect(ctx context.Context) error {
	names, err := s.deps.Accounts.Venues()
	if err != nil {
		return err
	}
	wanted := make(map[ids.Venue]bool, len(names))
	for _, name := range names {
		if id, err := ids.Parse[ids.VenueKind](name); err == nil {
			wanted[id] = true
		}
	}
	for _, gone := range s.accounts.take(func(a *account) bool { return wanted[a.venue] && !a.nc.IsClosed() }) {
		s.log.Info("the account of a venue is gone", "venue", gone.venue)
		gone.close(ctx)
	}
	var (
		dialing sync.WaitGroup
		room    = make(chan struct{}, dials)
		mu      sync.Mutex
		failed  error
	)
	for id := range wanted {
		if s.accounts.of(id) != nil {
			continue
		}
		room <- struct{}{}
		dialing.Go(func() {
			defer func() { <-room }()
			one, err := s.dial(ctx, id)
			if err == nil {
				s.accounts.put(one)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	dialing.Wait()
	return failed
}

// dial connects to the account of a venue and serves there.
func (s *Service) dial(ctx context.Context, id ids.Venue) (*account, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	nc, err := s.deps.Accounts.DialVenue(ctx, id.String())
	if err != nil {
		return nil, err
	}
	a := &account{venue: id, nc: nc, client: rpc.NewClient(nc, rpc.ClientConfig{Name: line.Hub, Grace: -1}),
		server: rpc.NewServer(nc, rpc.ServerConfig{Service: line.Hub, Version: s.deps.Version,
			Instance: s.deps.Instance, Description: "the system, for the venue", Log: s.log.With("venue", id),
			Registry: s.deps.Metrics})}
	s.serveHub(a)
	if err := a.server.Start(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	s.log.Debug("connected to the account of a venue", "venue", id)
	return a, nil
}

// close ends the connection once the requests under way are answered.
func (a *account) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	if !a.nc.IsConnected() {
		a.nc.Close() // there is no request to wait for
	}
	_ = a.server.Drain(ctx) // what was cut off, the edge asks again
	a.nc.Close()
}

// disconnect ends all connections.
func (s *Service) disconnect(ctx context.Context) {
	var closing sync.WaitGroup
	for _, a := range s.accounts.take(func(*account) bool { return false }) {
		closing.Go(func() { a.close(ctx) })
	}
	closing.Wait()
}
