package federation

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

type identityRow struct {
	bun.BaseModel `bun:"table:identities"`

	ID         ids.Identity         `bun:"id,pk"`
	UserID     ids.User             `bun:"user_id"`
	ProviderID ids.IdentityProvider `bun:"provider_id"`
	Issuer     string               `bun:"issuer"`
	Subject    string               `bun:"subject"`
	Email      string               `bun:"email"`
	CreatedAt  time.Time            `bun:"created_at"`
	LastUsedAt time.Time            `bun:"last_used_at,nullzero"`
}

func (r *identityRow) identity(provider string) api.Identity {
	i := api.Identity{ID: r.ID, ProviderID: r.ProviderID, Provider: provider, Subject: r.Subject, Email: r.Email,
		CreatedAt: r.CreatedAt.UTC()}
	if !r.LastUsedAt.IsZero() {
		at := r.LastUsedAt.UTC()
		i.LastUsedAt = &at
	}
	return i
}

const noIdentity = "there is no such identity"

// Owner returns whom a provider's person is linked with. The fault is NotFound.
func (s *Store) Owner(ctx context.Context, q bun.IDB, p *Provider, c *Claims) (user ids.User, err error) {
	err = q.NewRaw("SELECT user_id FROM identities WHERE issuer = ? AND subject = ?", p.Issuer, c.Subject).
		Scan(ctx, &user)
	return user, store.OrNotFound(err, noIdentity)
}

// Link links a provider's person with a locked person here. It reports false if they are linked already. The fault is
// Conflict if it is linked with somebody else, or if there are too many.
func (s *Store) Link(
	ctx context.Context, tx bun.Tx, user ids.User, p *Provider, c *Claims,
) (linked api.Identity, fresh bool, err error) {
	var all []identityRow
	err = tx.NewRaw("SELECT * FROM identities WHERE user_id = ? ORDER BY id", user).Scan(ctx, &all)
	if err != nil {
		return linked, false, err
	}
	for _, r := range all {
		if r.Issuer == p.Issuer && r.Subject == c.Subject {
			return r.identity(p.Name), false, nil
		}
	}
	if len(all) >= mostIdentities {
		return linked, false, fault.New(fault.Conflict, "there are %d identities already; remove one first", len(all))
	}
	now := s.now()
	row := identityRow{ID: ids.New[ids.IdentityKind](now), UserID: user, ProviderID: p.ID, Issuer: p.Issuer,
		Subject: c.Subject, Email: text.Shorten(text.OneLine(c.Email), 254), CreatedAt: now}
	res, err := tx.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx)
	if err != nil {
		return linked, false, err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "this identity is linked with another account")
	}
	return row.identity(p.Name), true, err
}

// Used notes that a person has signed in through a provider.
func (s *Store) Used(ctx context.Context, tx bun.Tx, p *Provider, c *Claims) error {
	_, err := tx.ExecContext(ctx, "UPDATE identities SET last_used_at = ? WHERE issuer = ? AND subject = ?", s.now(),
		p.Issuer, c.Subject)
	return err
}

// Identities returns those of a person, the oldest first.
func (s *Store) Identities(ctx context.Context, q bun.IDB, user ids.User) ([]api.Identity, error) {
	var rows []struct {
		identityRow
		Provider string `bun:"provider"`
	}
	err := q.NewRaw(`SELECT i.*, p.name AS provider FROM identities AS i
		JOIN identity_providers AS p ON p.id = i.provider_id WHERE i.user_id = ? ORDER BY i.id`, user).Scan(ctx, &rows)
	list := make([]api.Identity, len(rows))
	for i := range rows {
		list[i] = rows[i].identity(rows[i].Provider)
	}
	return list, err
}

// Unlink removes an identity of a person.
func (s *Store) Unlink(ctx context.Context, tx bun.Tx, user ids.User, id ids.Identity) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM identities WHERE id = ? AND user_id = ?", id, user)
	return err
}
