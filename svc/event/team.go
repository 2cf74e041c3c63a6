package event

import (
	"context"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
)

// team lists the members of the organizer, who work for all of its events, and then those of the event's own team.
func (s *Service) team(ctx context.Context, req *api.EventRef) (*api.List[api.TeamMember], error) {
	k, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.MayReadEvent); err != nil {
		return nil, err
	}
	list := &api.List[api.TeamMember]{Items: append(slices.Clone(k.Organizer.Members), k.Team...)}
	if !k.Can(rpc.Caller(ctx), api.MayManageTeam) {
		return list, nil
	}
	waiting, err := s.store.invitations(ctx, "event_id", req.ID.String())
	for _, inv := range waiting {
		list.Items = append(list.Items, inv.member())
	}
	return list, err
}

func (s *Service) putMember(ctx context.Context, req *api.SetTeamMember) (*api.TeamMember, error) {
	k, err := s.store.load(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.MayManageTeam); err != nil { // only they learn who exists
		return nil, err
	}
	if err := checkGrant(ctx, k.record, req.Role); err != nil {
		return nil, err
	}
	if k.RoleOf(req.UserID) == "" {
		if _, err := rpc.Call(ctx, s.client, api.GetContact, &api.GetContactOf{ID: req.UserID}); err != nil {
			return nil, err
		}
	}
	return s.join(ctx, req)
}

// join adds a person who exists to a team, or gives a member another role.
func (s *Service) join(ctx context.Context, req *api.SetTeamMember) (*api.TeamMember, error) {
	member := api.TeamMember{UserID: req.UserID, Role: req.Role}
	_, err := s.change(ctx, edit{event: req.EventID, need: api.MayManageTeam, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := checkGrant(ctx, r, req.Role); err != nil {
				return err
			}
			if role := r.Organizer.RoleOf(req.UserID); role != "" {
				return fault.New(fault.Conflict, "the person works for all events of the organizer, as %s", role)
			}
			i := r.memberIndex(req.UserID)
			switch {
			case i >= 0 && r.Team[i] == member:
				return errUnchanged
			case i >= 0:
				if err := mayTake(ctx, r, r.Team[i].Role); err != nil {
					return err
				}
				r.Team[i] = member
			case len(r.Team) >= maxTeam:
				return fault.New(fault.Conflict, "a team has at most %d members", maxTeam)
			default:
				r.Team = append(r.Team, member)
			}
			return nil
		}})
	if err != nil {
		return nil, err
	}
	return &member, nil
}

// checkGrant returns a fault unless the caller may give a role in the team of an event. Owners own organizers.
func checkGrant(ctx context.Context, r *record, role string) error {
	var c fault.Check
	c.Field(role != api.RoleOwner, "role", "must be a role for single events, such as %s", api.RoleManager)
	if err := c.Err(); err != nil {
		return err
	}
	return mayTake(ctx, r, role)
}

// mayTake returns a fault unless the caller may do all that a role allows: others cannot give or take it.
func mayTake(ctx context.Context, r *record, role string) error {
	caller := rpc.Caller(ctx)
	return organizer.CheckGrant(&r.Organizer, role, func(p api.Permission) bool { return r.Can(caller, p) })
}

// checkInvited is checkGrant for an invitation.
func checkInvited(ctx context.Context, r *record, role string) error {
	var c fault.Check
	c.Field(role == api.RoleManager || role == api.RoleDoor, "role", "must be %s or %s", api.RoleManager, api.RoleDoor)
	if err := c.Err(); err != nil {
		return err
	}
	return checkGrant(ctx, r, role)
}

func (s *Service) deleteMember(ctx context.Context, req *api.TeamMemberRef) (*rpc.None, error) {
	_, err := s.change(ctx, edit{event: req.EventID, need: api.MayManageTeam, topic: api.EventUpdated,
		apply: func(r *record) error {
			i := r.memberIndex(req.UserID)
			if i < 0 {
				return fault.New(fault.NotFound, "this person is not in the team")
			}
			if r.Organizer.Permissions(r.Team[i].Role) != nil { // a role that is gone allows nothing
				if err := mayTake(ctx, r, r.Team[i].Role); err != nil {
					return err
				}
			}
			r.Team = slices.Delete(r.Team, i, i+1)
			return nil
		}})
	return nil, err
}

// handOver makes the event one of a team member's own organizer, and the owners of the organizer before managers of its
// team.
func (s *Service) handOver(ctx context.Context, req *api.SetOrganizer) (*api.Event, error) {
	var check fault.Check
	check.Field(req.UserID != "", "user_id", "is required")
	if err := check.Err(); err != nil {
		return nil, err
	}
	to := api.OrganizerOf(req.UserID)
	return s.edited(ctx, edit{event: req.EventID, need: api.MayMoveEvent, topic: api.EventUpdated,
		apply: func(r *record) error {
			if to == r.Event.OrganizerID {
				return errUnchanged
			}
			i := r.memberIndex(req.UserID)
			if i < 0 {
				return fault.New(fault.Conflict,
					"an event is handed over to a member of its team; add this person first")
			}
			r.Team = slices.Delete(r.Team, i, i+1)
			for _, m := range r.Organizer.Members {
				if m.Role == api.RoleOwner && r.memberIndex(m.UserID) < 0 {
					r.Team = append(r.Team, api.TeamMember{UserID: m.UserID, Role: api.RoleManager})
				}
			}
			// Roles of the organizer before mean nothing there.
			r.Team = slices.DeleteFunc(r.Team, func(m api.TeamMember) bool {
				return !slices.Contains(api.Roles(), m.Role)
			})
			r.Event.OrganizerID, r.owner = to, req.UserID
			return nil
		}})
}
