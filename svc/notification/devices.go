package notification

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
	"github.com/starlightsymphony/starlight/svc/notification/channel/webpush"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// mostDevices bounds the push subscriptions of a person: one more replaces the oldest.
const mostDevices = 20

// openPush returns the sender to push services. The key that these know the system by is made at the first start;
// instances that start together end up with the same one.
func openPush(ctx context.Context, d Deps, contact string) (*webpush.Sender, error) {
	fresh, err := webpush.NewKey()
	if err != nil {
		return nil, err
	}
	if err := pushKeys().Adopt(ctx, d.DB, d.Keys); err != nil {
		return nil, err
	}
	place := pushKeys().Place(d.DB, "1")
	var stored string
	err = d.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO push_keys (id, private) VALUES (1, ?) ON CONFLICT (id) DO NOTHING",
			d.Keys.Seal(place, base64.RawURLEncoding.EncodeToString(fresh)))
		if err != nil {
			return err
		}
		return tx.NewRaw("SELECT private FROM push_keys WHERE id = 1").Scan(ctx, &stored)
	})
	if err != nil {
		return nil, err
	}
	scalar, err := d.Keys.Open(place, stored)
	if err != nil {
		return nil, fmt.Errorf("the push key: %w", err)
	}
	key, err := base64.RawURLEncoding.DecodeString(scalar)
	if err != nil {
		return nil, fmt.Errorf("the push key is damaged: %w", err)
	}
	sender, err := webpush.New(webpush.Config{Key: key, Contact: contact, Now: d.Now, AllowPrivate: d.PushPrivate,
		Timeout: d.PushTimeout})
	if err != nil {
		return nil, fmt.Errorf("the push key is damaged: %w", err)
	}
	return sender, nil
}

func (s *Service) dropDevice(ctx context.Context, id ids.PushSubscription) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM push_subscriptions WHERE id = ?", id)
		return err
	})
}

// mostFailures is how often in a row a device does not take a message before it is dropped: about three messages that
// are each tried for as long as pushPatience. Its browser subscribes again when its owner comes back.
const mostFailures = 30

// pushed says what became of a push message to a device, and remembers it if it was the device's fault.
func (s *Service) pushed(ctx context.Context, device subscriptionRow, err error) error {
	var ended *webpush.SubscriptionEnded
	if errors.As(err, &ended) {
		if err := s.dropDevice(ctx, device.ID); err != nil {
			return err
		}
		return &channel.Undeliverable{Reason: ended.Error()}
	}
	var failure *webpush.Failure
	failed := errors.As(err, &failure)
	ctx, cancel := stream.Recording(ctx)
	defer cancel()
	switch {
	case err == nil && device.Failures > 0:
		// The message was sent: what cannot be stored now is stored with the next one.
		if err := s.countFailure(ctx, device.ID, "0"); err != nil {
			s.Log.DebugContext(ctx, "a device still counts as failing", "device", device.ID, "error", err)
		}
	case failed && failure.Device:
		if err := s.countFailure(ctx, device.ID, "failures + 1"); err != nil {
			return err
		}
	}
	if failed && failure.Final {
		return &channel.Undeliverable{Reason: failure.Error()}
	}
	return putOff(err)
}

// countFailure sets the failures of a device, and drops it when they are too many.
func (s *Service) countFailure(ctx context.Context, id ids.PushSubscription, failures bun.Safe) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE push_subscriptions SET failures = ? WHERE id = ?", failures,
			id); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM push_subscriptions WHERE id = ? AND failures >= ?", id,
			mostFailures)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		s.Log.InfoContext(ctx, "a device is dropped: it takes no push messages", "device", id)
		return nil
	})
}

func (s *Service) getPushKey(context.Context, *rpc.None) (*api.PushKey, error) {
	return &api.PushKey{Key: s.push.PublicKey()}, nil
}

// subscribe stores a device of the caller. A device has one owner: the person who subscribed last.
func (s *Service) subscribe(ctx context.Context, req *api.NewPushSubscription) (*api.PushSubscription, error) {
	const maxEndpoint = 2000
	var check fault.Check
	allowed := len(req.Endpoint) <= maxEndpoint && s.push.IsAllowed(req.Endpoint)
	check.Field(allowed, "endpoint", "must be a https address of a push service")
	keys := webpush.Subscription{P256dh: req.Keys.P256dh, Auth: req.Keys.Auth}
	if err := keys.CheckKeys(); err != nil {
		check.Field(false, "keys", "%v", err)
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	now := store.Time(s.Now())
	row := subscriptionRow{ID: ids.New[ids.PushSubscriptionKind](now), UserID: callerOf(ctx), Endpoint: req.Endpoint,
		P256dh: req.Keys.P256dh, Auth: req.Keys.Auth, CreatedAt: now}
	counter := quota.Counter{DB: s.DB, Live: s.Live, Now: s.Now}
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		id := row.ID
		err := tx.NewRaw(`INSERT INTO push_subscriptions (id, user_id, endpoint, p256dh, auth, created_at)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (endpoint) DO UPDATE
			SET user_id = excluded.user_id, p256dh = excluded.p256dh, auth = excluded.auth, failures = 0
			WHERE push_subscriptions.user_id = excluded.user_id OR
			push_subscriptions.auth = excluded.auth AND push_subscriptions.p256dh = excluded.p256dh RETURNING *`,
			row.ID, row.UserID, row.Endpoint, row.P256dh, row.Auth, row.CreatedAt).Scan(ctx, &row)
		if errors.Is(err, sql.ErrNoRows) { // who merely knows the address of a device does not take it from its owner
			return fault.New(fault.Conflict, "the endpoint is another account's, and has other keys")
		}
		if err != nil {
			return err
		}
		if row.ID == id { // the device is a new one
			err := counter.Take(ctx, tx, api.DevicesPerPerson, row.UserID.String(), "push devices of a person", 1)
			if err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM push_subscriptions WHERE user_id = ? AND id NOT IN
			(SELECT id FROM push_subscriptions WHERE user_id = ? ORDER BY created_at DESC, id DESC LIMIT ?)`,
			row.UserID, row.UserID, mostDevices)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &api.PushSubscription{ID: row.ID, Endpoint: row.Endpoint, CreatedAt: row.CreatedAt.UTC()}, nil
}

func (s *Service) listSubscriptions(ctx context.Context, _ *rpc.None) (*api.List[api.PushSubscription], error) {
	var rows []subscriptionRow
	err := s.DB.Read().NewRaw("SELECT * FROM push_subscriptions WHERE user_id = ? ORDER BY created_at, id",
		callerOf(ctx)).
		Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	list := &api.List[api.PushSubscription]{Items: []api.PushSubscription{}}
	for _, r := range rows {
		device := api.PushSubscription{ID: r.ID, Endpoint: r.Endpoint, CreatedAt: r.CreatedAt.UTC()}
		list.Items = append(list.Items, device)
	}
	return list, nil
}

// unsubscribePush deletes a device of the caller. One that does not exist is no error.
func (s *Service) unsubscribePush(ctx context.Context, req *api.PushSubscriptionRef) (*rpc.None, error) {
	var check fault.Check
	check.Field(req.Endpoint != "", "endpoint", "must name the subscription")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return nil, s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM push_subscriptions WHERE user_id = ? AND endpoint = ?",
			callerOf(ctx), req.Endpoint)
		return err
	})
}

// onWebhookDisabled tells the members of an organizer who manage its webhooks.
func (s *Service) onWebhookDisabled(ctx context.Context, m stream.Msg) (step, error) {
	var e api.WebhookEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	team, err := rpc.Call(ctx, s.Client, api.GetOrganizerTeam, &api.OfOrganizer{OrganizerID: e.OrganizerID})
	if fault.Is(err, fault.NotFound) {
		return step{}, nil
	}
	if err != nil {
		return step{}, err
	}
	var st step
	for _, member := range team.Members {
		if slices.Contains(team.Permissions(member.Role), api.MayManageKeys) {
			st.notices = append(st.notices, notice{cause: m.ID, user: member.UserID, name: "webhook_disabled",
				facts: render.Facts{Provider: e.Host, At: e.At}})
		}
	}
	return st, nil
}
