package api_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// What each caller is answered who needs a permission: the fault's code, or nothing.
func TestRequire(t *testing.T) {
	const none, missing, refused fault.Code = "", fault.NotFound, fault.Forbidden
	needs := []api.Permission{api.MayVisit, api.MayReadEvent, api.MayAdmit, api.MayRefund, api.MayAnnounce, api.MayMoveEvent}
	all := []fault.Code{none, none, none, none, none, none}
	outside := []fault.Code{missing, missing, missing, missing, missing, missing}
	visitor := []fault.Code{none, refused, refused, refused, refused, refused}
	tests := []struct {
		who           string
		p             rpc.Principal
		draft, public []fault.Code // by need
	}{
		{"anonymous", rpc.Principal{}, outside, visitor},
		{"stranger", rpc.Principal{User: "s"}, outside, visitor},
		{"door", rpc.Principal{User: "d"}, []fault.Code{none, none, none, refused, refused, refused}, []fault.Code{none, none, none, refused, refused, refused}},
		{"manager of the event", rpc.Principal{User: "m"}, []fault.Code{none, none, none, none, none, refused}, []fault.Code{none, none, none, none, none, refused}},
		{"role of the organizer at the event", rpc.Principal{User: "b"}, []fault.Code{none, none, none, none, refused, refused},
			[]fault.Code{none, none, none, none, refused, refused}},
		{"role that is gone", rpc.Principal{User: "g"}, outside, visitor},
		{"owner", rpc.Principal{User: "o"}, all, all},
		{"finance of the organizer", rpc.Principal{User: "f"}, []fault.Code{none, none, refused, none, refused, refused},
			[]fault.Code{none, none, refused, none, refused, refused}},
		{"admin", rpc.Principal{User: "a", Roles: []string{rpc.RoleAdmin}}, all, all},
		{"nameless admin", rpc.Principal{Roles: []string{rpc.RoleAdmin}}, all, all},
	}
	team := []api.TeamMember{{UserID: "", Role: api.RoleManager}, {UserID: "d", Role: api.RoleDoor}, {UserID: "m", Role: api.RoleManager},
		{UserID: "b", Role: "box"}, {UserID: "g", Role: "gone"}}
	organizer := api.OrganizerTeam{ID: "org", Members: []api.TeamMember{{UserID: "", Role: api.RoleOwner}, {UserID: "o", Role: api.RoleOwner},
		{UserID: "f", Role: api.RoleFinance}},
		Roles: []api.Role{{Name: "box", Permissions: []api.Permission{api.MayReadEvent, api.MayAdmit, api.MayRefund}}}}
	for _, tt := range tests {
		for status, want := range map[string][]fault.Code{
			api.EventDraft: tt.draft, api.EventPublished: tt.public, api.EventCancelled: tt.public,
		} {
			o := &api.Offer{Event: api.Event{Status: status, OrganizerID: "org"}, Team: team, Organizer: organizer}
			for i, need := range needs {
				var got fault.Code
				if err := o.Require(tt.p, need); err != nil {
					got = fault.From(err).Code
				}
				if got != want[i] {
					t.Errorf("%s needs %q for an event that is %s: %q, want %q", tt.who, need, status, got, want[i])
				}
			}
		}
	}
}

// Every role that organizers have reads events, is part of the one of owners, and can be told from the others.
func TestRoles(t *testing.T) {
	organizer := &api.OrganizerTeam{}
	if !slices.Equal(organizer.Permissions(api.RoleOwner), api.Permissions()) {
		t.Error("an owner may not do everything")
	}
	for _, role := range api.Roles() {
		list := organizer.Permissions(role)
		if !slices.Contains(list, api.MayReadEvent) {
			t.Errorf("%s may not see the event", role)
		}
		for i, p := range list {
			if !slices.Contains(api.Permissions(), p) || slices.Contains(list[:i], p) {
				t.Errorf("%s has %q, which is none, or twice", role, p)
			}
		}
	}
	for _, role := range []string{"", "Owner", "box"} {
		if list := organizer.Permissions(role); len(list) > 0 {
			t.Errorf("%q may do %v", role, list)
		}
	}
}

// What was written when an event belonged to a person is read as an event of that person's own organizer.
func TestOldOffer(t *testing.T) {
	const user ids.User = "usr_01k3q8v5z7m2n4p6r8s9t0w1xy"
	var o api.Offer
	old := `{"event":{"id":"evt_01k3q8v5z7m2n4p6r8s9t0w1xy","organizer":"` + string(user) + `","status":"draft"},"team":[]}`
	if err := json.Unmarshal([]byte(old), &o); err != nil {
		t.Fatal(err)
	}
	if o.Event.OrganizerID != "org_01k3q8v5z7m2n4p6r8s9t0w1xy" || !o.Can(rpc.Principal{User: user}, api.MayMoveEvent) {
		t.Errorf("read as %+v", o)
	}
	newer := api.OrganizerTeam{ID: o.Event.OrganizerID, Revision: 2, Members: []api.TeamMember{{UserID: "usr_x", Role: api.RoleOwner}}}
	if j := o.Joined(&newer); j.Can(rpc.Principal{User: user}, api.MayReadEvent) || !j.Can(rpc.Principal{User: "usr_x"}, api.MayReadEvent) {
		t.Error("a newer team is not taken over")
	}
	if j := o.Joined(&api.OrganizerTeam{ID: "org_other", Revision: 3}); j != &o {
		t.Error("the team of another organizer is taken over")
	}
}
