package notification

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

func callerOf(ctx context.Context) ids.User { return rpc.Caller(ctx).User }

// listNotifications returns a page of the caller's inbox.
func (s *Service) listNotifications(ctx context.Context, req *api.NotificationQuery) (*api.Inbox, error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	key, err := store.DecodeCursor(req.Cursor, 2)
	if err != nil {
		return nil, err
	}
	query := s.DB.Read().NewSelect().Model((*messageRow)(nil)).Where("user_id = ? AND inbox", callerOf(ctx))
	if req.Unread {
		query = query.Where("read_at IS NULL")
	}
	if key != nil {
		at, err := time.Parse(time.RFC3339Nano, key[0])
		if err != nil {
			return nil, fault.New(fault.Invalid, "the cursor is not one that a list returned")
		}
		query = query.Where("created_at < ? OR created_at = ? AND id < ?", at, at, key[1])
	}
	var rows []messageRow
	if err := query.Order("created_at DESC", "id DESC").Limit(int64(limit+1)).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	inbox := &api.Inbox{Items: []api.Notification{}}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		inbox.NextCursor = inboxCursor(last.CreatedAt, last.ID)
	}
	for _, row := range rows {
		inbox.Items = append(inbox.Items, row.notification())
	}
	inbox.Unread, err = unread(ctx, s.DB.Read(), callerOf(ctx))
	return inbox, err
}

// inboxCursor names the last message of a page.
func inboxCursor(at time.Time, id ids.Notification) string {
	return store.EncodeCursor(at.UTC().Format(time.RFC3339Nano), id.String())
}

func unread(ctx context.Context, db bun.IDB, user ids.User) (n int, err error) {
	err = db.NewRaw("SELECT COUNT(*) FROM messages WHERE user_id = ? AND inbox AND read_at IS NULL", user).Scan(ctx, &n)
	return n, err
}

// markRead marks messages of the caller as read, and ignores those of others.
func (s *Service) markRead(ctx context.Context, req *api.MarkRead) (*api.Unread, error) {
	const most = 200
	var check fault.Check
	check.Field(len(req.IDs) <= most, "ids", "must be at most %d", most)
	if err := check.Err(); err != nil {
		return nil, err
	}
	left := 0
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		query := tx.NewUpdate().Model((*messageRow)(nil)).Set("read_at = ?", s.Now()).
			Where("user_id = ? AND inbox AND read_at IS NULL", callerOf(ctx))
		if len(req.IDs) > 0 {
			query = query.Where("id IN (?)", bun.List(req.IDs))
		}
		if _, err := query.Exec(ctx); err != nil {
			return err
		}
		var err error
		left, err = unread(ctx, tx, callerOf(ctx))
		return err
	})
	return &api.Unread{Unread: left}, err
}

// follow is the snapshot of a live inbox.
func (s *Service) follow(ctx context.Context, _ *rpc.None) (*api.LiveInbox, error) {
	const newest = 20
	page, err := s.listNotifications(ctx, &api.NotificationQuery{Page: api.Page{Limit: newest}})
	if err != nil {
		return nil, err
	}
	return &api.LiveInbox{UserID: callerOf(ctx), Items: page.Items, Unread: page.Unread}, nil
}

// managed returns an event that the caller manages.
func (s *Service) managed(ctx context.Context, id ids.Event) (api.Event, error) {
	offer, err := s.offer(ctx, id)
	if err != nil {
		return api.Event{}, err
	}
	return offer.Event, offer.Require(rpc.Caller(ctx), api.MayAnnounce)
}

func (s *Service) offer(ctx context.Context, id ids.Event) (*api.Offer, error) {
	return rpc.Call(ctx, s.Client, api.GetOffer, &api.OfferRequest{EventID: id})
}

// exportMessages returns a page of a person's inbox, for the user service.
func (s *Service) exportMessages(ctx context.Context, req *api.PersonRef) (*api.List[api.Notification], error) {
	const rows = 200
	page := api.Page{Limit: rows, Cursor: req.Cursor}
	inbox, err := s.listNotifications(asPerson(ctx, req), &api.NotificationQuery{Page: page})
	if err != nil {
		return nil, err
	}
	n, err := api.FitExport(inbox.Items)
	if n == len(inbox.Items) || err != nil {
		return &api.List[api.Notification]{Items: inbox.Items, NextCursor: inbox.NextCursor}, err
	}
	last := inbox.Items[n-1]
	next := inboxCursor(last.CreatedAt, last.ID)
	return &api.List[api.Notification]{Items: inbox.Items[:n], NextCursor: next}, nil
}

// asPerson makes the person who is exported the caller.
func asPerson(ctx context.Context, req *api.PersonRef) context.Context {
	return rpc.WithPrincipal(ctx, rpc.Principal{User: req.UserID})
}
