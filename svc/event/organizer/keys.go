package organizer

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rotation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

const (
	longestKey = 80 // characters of a name
	usedEvery  = 15 * time.Minute
)

type keyRow struct {
	bun.BaseModel `bun:"table:api_keys"`

	ID            ids.Key `bun:",pk"`
	OrganizerID   ids.Organizer
	Name          string
	Scopes        string // with blanks between
	Hash          string
	PreviousHash  string
	PreviousUntil time.Time `bun:",nullzero"`
	CreatedBy     ids.User
	CreatedAt     time.Time
	ExpiresAt     time.Time `bun:",nullzero"`
	UsedAt        time.Time `bun:",nullzero"`
}

func (r *keyRow) key(now time.Time) api.APIKey {
	return api.APIKey{ID: r.ID, OrganizerID: r.OrganizerID, Name: r.Name, Scopes: strings.Fields(r.Scopes),
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: store.Given(r.ExpiresAt),
		LastUsedAt: store.Given(r.UsedAt), PreviousUntil: rotation.Shown(r.PreviousUntil, now)}
}

// newSecret returns a key with 256 random bits, and its hash.
func newSecret(id ids.Key) (secret, hash string) {
	random := make([]byte, 32)
	rand.Read(random) // never fails, by its documentation
	secret = api.KeyPrefix + strings.TrimPrefix(id.String(), "key_") + "_" + hex.EncodeToString(random)
	return secret, opaque.Hash(secret)
}

func (s *Organizers) createKey(ctx context.Context, req *api.NewAPIKey) (*api.APIKeySecret, error) {
	now := store.Time(s.now())
	name := text.Clean(req.Name)
	var c fault.Check
	text.CheckLine(&c, "name", name, 1, longestKey)
	c.Field(len(req.Scopes) > 0, "scopes", "must be at least one")
	for i, scope := range req.Scopes {
		c.Field(slices.Contains(api.Scopes(), scope), "scopes", "must be of %s", strings.Join(api.Scopes(), ", "))
		c.Field(!slices.Contains(req.Scopes[:i], scope), "scopes", "must name each scope once")
	}
	c.Field(req.ExpiresAt == nil || req.ExpiresAt.After(now), "expires_at", "must be in the future")
	if err := c.Err(); err != nil {
		return nil, err
	}
	r := keyRow{ID: ids.New[ids.KeyKind](now), OrganizerID: req.ID, Name: name, Scopes: strings.Join(req.Scopes, " "),
		CreatedBy: rpc.Caller(ctx).User, CreatedAt: now}
	if req.ExpiresAt != nil {
		r.ExpiresAt = store.Time(*req.ExpiresAt)
	}
	var secret string
	secret, r.Hash = newSecret(r.ID)
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.mayGiveKey(ctx, tx, &r); err != nil {
			return err
		}
		count := tx.NewRaw("SELECT count(*) FROM api_keys WHERE organizer_id = ?", req.ID)
		if err := s.Room(ctx, tx, api.APIKeysInAll, req.ID.String(), "keys of an organizer", count); err != nil {
			return err
		}
		if err := s.takeKey(ctx, tx, req.ID); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&r).Exec(ctx); err != nil {
			return err
		}
		return s.auditKey(ctx, tx, nil, &r)
	})
	if err != nil {
		return nil, err
	}
	return &api.APIKeySecret{APIKey: r.key(now), Secret: secret}, nil
}

// takeKey counts a key that is made or rotated.
func (s *Organizers) takeKey(ctx context.Context, tx bun.Tx, id ids.Organizer) error {
	return s.Take(ctx, tx, api.APIKeysPerOrganizer, id.String(), "keys of an organizer", 1)
}

// keyLine is what the audit log says of a key.
type keyLine struct {
	Name          string    `json:"name"`
	Scopes        string    `json:"scopes"`
	ExpiresAt     time.Time `json:"expires_at,omitzero"`
	PreviousUntil time.Time `json:"previous_until,omitzero"` // until when the secret before is good, too
}

// auditKey writes what was done to a key of the organizer, of which there was none before or is none after.
func (s *Organizers) auditKey(ctx context.Context, tx bun.Tx, before, after *keyRow) error {
	act := auditlog.Act{At: s.now()}
	line := func(r *keyRow) any {
		if r == nil {
			return nil
		}
		act.Object = r.OrganizerID.String()
		return map[ids.Key]keyLine{r.ID: {r.Name, r.Scopes, r.ExpiresAt.UTC(), r.PreviousUntil.UTC()}}
	}
	act.Before, act.After = line(before), line(after)
	return auditlog.Add(ctx, tx, "event", act)
}

// mayGiveKey returns a fault unless the caller may do all that a key may, and manages keys.
func (s *Organizers) mayGiveKey(ctx context.Context, tx bun.Tx, r *keyRow) error {
	t, err := s.as(ctx, tx, r.OrganizerID, api.MayManageKeys)
	if err != nil {
		return err
	}
	for _, p := range api.KeyPermissions(strings.Fields(r.Scopes)) {
		if !t.Can(rpc.Caller(ctx), p) {
			return fault.New(fault.Forbidden, "the key would allow %s, which the caller may not do", p)
		}
	}
	return nil
}

func (s *Organizers) listKeys(ctx context.Context, req *api.OrganizerRef) (*api.List[api.APIKey], error) {
	if _, err := s.as(ctx, s.db.Read(), req.ID, api.MayManageKeys); err != nil {
		return nil, err
	}
	var rows []keyRow
	err := s.db.Read().NewSelect().Model(&rows).Where("organizer_id = ?", req.ID).Order("id").Scan(ctx)
	list := &api.List[api.APIKey]{Items: make([]api.APIKey, len(rows))}
	for i := range rows {
		list.Items[i] = rows[i].key(s.now())
	}
	return list, store.FaultOf(ctx, err)
}

// changeKey changes a key of an organizer, or deletes it, for a caller who manages them.
func (s *Organizers) changeKey(
	ctx context.Context, organizer ids.Organizer, id ids.Key,
	change func(ctx context.Context, tx bun.Tx, r *keyRow) (after *keyRow, err error),
) (*keyRow, error) {
	var r *keyRow
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.as(ctx, tx, organizer, api.MayManageKeys); err != nil {
			return err
		}
		// Who has changed the row has it alone until the end.
		if _, err := tx.ExecContext(ctx, "UPDATE api_keys SET name = name WHERE id = ?", id); err != nil {
			return err
		}
		r = new(keyRow)
		err := tx.NewSelect().Model(r).Where("id = ? AND organizer_id = ?", id, organizer).Scan(ctx)
		if err != nil {
			return store.OrNotFound(err, "the organizer has no such key")
		}
		before := *r
		after, err := change(ctx, tx, r)
		if err != nil || after != nil && *after == before {
			return err
		}
		return s.auditKey(ctx, tx, &before, after)
	})
	return r, err
}

func (s *Organizers) updateKey(ctx context.Context, req *api.PatchAPIKey) (*api.APIKey, error) {
	r, err := s.changeKey(ctx, req.ID, req.KeyID, func(ctx context.Context, tx bun.Tx, r *keyRow) (*keyRow, error) {
		if req.Name == nil {
			return r, nil
		}
		r.Name = text.Clean(*req.Name)
		var c fault.Check
		text.CheckLine(&c, "name", r.Name, 1, longestKey)
		if err := c.Err(); err != nil {
			return nil, err
		}
		_, err := tx.NewUpdate().Model(r).Column("name").WherePK().Exec(ctx)
		return r, err
	})
	if err != nil {
		return nil, err
	}
	k := r.key(s.now())
	return &k, nil
}

func (s *Organizers) deleteKey(ctx context.Context, req *api.APIKeyRef) (*rpc.None, error) {
	_, err := s.changeKey(ctx, req.ID, req.KeyID, func(ctx context.Context, tx bun.Tx, r *keyRow) (*keyRow, error) {
		_, err := tx.NewDelete().Model(r).WherePK().Exec(ctx)
		return nil, err
	})
	return nil, err
}

// rotateKey gives a key another secret. The one before is good for the time of grace, and no earlier one is.
func (s *Organizers) rotateKey(ctx context.Context, req *api.RotateKey) (*api.APIKeySecret, error) {
	now := store.Time(s.now())
	secret, hash := newSecret(req.KeyID)
	r, err := s.changeKey(ctx, req.ID, req.KeyID, func(ctx context.Context, tx bun.Tx, r *keyRow) (*keyRow, error) {
		if !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(now) {
			return nil, fault.New(fault.Conflict, "the key has expired: make another one")
		}
		if err := s.mayGiveKey(ctx, tx, r); err != nil {
			return nil, err
		}
		if err := s.takeKey(ctx, tx, r.OrganizerID); err != nil {
			return nil, err
		}
		r.PreviousHash, r.PreviousUntil, r.Hash = r.Hash, rotation.Until(now, req.Grace), hash
		_, err := tx.NewUpdate().Model(r).Column("hash", "previous_hash", "previous_until").WherePK().Exec(ctx)
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return &api.APIKeySecret{APIKey: r.key(now), Secret: secret}, nil
}

// checkKey answers the gateway whether a key is good. Its use is noted now and then.
func (s *Organizers) checkKey(ctx context.Context, req *api.KeyCheck) (*api.KeyStanding, error) {
	r, now := new(keyRow), s.now()
	err := s.db.Read().NewSelect().Model(r).Where("id = ?", req.ID).Scan(ctx)
	if err = store.OrNotFound(err, "there is no such key"); fault.Is(err, fault.NotFound) {
		return nil, errBadKey()
	}
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	same := func(hash string) bool { return subtle.ConstantTimeCompare([]byte(hash), []byte(req.Hash)) == 1 }
	until := r.ExpiresAt
	switch {
	case same(r.Hash):
	case r.PreviousHash != "" && same(r.PreviousHash) && rotation.Good(r.PreviousUntil, now):
		if until.IsZero() || r.PreviousUntil.Before(until) {
			until = r.PreviousUntil
		}
	default:
		return nil, errBadKey()
	}
	if !until.IsZero() && !until.After(now) {
		return nil, errBadKey()
	}
	if now.Sub(r.UsedAt) >= usedEvery {
		s.noteUse(ctx, r.ID, now)
	}
	return &api.KeyStanding{OrganizerID: r.OrganizerID, Scopes: strings.Fields(r.Scopes), Until: until.UTC()}, nil
}

// noteUse notes that a key is used. That may fail: it is noted at the next use.
func (s *Organizers) noteUse(ctx context.Context, id ids.Key, now time.Time) {
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx,
			"UPDATE api_keys SET used_at = ? WHERE id = ? AND (used_at IS NULL OR used_at < ?)",
			store.Time(now.Truncate(usedEvery)), id, store.Time(now.Add(-usedEvery)))
		return err
	})
	if err != nil {
		s.log.WarnContext(ctx, "the use of a key could not be noted", "key", id, "error", err)
	}
}

func errBadKey() error { return fault.New(fault.Unauthenticated, "the key is not valid, or is over") }
