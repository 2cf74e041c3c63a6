// Package venue keeps the places with doors: what they are called, where they are, which gates they have. The computer
// of a venue connects as a leaf node with the account of natsconf.Venue.
package venue

import (
	"embed"
	"io/fs"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL of the service's tables.
func Migrations() fs.FS { return migrations }

// Deps is what the service needs.
type Deps struct {
	DB  *store.DB
	Now func() time.Time // nil means time.Now
}

// Service is the venue service.
type Service struct {
	store venues
	now   func() time.Time
}

// New returns the service.
func New(d Deps) *Service {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Service{store: venues{d.DB}, now: d.Now}
}

// Register binds every endpoint of the service.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreateVenue, s.create)
	rpc.Handle(srv, api.ListVenues, s.list)
	rpc.Handle(srv, api.GetVenue, s.get)
	rpc.Handle(srv, api.UpdateVenue, s.update)

	rpc.Handle(srv, line.FindVenue, s.find)
}
