package notification

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// mostDevices bounds a person's subscriptions: one more replaces the oldest.
const mostDevices = 20

// pushOffice sends to the push services of browsers.
type pushOffice struct {
	identity *vapid
	client   *http.Client
	now      func() time.Time
	private  bool // endpoints may be anywhere, and without TLS
}

// openPush reads the key that push services know this system by, and makes it at the first start. Instances that start
// together end up with the same one.
func openPush(ctx context.Context, d Deps, contact string) (*pushOffice, error) {
	fresh, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var scalar string
	err = d.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO push_keys (id, private) VALUES (1, ?) ON CONFLICT (id) DO NOTHING", b64.EncodeToString(fresh.Bytes()))
		if err != nil {
			return err
		}
		return tx.NewRaw("SELECT private FROM push_keys WHERE id = 1").Scan(ctx, &scalar)
	})
	if err != nil {
		return nil, err
	}
	raw, err := b64.DecodeString(scalar)
	if err != nil {
		return nil, fmt.Errorf("the push key is damaged: %w", err)
	}
	identity, err := newVAPID(raw, contact)
	if err != nil {
		return nil, fmt.Errorf("the push key is damaged: %w", err)
	}
	return &pushOffice{identity: identity, client: worldClient(d.PushPrivate), now: d.Now, private: d.PushPrivate}, nil
}

// pushed is what a browser's service worker is given.
type pushed struct {
	ID      ids.Notification `json:"id"`
	Kind    string           `json:"kind"`
	Title   string           `json:"title"`
	Text    string           `json:"text"`
	EventID ids.Event        `json:"event_id,omitempty"`
	OrderID ids.Order        `json:"order_id,omitempty"`
	URL     string           `json:"url,omitempty"`
}

// sendPush sends a message to one device.
func (s *Service) sendPush(ctx context.Context, out *outgoing) error {
	var device subscriptionRow
	err := s.DB.Read().NewRaw("SELECT * FROM push_subscriptions WHERE id = ?", out.job.Target).Scan(ctx, &device)
	if err = store.OrNotFound(err, "there is no such subscription"); fault.Is(err, fault.NotFound) {
		return &undeliverable{"the device is no longer subscribed"}
	}
	if err != nil {
		return err
	}
	row := out.row
	body, err := json.Marshal(pushed{ID: row.ID, Kind: row.Kind, Title: clip(row.Title, 120), Text: row.Text, EventID: row.EventID, OrderID: row.OrderID,
		URL: s.texts.letters[row.Name].link(s.PublicURL, out.facts)})
	if err != nil {
		return err
	}
	err = s.push.send(ctx, device, body, ttl(row.Name, out.facts), row.ID)
	if _, gone := err.(*goneDevice); gone {
		if err := s.dropDevice(ctx, device.ID); err != nil {
			return err
		}
		return &undeliverable{err.Error()}
	}
	return err
}

// ttl is how long a push service keeps a message for a device that is off: a reminder is no use after the start.
func ttl(name string, f facts) time.Duration {
	if name == "reminder" {
		return time.Duration(f.Hours) * time.Hour
	}
	return 3 * 24 * time.Hour
}

// goneDevice is the error of a subscription that ended.
type goneDevice struct{ status int }

func (g *goneDevice) Error() string {
	return fmt.Sprintf("the push service answers %d: the subscription has ended", g.status)
}

func (o *pushOffice) send(ctx context.Context, device subscriptionRow, body []byte, keep time.Duration, id ids.Notification) error {
	sealed, err := encrypt(body, device.P256dh, device.Auth)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the push message cannot be sealed")
	}
	authorization, err := o.identity.authorization(device.Endpoint, o.now())
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the push message cannot be signed")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, device.Endpoint, bytes.NewReader(sealed))
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the push endpoint is no address")
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Encoding", "aes128gcm")
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("TTL", strconv.Itoa(int(keep.Seconds())))
	req.Header.Set("Urgency", "normal")
	// The same message again replaces the one before, should it not have been shown yet. RFC 8030 allows 32 characters.
	req.Header.Set("Topic", id.String())
	resp, err := o.client.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the push service cannot be reached")
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, mostAnswer)) // so that the connection serves again
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return nil
	case code == http.StatusNotFound || code == http.StatusGone:
		return &goneDevice{code}
	case code == http.StatusTooManyRequests || code >= 500:
		return fault.New(fault.Unavailable, "the push service answers %d", code)
	default:
		return fault.New(fault.Invalid, "the push service answers %d", code)
	}
}

func (s *Service) dropDevice(ctx context.Context, id ids.PushSubscription) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM push_subscriptions WHERE id = ?", id)
		return err
	})
}

func (s *Service) getPushKey(context.Context, *rpc.None) (*api.PushKey, error) {
	return &api.PushKey{Key: s.push.identity.public}, nil
}

// subscribe keeps a device of the caller. A device has one owner: whoever subscribed last.
func (s *Service) subscribe(ctx context.Context, req *api.NewPushSubscription) (*api.PushSubscription, error) {
	const longestEndpoint = 2000
	var check fault.Check
	check.Field(len(req.Endpoint) <= longestEndpoint && s.push.acceptable(req.Endpoint), "endpoint", "must be a https address of a push service")
	if _, _, err := subscriptionKeys(req.Keys.P256dh, req.Keys.Auth); err != nil {
		check.Field(false, "keys", "%v", err)
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	now := store.Time(s.Now())
	row := subscriptionRow{ID: ids.New[ids.PushSubscriptionKind](now), UserID: callerOf(ctx), Endpoint: req.Endpoint, P256dh: req.Keys.P256dh, Auth: req.Keys.Auth, CreatedAt: now}
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewRaw(`INSERT INTO push_subscriptions (id, user_id, endpoint, p256dh, auth, created_at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (endpoint) DO UPDATE SET user_id = excluded.user_id, p256dh = excluded.p256dh, auth = excluded.auth RETURNING *`,
			row.ID, row.UserID, row.Endpoint, row.P256dh, row.Auth, row.CreatedAt).Scan(ctx, &row)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM push_subscriptions WHERE user_id = ? AND id NOT IN
			(SELECT id FROM push_subscriptions WHERE user_id = ? ORDER BY created_at DESC, id DESC LIMIT ?)`, row.UserID, row.UserID, mostDevices)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &api.PushSubscription{ID: row.ID, Endpoint: row.Endpoint, CreatedAt: row.CreatedAt.UTC()}, nil
}

// acceptable reports whether an endpoint may be called at all. Where its name leads is checked at each dial.
func (o *pushOffice) acceptable(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	if o.private {
		return u.Scheme == "https" || u.Scheme == "http"
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !outside(ip) {
		return false
	}
	return u.Scheme == "https"
}

func (s *Service) listSubscriptions(ctx context.Context, _ *rpc.None) (*api.List[api.PushSubscription], error) {
	var rows []subscriptionRow
	if err := s.DB.Read().NewRaw("SELECT * FROM push_subscriptions WHERE user_id = ? ORDER BY created_at, id", callerOf(ctx)).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	list := &api.List[api.PushSubscription]{Items: []api.PushSubscription{}}
	for _, r := range rows {
		list.Items = append(list.Items, api.PushSubscription{ID: r.ID, Endpoint: r.Endpoint, CreatedAt: r.CreatedAt.UTC()})
	}
	return list, nil
}

// unsubscribePush forgets a device of the caller. One that is not there is no mistake.
func (s *Service) unsubscribePush(ctx context.Context, req *api.PushSubscriptionRef) (*rpc.None, error) {
	var check fault.Check
	check.Field(req.Endpoint != "", "endpoint", "must name the subscription")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return nil, s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM push_subscriptions WHERE user_id = ? AND endpoint = ?", callerOf(ctx), req.Endpoint)
		return err
	})
}
