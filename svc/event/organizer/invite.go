package organizer

import (
	"context"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// invitation asks the owner of an address to become a member.
type invitation struct {
	bun.BaseModel `bun:"table:organizer_invitations"`

	OrganizerID ids.Organizer `bun:",pk"`
	Email       string        `bun:",pk"` // in lower case
	Role        string
	CreatedAt   time.Time
}

func (i invitation) member() api.TeamMember {
	return api.TeamMember{Email: i.Email, Role: i.Role, Invited: true}
}

// invite makes the owner of an address a member: at once if an account has confirmed the address, otherwise when one
// does. What is said here about invitations to teams of events is true for these, too.
func (s *Organizers) invite(ctx context.Context, req *api.OrganizerInvite) (*api.TeamMember, error) {
	inv := invitation{OrganizerID: req.ID, Email: strings.ToLower(strings.TrimSpace(req.Email)), Role: req.Role,
		CreatedAt: store.Time(s.now())}
	var c fault.Check
	c.Field(text.Email(inv.Email), "email", "must be a mail address")
	if err := c.Err(); err != nil {
		return nil, err
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		t, err := s.as(ctx, tx, req.ID, api.MayManageMembers)
		if err != nil {
			return err
		}
		if err := grant(ctx, t, req.Role); err != nil {
			return err
		}
		if err := s.Take(ctx, tx, api.InvitationsPerOrganizer, req.ID.String(), "invitations to an organizer",
			1); err != nil {
			return err
		}
		var waiting int
		if err := tx.NewRaw("SELECT count(*) FROM organizer_invitations WHERE organizer_id = ?", req.ID).Scan(ctx,
			&waiting); err != nil {
			return err
		}
		if waiting+len(t.Members) >= mostMembers {
			return fault.New(fault.Conflict, "an organizer has at most %d members and invitations", mostMembers)
		}
		if _, err = tx.NewInsert().Model(&inv).On("CONFLICT (organizer_id, email) DO UPDATE").Set(
			"role = excluded.role, created_at = excluded.created_at").Exec(ctx); err != nil {
			return err
		}
		return s.audit(ctx, tx, req.ID, nil, map[string]string{"role": req.Role})
	})
	if err != nil {
		return nil, err
	}
	person, err := rpc.Call(ctx, s.client, api.FindUserByEmail, &api.FindUser{Email: inv.Email})
	if fault.Is(err, fault.NotFound) || err == nil && !person.EmailVerified {
		waiting := inv.member()
		return &waiting, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := s.accept(ctx, inv, person.ID)
	if err != nil {
		return nil, err
	}
	if t.RoleOf(person.ID) != inv.Role {
		return nil, fault.New(fault.Conflict, "the person is a member already")
	}
	return &api.TeamMember{UserID: person.ID, Role: inv.Role}, nil
}

// accept makes an invitation take effect, unless it was taken back, or the person is a member already.
func (s *Organizers) accept(ctx context.Context, inv invitation, user ids.User) (*api.OrganizerTeam, error) {
	return s.change(ctx, inv.OrganizerID, func(ctx context.Context, tx bun.Tx, t *api.OrganizerTeam) error {
		var waiting []invitation
		err := tx.NewRaw("DELETE FROM organizer_invitations WHERE organizer_id = ? AND email = ? RETURNING *",
			inv.OrganizerID, inv.Email).Scan(ctx, &waiting)
		if err != nil {
			return err
		}
		if len(waiting) == 1 && indexOf(t, user) < 0 {
			t.Members = append(t.Members, api.TeamMember{UserID: user, Role: waiting[0].Role})
		}
		return nil
	})
}

// Confirmed lets the invitations of an address take effect that a person has confirmed. Once more changes nothing.
func (s *Organizers) Confirmed(ctx context.Context, person *api.Contact) error {
	if !person.EmailVerified {
		return nil
	}
	var waiting []invitation
	err := s.db.Read().NewSelect().Model(&waiting).Where("email = ?",
		strings.ToLower(person.Email)).Order("organizer_id").Scan(ctx)
	if err != nil {
		return err
	}
	for _, inv := range waiting {
		if _, err := s.accept(ctx, inv, person.ID); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}

func (s *Organizers) uninvite(ctx context.Context, req *api.OrganizerInvitationRef) (*rpc.None, error) {
	var c fault.Check
	c.Field(req.Email != "", "email", "must name the invitation")
	if err := c.Err(); err != nil {
		return nil, err
	}
	return nil, s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.as(ctx, tx, req.ID, api.MayManageMembers); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM organizer_invitations WHERE organizer_id = ? AND email = ?",
			req.ID, strings.ToLower(strings.TrimSpace(req.Email)))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // none waited: nothing was done
			return err
		}
		return s.audit(ctx, tx, req.ID, nil, nil)
	})
}

// invitations returns those to an organizer, as its list of members shows them.
func (s *Organizers) invitations(ctx context.Context, id ids.Organizer) ([]api.TeamMember, error) {
	var all []invitation
	err := s.db.Read().NewSelect().Model(&all).Where("organizer_id = ?", id).Order("email").Scan(ctx)
	members := make([]api.TeamMember, len(all))
	for i, inv := range all {
		members[i] = inv.member()
	}
	return members, err
}

// Name gives organizers the names of their owners that could not be asked for when they were made.
func (s *Organizers) Name(ctx context.Context) error {
	const some = 100
	var nameless []ids.Organizer
	err := s.db.Read().NewRaw("SELECT id FROM organizers WHERE name = '' ORDER BY id LIMIT ?", some).Scan(ctx,
		&nameless)
	if err != nil {
		return err
	}
	for _, id := range nameless {
		name := unnamed
		person, err := rpc.Call(ctx, s.client, api.GetContact, &api.GetContactOf{ID: ownerOf(id)})
		switch {
		case err == nil:
			name = person.Name
		case !fault.Is(err, fault.NotFound):
			return err
		}
		err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx,
				"UPDATE organizers SET name = ?, revision = revision + 1 WHERE id = ? AND name = ''", name, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unnamed is what the organizer of a person is called whose account is gone.
const unnamed = "Organizer"

// ownerOf returns the person whose own organizer has the id.
func ownerOf(id ids.Organizer) ids.User { return ids.Twin[ids.UserKind](id) }
