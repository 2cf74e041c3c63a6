// Package analytics answers what an organizer asks of the numbers of an event. It is a read model in one bbolt file for
// each instance, folded from the streams EVENTS and ANALYTICS: what a group of facts changes and how far the stream was
// read commit in one transaction, so every fact counts exactly once, whenever the process ends.
//
// Nothing personal is kept: the traits of people are asked of the user service once, counted, and forgotten. That a
// person was counted for an event is remembered by a hash whose salt never leaves the file.
package analytics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// Deps is what the service needs.
type Deps struct {
	Dir     string // of the read models: each instance that shares it has a file of its own there
	NATS    *nats.Conn
	JS      jetstream.JetStream
	Client  *rpc.Client
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time // nil means time.Now
}

// Service is one instance of the analytics service.
type Service struct {
	db      *bolt.DB
	nc      *nats.Conn
	js      jetstream.JetStream
	client  *rpc.Client
	live    *settings.Live
	log     *slog.Logger
	now     func() time.Time
	metrics *observe.Registry
	fonts   *document.Fonts

	id           string // of the instance: those that started later have greater ones
	reader       string // names its consumers; "" means the first of Consumers that is free
	progress     *progress
	beatInterval time.Duration

	mu      sync.Mutex
	touched map[ids.Event]uint64 // not published yet: the beat of the last change
	beats   uint64               // of this instance
	peers   map[string]uint64    // the beat at which each other instance was heard last
}

// New opens the read model. It does no work in the background before Run.
func New(_ context.Context, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	fonts, err := document.NewFonts(document.FontConfig{Cache: d.Dir, Log: d.Log})
	if err != nil {
		return nil, err
	}
	db, err := openFile(d.Dir)
	if err != nil {
		return nil, err
	}
	s := &Service{db: db, nc: d.NATS, js: d.JS, client: d.Client, live: d.Live, log: d.Log, now: d.Now,
		metrics: d.Metrics, fonts: fonts,
		id: newID(), progress: newProgress(), beatInterval: beatInterval, touched: map[ids.Event]uint64{},
		peers: map[string]uint64{}}
	for _, of := range []string{api.EventsStream, api.AnalyticsStream} {
		d.Metrics.GaugeFunc("starlight_analytics_behind_seconds",
			"How long ago all that was in a stream was folded; -1 until that is known.",
			func() float64 {
				if at := s.progress.currentAt(of); !at.IsZero() {
					return s.now().Sub(at).Seconds()
				}
				return -1
			}, "of", of)
	}
	return s, nil
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.GetEventAnalytics, s.summary)
	rpc.Handle(srv, api.FollowAnalytics, s.summary)
	rpc.Handle(srv, api.GetSales, s.sales)
	rpc.Handle(srv, api.GetAttendance, s.attendance)
	rpc.Handle(srv, api.GetFunnel, s.funnel)
	rpc.Handle(srv, api.GetBuyers, s.demographics)
	rpc.Handle(srv, api.GetForecast, s.forecast)
	rpc.Handle(srv, api.GetReport, s.report)
	rpc.Handle(srv, api.GetOverview, s.overview)
	rpc.Handle(srv, api.CompareEvents, s.compare)
}

const (
	beatInterval   = time.Second
	buyersInterval = time.Second
	sweepInterval  = time.Hour
)

// Run folds until ctx ends. When the setting analytics.generation changes, it forgets the read model and folds again
// from the beginning of the streams.
func (s *Service) Run(ctx context.Context) error {
	rebuild, stop := s.changes(api.AnalyticsGeneration)
	defer stop()
	writeStates, stop := s.changes(api.AnalyticsMinutes, api.AnalyticsRetention, api.PeopleRetention)
	defer stop()
	peers, err := s.nc.Subscribe(api.AnalyticsPeers, s.onPeer)
	if err != nil {
		return err
	}
	defer func() { _ = peers.Unsubscribe() }()
	for ctx.Err() == nil {
		if err := s.regenerate(); err != nil {
			return err
		}
		if err := s.runUntil(ctx, rebuild, writeStates); err != nil {
			return err
		}
	}
	return nil
}

// runUntil folds until ctx ends or the read model is to be built again.
func (s *Service) runUntil(ctx context.Context, rebuild, writeStates <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := run.NewGroup(s.log)
	for _, fl := range s.followers() {
		work.Go(fl.stream, func(ctx context.Context) error { return s.follow(ctx, fl) })
	}
	work.Every(run.Loop{Name: "live numbers", Interval: s.beatInterval, Do: s.publishLive})
	work.Every(run.Loop{Name: "buyers", Interval: buyersInterval, Do: s.catchUpBuyers})
	work.Every(run.Loop{Name: "retention", Interval: sweepInterval, Wake: writeStates, Do: s.sweep})
	work.Go("rebuild", func(ctx context.Context) error {
		select {
		case <-rebuild:
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	return work.Run(ctx)
}

// Close closes the read model. Call it when no request can come any more and Run has returned.
func (s *Service) Close() {
	if err := s.db.Close(); err != nil {
		s.log.Error("the read model does not close", "error", err)
	}
}

// regenerate empties the read model if it is of another generation than the setting says.
func (s *Service) regenerate() error {
	want := uint64(api.AnalyticsGeneration.Get(s.live))
	return s.db.Update(func(tx *bolt.Tx) error {
		if number(tx, "generation") == want {
			return nil
		}
		s.log.Info("the read model is built again", "generation", want)
		s.progress.reset()
		return reset(tx, want)
	})
}

// changes tells when a live setting changes, until stop is called.
func (s *Service) changes(of ...settings.Definition) (changed <-chan struct{}, stop func()) {
	published := make(chan struct{}, 1)
	var stops []func()
	for _, d := range of {
		if s.live != nil {
			stops = append(stops, s.live.OnChange(d, func() { signal(published) }))
		}
	}
	return published, func() {
		for _, stop := range stops {
			stop()
		}
	}
}
