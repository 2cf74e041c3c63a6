// Package traffic says how calls go beyond what their endpoints declare: how long they may take, after how long one
// that may be repeated is tried again beside the first try, and which of them fail on purpose. Rules change while the
// system runs.
package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Name is an endpoint.
type Name struct{ Service, Endpoint string }

// String returns the name as rules have it.
func (n Name) String() string { return n.Service + "." + n.Endpoint }

// Rule is what holds for the calls of one endpoint. The zero value adds nothing to its declaration.
type Rule struct {
	Timeout time.Duration // the longest a call waits, if it is less than what is declared; 0: no rule
	Again   time.Duration // after so long a call that may be repeated is tried a second time; 0: never
	Fault   Fault
}

// Fault is what goes wrong on purpose.
type Fault struct {
	Percent int           // of the calls
	Delay   time.Duration // before the call is sent
	Code    fault.Code    // instead of the call; "": it is sent
}

// Rules are texts of rules. Each has entries with commas between: NAME=VALUE, where NAME is service.endpoint, service.*
// or *. The most exact name counts.
type Rules struct {
	Timeouts string // event.list=2s
	Again    string // *=1s
	Faults   string // event.list=10% delay 200ms, ticketing.create_order=5% error unavailable
	Budget   int    // second tries for each hundred calls
}

// Times reads a text of durations. It fails for names that are not among those known.
func Times(text string, known []Name) (map[Name]time.Duration, error) {
	return parse(text, known, func(value string) (time.Duration, error) {
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Millisecond || d > time.Minute {
			return 0, fmt.Errorf("%q is no duration from 1ms to 1m", value)
		}
		return d, nil
	})
}

// Faults reads a text of faults. It fails for names that are not among those known.
func Faults(text string, known []Name) (map[Name]Fault, error) {
	return parse(text, known, func(value string) (f Fault, err error) {
		wrong := fmt.Errorf("%q is no fault such as \"10%% delay 200ms\" or \"5%% error unavailable\"", value)
		words := strings.Fields(value)
		if len(words) != 3 {
			return f, wrong
		}
		percent, found := strings.CutSuffix(words[0], "%")
		if f.Percent, err = strconv.Atoi(percent); err != nil || !found || f.Percent < 1 || f.Percent > 100 {
			return f, wrong
		}
		switch words[1] {
		case "delay":
			if f.Delay, err = time.ParseDuration(words[2]); err != nil || f.Delay <= 0 || f.Delay > time.Minute {
				return f, wrong
			}
		case "error":
			if f.Code = fault.Code(words[2]); !slices.Contains([]fault.Code{fault.Unavailable, fault.Timeout,
				fault.Internal}, f.Code) {
				return f, wrong
			}
		default:
			return f, wrong
		}
		return f, nil
	})
}

// parse reads entries, and spreads those for many endpoints over them.
func parse[T any](text string, known []Name, value func(string) (T, error)) (map[Name]T, error) {
	exact := map[Name]int{} // how exactly the value of an endpoint was named
	out := map[Name]T{}
	for entry := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		name, v, found := strings.Cut(entry, "=")
		if name = strings.TrimSpace(name); !found {
			return nil, fmt.Errorf("%q is no NAME=VALUE", strings.TrimSpace(entry))
		}
		parsed, err := value(strings.TrimSpace(v))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		service, whole := strings.CutSuffix(name, ".*")
		level, any := 3, false
		switch {
		case name == "*":
			level = 1
		case whole:
			level = 2
		}
		for _, n := range known {
			if level == 1 || level == 2 && n.Service == service || level == 3 && n.String() == name {
				any = true
				if level > exact[n] {
					exact[n], out[n] = level, parsed
				}
			}
		}
		if !any {
			return nil, fmt.Errorf("there is no endpoint %s", name)
		}
	}
	return out, nil
}

// Control has the rules in force. A nil Control has none.
type Control struct {
	known  []Name
	rules  atomic.Pointer[map[Name]Rule]
	budget atomic.Int64 // second tries for each hundred calls
	saved  atomic.Int64 // hundredths of second tries

	slow, cut, spent, faults *observe.Counter
}

// mostSaved is how many second tries the budget saves up.
const mostSaved = 50

// New returns a Control without rules for endpoints that are known.
func New(known []Name, r *observe.Registry) *Control {
	const name, help = "starlight_mesh_second_tries_total",
		"Calls that were sent again: the first try was slow, or its connection was cut."
	c := &Control{known: known,
		slow: r.Counter(name, help, "reason", "slow"), cut: r.Counter(name, help, "reason", "cut"),
		spent: r.Counter("starlight_mesh_budget_spent_total",
			"Calls that were not sent again because too many of them were."),
		faults: r.Counter("starlight_mesh_faults_total", "Calls that were delayed or refused on purpose.")}
	c.saved.Store(100 * mostSaved)
	return c
}

// Set puts rules in force, all of them or none.
func (c *Control) Set(r Rules) error {
	timeouts, err := Times(r.Timeouts, c.known)
	if err != nil {
		return err
	}
	again, err := Times(r.Again, c.known)
	if err != nil {
		return err
	}
	faults, err := Faults(r.Faults, c.known)
	if err != nil {
		return err
	}
	rules := map[Name]Rule{}
	for _, n := range c.known {
		if rule := (Rule{timeouts[n], again[n], faults[n]}); rule != (Rule{}) {
			rules[n] = rule
		}
	}
	c.budget.Store(int64(r.Budget))
	c.rules.Store(&rules)
	return nil
}

// Of returns the rule of an endpoint, and counts a call of it.
func (c *Control) Of(service, endpoint string) Rule {
	if c == nil {
		return Rule{}
	}
	rules := c.rules.Load()
	if rules == nil {
		return Rule{}
	}
	rule := (*rules)[Name{service, endpoint}]
	if rule.Again > 0 {
		c.save()
	}
	return rule
}

// save adds what a call gives to the budget.
func (c *Control) save() {
	if c.saved.Load() < 100*mostSaved {
		c.saved.Add(c.budget.Load())
	}
}

// Again reports whether there is budget for a second try, and takes it. The first was cut off, or else it is slow.
func (c *Control) Again(cut bool) bool {
	if c.budget.Load() == 0 {
		return false
	}
	if c.saved.Add(-100) < 0 {
		c.saved.Add(100)
		c.spent.Inc()
		return false
	}
	if cut {
		c.cut.Inc()
	} else {
		c.slow.Inc()
	}
	return true
}

// Strikes reports whether a fault happens to this call.
func (c *Control) Strikes(f Fault) bool {
	if f.Percent == 0 || rand.IntN(100) >= f.Percent {
		return false
	}
	c.faults.Inc()
	return true
}
