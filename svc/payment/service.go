// Package payment takes money for orders and gives it back.
//
// A provider does the collecting, see the package provider. Here stands what it was asked for, what it answered, and a
// state machine that only moves forward. Nothing moves because a callback says so: a callback is verified, stored once
// and acknowledged, and then the payment is fetched from the provider and compared with ours. A poller does the same
// for payments whose callback never came. Where the money is stands in the package ledger.
package payment

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL of the service's tables.
func Migrations() fs.FS { return migrations }

// Deps is what the service needs.
type Deps struct {
	DB      *store.DB
	JS      jetstream.JetStream
	Client  *rpc.Client
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time // nil means time.Now

	PublicURL string // where buyers reach the gateway

	// Providers are the parties that payments can be made at. The service runs and closes them.
	Providers []provider.Provider
}

// Service is the payment service.
type Service struct {
	db        *store.DB
	js        jetstream.JetStream
	client    *rpc.Client
	live      *settings.Live
	log       *slog.Logger
	registry  *observe.Registry
	now       func() time.Time
	publicURL string

	store     *paymentStore
	providers map[string]*provider.Guard // by name
	metrics   instruments
	lines     *observe.Sampler // of the log, for what strangers cause

	callbacksDue map[string]chan struct{} // wake the sweeps of callbacks, by provider
	refundsDue   chan struct{}            // wakes the sweep of refunds
	pauses       []time.Duration          // of the consumer; nil: its own

	lookups       *batch.Group[ids.Order, []*record.Payment]
	creations     *batch.Group[*record.Payment, *record.Payment]
	remotes       *batch.Group[remoteCreated, *record.Payment]
	known         *batch.Group[callbackKey, bool]
	receipts      *batch.Group[*callbackRow, bool]
	confirmations *batch.Group[observation, confirmation]
}

const (
	sweepInterval = time.Second
	sweepLimit    = 1000
	assignEvery   = 15 * time.Second
	pollWorkers   = 16
	refundWorkers = 16
)

// New prepares the service. It does no work in the background before Run.
func New(d Deps) *Service {
	if d.Now == nil {
		d.Now = time.Now
	}
	st := &paymentStore{db: d.DB, now: d.Now}
	const limit, queue = 512, 16384
	together := batch.LingerInCompany(time.Millisecond)
	s := &Service{
		db: d.DB, js: d.JS, client: d.Client, live: d.Live, log: d.Log, registry: d.Metrics, now: d.Now,
		publicURL: strings.TrimSuffix(d.PublicURL, "/"),
		store:     st, refundsDue: make(chan struct{}, 1),
		providers: map[string]*provider.Guard{}, callbacksDue: map[string]chan struct{}{},
		lookups:       batch.New(limit, queue, st.ofOrders, batch.Parallel(2), together),
		creations:     batch.New(limit, queue, st.create, together),
		remotes:       batch.New(limit, queue, st.setRemote, together),
		known:         batch.New(limit, queue, st.known, batch.Parallel(2), together),
		receipts:      batch.New(limit, queue, st.receive, together),
		confirmations: batch.New(limit, queue, st.confirm, together),
	}
	s.metrics = instruments{registry: d.Metrics}
	s.lines = observe.NewSampler(d.Metrics, d.Now)
	for _, p := range d.Providers {
		s.providers[p.Name()] = provider.NewGuard(p, d.Metrics, d.Log)
		s.callbacksDue[p.Name()] = make(chan struct{}, 1)
	}
	return s
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ExportPayments, s.exportPerson)
	rpc.Handle(srv, api.GetPaymentMethods, s.methods)
	rpc.Handle(srv, api.CreatePayment, s.createPayment)
	rpc.Handle(srv, api.GetPayment, s.getPayment)
	rpc.Handle(srv, api.CreateRefund, s.createRefund)
	rpc.Handle(srv, api.ListRefunds, s.listRefunds)
	rpc.Handle(srv, api.RepeatRefund, s.repeatRefund)
	rpc.Handle(srv, api.ListDisputes, s.listDisputes)
	rpc.Handle(srv, api.ClosePayments, s.closePayments)
	rpc.Handle(srv, api.ReceiveCallback, s.receiveCallback)
	ledger.Register(srv, s.db, s.client, s.now)
	for _, p := range s.providers {
		if r, ok := p.Provider.(provider.Resident); ok {
			r.Register(srv, s)
		}
	}
}

// Run publishes events, follows those of ticketing, and works on callbacks, refunds and lost payments, until ctx ends.
// It returns when all of that has stopped, the outbox last.
func (s *Service) Run(ctx context.Context) error {
	g := s.background()
	g.Last.Go("relay", stream.NewRelay(s.db, s.js, s.log, s.registry).Run)
	return g.Run(ctx)
}

// background returns all that Run does but publish.
func (s *Service) background() *run.Group {
	g := run.NewGroup(s.log)
	g.Go("consumer", s.consume)
	for name, p := range s.providers {
		if r, ok := p.Provider.(provider.Runner); ok {
			g.Go("provider "+name, r.Run)
		}
		g.Every(run.Loop{Name: "callbacks of " + name, Interval: sweepInterval, Wake: s.callbacksDue[name],
			Do: func(ctx context.Context) error { return s.sweepCallbacks(ctx, p) }})
	}
	g.Every(run.Loop{Name: "payments", Interval: sweepInterval, Do: s.sweepPayments})
	g.Every(run.Loop{Name: "refunds", Interval: sweepInterval, Wake: s.refundsDue, Do: s.sweepRefunds})
	g.Every(run.Loop{Name: "organizers of payments", Interval: assignEvery,
		Do: func(ctx context.Context) error { return ledger.Assign(ctx, s.db, s.client) }})
	g.Every(run.Loop{Name: "old callbacks", Interval: time.Hour, Jitter: time.Minute, Do: s.deleteCallbacks})
	g.Every(run.Loop{Name: "old reasons", Interval: time.Hour, Jitter: time.Minute, Do: s.eraseReasons})
	return g
}

// Close finishes the operations under way. Call it when no request can come any more and Run has returned.
func (s *Service) Close() {
	s.lookups.Close()
	s.creations.Close()
	s.remotes.Close()
	s.known.Close()
	s.receipts.Close()
	s.confirmations.Close()
	for _, p := range s.providers {
		if c, ok := p.Provider.(provider.Closer); ok {
			c.Close()
		}
	}
}

// wake has the loop that waits on c make a pass soon.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will make one already
	}
}

// parallel calls fn for each item, n at a time, and returns when all calls are over. Once ctx has ended it begins no
// other call and returns its error.
func parallel[T any](ctx context.Context, n int, items []T, fn func(context.Context, T)) error {
	var calls errgroup.Group
	calls.SetLimit(n)
	defer calls.Wait()
	for _, item := range items {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		calls.Go(func() error {
			fn(ctx, item)
			return nil
		})
	}
	return nil
}
