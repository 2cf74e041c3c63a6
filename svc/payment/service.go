// Package payment takes money for orders and gives it back.
//
// A provider does the collecting, see the package provider. Here stands what it was asked for, what it answered, and a state
// machine that only moves forward. Nothing moves because a callback says so: a callback is verified, stored once and
// acknowledged, and then the payment is fetched from the provider and compared with ours. A poller does the same for
// payments whose callback never came. Where the money is stands in the package ledger.
package payment

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
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

	store   *paymentStore
	workers map[string]*callbackWorker // by provider
	metrics instruments

	refundsDue chan struct{}   // wakes the sweep of refunds
	pauses     []time.Duration // of the consumer; nil: its own

	lookups       *batch.Group[ids.Order, []*record.Payment]
	creations     *batch.Group[*record.Payment, *record.Payment]
	remotes       *batch.Group[remoteCreated, *record.Payment]
	receipts      *batch.Group[*callbackRow, bool]
	confirmations *batch.Group[observation, confirmation]
}

const (
	sweepInterval = time.Second
	sweepLimit    = 1000
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
	s := &Service{
		db: d.DB, js: d.JS, client: d.Client, live: d.Live, log: d.Log, registry: d.Metrics, now: d.Now,
		publicURL: strings.TrimSuffix(d.PublicURL, "/"),
		store:     st, refundsDue: make(chan struct{}, 1),
		workers:       map[string]*callbackWorker{},
		lookups:       batch.New(limit, queue, st.ofOrders, batch.Parallel(2)),
		creations:     batch.New(limit, queue, st.create),
		remotes:       batch.New(limit, queue, st.setRemote),
		receipts:      batch.New(limit, queue, st.receive),
		confirmations: batch.New(limit, queue, st.confirm),
	}
	s.metrics = newInstruments(d.Metrics, s)
	for _, p := range d.Providers {
		s.workers[p.Name()] = newCallbackWorker(s, provider.NewGuard(p, d.Metrics, d.Log))
	}
	return s
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ExportPayments, s.exportPerson)
	rpc.Handle(srv, api.CreatePayment, s.createPayment)
	rpc.Handle(srv, api.GetPayment, s.getPayment)
	rpc.Handle(srv, api.CreateRefund, s.createRefund)
	rpc.Handle(srv, api.ListRefunds, s.listRefunds)
	rpc.Handle(srv, api.RepeatRefund, s.repeatRefund)
	rpc.Handle(srv, api.ListDisputes, s.listDisputes)
	rpc.Handle(srv, api.ClosePayments, s.closePayments)
	rpc.Handle(srv, api.ReceiveCallback, s.receiveCallback)
	ledger.Register(srv, s.db)
	for _, w := range s.workers {
		if p, ok := w.provider.Provider.(provider.Resident); ok {
			p.Register(srv, s)
		}
	}
}

// Run publishes events, follows those of ticketing, and works on callbacks, refunds and lost payments, until ctx ends.
// It returns when all of that has stopped, the outbox last.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	for _, d := range s.workers {
		for range callbackWorkers {
			work.Go(func() { d.work(ctx) })
		}
		if r, ok := d.provider.Provider.(provider.Runner); ok {
			work.Go(func() { r.Run(ctx) })
		}
	}
	work.Go(func() { s.sweep(ctx, "callbacks", sweepInterval, nil, s.sweepCallbacks) })
	work.Go(func() { s.sweep(ctx, "payments", sweepInterval, nil, s.sweepPayments) })
	work.Go(func() { s.sweep(ctx, "refunds", sweepInterval, s.refundsDue, s.sweepRefunds) })
	work.Go(func() { s.sweep(ctx, "old callbacks", time.Hour, nil, s.deleteCallbacks) })

	relaying, stopRelay := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRelay()
	relayed := make(chan error, 1)
	go func() {
		defer cancel() // without a relay there is no point in going on
		relayed <- stream.NewRelay(s.db, s.js, s.log, s.registry).Run(relaying)
	}()
	err := s.consume(ctx)
	cancel()
	work.Wait()
	stopRelay()
	return errors.Join(err, <-relayed)
}

// Close finishes the operations under way. Call it when no request can come any more and Run has returned.
func (s *Service) Close() {
	s.lookups.Close()
	s.creations.Close()
	s.remotes.Close()
	s.receipts.Close()
	s.confirmations.Close()
	for _, d := range s.workers {
		if c, ok := d.provider.Provider.(provider.Closer); ok {
			c.Close()
		}
	}
}

// sweep runs fn now, at each interval, and when it is woken, until ctx ends. A sweep that keeps failing is logged once.
func (s *Service) sweep(ctx context.Context, what string, interval time.Duration, wake <-chan struct{}, fn func(context.Context) error) {
	outage := observe.NewOutage(s.log.With("what", what), "a sweep fails", "a sweep works again", nil)
	provider.Every(ctx, interval, wake, func() {
		if err := fn(ctx); !errors.Is(err, context.Canceled) {
			outage.Report(ctx, err)
		}
	})
}

// parallel calls fn for each item, n at a time. It returns when all are done, or the error of ctx when it ends first and
// the calls under way are over.
func parallel[T any](ctx context.Context, n int, items []T, fn func(context.Context, T)) error {
	slots := make(chan struct{}, n)
	var calls sync.WaitGroup
	defer calls.Wait()
	for _, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		calls.Go(func() {
			defer func() { <-slots }()
			fn(ctx, item)
		})
	}
	return nil
}
