// Package discovery tells who is there: every instance of every service, its endpoints, health and numbers, from what
// the instances say of themselves over the NATS micro protocol, where that is not what the contract declares, and what
// they have logged. It keeps nothing and is told nothing.
package discovery

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Deps is what the service stands on.
type Deps struct {
	NATS     *nats.Conn          // may publish $SRV.>
	JS       jetstream.JetStream // may read the stream of logs
	Contract []rpc.Descriptor    // what all services declare
	Log      *slog.Logger
	Now      func() time.Time // nil means time.Now
}

// Service is one instance of the discovery service.
type Service struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	contract []rpc.Descriptor
	log      *slog.Logger
	now      func() time.Time
}

// New returns the service.
func New(_ context.Context, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Service{nc: d.NATS, js: d.JS, contract: d.Contract, log: d.Log, now: d.Now}, nil
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListServices, s.services)
	rpc.Handle(srv, api.GetMesh, s.mesh)
	rpc.Handle(srv, api.GetTopology, s.topology)
	rpc.Handle(srv, api.ListLogs, s.logs)
}

func (s *Service) services(ctx context.Context, _ *rpc.None) (*api.List[api.ServiceInstance], error) {
	found, err := Ask(ctx, s.nc, s.log)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the services cannot be asked")
	}
	return &api.List[api.ServiceInstance]{Items: Instances(found)}, nil
}

func (s *Service) mesh(ctx context.Context, _ *rpc.None) (*api.Mesh, error) {
	found, err := Ask(ctx, s.nc, s.log)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the services cannot be asked")
	}
	return Mesh(found, s.contract), nil
}

func (s *Service) topology(ctx context.Context, q *api.TopologyQuery) (*rpc.Blob, error) {
	if q.Format != "" && q.Format != "svg" && q.Format != "mermaid" {
		return nil, fault.New(fault.Invalid, "format must be svg or mermaid")
	}
	m, err := s.mesh(ctx, nil)
	if err != nil {
		return nil, err
	}
	if q.Format == "mermaid" {
		return &rpc.Blob{ContentType: "text/plain; charset=utf-8", Data: []byte(Mermaid(m))}, nil
	}
	return &rpc.Blob{ContentType: "image/svg+xml", Data: SVG(m)}, nil
}
