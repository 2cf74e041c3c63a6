package instances_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// harness is a set, and processes that it hears of, each with one instance of the service "things" that has its name.
type harness struct {
	*instances.Set
	t        *testing.T
	clock    *testkit.Clock
	registry *observe.Registry
	beating  map[string]instances.Beat
}

// newHarness hears of processes that are given as name, version and zone.
func newHarness(t *testing.T, rules instances.Rules, processes ...[3]string) *harness {
	h := &harness{t: t, clock: testkit.NewClock(time.Now()), registry: observe.NewRegistry(),
		beating: map[string]instances.Beat{}}
	h.Set = instances.New(instances.Config{Zone: "east", Log: testkit.Log(t), Registry: h.registry, Now: h.clock.Now})
	for _, p := range processes {
		h.beating[p[0]] = instances.Beat{Process: "process of " + p[0], Version: p[1], Zone: p[2],
			Members: []instances.Member{{Service: "things", ID: p[0]}}}
	}
	h.Use(rules)
	h.seconds(1)
	return h
}

// seconds lets time pass, in which the processes beat.
func (h *harness) seconds(n int) {
	for range n {
		h.clock.Advance(time.Second)
		for _, b := range h.beating {
			h.Hear(b)
		}
		h.Look()
	}
}

// calls makes calls, whose outcomes are by instance, and returns how many went where.
func (h *harness) calls(n int, outcomes map[string]instances.Outcome) map[string]int {
	h.t.Helper()
	got := map[string]int{}
	for range n {
		i := h.Pick("things", nil)
		if i == nil {
			got["any"]++
			continue
		}
		i.Begin()
		i.End(outcomes[i.ID])
		got[i.ID]++
	}
	return got
}

// counted returns a line of the metrics.
func (h *harness) counted(series string) string {
	h.t.Helper()
	var text strings.Builder
	if _, err := h.registry.WriteTo(&text); err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	h.t.Fatalf("there is no series %s", series)
	return ""
}

var (
	a = [3]string{"a", "1.0.0", "east"}
	b = [3]string{"b", "1.0.0", "west"}
	c = [3]string{"c", "1.1.0", "west"}
)

// Without a rule that needs it, and with one instance, the queue group chooses.
func TestTheQueueGroupChooses(t *testing.T) {
	none := newHarness(t, instances.Rules{}, a, b)
	one := newHarness(t, instances.Rules{Eject: true, Zones: true}, a)
	for _, h := range []*harness{none, one} {
		if got := h.calls(10, nil); got["any"] != 10 {
			t.Errorf("calls went by name: %v", got)
		}
	}
	if (*instances.Set)(nil).Pick("things", nil) != nil || one.Pick("others", nil) != nil {
		t.Error("an instance of nothing")
	}
}

// An instance whose calls fail or are slow, unlike those of the others, is left alone for a while, comes back, and is
// left alone for longer if it is not well yet.
func TestSickInstancesAreLeftAlone(t *testing.T) {
	for reason, outcome := range map[string]instances.Outcome{"errors": instances.Failed, "slow": instances.Slow} {
		t.Run(reason, func(t *testing.T) {
			h := newHarness(t, instances.Rules{Eject: true}, a, b)
			sick := map[string]instances.Outcome{"b": outcome}
			if got := h.calls(40, sick); got["b"] < 5 {
				t.Fatalf("before: %v", got)
			}
			h.seconds(1)
			if got := h.calls(40, sick); got["a"] != 40 || !slices.Equal(h.Ejected(), []string{"b"}) {
				t.Errorf("%v, ejected: %v", got, h.Ejected())
			}
			if n := h.counted(`starlight_mesh_ejections_total{reason="` + reason + `"}`); n != "1" {
				t.Errorf("counted %s", n)
			}
			h.seconds(10)
			if got := h.calls(40, sick); got["b"] == 0 || len(h.Ejected()) > 0 || h.counted("starlight_mesh_ejected") != "0" {
				t.Fatalf("it did not come back: %v", got)
			}
			h.seconds(11)
			if got := h.calls(40, sick); got["b"] > 0 {
				t.Errorf("the second time is not longer: %v", got)
			}
			h.seconds(10)
			if got := h.calls(40, nil); got["b"] == 0 {
				t.Errorf("it is well and did not come back: %v", got)
			}
		})
	}
}

// What all suffer from is nobody's fault, and at most half are left alone.
func TestNeverAllAreLeftAlone(t *testing.T) {
	h := newHarness(t, instances.Rules{Eject: true}, a, b)
	h.calls(100, map[string]instances.Outcome{"a": instances.Failed, "b": instances.Failed})
	h.seconds(1)
	if len(h.Ejected()) > 0 {
		t.Errorf("all fail, and left alone are %v", h.Ejected())
	}
	h = newHarness(t, instances.Rules{Eject: true}, a, b, c)
	h.calls(300, map[string]instances.Outcome{"a": instances.Failed})
	h.seconds(1)
	h.calls(300, map[string]instances.Outcome{"b": instances.Failed})
	h.seconds(1)
	if got := h.Ejected(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("of three are left alone %v", got)
	}
}

// An instance that is frozen says nothing. It is called again once it is heard of.
func TestSilentInstancesAreLeftAlone(t *testing.T) {
	h := newHarness(t, instances.Rules{Eject: true}, a, b, c)
	frozen := []instances.Beat{h.beating["b"], h.beating["c"]}
	delete(h.beating, "b")
	delete(h.beating, "c")
	h.seconds(2)
	if got := h.calls(40, nil); got["b"] == 0 {
		t.Errorf("two seconds are no silence: %v", got)
	}
	h.seconds(1)
	if got := h.calls(40, nil); got["a"] != 40 || len(h.Ejected()) != 2 {
		t.Errorf("frozen ones are called: %v", got)
	}
	h.seconds(60) // NATS may still give calls of the queue group to them
	if got := h.calls(40, nil); got["a"] != 40 {
		t.Errorf("after a minute: %v", got)
	}
	h.Hear(frozen[0])
	if got := h.calls(40, nil); got["b"] == 0 || got["c"] > 0 {
		t.Errorf("after it was heard of: %v", got)
	}
	delete(h.beating, "a")
	h.seconds(5)
	if got := h.calls(60, nil); got["a"] == 0 || got["b"] == 0 || got["c"] == 0 {
		t.Errorf("all are silent, and called are only %v", got)
	}
}

// A process that was stopped itself, or starved, does not take the others for silent.
func TestWhoWasStoppedJudgesNobody(t *testing.T) {
	h := newHarness(t, instances.Rules{Eject: true}, a, b)
	h.clock.Advance(20 * time.Minute)
	h.Look()
	if got := h.calls(40, nil); got["a"] == 0 || got["b"] == 0 || len(h.Ejected()) > 0 {
		t.Errorf("%v, ejected: %v", got, h.Ejected())
	}
}

// A version gets its part of the calls, and all or nothing where that is all that there is.
func TestACanaryGetsItsShare(t *testing.T) {
	versions := func(percent int) map[string]instances.Split {
		return map[string]instances.Split{"things": {Version: "1.1.0", Percent: percent}}
	}
	h := newHarness(t, instances.Rules{Versions: versions(20)}, a, b, c)
	const n = 5000
	got := h.calls(n, nil)
	if got["c"] < n/100*17 || got["c"] > n/100*23 || got["a"] < n/3 || got["b"] < n/3 {
		t.Errorf("of %d calls, of which a fifth is for c: %v", n, got)
	}
	if n := h.counted(`starlight_mesh_chosen_total{by="version"}`); n != fmt.Sprint(got["c"]) {
		t.Errorf("counted %s of %d", n, got["c"])
	}
	h.Use(instances.Rules{Versions: versions(100)})
	if got := h.calls(100, nil); got["c"] != 100 {
		t.Errorf("all are for c: %v", got)
	}
	delete(h.beating, "c")
	h.seconds(3)
	if got := h.calls(100, nil); got["c"] > 0 || got["a"] == 0 {
		t.Errorf("c is silent: %v", got)
	}
	h.Use(instances.Rules{Versions: map[string]instances.Split{"things": {Version: "1.0.0", Percent: 1}}})
	if got := h.calls(1000, nil); got["a"]+got["b"] != 1000 {
		t.Errorf("the rest is gone: %v", got)
	}
}

// Calls stay in the zone while there is somebody who is well.
func TestTheOwnZoneIsPreferred(t *testing.T) {
	h := newHarness(t, instances.Rules{Zones: true, Eject: true}, a, b, c)
	if got := h.calls(100, nil); got["a"] != 100 {
		t.Errorf("calls leave the zone: %v", got)
	}
	if n := h.counted(`starlight_mesh_chosen_total{by="zone"}`); n != "100" {
		t.Errorf("counted %s", n)
	}
	h.Hear(instances.Beat{Process: "process of a"}) // goodbye
	if got := h.calls(100, nil); got["a"] > 0 || got["b"] == 0 || got["c"] == 0 {
		t.Errorf("the zone is empty: %v", got)
	}
	h.seconds(1)
	delete(h.beating, "a")
	h.seconds(3)
	if got := h.calls(100, nil); got["a"] > 0 || got["b"] == 0 || got["c"] == 0 {
		t.Errorf("the only one of the zone is frozen: %v", got)
	}
	// A version is more than a zone.
	h.Use(instances.Rules{Zones: true, Versions: map[string]instances.Split{"things": {Version: "1.1.0", Percent: 100}}})
	if got := h.calls(100, nil); got["c"] != 100 {
		t.Errorf("the version is elsewhere: %v", got)
	}
}

// A dry run tells what would be done, and calls go to all as before.
func TestADryRunChangesNothing(t *testing.T) {
	h := newHarness(t, instances.Rules{Eject: true, Zones: true, DryRun: true,
		Versions: map[string]instances.Split{"things": {Version: "1.1.0", Percent: 50}}}, a, b, c)
	for range 3 {
		got := h.calls(600, map[string]instances.Outcome{"b": instances.Failed})
		for _, id := range []string{"a", "b", "c"} {
			if got[id] < 130 || got[id] > 270 {
				t.Errorf("calls: %v", got)
			}
		}
		h.seconds(1)
	}
	if len(h.Ejected()) > 0 || h.counted("starlight_mesh_ejected") != "1" ||
		h.counted(`starlight_mesh_ejections_total{reason="errors"}`) != "1" ||
		h.counted(`starlight_mesh_chosen_total{by="version"}`) == "0" {
		t.Errorf("ejected: %v; what would be done is not told", h.Ejected())
	}
	h.Use(instances.Rules{Eject: true, DryRun: true})
	delete(h.beating, "c")
	h.seconds(5)
	if got := h.calls(600, nil); got["c"] < 130 {
		t.Errorf("a silent one: %v", got)
	}
}

// A second try goes to another instance.
func TestTheSecondTryIsElsewhere(t *testing.T) {
	h := newHarness(t, instances.Rules{Eject: true}, a, b)
	for range 50 {
		first := h.Pick("things", nil)
		if second := h.Pick("things", first); second == nil || second == first {
			t.Fatalf("first %v, second %v", first, second)
		}
	}
	delete(h.beating, "b")
	h.seconds(3)
	if second := h.Pick("things", h.Pick("things", nil)); second != nil {
		t.Errorf("there is no other one, but %v", second.ID)
	}
}

// Names become parts of subjects, and a process speaks for itself.
func TestWhatIsHeardIsChecked(t *testing.T) {
	h := newHarness(t, instances.Rules{Eject: true}, a, b)
	h.Hear(instances.Beat{Process: "evil", Members: []instances.Member{{Service: "things", ID: "x.>"},
		{Service: "things", ID: "*"}, {Service: "things", ID: ""}, {Service: "things", ID: strings.Repeat("x", 65)}}})
	h.Hear(instances.Beat{Process: "other", Members: []instances.Member{{Service: "things", ID: "b"}}})
	h.Hear(instances.Beat{Process: "other"})
	if got := h.calls(100, nil); got["a"] == 0 || got["b"] == 0 || got["a"]+got["b"] != 100 {
		t.Errorf("%v", got)
	}
	i := h.Pick("things", nil)
	h.Lost(i)
	if got := h.calls(100, nil); got["any"] != 100 {
		t.Errorf("one of two is lost: %v", got)
	}
	h.seconds(1)
	if got := h.calls(100, nil); got[i.ID] == 0 {
		t.Errorf("it was heard of: %v", got)
	}
	delete(h.beating, "b")
	h.beating["other"] = instances.Beat{Process: "other", Members: []instances.Member{{Service: "things", ID: "b"}}}
	h.seconds(3)
	if got := h.calls(100, nil); got["b"] > 0 {
		t.Errorf("it is frozen, and another one spoke for it: %v", got)
	}
}

func TestVersionsAreRead(t *testing.T) {
	known := []string{"event", "ticketing", "user"}
	got, err := instances.Versions(" ticketing=10% 1.5.0,*=50% 2.0.0, user=0% 2.0.0,", known)
	want := map[string]instances.Split{"ticketing": {Version: "1.5.0", Percent: 10},
		"event": {Version: "2.0.0", Percent: 50}, "user": {Version: "2.0.0"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v %v", got, err)
	}
	for _, wrong := range []string{"ticketing", "ticketing=10%", "ticketing=10 1.5.0", "ticketing=101% 1.5.0",
		"ticketing=-1% 1.5.0", "tickets=10% 1.5.0", "event=1% a,event=2% b", "event=x% a", "event=1% a b"} {
		if got, err := instances.Versions(wrong, known); err == nil {
			t.Errorf("%q is read as %v", wrong, got)
		}
	}
}
