package organizer

import (
	"context"
	"regexp"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Organizers) members(ctx context.Context, req *api.OrganizerRef) (*api.List[api.TeamMember], error) {
	t, err := s.as(ctx, s.db.Read(), req.ID, api.MayReadEvent)
	if err != nil {
		return nil, err
	}
	list := &api.List[api.TeamMember]{Items: t.Members}
	if !t.Can(rpc.Caller(ctx), api.MayManageMembers) {
		return list, nil
	}
	list.Items = s.named(ctx, t.Members)
	waiting, err := s.invitations(ctx, req.ID)
	list.Items = append(list.Items, waiting...)
	return list, err
}

// named returns members with their names and addresses; without them while the user service is away.
func (s *Organizers) named(ctx context.Context, members []api.TeamMember) []api.TeamMember {
	req := &api.GetContactsOf{}
	for _, m := range members {
		req.IDs = append(req.IDs, m.UserID)
	}
	members = slices.Clone(members)
	people, err := rpc.Call(ctx, s.client, api.GetContacts, req)
	if err != nil {
		s.log.WarnContext(ctx, "members are listed without their names", "error", err)
		return members
	}
	for _, c := range people.Items {
		for i := range members {
			if members[i].UserID == c.ID {
				members[i].Name, members[i].Email = c.Name, c.Email
			}
		}
	}
	return members
}

// CheckGrant returns a fault unless a caller with some permissions may give a role of the organizer: it must exist, and
// must not allow more than the caller may do.
func CheckGrant(t *api.OrganizerTeam, role string, may func(api.Permission) bool) error {
	given := t.Permissions(role)
	var c fault.Check
	c.Field(given != nil, "role", "must be a role of the organizer, such as %s", api.RoleManager)
	if err := c.Err(); err != nil {
		return err
	}
	return checkAll(role, given, may)
}

func checkAll(role string, given []api.Permission, may func(api.Permission) bool) error {
	for _, p := range given {
		if !may(p) {
			return fault.New(fault.Forbidden, "the role %s allows %s, which the caller may not do", role, p)
		}
	}
	return nil
}

// grant is CheckGrant for members: of the role that one gets, or of the one that is taken away.
func grant(ctx context.Context, t *api.OrganizerTeam, role string) error {
	return CheckGrant(t, role, func(p api.Permission) bool { return t.Can(rpc.Caller(ctx), p) })
}

func (s *Organizers) putMember(ctx context.Context, req *api.SetOrganizerMember) (*api.TeamMember, error) {
	member := api.TeamMember{UserID: req.UserID, Role: req.Role}
	_, err := s.change(ctx, req.ID, func(ctx context.Context, _ bun.Tx, t *api.OrganizerTeam) error {
		if err := t.Require(rpc.Caller(ctx), api.MayManageMembers); err != nil {
			return err
		}
		i := indexOf(t, req.UserID)
		if i < 0 {
			return errNoMember()
		}
		if t.Members[i] == member {
			return errUnchanged
		}
		if err := grant(ctx, t, req.Role); err != nil {
			return err
		}
		if err := grant(ctx, t, t.Members[i].Role); err != nil {
			return err
		}
		t.Members[i] = member
		return needsOwner(t)
	})
	if err != nil {
		return nil, err
	}
	return &member, nil
}

func (s *Organizers) deleteMember(ctx context.Context, req *api.OrganizerMemberRef) (*rpc.None, error) {
	_, err := s.change(ctx, req.ID, func(ctx context.Context, _ bun.Tx, t *api.OrganizerTeam) error {
		caller := rpc.Caller(ctx)
		if t.RoleOf(caller.User) == "" && !caller.Admin() {
			return errNoOrganizer()
		}
		i := indexOf(t, req.UserID)
		if req.UserID != caller.User {
			if err := t.Require(caller, api.MayManageMembers); err != nil {
				return err
			}
			if i >= 0 {
				if err := grant(ctx, t, t.Members[i].Role); err != nil {
					return err
				}
			}
		}
		if i < 0 {
			return errNoMember()
		}
		t.Members = slices.Delete(t.Members, i, i+1)
		return needsOwner(t)
	})
	return nil, err
}

// transfer makes another member the owner in the caller's place.
func (s *Organizers) transfer(ctx context.Context, req *api.NewOwner) (*api.List[api.TeamMember], error) {
	var c fault.Check
	c.Field(req.UserID != "", "user_id", "is required")
	if err := c.Err(); err != nil {
		return nil, err
	}
	t, err := s.change(ctx, req.ID, func(ctx context.Context, _ bun.Tx, t *api.OrganizerTeam) error {
		caller := rpc.Caller(ctx)
		own := t.RoleOf(caller.User)
		switch {
		case own == "" && !caller.Admin():
			return errNoOrganizer()
		case own != api.RoleOwner && !caller.Admin():
			return fault.New(fault.Forbidden, "only an owner may do this")
		}
		i := indexOf(t, req.UserID)
		switch {
		case i < 0:
			return errNoMember()
		case req.UserID == caller.User:
			return errUnchanged
		}
		t.Members[i].Role = api.RoleOwner
		if own == api.RoleOwner {
			t.Members[indexOf(t, caller.User)].Role = api.RoleManager
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &api.List[api.TeamMember]{Items: t.Members}, nil
}

func indexOf(t *api.OrganizerTeam, user ids.User) int {
	return slices.IndexFunc(t.Members, func(m api.TeamMember) bool { return m.UserID == user })
}

func errNoMember() error {
	return fault.New(fault.NotFound, "this person is no member of the organizer")
}

// needsOwner returns a Conflict fault if there is none.
func needsOwner(t *api.OrganizerTeam) error {
	if slices.ContainsFunc(t.Members, func(m api.TeamMember) bool { return m.Role == api.RoleOwner }) {
		return nil
	}
	return fault.New(fault.Conflict, "an organizer needs an owner: make another member the owner first")
}

func (s *Organizers) roles(ctx context.Context, req *api.OrganizerRef) (*api.List[api.Role], error) {
	t, err := s.as(ctx, s.db.Read(), req.ID, api.MayReadEvent)
	if err != nil {
		return nil, err
	}
	list := &api.List[api.Role]{Items: []api.Role{}}
	for _, name := range api.Roles() {
		list.Items = append(list.Items, api.Role{Name: name, Permissions: t.Permissions(name), BuiltIn: true})
	}
	list.Items = append(list.Items, t.Roles...)
	return list, nil
}

var roleRule = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

func (s *Organizers) putRole(ctx context.Context, req *api.SetRole) (*api.Role, error) {
	role := api.Role{Name: req.Name}
	var c fault.Check
	c.Field(roleRule.MatchString(req.Name), "name", "must be 1 to 40 of a-z, 0-9, - and _")
	c.Field(req.Permissions != nil, "permissions", "is required")
	for _, p := range req.Permissions {
		c.Field(slices.Contains(api.Permissions(), p), "permissions", "must not have %.40q", p)
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	for _, p := range api.Permissions() { // each once, in this order
		if p == api.MayReadEvent || slices.Contains(req.Permissions, p) {
			role.Permissions = append(role.Permissions, p)
		}
	}
	_, err := s.change(ctx, req.ID, func(ctx context.Context, _ bun.Tx, t *api.OrganizerTeam) error {
		if err := t.Require(rpc.Caller(ctx), api.MayManageMembers); err != nil {
			return err
		}
		if slices.Contains(api.Roles(), req.Name) {
			return fault.New(fault.Conflict, "every organizer has the role %s, as it is", req.Name)
		}
		// By what the caller may do before the change, of which the role may be the caller's own.
		may := func(p api.Permission) bool { return t.Can(rpc.Caller(ctx), p) }
		if err := checkAll(req.Name, role.Permissions, may); err != nil {
			return err
		}
		i := slices.IndexFunc(t.Roles, func(r api.Role) bool { return r.Name == req.Name })
		switch {
		case i >= 0 && slices.Equal(t.Roles[i].Permissions, role.Permissions):
			return errUnchanged
		case i >= 0:
			if err := grant(ctx, t, req.Name); err != nil {
				return err
			}
			t.Roles[i] = role
		case len(t.Roles) >= mostRoles:
			return fault.New(fault.Conflict, "an organizer has at most %d roles of its own", mostRoles)
		default:
			t.Roles = append(t.Roles, role)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &role, nil
}

func (s *Organizers) deleteRole(ctx context.Context, req *api.RoleRef) (*rpc.None, error) {
	_, err := s.change(ctx, req.ID, func(ctx context.Context, tx bun.Tx, t *api.OrganizerTeam) error {
		if err := t.Require(rpc.Caller(ctx), api.MayManageMembers); err != nil {
			return err
		}
		i := slices.IndexFunc(t.Roles, func(r api.Role) bool { return r.Name == req.Name })
		if i < 0 {
			return fault.New(fault.NotFound, "the organizer has no role %.40q of its own", req.Name)
		}
		if err := grant(ctx, t, req.Name); err != nil {
			return err
		}
		used, err := isUsed(ctx, tx, t, req.Name)
		if err != nil {
			return err
		}
		if used {
			return fault.New(fault.Conflict, "people have the role %s: give them another one first", req.Name)
		}
		t.Roles = slices.Delete(t.Roles, i, i+1)
		return nil
	})
	return nil, err
}

// isUsed reports whether a member, an invitation or the team of an event has a role. An event's team may get it at the
// same moment: it then allows nothing.
func isUsed(ctx context.Context, tx bun.Tx, t *api.OrganizerTeam, role string) (used bool, err error) {
	if slices.ContainsFunc(t.Members, func(m api.TeamMember) bool { return m.Role == role }) {
		return true, nil
	}
	err = tx.NewRaw(`SELECT EXISTS (SELECT 1 FROM organizer_invitations WHERE organizer_id = ? AND role = ?)
		OR EXISTS (SELECT 1 FROM team JOIN events ON events.id = team.event_id
			WHERE events.organizer_id = ? AND team.role = ?)`, t.ID, role, t.ID, role).Scan(ctx, &used)
	return used, err
}
