package organizer

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/picture"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Organizers) setLogo(ctx context.Context, req *api.NewLogo) (*api.Organizer, error) {
	// Who may not do that is told before the picture is looked at.
	if _, err := s.as(ctx, s.db.Read(), req.ID, api.MayEditOrganizer); err != nil {
		return nil, err
	}
	logo, err := s.pictures.Keep(ctx, req.ID, req.Data, picture.Logo)
	if err != nil {
		return nil, err
	}
	return s.edit(ctx, req.ID, "", func(o *api.Organizer) error {
		o.Logo = logo
		return nil
	})
}

func (s *Organizers) deleteLogo(ctx context.Context, req *api.OrganizerRef) (*rpc.None, error) {
	_, err := s.edit(ctx, req.ID, "", func(o *api.Organizer) error {
		o.Logo = api.Picture{}
		return nil
	})
	return nil, err
}
