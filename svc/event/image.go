package event

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/picture"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
)

// maxAlt bounds what is said of a picture to those who do not see it, in characters.
const maxAlt = 500

// setImage gives an event a picture. Who may not do that is told before the picture is looked at.
func (s *Service) setImage(ctx context.Context, req *api.NewEventImage) (*api.Event, error) {
	if err := checkScope(req.Scope); err != nil {
		return nil, err
	}
	before, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := before.Require(rpc.Caller(ctx), api.MayEditEvent); err != nil {
		return nil, err
	}
	if err := before.open(); err != nil {
		return nil, err
	}
	alt := text.Clean(req.Alt)
	var c fault.Check
	if text.CheckLine(&c, "alt", alt, 1, maxAlt); c.Err() != nil {
		return nil, c.Err()
	}
	pic, err := s.pictures.Keep(ctx, before.Event.OrganizerID, req.Data, picture.Poster)
	if err != nil {
		return nil, err
	}
	pic.Alt = alt
	return s.editedIn(ctx, req.Scope, edit{event: req.ID, need: api.MayEditEvent, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			r.Event.Image = pic
			return nil
		}})
}

func (s *Service) deleteImage(ctx context.Context, req *api.EventImageRef) (*rpc.None, error) {
	_, err := s.editedIn(ctx, req.Scope, edit{event: req.ID, need: api.MayEditEvent, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			if r.Event.Image.ID == "" {
				return errUnchanged
			}
			r.Event.Image = api.Picture{}
			return nil
		}})
	return nil, err
}

// patchAlt changes what is said of the picture.
func (r *record) patchAlt(c *fault.Check, alt *string) {
	if alt == nil {
		return
	}
	r.Event.Image.Alt = text.Clean(*alt)
	if r.Event.Image.ID == "" {
		c.Field(false, "image_alt", "there is no picture")
		return
	}
	text.CheckLine(c, "image_alt", r.Event.Image.Alt, 1, maxAlt)
}
