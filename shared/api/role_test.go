package api_test

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// What each caller is answered who needs a role: the fault's code, or nothing.
func TestRequire(t *testing.T) {
	const none, missing, refused fault.Code = "", fault.NotFound, fault.Forbidden
	needs := []api.Role{api.RoleNone, api.RoleVisitor, api.RoleDoor, api.RoleManager, api.RoleOrganizer}
	tests := []struct {
		who           string
		p             rpc.Principal
		draft, public []fault.Code // by need
	}{
		{"anonymous", rpc.Principal{}, []fault.Code{none, missing, missing, missing, missing}, []fault.Code{none, none, refused, refused, refused}},
		{"stranger", rpc.Principal{User: "s"}, []fault.Code{none, missing, missing, missing, missing}, []fault.Code{none, none, refused, refused, refused}},
		{"door", rpc.Principal{User: "d"}, []fault.Code{none, none, none, refused, refused}, []fault.Code{none, none, none, refused, refused}},
		{"manager", rpc.Principal{User: "m"}, []fault.Code{none, none, none, none, refused}, []fault.Code{none, none, none, none, refused}},
		{"organizer", rpc.Principal{User: "o"}, []fault.Code{none, none, none, none, none}, []fault.Code{none, none, none, none, none}},
		{"admin", rpc.Principal{User: "a", Roles: []string{rpc.RoleAdmin}}, []fault.Code{none, none, none, none, none}, []fault.Code{none, none, none, none, none}},
		{"nameless admin", rpc.Principal{Roles: []string{rpc.RoleAdmin}}, []fault.Code{none, none, none, none, none}, []fault.Code{none, none, none, none, none}},
	}
	team := []api.TeamMember{{UserID: "", Role: api.TeamManager}, {UserID: "d", Role: api.TeamDoor}, {UserID: "m", Role: api.TeamManager}}
	for _, tt := range tests {
		for status, want := range map[string][]fault.Code{
			api.EventDraft: tt.draft, api.EventPublished: tt.public, api.EventCancelled: tt.public,
		} {
			o := &api.Offer{Event: api.Event{Status: status, Organizer: ids.User("o")}, Team: team}
			for i, need := range needs {
				var got fault.Code
				if err := o.Require(tt.p, need); err != nil {
					got = fault.From(err).Code
				}
				if got != want[i] {
					t.Errorf("%s needs role %d for an event that is %s: %q, want %q", tt.who, need, status, got, want[i])
				}
			}
		}
	}
}
