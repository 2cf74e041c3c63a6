package pages

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// users finds accounts by name, address or id.
func (s *Site) users(v *visit) error {
	data := map[string]any{"Q": v.query("q"), "Users": []api.User(nil), "Next": ""}
	list, err := ask(v, api.ListUsers, &api.ListUsersQuery{Q: v.query("q"),
		Page: api.Page{Limit: 50, Cursor: v.query("cursor")}})
	if fault.Is(err, fault.Invalid) {
		return v.again("users", err, data)
	}
	if err != nil {
		return err
	}
	data["Users"], data["Next"] = list.Items, list.NextCursor
	return v.show("users", data)
}

// user shows an account, and where its person is signed in.
func (s *Site) user(v *visit) error { return s.userAgain(v, nil) }

func (s *Site) userAgain(v *visit, failed error) error {
	ref, err := v.userHere()
	if err != nil {
		return err
	}
	one, err := ask(v, api.GetUser, ref)
	if err != nil {
		return err
	}
	sessions, err := ask(v, api.ListUserSessions, &api.UserSessionQuery{ID: ref.ID, Page: api.Page{Limit: 50}})
	if err != nil {
		return err
	}
	data := map[string]any{"User": one, "Sessions": sessions.Items, "Admin": slices.Contains(one.Roles, rpc.RoleAdmin)}
	if failed != nil {
		return v.again("user", failed, data)
	}
	return v.show("user", data)
}

func (v *visit) userHere() (*api.UserRef, error) {
	id, err := ids.Parse[ids.UserKind](v.Param("user"))
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no such account")
	}
	return &api.UserRef{ID: id}, nil
}

// changeUser does what an administrator may do about an account.
func (s *Site) changeUser(v *visit) error {
	ref, err := v.userHere()
	if err != nil {
		return err
	}
	switch v.form("do") {
	case "lock":
		_, err = ask(v, api.LockUser, ref)
	case "unlock":
		_, err = ask(v, api.UnlockUser, ref)
	case "admin":
		_, err = ask(v, api.SetUserRoles, &api.SetRoles{ID: ref.ID, Roles: []string{rpc.RoleAdmin}})
	case "person":
		_, err = ask(v, api.SetUserRoles, &api.SetRoles{ID: ref.ID, Roles: []string{}})
	case "sessions":
		_, err = ask(v, api.EndUserSessions, ref)
	case "factors":
		_, err = ask(v, api.ResetSecondFactors, ref)
	default:
		return fault.New(fault.NotFound, "there is nothing of this name to do")
	}
	if err != nil {
		return s.userAgain(v, err)
	}
	v.redirect("/admin/users/" + ref.ID.String())
	return nil
}
