// Package instances lets a caller choose which instance of a service it calls, where a rule wants more than the queue
// group gives: to leave alone what is sick, to stay in a zone, to give a version its share. Without such a rule, and
// where a service has one instance, there is no choice, and the queue group decides.
//
// Every process says each second who its members are. That is all that is exchanged: how instances do is what each
// process has seen of its own calls, so there is nothing central, and two processes may judge differently.
package instances

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

// Beat is what a process says of itself every second.
type Beat struct {
	Process string   `json:"process"` // a fresh name for each start
	Version string   `json:"version"`
	Zone    string   `json:"zone,omitempty"`
	Members []Member `json:"members,omitempty"` // none: the process ends
}

// Member is an instance of a service.
type Member struct {
	Service string `json:"service"`
	ID      string `json:"id"` // of the micro protocol
}

// Instance is one that can be called by name. Its methods are safe for concurrent use.
type Instance struct {
	Member
	Version, Zone string

	process string
	running atomic.Int64 // calls from here that are under way
	lately  [outcomes]atomic.Int64

	// The rest is guarded by the mutex of the set.
	heard   time.Time
	sums    [outcomes]float64 // lately, the older the less: see memory
	until   time.Time         // it is ejected; zero: it is not
	ejected int               // times in a row
	back    time.Time         // from the last ejection
	silent  bool
}

// Outcome is how a call went, as far as it tells something about the instance.
type Outcome int

// The outcomes.
const (
	Good Outcome = iota
	Failed
	Slow
	Untold // the caller left, or the instance had too much to do and said so

	outcomes = int(Untold)
)

// Begin says that a call begins. Each is followed by End.
func (i *Instance) Begin() { i.running.Add(1) }

// End says how a call went.
func (i *Instance) End(o Outcome) {
	i.running.Add(-1)
	if o < Untold {
		i.lately[o].Add(1)
	}
}

// Config says where a Set is. All are required but Zone.
type Config struct {
	Zone     string // of this process
	Log      *slog.Logger
	Registry *observe.Registry
	Now      func() time.Time // measures a time that passes
}

// Set knows the instances of all services. A nil Set knows none. Its methods are safe for concurrent use.
type Set struct {
	cfg   Config
	plans atomic.Pointer[map[string]*plan] // nil: there is nothing to choose

	mu     sync.Mutex
	rules  Rules
	known  map[string]*Instance // by id
	looked time.Time

	chosenVersion, chosenZone *observe.Counter
	ejections                 map[string]*observe.Counter
	left                      atomic.Int64 // alone
}

// New returns a Set that knows no instance, and has no rules.
func New(cfg Config) *Set {
	s := &Set{cfg: cfg, known: map[string]*Instance{}, ejections: map[string]*observe.Counter{}}
	const chosen, help = "starlight_mesh_chosen_total",
		"Calls that a rule led to a version or kept in the zone; with mesh.dry_run, that it would have."
	s.chosenVersion = cfg.Registry.Counter(chosen, help, "by", "version")
	s.chosenZone = cfg.Registry.Counter(chosen, help, "by", "zone")
	for _, reason := range []string{failing, slow, silent} {
		s.ejections[reason] = cfg.Registry.Counter("starlight_mesh_ejections_total",
			"Instances that this process began to leave alone; with mesh.dry_run, that it would have.",
			"reason", reason)
	}
	cfg.Registry.GaugeFunc("starlight_mesh_ejected", "Instances that this process leaves alone, or would.",
		func() float64 { return float64(s.left.Load()) })
	return s
}

// plan is among which instances of a service is chosen.
type plan struct {
	rest, split []*Instance // split: the version that gets percent of the calls
	percent     int
	zoned       bool  // they are those of the own zone
	instead     *plan // what is done, if this would only be done: see Rules.DryRun
}

// Pick returns which instance of a service to call, but for one; nil: whichever the queue group gives.
func (s *Set) Pick(service string, but *Instance) *Instance {
	if s == nil {
		return nil
	}
	plans := s.plans.Load()
	if plans == nil {
		return nil
	}
	p := (*plans)[service]
	if p == nil {
		return nil
	}
	group := p.rest
	if p.percent > 0 && rand.IntN(100) < p.percent {
		group = p.split
		s.chosenVersion.Inc()
	}
	if p.zoned {
		s.chosenZone.Inc()
	}
	if p.instead != nil {
		return anyOf(p.instead.rest, but)
	}
	return lessLoaded(group, but)
}

// anyOf returns a random instance.
func anyOf(group []*Instance, but *Instance) *Instance {
	at := rand.IntN(len(group))
	if group[at] != but {
		return group[at]
	}
	if len(group) == 1 {
		return nil
	}
	return group[(at+1+rand.IntN(len(group)-1))%len(group)]
}

// lessLoaded returns of two random instances the one with fewer calls from here under way.
func lessLoaded(group []*Instance, but *Instance) *Instance {
	one := anyOf(group, but)
	if len(group) == 1 || one == nil {
		return one
	}
	if two := anyOf(group, one); two != but && two.running.Load() < one.running.Load() {
		return two
	}
	return one
}

// Hear takes up what a process says of itself.
func (s *Set) Hear(b Beat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, changed := s.cfg.Now(), false
	there := map[string]bool{}
	for _, m := range b.Members {
		if !token(m.ID) || !token(m.Service) {
			continue
		}
		there[m.ID] = true
		i := s.known[m.ID]
		if i == nil {
			i = &Instance{Member: m, Version: b.Version, Zone: b.Zone, process: b.Process}
			s.known[m.ID], changed = i, true
		}
		if i.process != b.Process {
			continue
		}
		changed = changed || i.silent
		i.heard, i.silent = now, false
	}
	for id, i := range s.known {
		if i.process == b.Process && !there[id] {
			delete(s.known, id)
			changed = true
		}
	}
	if changed {
		s.plan(now)
	}
}

// Lost says that nobody answers to the name of an instance. It is forgotten until it is heard of again.
func (s *Set) Lost(i *Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[i.ID] == i {
		delete(s.known, i.ID)
		s.plan(s.cfg.Now())
	}
}

// Use puts rules in force.
func (s *Set) Use(r Rules) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = r
	if !r.Eject {
		for _, i := range s.known {
			i.until, i.ejected = time.Time{}, 0
		}
	}
	s.plan(s.cfg.Now())
}

// Ejected returns the ids of the instances that this process leaves alone.
func (s *Set) Ejected() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rules.DryRun || !s.rules.Eject {
		return nil
	}
	for id, i := range s.known {
		if i.silent || !i.until.IsZero() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// plan makes the plans of all services. Call it with mu held.
func (s *Set) plan(now time.Time) {
	plans := map[string]*plan{}
	left := 0
	for service, all := range s.services() {
		split := s.rules.split(service)
		if len(all) < 2 || !s.rules.Eject && !s.rules.Zones && split.Percent == 0 {
			continue
		}
		well := wellOf(all)
		left += len(all) - len(well)
		p := &plan{percent: split.Percent}
		for _, i := range well {
			if split.Percent > 0 && i.Version == split.Version {
				p.split = append(p.split, i)
			} else {
				p.rest = append(p.rest, i)
			}
		}
		switch {
		case len(p.split) == 0:
			p.percent = 0
		case len(p.rest) == 0:
			p.rest, p.percent = p.split, 0
		}
		if s.rules.Zones && s.cfg.Zone != "" {
			p.zoned = s.near(&p.rest) && (p.percent == 0 || s.near(&p.split))
		}
		if s.rules.DryRun {
			p.instead = &plan{rest: all}
		}
		plans[service] = p
	}
	s.left.Store(int64(left))
	if len(plans) == 0 {
		s.plans.Store(nil)
		return
	}
	s.plans.Store(&plans)
}

// near leaves of a group those in the own zone, if there are any, and reports whether there are.
func (s *Set) near(group *[]*Instance) bool {
	var own []*Instance
	for _, i := range *group {
		if i.Zone == s.cfg.Zone {
			own = append(own, i)
		}
	}
	if len(own) == 0 {
		return false
	}
	*group = own
	return true
}

// services returns the instances that are known, by service, in a steady order. Call it with mu held.
func (s *Set) services() map[string][]*Instance {
	out := map[string][]*Instance{}
	for _, i := range s.known {
		out[i.Service] = append(out[i.Service], i)
	}
	for _, all := range out {
		slices.SortFunc(all, func(a, b *Instance) int { return strings.Compare(a.ID, b.ID) })
	}
	return out
}

// wellOf returns the instances that are neither silent nor ejected; all, if there is none such.
func wellOf(all []*Instance) (well []*Instance) {
	for _, i := range all {
		if !i.silent && i.until.IsZero() {
			well = append(well, i)
		}
	}
	if len(well) == 0 {
		return all
	}
	return well
}

// token reports whether a name can be a part of a subject.
func token(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
