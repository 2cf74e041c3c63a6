package notification

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

func (s *Service) getPreferences(ctx context.Context, _ *rpc.None) (*api.Preferences, error) {
	return s.preferencesOf(ctx, callerOf(ctx))
}

func (s *Service) preferencesOf(ctx context.Context, user ids.User) (*api.Preferences, error) {
	var rows []preferenceRow
	if err := s.DB.Read().NewRaw("SELECT * FROM preferences WHERE user_id = ?", user).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	p := &api.Preferences{Email: &api.AddressState{Status: api.AddressWorks}}
	for _, kind := range kinds() {
		row := usual(user, kind)
		if i := slices.IndexFunc(rows, func(r preferenceRow) bool { return r.Kind == kind }); i >= 0 {
			row = rows[i]
		}
		must := transactional(kind)
		p.Kinds = append(p.Kinds, api.Preference{Kind: kind, Transactional: must, Email: row.Email || must, SMS: row.SMS, Push: row.Push, Inbox: row.Inbox})
	}
	c, err := s.people.Do(ctx, user)
	if fault.Is(err, fault.NotFound) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	b, blocked, err := s.bounced(ctx, user, c.Email)
	if err == nil && blocked {
		at := b.At.UTC()
		p.Email = &api.AddressState{Status: api.AddressBounced, Reason: b.Reason, Since: &at}
	}
	return p, err
}

// setPreferences keeps what the caller chose.
func (s *Service) setPreferences(ctx context.Context, req *api.Preferences) (*api.Preferences, error) {
	var check fault.Check
	seen := map[string]bool{}
	for _, p := range req.Kinds {
		check.Field(slices.Contains(kinds(), p.Kind) && !seen[p.Kind], "kinds", "must name each of %s at most once", strings.Join(kinds(), ", "))
		check.Field(p.Email || !transactional(p.Kind), "kinds", "mails about %s cannot be switched off", p.Kind)
		seen[p.Kind] = true
	}
	if a := req.Email; a != nil {
		check.Field(a.Status == api.AddressWorks || a.Status == api.AddressBounced, "email_address", "must have the status ok or bounced")
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	user := callerOf(ctx)
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, p := range req.Kinds {
			if err := prefer(ctx, tx, preferenceRow{UserID: user, Kind: p.Kind, Email: p.Email, SMS: p.SMS, Push: p.Push, Inbox: p.Inbox}); err != nil {
				return err
			}
		}
		if req.Email == nil || req.Email.Status != api.AddressWorks {
			return nil
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM bounces WHERE user_id = ?", user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.preferencesOf(ctx, user)
}

func prefer(ctx context.Context, tx bun.Tx, row preferenceRow) error {
	_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_id, kind) DO UPDATE").
		Set("email = excluded.email, sms = excluded.sms, push = excluded.push, inbox = excluded.inbox").Exec(ctx)
	return err
}

// stopMails switches the mails of a kind off for a person.
func (s *Service) stopMails(ctx context.Context, user ids.User, kind string) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row := usual(user, kind)
		row.Email = false
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_id, kind) DO UPDATE").Set("email = excluded.email").Exec(ctx)
		return err
	})
}

// bounceRow is a row of the table bounces.
type bounceRow struct {
	bun.BaseModel `bun:"table:bounces,alias:bounces"`

	UserID  ids.User  `bun:"user_id,pk"`
	Address string    `bun:"address"` // hash
	Reason  string    `bun:"reason"`
	At      time.Time `bun:"at"`
}

// bounced returns why an address of a person is switched off, if it is.
func (s *Service) bounced(ctx context.Context, user ids.User, address string) (bounceRow, bool, error) {
	var row bounceRow
	err := s.DB.Read().NewRaw("SELECT * FROM bounces WHERE user_id = ? AND address = ?", user, hashed(address)).Scan(ctx, &row)
	if err = store.OrNotFound(err, "the address works"); fault.Is(err, fault.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// switchOff keeps that an address does not exist.
func (s *Service) switchOff(ctx context.Context, user ids.User, address, reason string) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row := bounceRow{UserID: user, Address: hashed(address), Reason: clip(oneLine(reason), 300), At: s.Now()}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_id) DO UPDATE").Set("address = excluded.address, reason = excluded.reason, at = excluded.at").Exec(ctx)
		return err
	})
}

func hashed(address string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(address)))
	return hex.EncodeToString(sum[:])
}
