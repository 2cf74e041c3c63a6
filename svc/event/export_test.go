package event

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func TestExportPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, b eventStore) {
		s := &Service{store: b, now: b.now}
		want := map[ids.Event]string{}
		for i := range exportRows + 2 {
			r := keep(t, b, func(r *record) { r.Event.Name = fmt.Sprint("Gala ", i) })
			want[r.Event.ID] = api.RoleOwner
		}
		long := strings.Repeat("\u304b", maxDescription) // three bytes each
		for range 20 {
			r := keep(t, b, func(r *record) {
				r.Event.OrganizerID, r.Event.Description = api.OrganizerOf(ben.User), long
			})
			k, err := b.load(t.Context(), r.Event.ID)
			if err != nil {
				t.Fatal(err)
			}
			joined := next(k.record, func(n *record) {
				n.Team = []api.TeamMember{{UserID: anna.User,
					Role: api.RoleDoor}}
			})
			if ok, err := b.replace(t.Context(), k, joined); !ok || err != nil {
				t.Fatal(ok, err)
			}
			want[r.Event.ID] = api.RoleDoor
		}
		keep(t, b, func(r *record) { r.Event.OrganizerID = api.OrganizerOf(ben.User) })
		got := map[ids.Event]string{}
		for req := (api.PersonRef{UserID: anna.User}); ; {
			page, err := s.exportPerson(t.Context(), &req)
			if err != nil {
				t.Fatal(err)
			}
			if size := len(jsonOf(page)); size > 600<<10 {
				t.Errorf("a page has %d bytes", size)
			}
			for _, e := range page.Items {
				got[e.Event.ID] = e.Role
			}
			if req.Cursor = page.NextCursor; req.Cursor == "" {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("exported %d events, want %d:\n%v\n%v", len(got), len(want), got, want)
		}
	})
}

func TestRunning(t *testing.T) {
	w := start(t)
	w.draft("Draft")
	gala := w.published("Gala")
	must(w, anna, api.CancelEvent, api.CancelEventRequest{ID: w.published("Cancelled").ID})
	client := rpc.NewClient(w.nats.Connect(), rpc.ClientConfig{Name: "user"})
	running := func() []api.RunningEvent {
		t.Helper()
		list, err := rpc.Call(t.Context(), client, api.GetRunningEvents, &api.PersonRef{UserID: anna.User})
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	if got := running(); len(got) != 1 || got[0] != (api.RunningEvent{ID: gala.ID, Name: "Gala"}) {
		t.Errorf("running are %+v", got)
	}
	w.clock.Set(gala.EndsAt.Add(time.Second))
	if got := running(); len(got) != 0 {
		t.Errorf("running are %+v", got)
	}
}
