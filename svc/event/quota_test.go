package event

import (
	"slices"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func TestTicketTypesShareQuotas(t *testing.T) {
	w := start(t)
	req := draftOf("Shared")
	req.Quotas = []api.NewQuota{{Name: " Hall ", Capacity: 120}, {Name: "Students", Capacity: 20}}
	req.Capacity = 0
	req.TicketTypes[0].Quotas = []string{"Hall"}
	req.TicketTypes[1].Quotas = []string{"Hall", "Students"}
	e := must(w, anna, api.CreateEvent, req)
	hall, students := e.Quotas[0], e.Quotas[1]
	if hall.ID == "" || hall.Name != "Hall" || !slices.Equal(e.TicketTypes[1].Quotas, []ids.Quota{hall.ID, students.ID}) {
		t.Fatalf("made %+v", e)
	}
	if e.Capacity != 120 {
		t.Errorf("the capacity is %d: 140 tickets share 120 seats", e.Capacity)
	}
	must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
	asked := w.ticketing.asked
	hall.Capacity = 110
	got := must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Quotas: codec.To([]api.Quota{hall, students})})
	shares := w.ticketing.pools[e.ID].Quotas
	if w.ticketing.asked != asked+1 || len(shares) != 2 || shares[0].Capacity != 110 || len(shares[0].Types) != 2 ||
		!slices.Equal(shares[1].Types, []ids.TicketType{e.TicketTypes[1].ID}) || got.Capacity != 110 {
		t.Errorf("ticketing was told %+v, and the event is %+v", shares, got)
	}

	_, err := call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID,
		Quotas: codec.To([]api.Quota{{ID: "quo_00000000000000000000000000", Name: "Hall", Capacity: -1}, {Name: "Hall"}})})
	wantCode(t, err, fault.Invalid)
	want := []string{"quotas[0].capacity", "quotas[0].id", "quotas[1].name"}
	if got := fields(err); !slices.Equal(got, want) {
		t.Errorf("at fault are %v, want %v", got, want)
	}
	_, err = call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID,
		Quotas: codec.To([]string{"Hall", "Garden", hall.ID.String()})})
	if got, want := fields(err), []string{"quotas[1]", "quotas[2]"}; !slices.Equal(got, want) {
		t.Errorf("at fault are %v, want %v", got, want)
	}

	w.ticketing.set(func() { w.ticketing.failure = fault.New(fault.Conflict, "more are sold") })
	hall.Capacity = 1
	_, err = call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Quotas: codec.To([]api.Quota{hall, students})})
	wantCode(t, err, fault.Conflict)
	w.ticketing.set(func() { w.ticketing.failure = nil })

	// A quota that goes leaves the types that drew on it.
	got = must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Quotas: codec.To([]api.Quota{students})})
	if len(got.Quotas) != 1 || len(got.TicketTypes[0].Quotas) != 0 || len(got.TicketTypes[1].Quotas) != 1 {
		t.Errorf("without the hall it is %+v", got)
	}
	read := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID})
	if len(read.Quotas) != 1 || read.Quotas[0] != students {
		t.Errorf("read back: %+v", read.Quotas)
	}
}

func TestHiddenTypesAreForTheTeam(t *testing.T) {
	w := start(t)
	e := w.published("Backstage")
	hidden := e.TicketTypes[1].ID
	must(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: hidden, Hidden: at(true)})
	for range 2 { // from the database, and from memory
		if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); got.TicketType(hidden) == nil {
			t.Errorf("its team sees %+v", got.TicketTypes)
		}
		for _, who := range []rpc.Principal{ben, nob} {
			got := must(w, who, api.GetEvent, api.EventRef{ID: e.ID})
			if len(got.TicketTypes) != 1 || got.TicketType(hidden) != nil {
				t.Errorf("others see %+v", got.TicketTypes)
			}
			for _, e := range must(w, who, api.ListEvents, api.EventQuery{}).Items {
				if e.TicketType(hidden) != nil {
					t.Errorf("a list has %+v", e.TicketTypes)
				}
			}
		}
	}
}

// A new type that draws on quotas and has no number of its own has as many tickets as the smallest of them.
func TestTypesAreCountedByTheirQuotas(t *testing.T) {
	w := start(t)
	req := draftOf("Shared")
	req.Quotas = []api.NewQuota{{Name: "Hall", Capacity: 120}, {Name: "Students", Capacity: 20}}
	req.Capacity = 0
	req.TicketTypes[0].Quotas, req.TicketTypes[0].Quantity = []string{"Hall"}, 0
	req.TicketTypes[1].Quotas, req.TicketTypes[1].Quantity = []string{"Hall", "Students"}, 0
	e := must(w, anna, api.CreateEvent, req)
	if e.TicketTypes[0].Quantity != 120 || e.TicketTypes[1].Quantity != 20 || e.Capacity != 120 {
		t.Errorf("made %+v", e)
	}
	if e = must(w, anna, api.CreateEvent, func() api.NewEvent { // a quota may be none yet, whichever is named first
		none := req
		none.Quotas = []api.NewQuota{{Name: "Students", Capacity: 0}, {Name: "Hall", Capacity: 120}}
		return none
	}()); e.TicketTypes[1].Quantity != 0 {
		t.Errorf("made %+v", e.TicketTypes[1])
	}
	e = must(w, anna, api.CreateEvent, req)
	one := req.TicketTypes[0]
	one.Name = "Late"
	e = must(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: one})
	if e.TicketTypes[2].Quantity != 120 {
		t.Errorf("added %+v", e.TicketTypes[2])
	}
	// One that has no tickets and no quota is something to look at.
	one.Name, one.Quotas = "None", nil
	e = must(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: one})
	ready := must(w, anna, api.GetReadiness, api.EventRef{ID: e.ID})
	found := slices.ContainsFunc(ready.Findings, func(f api.Finding) bool { return f.Code == "no_quantity" })
	if !found || !ready.Ready {
		t.Errorf("it is %+v", ready)
	}
}
