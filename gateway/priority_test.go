package gateway_test

import (
	"testing"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// When all places are taken, readers are refused, and the callback of a provider is taken all the same.
func TestUrgentRequestsHavePlace(t *testing.T) {
	d := open(t, func(c *gateway.Config) { c.InFlight = 1 })
	release, first := d.occupy()
	wantProblem(t, d.do("GET", "/v1/events", ""), 503, fault.Unavailable)
	if a := d.do("POST", "/v1/payments/callbacks/sandbox", "{}"); a.StatusCode != 200 {
		t.Errorf("a callback: %d %s", a.StatusCode, a.body)
	}
	release()
	if status := <-first; status != 200 {
		t.Errorf("the first request got %d", status)
	}
}

// Who goes first, of all there is.
func TestPriorities(t *testing.T) {
	want := map[string]rpc.Priority{"ticketing.admit": rpc.Urgent, "ticketing.exit": rpc.Urgent,
		"ticketing.undo_admission": rpc.Urgent, "payment.callback": rpc.Urgent, "ticketing.create_order": rpc.Usual,
		"payment.create": rpc.Usual, "event.list": rpc.Browsing, "ticketing.availability": rpc.Browsing}
	for _, d := range api.All() {
		name := d.Service + "." + d.Name
		if p, ok := want[name]; ok && d.Turn() != p {
			t.Errorf("%s is %s, want %s", name, d.Turn(), p)
		} else if !ok && d.Turn() == rpc.Urgent {
			t.Errorf("%s is urgent: say here why", name)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}
