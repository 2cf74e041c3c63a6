package venue

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// onlineFor is how long an edge counts as online after it was seen. It asks every few seconds.
const onlineFor = 15 * time.Second

func (r edgeRow) online(now time.Time) bool { return r.Edge != "" && now.Sub(r.SeenAt) < onlineFor }

func (s *Service) status(ctx context.Context, req *api.VenueRef) (*api.VenueStatus, error) {
	if _, err := s.get(ctx, req); err != nil {
		return nil, err
	}
	row, err := s.edges.load(ctx, req.ID)
	if fault.Is(err, fault.NotFound) {
		return &api.VenueStatus{}, nil
	}
	if err != nil {
		return nil, err
	}
	said, err := row.status()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the status of %s is not readable", req.ID)
	}
	seen := row.SeenAt.UTC()
	return &api.VenueStatus{Online: row.online(s.now()), LastSeen: &seen, Edge: row.Edge, Version: said.Version,
		ManifestAge: said.Manifest, Waiting: said.Waiting, Tickets: said.Tickets, Admitted: said.Admitted,
		Skew: said.Skew, Disk: said.Disk}, nil
}

func (s *Service) releaseEdge(ctx context.Context, req *api.VenueRef) (*rpc.None, error) {
	if _, err := s.get(ctx, req); err != nil {
		return nil, err
	}
	if err := s.edges.release(ctx, req.ID); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "the edge of a venue is released", "venue", req.ID)
	return nil, nil
}

// Keys makes and ends credentials of venues. Only an embedded NATS server has the keys for that.
type Keys interface {
	// IssueVenue returns new credentials of a venue's computer. The account is made on the first call.
	IssueVenue(ctx context.Context, id string) ([]byte, error)
	// RevokeVenue ends all credentials of a venue's computer.
	RevokeVenue(ctx context.Context, id string, now time.Time) error
}

func (s *Service) createCredentials(ctx context.Context, req *api.VenueRef) (*api.VenueCredentials, error) {
	if err := s.hasKeys(ctx, req.ID); err != nil {
		return nil, err
	}
	text, err := s.deps.Keys.IssueVenue(ctx, req.ID.String())
	if err != nil {
		return nil, err
	}
	if err := s.note(ctx, req.ID); err != nil { // nobody gets them without a line
		return nil, err
	}
	s.log.InfoContext(ctx, "credentials of a venue were made", "venue", req.ID, "by", rpc.Caller(ctx).User)
	return &api.VenueCredentials{Credentials: string(text)}, nil
}

func (s *Service) deleteCredentials(ctx context.Context, req *api.VenueRef) (*rpc.None, error) {
	if err := s.hasKeys(ctx, req.ID); err != nil {
		return nil, err
	}
	if err := s.note(ctx, req.ID); err != nil { // before: it cannot be taken back
		return nil, err
	}
	if err := s.deps.Keys.RevokeVenue(ctx, req.ID.String(), time.Now()); err != nil { // NATS goes by its own clock
		return nil, err
	}
	s.log.InfoContext(ctx, "the credentials of a venue were revoked", "venue", req.ID, "by", rpc.Caller(ctx).User)
	return nil, nil
}

// withdraw lets the computer of a venue connect no more.
func (s *Service) withdraw(ctx context.Context, req *line.VenueRef) (*line.Withdrawn, error) {
	if err := s.edges.release(ctx, req.VenueID); err != nil {
		return nil, err
	}
	if s.deps.Keys == nil {
		return &line.Withdrawn{Access: api.AccessOutside}, nil
	}
	if err := s.deps.Keys.RevokeVenue(ctx, req.VenueID.String(), time.Now()); err != nil { // NATS goes by its own clock
		return nil, err
	}
	s.log.InfoContext(ctx, "the credentials of a venue were revoked: it is lost", "venue", req.VenueID)
	return &line.Withdrawn{Access: api.AccessEnded}, nil
}

// note writes a line of the audit log about a venue.
func (s *Service) note(ctx context.Context, id ids.Venue) error {
	return s.deps.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return note(ctx, tx, auditlog.Act{Object: id.String()})
	})
}

// hasKeys returns nil if the caller may make credentials of a venue here.
func (s *Service) hasKeys(ctx context.Context, id ids.Venue) error {
	if _, err := s.get(ctx, &api.VenueRef{ID: id}); err != nil {
		return err
	}
	if s.deps.Keys == nil {
		return fault.New(fault.Conflict, "the NATS servers are not part of this system, so the keys that sign "+
			"credentials are not here: use starlight auth venue %s where starlight auth init was used", id)
	}
	return nil
}
