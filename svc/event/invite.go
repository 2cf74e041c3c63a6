package event

import (
	"context"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// invitation asks the owner of an address to join a team.
type invitation struct {
	bun.BaseModel `bun:"table:invitations"`

	EventID ids.Event `bun:",pk"`
	Email   string    `bun:",pk"` // in lower case
	Role    string

	CreatedAt time.Time
}

func (i invitation) member() api.TeamMember {
	return api.TeamMember{Email: i.Email, Role: i.Role, Invited: true}
}

// invite adds a person to a team by mail address: at once if an account has confirmed the address, otherwise when one
// has. Anyone may register with the address of another.
//
// So the people who manage an event learn whether an address has such an account. They are signed in, asked for it by
// name, and are limited like logins, and registering tells any caller as much. No other caller learns it: invitations
// are for managers.
func (s *Service) invite(ctx context.Context, req *api.Invite) (*api.TeamMember, error) {
	k, err := s.store.load(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.MayManageTeam); err != nil {
		return nil, err
	}
	if err := checkInvited(ctx, k.record, req.Role); err != nil {
		return nil, err
	}
	inv := invitation{EventID: req.EventID, Email: addressKey(req.Email), Role: req.Role,
		CreatedAt: store.Time(s.now())}
	member, err := s.addAccount(ctx, inv)
	if !fault.Is(err, fault.NotFound) {
		return member, err
	}
	if err := s.store.invite(ctx, inv); err != nil {
		return nil, err
	}
	// The account may have been made between the look and the invitation, and its event may have passed by.
	member, err = s.addAccount(ctx, inv)
	if fault.Is(err, fault.NotFound) {
		waiting := inv.member()
		return &waiting, nil
	}
	if err == nil {
		err = s.store.withdrawInvitation(ctx, inv.EventID, inv.Email, false)
	}
	return member, err
}

func addressKey(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// addAccount adds the account that has confirmed an address to a team, or returns NotFound if there is none.
func (s *Service) addAccount(ctx context.Context, inv invitation) (*api.TeamMember, error) {
	person, err := rpc.Call(ctx, s.client, api.FindUserByEmail, &api.FindUser{Email: inv.Email})
	if err != nil {
		return nil, err
	}
	if !person.EmailVerified {
		return nil, fault.New(fault.NotFound, "no account has confirmed this address")
	}
	return s.join(ctx, &api.SetTeamMember{EventID: inv.EventID, UserID: person.ID, Role: inv.Role})
}

func (s *Service) uninvite(ctx context.Context, req *api.InvitationRef) (*rpc.None, error) {
	var c fault.Check
	c.Field(req.Email != "", "email", "must name the invitation")
	if err := c.Err(); err != nil {
		return nil, err
	}
	k, err := s.store.load(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.MayManageTeam); err != nil {
		return nil, err
	}
	return nil, s.store.withdrawInvitation(ctx, req.EventID, addressKey(req.Email), true)
}

// invite keeps an invitation; the same again replaces the role.
func (b eventStore) invite(ctx context.Context, inv invitation) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := b.organizers.Take(ctx, tx, api.InvitationsPerOrganizer, inv.EventID.String(),
			"invitations to the team of an event", 1); err != nil {
			return err
		}
		var waiting int
		if err := tx.NewRaw("SELECT count(*) FROM invitations WHERE event_id = ?", inv.EventID).Scan(ctx,
			&waiting); err != nil {
			return err
		}
		if waiting >= maxTeam {
			return fault.New(fault.Conflict, "at most %d invitations can wait", maxTeam)
		}
		_, err := tx.NewInsert().Model(&inv).On("CONFLICT (event_id, email) DO UPDATE").Set(
			"role = excluded.role, created_at = excluded.created_at").Exec(ctx)
		if err != nil {
			return err
		}
		return noteInvitation(ctx, tx, inv.EventID, map[string]string{"invited": inv.Role})
	})
}

// noteInvitation writes a line into the audit log. It does not name the address, which is that of a person who may
// never have an account.
func noteInvitation(ctx context.Context, tx bun.Tx, id ids.Event, after map[string]string) error {
	return auditlog.Add(ctx, tx, "event", auditlog.Act{Object: id.String(), Event: id, After: after})
}

// withdrawInvitation forgets an invitation. One that is not there is no mistake. If a manager asked for it, the audit
// log says so.
func (b eventStore) withdrawInvitation(ctx context.Context, id ids.Event, email string, asked bool) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		found, err := one(tx.ExecContext(ctx, "DELETE FROM invitations WHERE event_id = ? AND email = ?", id, email))
		if err != nil || !found || !asked {
			return err
		}
		return noteInvitation(ctx, tx, id, nil)
	})
}

// invitations returns those to an event, or those of an address to all events.
func (b eventStore) invitations(ctx context.Context, column, value string) ([]invitation, error) {
	var all []invitation
	err := b.db.Read().NewSelect().Model(&all).Where("? = ?", bun.Ident(column), value).Order("event_id",
		"email").Scan(ctx)
	return all, err
}

// forgetInvitations deletes those to events that are over, and those that have waited for long, also of organizers:
// they have the addresses of people who may never have an account.
func (s *Service) forgetInvitations(ctx context.Context) error {
	now := store.Time(s.now())
	return s.store.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx,
			"DELETE FROM invitations WHERE event_id IN (SELECT id FROM events WHERE ends_at < ?)", now)
		if err != nil {
			return err
		}
		for _, table := range []bun.Ident{"invitations", "organizer_invitations"} {
			// Of those from before it is not known since when they wait.
			if _, err := tx.ExecContext(ctx, "UPDATE ? SET created_at = ? WHERE created_at < ?", table, now,
				time.Unix(1, 0).UTC()); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM ? WHERE created_at < ?", table,
				now.Add(-api.InvitationTTL.Get(s.live))); err != nil {
				return err
			}
		}
		return nil
	})
}

// consumer names the durable consumer of the events that concern teams.
const consumer = "event"

// consumeUsers lets invitations take effect when an account has confirmed their address, until ctx ends.
func (s *Service) consumeUsers(ctx context.Context) error {
	return stream.Consume(ctx, s.js, stream.Consumer{
		Stream: api.EventsStream, Durable: consumer,
		Filters: []string{api.UserRegistered.Subject, api.UserUpdated.Subject, api.UserDeleted.Subject},
		FromNow: true, Log: s.log, Registry: s.metrics,
	}, s.onAddress)
}

// onAddress adds a person who has confirmed an address to the teams that wait for it. Once more changes nothing.
func (s *Service) onAddress(ctx context.Context, m stream.Msg) error {
	var e api.UserEvent
	if err := m.Decode(&e); err != nil {
		return err
	}
	if m.Subject == api.UserDeleted.Subject {
		return s.forget(ctx, e.UserID)
	}
	var some bool
	err := s.store.db.Read().NewRaw(`SELECT EXISTS (SELECT 1 FROM invitations)
		OR EXISTS (SELECT 1 FROM organizer_invitations)`).Scan(ctx, &some)
	if err != nil || !some {
		return err
	}
	person, err := rpc.Call(ctx, s.client, api.GetContact, &api.GetContactOf{ID: e.UserID})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil || !person.EmailVerified {
		return err
	}
	if err := s.organizers.Confirmed(ctx, person); err != nil {
		return err
	}
	waiting, err := s.store.invitations(ctx, "email", addressKey(person.Email))
	if err != nil {
		return err
	}
	for _, inv := range waiting {
		if err := s.accept(ctx, inv, person.ID); err != nil {
			return err
		}
	}
	return nil
}

// forget removes a person whose account is gone. Once more changes nothing.
func (s *Service) forget(ctx context.Context, user ids.User) error {
	if err := s.organizers.Forget(ctx, user); err != nil {
		return err
	}
	return s.store.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return idempotency.DeleteOf(ctx, tx, user)
	})
}

// accept makes an invitation take effect, unless the person works for the event already.
func (s *Service) accept(ctx context.Context, inv invitation, user ids.User) error {
	_, err := s.change(ctx, edit{event: inv.EventID, unasked: true, topic: api.EventUpdated,
		apply: func(r *record) error {
			if r.Organizer.RoleOf(user) != "" || r.memberIndex(user) >= 0 || len(r.Team) >= maxTeam {
				return errUnchanged
			}
			r.Team = append(r.Team, api.TeamMember{UserID: user, Role: inv.Role})
			return nil
		}})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return s.store.withdrawInvitation(ctx, inv.EventID, inv.Email, false)
}
