package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/web"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rotation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

const (
	longestName = 80 // characters
	longestURL  = 2000
)

func (r *row) webhook(now time.Time) api.Webhook {
	w := api.Webhook{ID: r.ID, OrganizerID: r.OrganizerID, URL: r.URL, Name: r.Name, Topics: strings.Fields(r.Topics),
		Enabled: r.Enabled, DisabledReason: r.DisabledReason, Waiting: r.Last - r.Position,
		FailingSince: store.Given(r.FailingSince), CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(),
		UpdatedAt: r.UpdatedAt.UTC(), PreviousUntil: rotation.Shown(r.PreviousUntil, now)}
	if r.Enabled && r.Failures > 0 {
		w.NextAt = store.Given(r.DueAt)
	}
	return w
}

// check returns a fault unless a webhook may be as it is. At what address a name leads is checked whenever it is
// called.
func (s *Webhooks) check(r *row) error {
	var c fault.Check
	text.CheckLine(&c, "name", r.Name, 0, longestName)
	private := api.WebhookPrivate.Get(s.Live)
	u, err := url.Parse(r.URL)
	good := err == nil && len(r.URL) <= longestURL && u.Hostname() != "" && u.User == nil &&
		(u.Scheme == "https" || private && u.Scheme == "http")
	c.Field(good, "url", "must be a https address without a name or password in it")
	if good && !private {
		at, err := netip.ParseAddr(u.Hostname())
		public := (err != nil || web.IsPublic(at)) && !channel.IsLocal(u.Hostname())
		c.Field(public, "url", "must be a public address")
	}
	topics := strings.Fields(r.Topics)
	for i, topic := range topics {
		c.Field(slices.Contains(api.HookTopics(), topic), "topics", "must be of %s",
			strings.Join(api.HookTopics(), ", "))
		c.Field(!slices.Contains(topics[:i], topic), "topics", "must name each topic once")
	}
	return c.Err()
}

// require returns a fault unless the caller manages the machines of an organizer, and may read what these are told.
func (s *Webhooks) require(ctx context.Context, id ids.Organizer, topics *string) error {
	team, err := rpc.Call(ctx, s.Client, api.GetOrganizerTeam, &api.OfOrganizer{OrganizerID: id})
	if err != nil {
		return err
	}
	if err := team.Require(rpc.Caller(ctx), api.MayManageKeys); err != nil || topics == nil {
		return err
	}
	onlyEvents := *topics != "" && !slices.ContainsFunc(strings.Fields(*topics), func(t string) bool {
		return !strings.HasPrefix(t, "event.")
	})
	if onlyEvents {
		return nil
	}
	return team.Require(rpc.Caller(ctx), api.MayReadOrders)
}

// requireOf is require for a webhook that is there: who may not read what it is told, or would be told from now on, can
// neither have it told elsewhere nor have its secret.
func (s *Webhooks) requireOf(ctx context.Context, organizer ids.Organizer, id ids.Webhook, topics *string) error {
	if err := s.require(ctx, organizer, topics); err != nil {
		return err
	}
	r, err := s.load(ctx, s.DB.Read(), organizer, id)
	if err != nil {
		return err
	}
	return s.require(ctx, organizer, &r.Topics)
}

func newSecret() string {
	random := make([]byte, 32)
	rand.Read(random) // never fails, by its documentation
	return secretPrefix + base64.StdEncoding.EncodeToString(random)
}

func (s *Webhooks) sealed(column string, id ids.Webhook, secret string) string {
	return s.Keys.Seal(secretColumn(column).Place(s.DB, id.String()), secret)
}

func (s *Webhooks) create(ctx context.Context, req *api.NewWebhook) (*api.WebhookSecret, error) {
	now, secret := store.Time(s.Now()), newSecret()
	r := row{ID: ids.New[ids.WebhookKind](now), OrganizerID: req.ID, URL: req.URL, Name: text.Clean(req.Name),
		Topics: strings.Join(req.Topics, " "), Enabled: true, DueAt: now, CreatedBy: rpc.Caller(ctx).User,
		CreatedAt: now,
		UpdatedAt: now}
	if err := s.require(ctx, req.ID, &r.Topics); err != nil {
		return nil, err
	}
	if err := s.check(&r); err != nil {
		return nil, err
	}
	r.Secret = s.sealed("secret", r.ID, secret)
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		has := tx.NewRaw("SELECT count(*) FROM webhooks WHERE organizer_id = ?", req.ID)
		of := req.ID.String()
		if err := s.made.Room(ctx, tx, api.WebhooksInAll, of, "webhooks of an organizer", has); err != nil {
			return err
		}
		if err := s.made.Take(ctx, tx, api.WebhooksPerOrganizer, of, "webhooks of an organizer", 1); err != nil {
			return err
		}
		// Who has changed the row has it alone until the end: no fact comes in between.
		if err := tx.NewRaw(`INSERT INTO webhook_organizers (organizer_id, last) VALUES (?, 0)
			ON CONFLICT (organizer_id) DO UPDATE SET last = webhook_organizers.last RETURNING last`, req.ID).
			Scan(ctx, &r.Last); err != nil {
			return err
		}
		r.Position = r.Last
		if _, err := tx.NewInsert().Model(&r).Exec(ctx); err != nil {
			return err
		}
		return s.audit(ctx, tx, nil, &r)
	})
	if err != nil {
		return nil, err
	}
	s.awaitFacts(ctx)
	return &api.WebhookSecret{Webhook: r.webhook(now), Secret: secret}, nil
}

// awaitFacts waits until facts are followed, which begins with the first webhook.
func (s *Webhooks) awaitFacts(ctx context.Context) {
	poke(s.first)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for wait := (run.Backoff{First: 5 * time.Millisecond, Last: 100 * time.Millisecond}); !s.following.Load(); {
		if !wait.Wait(ctx) {
			s.Log.WarnContext(ctx, "facts for webhooks are not followed yet")
			return
		}
	}
}

// hookLine is what the audit log says of a webhook. Where it is may have a secret in it.
type hookLine struct {
	Host          string    `json:"host"`
	Topics        string    `json:"topics"`
	Enabled       bool      `json:"enabled"`
	Position      int64     `json:"position"`
	PreviousUntil time.Time `json:"previous_until,omitzero"`
	UpdatedAt     time.Time `json:"updated_at"`
}

// host is what of the address is told to others.
func (r *row) host() string {
	u, err := url.Parse(r.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

func (s *Webhooks) audit(ctx context.Context, tx bun.Tx, before, after *row) error {
	act := auditlog.Act{At: s.Now()}
	line := func(r *row) any {
		if r == nil {
			return nil
		}
		act.Object = r.OrganizerID.String()
		return map[ids.Webhook]hookLine{r.ID: {r.host(), r.Topics, r.Enabled, r.Position, r.PreviousUntil.UTC(),
			r.UpdatedAt.UTC()}}
	}
	act.Before, act.After = line(before), line(after)
	return auditlog.Add(ctx, tx, "notification", act)
}

func (s *Webhooks) list(ctx context.Context, req *api.OrganizerRef) (*api.List[api.Webhook], error) {
	if err := s.require(ctx, req.ID, nil); err != nil {
		return nil, err
	}
	var rows []row
	err := s.DB.Read().NewSelect().Model(&rows).Where("organizer_id = ?", req.ID).OrderExpr("id").Scan(ctx)
	list := &api.List[api.Webhook]{Items: make([]api.Webhook, len(rows))}
	for i := range rows {
		list.Items[i] = rows[i].webhook(s.Now())
	}
	return list, store.FaultOf(ctx, err)
}

// load returns a webhook of an organizer.
func (s *Webhooks) load(ctx context.Context, db bun.IDB, organizer ids.Organizer, id ids.Webhook) (*row, error) {
	r := new(row)
	err := db.NewSelect().Model(r).Where("id = ? AND organizer_id = ?", id, organizer).Scan(ctx)
	return r, store.OrNotFound(err, "the organizer has no such webhook")
}

func (s *Webhooks) get(ctx context.Context, req *api.WebhookRef) (*api.Webhook, error) {
	if err := s.require(ctx, req.ID, nil); err != nil {
		return nil, err
	}
	r, err := s.load(ctx, s.DB.Read(), req.ID, req.WebhookID)
	if err != nil {
		return nil, err
	}
	w := r.webhook(s.Now())
	return &w, nil
}

// change changes a webhook, which is then told what waits for it at once.
func (s *Webhooks) change(
	ctx context.Context, organizer ids.Organizer, id ids.Webhook, change func(tx bun.Tx, r *row) error,
) (*row, error) {
	var r *row
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// Who has changed the row has it alone until the end.
		if _, err := tx.ExecContext(ctx, "UPDATE webhooks SET name = name WHERE id = ?", id); err != nil {
			return err
		}
		var err error
		if r, err = s.load(ctx, tx, organizer, id); err != nil {
			return err
		}
		before := *r
		if err := change(tx, r); err != nil {
			return err
		}
		r.UpdatedAt, r.DueAt = store.Time(s.Now()), store.Time(s.Now())
		if _, err := tx.NewUpdate().Model(r).WherePK().Exec(ctx); err != nil {
			return err
		}
		return s.audit(ctx, tx, &before, r)
	})
	if err == nil {
		poke(s.wake)
	}
	return r, err
}

func (s *Webhooks) update(ctx context.Context, req *api.PatchWebhook) (*api.Webhook, error) {
	var topics *string
	if req.Topics != nil {
		joined := strings.Join(*req.Topics, " ")
		topics = &joined
	}
	if err := s.requireOf(ctx, req.ID, req.WebhookID, topics); err != nil {
		return nil, err
	}
	r, err := s.change(ctx, req.ID, req.WebhookID, func(_ bun.Tx, r *row) error {
		if req.URL != nil {
			r.URL = *req.URL
		}
		if req.Name != nil {
			r.Name = text.Clean(*req.Name)
		}
		if topics != nil {
			r.Topics = *topics
		}
		if req.Enabled != nil {
			r.Enabled, r.DisabledReason = *req.Enabled, ""
			r.Failures, r.FailingSince = 0, time.Time{}
		}
		return s.check(r)
	})
	if err != nil {
		return nil, err
	}
	w := r.webhook(s.Now())
	return &w, nil
}

func (s *Webhooks) delete(ctx context.Context, req *api.WebhookRef) (*rpc.None, error) {
	if err := s.require(ctx, req.ID, nil); err != nil {
		return nil, err
	}
	return nil, s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		r, err := s.load(ctx, tx, req.ID, req.WebhookID)
		if err != nil {
			return err
		}
		if err := changed(tx.ExecContext(ctx, "DELETE FROM webhooks WHERE id = ?", r.ID)); err != nil {
			return err
		}
		return s.audit(ctx, tx, r, nil)
	})
}

func (s *Webhooks) rotate(ctx context.Context, req *api.RotateWebhook) (*api.WebhookSecret, error) {
	if err := s.requireOf(ctx, req.ID, req.WebhookID, nil); err != nil {
		return nil, err
	}
	secret := newSecret()
	r, err := s.change(ctx, req.ID, req.WebhookID, func(_ bun.Tx, r *row) error {
		before, err := s.Keys.Open(secretColumn("secret").Place(s.DB, r.ID.String()), r.Secret)
		if err != nil {
			return err
		}
		r.PreviousSecret = s.sealed("previous_secret", r.ID, before)
		r.PreviousUntil = store.Time(rotation.Until(s.Now(), req.Grace))
		r.Secret = s.sealed("secret", r.ID, secret)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &api.WebhookSecret{Webhook: r.webhook(s.Now()), Secret: secret}, nil
}

// replay puts a webhook back to before what happened at a moment or later.
func (s *Webhooks) replay(ctx context.Context, req *api.ReplayWebhook) (*api.Webhook, error) {
	if err := s.requireOf(ctx, req.ID, req.WebhookID, nil); err != nil {
		return nil, err
	}
	var c fault.Check
	c.Field(!req.From.IsZero(), "from", "must be a time")
	if err := c.Err(); err != nil {
		return nil, err
	}
	r, err := s.change(ctx, req.ID, req.WebhookID, func(tx bun.Tx, r *row) error {
		var first int64 // of what happened then
		err := tx.NewRaw("SELECT COALESCE(MIN(number), 0) FROM webhook_facts WHERE organizer_id = ? AND at >= ?",
			req.ID, store.Time(req.From)).Scan(ctx, &first)
		if err == nil && first > 0 {
			r.Position = min(r.Position, first-1)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	w := r.webhook(s.Now())
	return &w, nil
}

func (s *Webhooks) attempts(ctx context.Context, req *api.WebhookPage) (*api.List[api.WebhookAttempt], error) {
	if err := s.require(ctx, req.ID, nil); err != nil {
		return nil, err
	}
	if _, err := s.load(ctx, s.DB.Read(), req.ID, req.WebhookID); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	q := s.DB.Read().NewSelect().Table("webhook_attempts").Where("webhook_id = ?", req.WebhookID)
	key, err := store.DecodeCursor(req.Cursor, 1)
	if err != nil {
		return nil, err
	}
	if key != nil {
		q = q.Where("id < ?", key[0])
	}
	var rows []attemptRow
	if err := q.OrderExpr("id DESC").Limit(int64(limit)+1).Scan(ctx, &rows); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	list := &api.List[api.WebhookAttempt]{Items: []api.WebhookAttempt{}}
	if len(rows) > limit {
		rows = rows[:limit]
		list.NextCursor = store.EncodeCursor(rows[limit-1].ID)
	}
	for _, a := range rows {
		list.Items = append(list.Items, api.WebhookAttempt{MessageID: a.MessageID, Topic: a.Topic, At: a.At.UTC(),
			Took: a.TookMS, Status: a.Status, Delivered: a.Problem == "", Problem: a.Problem})
	}
	return list, nil
}
