package event

import (
	"context"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// team lists the organizer, who is a manager without being entered, and the members.
func (s *Service) team(ctx context.Context, req *api.EventRef) (*api.List[api.TeamMember], error) {
	k, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.RoleDoor); err != nil {
		return nil, err
	}
	organizer := api.TeamMember{UserID: k.Event.Organizer, Role: api.TeamManager}
	list := &api.List[api.TeamMember]{Items: append([]api.TeamMember{organizer}, k.Team...)}
	if k.RoleOf(rpc.Caller(ctx)) < api.RoleManager {
		return list, nil
	}
	waiting, err := s.store.invitations(ctx, "event_id", req.ID.String())
	for _, inv := range waiting {
		list.Items = append(list.Items, inv.member())
	}
	return list, err
}

func (s *Service) putMember(ctx context.Context, req *api.SetTeamMember) (*api.TeamMember, error) {
	if err := checkRole(req.Role); err != nil {
		return nil, err
	}
	k, err := s.store.load(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if err := k.Require(rpc.Caller(ctx), api.RoleManager); err != nil { // only managers learn who exists
		return nil, err
	}
	if k.memberIndex(req.UserID) < 0 && req.UserID != k.Event.Organizer {
		if _, err := rpc.Call(ctx, s.client, api.GetContact, &api.GetContactOf{ID: req.UserID}); err != nil {
			return nil, err
		}
	}
	return s.join(ctx, req)
}

// join adds a person who exists to a team, or gives a member another role.
func (s *Service) join(ctx context.Context, req *api.SetTeamMember) (*api.TeamMember, error) {
	member := api.TeamMember{UserID: req.UserID, Role: req.Role}
	_, err := s.change(ctx, edit{event: req.EventID, need: api.RoleManager, topic: api.EventUpdated,
		apply: func(r *record) error {
			if req.UserID == r.Event.Organizer {
				return fault.New(fault.Conflict, "the organizer is always a manager")
			}
			i := r.memberIndex(req.UserID)
			switch {
			case i >= 0 && r.Team[i] == member:
				return errUnchanged
			case i >= 0:
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

func checkRole(role string) error {
	var c fault.Check
	c.Field(role == api.TeamManager || role == api.TeamDoor, "role", "must be %s or %s", api.TeamManager, api.TeamDoor)
	return c.Err()
}

func (s *Service) deleteMember(ctx context.Context, req *api.TeamMemberRef) (*rpc.None, error) {
	_, err := s.change(ctx, edit{event: req.EventID, need: api.RoleManager, topic: api.EventUpdated,
		apply: func(r *record) error {
			i := r.memberIndex(req.UserID)
			if i < 0 {
				return fault.New(fault.NotFound, "this person is not in the team")
			}
			r.Team = slices.Delete(r.Team, i, i+1)
			return nil
		}})
	return nil, err
}

// handOver makes a member of the team the organizer, and the organizer before a manager.
func (s *Service) handOver(ctx context.Context, req *api.SetOrganizer) (*api.Event, error) {
	var check fault.Check
	check.Field(req.UserID != "", "user_id", "is required")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return s.edited(ctx, edit{event: req.EventID, need: api.RoleOrganizer, topic: api.EventUpdated,
		apply: func(r *record) error {
			if req.UserID == r.Event.Organizer {
				return errUnchanged
			}
			i := r.memberIndex(req.UserID)
			if i < 0 {
				return fault.New(fault.Conflict,
					"an event is handed over to a member of its team; add this person first")
			}
			r.Team[i] = api.TeamMember{UserID: r.Event.Organizer, Role: api.TeamManager}
			r.Event.Organizer = req.UserID
			return nil
		}})
}
