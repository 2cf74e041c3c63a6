package api

import (
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc/traffic"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// The live settings of calls between the parts of the system.
var (
	MeshTimeouts = settings.CheckedString("mesh.timeouts", "",
		"How long calls of an endpoint wait at most, where that is less than it declares: \"event.list=2s, "+
			"payment.*=4s\", or * for all.", 1000, checkTimes)
	MeshAgain = settings.CheckedString("mesh.again", "*=1s",
		"After how long a call that reads is sent once more, to whichever instance comes: \"event.get=200ms, *=1s\". "+
			"The first answer counts. One with an Idempotency-Key is if its connection is cut. "+
			"Nothing means never.", 1000,
		checkTimes)
	MeshBudget = settings.Int("mesh.again_budget", 10,
		"Of a hundred calls, how many may be sent once more; 0 means none.", settings.Between(0, 100))
	MeshFaults = settings.CheckedString("mesh.faults", "",
		"Calls that go wrong on purpose: \"event.list=10% delay 200ms, ticketing.create_order=5% error unavailable\". "+
			"Only while mesh.faults_allowed is true.", 1000, checkFaults)
	MeshFaultsAllowed = settings.Bool("mesh.faults_allowed", false,
		"Whether mesh.faults counts. For tests: never true where real tickets are sold.")
)

func trafficSettings() []settings.Definition {
	return []settings.Definition{MeshTimeouts, MeshAgain, MeshBudget, MeshFaults, MeshFaultsAllowed}
}

// called returns the endpoints that rules may name.
func called() (names []traffic.Name) {
	for _, d := range All() {
		names = append(names, traffic.Name{Service: d.Service, Endpoint: d.Name})
	}
	return names
}

func checkTimes(text string) error {
	_, err := traffic.Times(text, called())
	return err
}

func checkFaults(text string) error {
	_, err := traffic.Faults(text, called())
	return err
}

// Traffic returns the rules of calls, which follow the settings.
func Traffic(live *settings.Live, r *observe.Registry) *traffic.Control {
	c := traffic.New(called(), r)
	follow := func() {
		rules := traffic.Rules{Timeouts: MeshTimeouts.Get(live), Again: MeshAgain.Get(live),
			Budget: MeshBudget.Get(live)}
		if MeshFaultsAllowed.Get(live) {
			rules.Faults = MeshFaults.Get(live)
		}
		_ = c.Set(rules) // the settings were checked alike
	}
	for _, def := range trafficSettings() {
		live.OnChange(def, follow)
	}
	follow()
	return c
}
