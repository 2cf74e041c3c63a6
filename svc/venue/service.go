// Package venue keeps the places with doors: what they are called, where they are, which gates they have. It is the
// system's end of the line to the computers of venues: each connects as a leaf node with the account of natsconf.Venue,
// and there the service answers it, and asks it what ticketing wants to know.
package venue

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL of the service's tables.
func Migrations() fs.FS { return migrations }

// Deps is what the service needs.
type Deps struct {
	DB       *store.DB
	NATS     *nats.Conn // of the mesh
	JS       jetstream.JetStream
	Client   *rpc.Client // of the mesh
	Accounts Accounts    // of the venues
	Keys     Keys        // nil: they are elsewhere
	Log      *slog.Logger
	EdgeLog  func(ids.Venue) *slog.Logger // where the log of a venue goes
	Metrics  *observe.Registry
	Now      func() time.Time // nil means time.Now
	Live     *settings.Live
	Instance string // unique among those that run
	Version  string // of the program

	PublicURL string // what links begin with
}

// Service is the venue service.
type Service struct {
	deps   Deps
	client *rpc.Client
	log    *slog.Logger
	now    func() time.Time

	store  venues
	edges  edges
	passes passes

	accounts accounts
	shown    shown
	logs     meter
}

// New returns the service.
func New(d Deps) *Service {
	if d.Now == nil {
		d.Now = time.Now
	}
	made := quota.Counter{DB: d.DB, Live: d.Live, Now: d.Now}
	return &Service{deps: d, client: d.Client, log: d.Log, now: d.Now,
		store: venues{d.DB, made}, edges: edges{d.DB}, passes: passes{d.DB, made},
		accounts: accounts{open: map[ids.Venue]*account{}},
		shown:    shown{servers: map[ids.Venue]*rpc.Server{}, said: map[ids.Venue]line.Status{}},
		logs:     meter{most: logLines, pause: logPause, full: map[ids.Venue]time.Time{}}}
}

// Register binds every endpoint of the service.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreateVenue, s.create)
	rpc.Handle(srv, api.ListVenues, s.list)
	rpc.Handle(srv, api.GetVenue, s.get)
	rpc.Handle(srv, api.UpdateVenue, s.update)
	rpc.Handle(srv, api.GetVenueStatus, s.status)
	rpc.Handle(srv, api.ReleaseEdge, s.releaseEdge)
	rpc.Handle(srv, api.CreateVenueCredentials, s.createCredentials)
	rpc.Handle(srv, api.DeleteVenueCredentials, s.deleteCredentials)

	rpc.Handle(srv, api.CreatePass, s.createPass)
	rpc.Handle(srv, api.PairDevice, s.pair)
	rpc.Handle(srv, api.ScanWithPass, s.scanWithPass)
	rpc.Handle(srv, api.AnswerWithPass, s.answerWithPass)
	rpc.Handle(srv, api.ListPasses, s.listPasses)
	rpc.Handle(srv, api.DeletePass, s.deletePass)

	rpc.Handle(srv, line.FindVenue, s.find)
	rpc.Handle(srv, line.AdmitAt, s.admitThere)
	rpc.Handle(srv, line.PokeVenue, s.poke)
	rpc.Handle(srv, line.WithdrawVenue, s.withdraw)
}

// Run keeps a connection to the account of every venue, where it answers the venue's computer, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	defer s.disconnect(ctx)
	work := run.NewGroup(s.log)
	work.Every(run.Loop{Name: "connections to venues", Interval: lookEvery, Do: s.connect})
	work.Every(run.Loop{Name: "venues on the mesh", Interval: showEvery, Do: s.show})
	work.Last.Go("outbox", stream.NewRelay(s.deps.DB, s.deps.JS, s.log, s.deps.Metrics).Run)
	return work.Run(ctx)
}
