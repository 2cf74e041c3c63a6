package notification

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// exportMessages returns a page of a person's inbox, for the user service.
func (s *Service) exportMessages(ctx context.Context, req *api.PersonRef) (*api.List[api.Notification], error) {
	const rows = 200
	inbox, err := s.listNotifications(asPerson(ctx, req), &api.NotificationQuery{Page: api.Page{Limit: rows, Cursor: req.Cursor}})
	if err != nil {
		return nil, err
	}
	n, err := api.FitExport(inbox.Items)
	if n == len(inbox.Items) || err != nil {
		return &api.List[api.Notification]{Items: inbox.Items, NextCursor: inbox.NextCursor}, err
	}
	last := inbox.Items[n-1]
	return &api.List[api.Notification]{Items: inbox.Items[:n], NextCursor: inboxCursor(last.CreatedAt, last.ID)}, nil
}

// exportChoices returns what a person wants to hear, and on what devices.
func (s *Service) exportChoices(ctx context.Context, req *api.PersonRef) (*api.PersonChoices, error) {
	ctx = asPerson(ctx, req)
	preferences, err := s.preferencesOf(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	devices, err := s.listSubscriptions(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &api.PersonChoices{Preferences: *preferences, PushSubscriptions: devices.Items}, nil
}

// asPerson makes what asks for the caller's own ask for those of the person who is exported.
func asPerson(ctx context.Context, req *api.PersonRef) context.Context {
	return rpc.WithPrincipal(ctx, rpc.Principal{User: req.UserID})
}
