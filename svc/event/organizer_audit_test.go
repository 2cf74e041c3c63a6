package event

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Every change of an organizer, its members and roles is a line of the audit log, without addresses.
func TestChangesOfOrganizersAreAudited(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera", Email: "opera@example.org"})
		name := "Oper"
		must(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, Name: &name})
		must(w, anna, api.PutRole, api.SetRole{ID: o.ID, Name: "box", Permissions: []api.Permission{api.MayAdmit}})
		w.member(o.ID, ben, "box")
		must(w, anna, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: ben.User, Role: api.RoleManager})
		must(w, anna, api.DeleteRole, api.RoleRef{ID: o.ID, Name: "box"})
		must(w, anna, api.InviteOrganizerMember, api.OrganizerInvite{ID: o.ID, Email: "new@example.org", Role: api.RoleDoor})
		for range 2 { // the second time none waits, and nothing is done
			must(w, anna, api.DeleteOrganizerInvitation, api.OrganizerInvitationRef{ID: o.ID, Email: "new@example.org"})
		}
		must(w, anna, api.TransferOrganizer, api.NewOwner{ID: o.ID, UserID: ben.User})
		must(w, ben, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: o.ID, UserID: anna.User})
		want := map[string]int{"event.create_organizer": 1, "event.update_organizer": 1, "event.set_role": 1,
			"event.invite_member": 3, "event.set_member": 1, "event.delete_role": 1, "event.uninvite_member": 1,
			"event.transfer_organizer": 1, "event.delete_member": 1}
		testkit.Eventually(t, 20*time.Second, func() error {
			got := map[string]int{}
			for _, m := range w.nats.Messages(api.AuditStream) {
				var line api.AuditLine
				if err := json.Unmarshal(m.Data, &line); err != nil {
					t.Fatal(err)
				}
				got[line.Act]++
				if line.Object != o.ID.String() || line.By.UserID == "" || strings.Contains(string(m.Data), "@") {
					t.Errorf("line %s", m.Data)
				}
			}
			if !maps.Equal(got, want) {
				return fmt.Errorf("lines %v, want %v", got, want)
			}
			return nil
		})
	})
}
