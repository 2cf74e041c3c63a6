package organizer

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Forget removes a person whose account is gone from all organizers, but from those of which they are the last owner.
// Of those that have no other member it takes away what they are called and how they are reached: their events, orders
// and money keep the id.
func (s *Organizers) Forget(ctx context.Context, user ids.User) error {
	var of []ids.Organizer
	err := s.db.Read().NewRaw("SELECT organizer_id FROM organizer_members WHERE user_id = ?", user).Scan(ctx, &of)
	if err != nil {
		return err
	}
	for _, id := range of {
		_, err := s.change(ctx, id, func(_ context.Context, _ bun.Tx, t *api.OrganizerTeam) error {
			i := indexOf(t, user)
			if i < 0 {
				return errUnchanged
			}
			t.Members = slices.Delete(t.Members, i, i+1)
			if needsOwner(t) != nil {
				return errUnchanged
			}
			return nil
		})
		if err == nil {
			err = s.erase(ctx, id, user)
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}

// erase takes the name and all addresses off an organizer whose only member is gone.
func (s *Organizers) erase(ctx context.Context, id ids.Organizer, user ids.User) error {
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		gone, err := tx.ExecContext(ctx, `UPDATE organizers SET name = ?, slug = substr(id, 5), legal_name = '', address = '',
			tax_id = '', email = '', phone = '', website = '', selling = '{}', logo_id = '', revision = revision + 1, updated_at = ?
			WHERE id = ? AND (name <> ? OR slug <> substr(id, 5)
				OR legal_name || address || tax_id || email || phone || website <> '' OR logo_id <> '' OR selling LIKE '%seller%')
				AND EXISTS (SELECT 1 FROM organizer_members WHERE organizer_id = ? AND user_id = ?)
				AND NOT EXISTS (SELECT 1 FROM organizer_members WHERE organizer_id = ? AND user_id <> ?)`,
			unnamed, store.Time(s.now()), id, unnamed, id, user, id, user)
		if err != nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return republish(ctx, tx, id)
	})
}

// profile is what the audit log keeps of an organizer. It may be a person: of names and addresses the log says that
// they were changed, and not to what.
func profile(o *api.Organizer) (map[string]any, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	err = json.Unmarshal(text, &all)
	for name := range all {
		if !slices.Contains([]string{"country", "currency", "language", "timezone", "revision", "updated_at",
			"tax_rounding"}, name) {
			delete(all, name)
		}
	}
	return all, err
}

// private are the members of an organizer that profile leaves out.
func private(o *api.Organizer) map[string]string {
	return map[string]string{"name": o.Name, "slug": o.Slug, "legal_name": o.LegalName, "address": o.Address,
		"tax_id": o.TaxID, "email": o.Email, "phone": o.Phone, "website": o.Website, "logo": o.Logo.ID}
}

// auditProfile writes a line about what an organizer is. Before is nil for a new one.
func (s *Organizers) auditProfile(ctx context.Context, tx bun.Tx, before, after *api.Organizer) error {
	was, err := map[string]any(nil), error(nil)
	if before == nil {
		before = &api.Organizer{}
	} else if was, err = profile(before); err != nil {
		return err
	}
	is, err := profile(after)
	if err != nil {
		return err
	}
	var changed []string
	for name, value := range private(after) {
		if private(before)[name] != value {
			changed = append(changed, name)
		}
	}
	if slices.Sort(changed); len(changed) > 0 {
		is["changed"] = strings.Join(changed, " ")
	}
	return s.audit(ctx, tx, after.ID, was, is)
}
