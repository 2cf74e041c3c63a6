package event

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Price stages come with a ticket type, stay the same stages when they are changed, and are copied under ids of their
// own, moved with the event.
func TestStages(t *testing.T) {
	w := start(t)
	n := draftOf("Staged")
	until := n.StartsAt.Add(-48 * time.Hour)
	cheap := api.Money{Amount: 100, Currency: n.TicketTypes[0].Price.Currency}
	n.TicketTypes[0].Stages = []api.Stage{{Name: " Early bird ", Price: cheap, Quantity: 10, Until: &until}}
	e := must(w, anna, api.CreateEvent, n)
	first := e.TicketTypes[0].Stages[0]
	if first.ID == "" || first.Name != "Early bird" || !first.Until.Equal(until) {
		t.Fatalf("the stage was made as %+v", first)
	}
	change := func(stages ...api.Stage) (*api.Event, error) {
		return call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID,
			Stages: codec.To(stages)})
	}
	more := first
	more.Quantity = 20
	late := api.Stage{Name: "Late", Price: cheap, From: &until}
	got, err := change(more, late)
	if err != nil {
		t.Fatal(err)
	}
	if s := got.TicketTypes[0].Stages; len(s) != 2 || s[0].ID != first.ID || s[0].Quantity != 20 || s[1].ID == "" {
		t.Fatalf("the stages became %+v", s)
	}
	revision := got.Revision
	if same, err := change(got.TicketTypes[0].Stages...); err != nil || same.Revision != revision {
		t.Errorf("the same stages again: %+v, %v", same, err)
	}

	copied := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: e.StartsAt.Add(7 * 24 * time.Hour)})
	if s := copied.TicketTypes[0].Stages; len(s) != 2 || s[0].ID == first.ID || s[0].ID == "" ||
		!s[0].Until.After(until.Add(6*24*time.Hour)) {
		t.Errorf("the copy has %+v", s)
	}

	early := until.Add(-time.Hour)
	other, dear := cheap, cheap
	other.Currency, dear.Amount = "JPY", -1
	foreign := first
	foreign.ID = ids.New[ids.StageKind](time.Now())
	for field, bad := range map[string][]api.Stage{
		"stages[0].name":           {{Price: cheap, Quantity: 1}},
		"stages[0].price.currency": {{Name: "a", Price: other, Quantity: 1}},
		"stages[0].price.amount":   {{Name: "a", Price: dear, Quantity: 1}},
		"stages[0].quantity":       {{Name: "without an end", Price: cheap}},
		"stages[0].until":          {{Name: "a", Price: cheap, From: &until, Until: &early}},
		"stages[0].id":             {foreign},
		"stages[1].id":             {first, first},
	} {
		_, err := change(bad...)
		if f := fault.From(err); !fault.Is(err, fault.Invalid) || len(f.Fields) != 1 || f.Fields[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	free := true
	_, err = call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID,
		FreePrice: &free})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("stages where buyers pay what they want: %v", err)
	}
	gone := must(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID,
		Stages: codec.Clear[[]api.Stage]()})
	if len(gone.TicketTypes[0].Stages) != 0 {
		t.Errorf("stages that were taken away: %+v", gone.TicketTypes[0].Stages)
	}
}
