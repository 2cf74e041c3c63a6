package api

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
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
		"Whether mesh.faults counts. For tests: never true where real tickets are sold.").ForAdmins()

	MeshEjection = settings.Bool("mesh.ejection", true,
		"Whether an instance that is silent, or whose calls fail or are slow while those of the others are not, is "+
			"left alone for a while: at first for 10 seconds, and never all of a service.")
	MeshZones = settings.Bool("mesh.zones", false,
		"Whether calls stay in the zone of the process that calls (--zone) while the service has an instance there.")
	MeshVersions = settings.CheckedString("mesh.versions", "",
		"The part of the calls of a service that a version gets: \"ticketing=10% 1.5.0, event=50% 1.5.0\", or * for "+
			"all. The others get the rest. Nothing means that versions make no difference.", 1000, checkVersions)
	MeshDryRun = settings.Bool("mesh.dry_run", false,
		"Whether mesh.ejection, mesh.zones and mesh.versions only tell what they would do, in the log and in metrics.")
)

func trafficSettings() []settings.Definition {
	return []settings.Definition{MeshTimeouts, MeshAgain, MeshBudget, MeshFaults, MeshFaultsAllowed}
}

func choiceSettings() []settings.Definition {
	return []settings.Definition{MeshEjection, MeshZones, MeshVersions, MeshDryRun}
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

// Instances returns the choice of instances, whose rules follow the settings. Of zone see package instances.
func Instances(live *settings.Live, cfg instances.Config) *instances.Set {
	set := instances.New(cfg)
	follow := func() {
		versions, _ := instances.Versions(MeshVersions.Get(live), services()) // the setting was checked alike
		set.Use(instances.Rules{Eject: MeshEjection.Get(live), Zones: MeshZones.Get(live), Versions: versions,
			DryRun: MeshDryRun.Get(live)})
	}
	for _, def := range choiceSettings() {
		live.OnChange(def, follow)
	}
	follow()
	return set
}

// services returns the names of all services.
func services() (names []string) {
	for _, d := range All() {
		names = append(names, d.Service)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func checkVersions(text string) error {
	_, err := instances.Versions(text, services())
	return err
}
