package instances

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Rules say what is wanted beyond the queue group. The zero value wants nothing.
type Rules struct {
	Eject    bool             // what is sick is left alone for a while
	Zones    bool             // stay in the own zone while it has an instance
	Versions map[string]Split // by service
	DryRun   bool             // only tell what would be done: calls go to any instance
}

// Split is the part of the calls that a version gets, if one of its instances is there. The others get the rest.
type Split struct {
	Version string
	Percent int
}

func (r Rules) split(service string) Split {
	return r.Versions[service]
}

// Versions reads a text of splits: "ticketing=10% 1.5.0, event=50% 1.5.0", with * for all services. A service's own
// entry counts before that. It fails for services that are not among those known.
func Versions(text string, services []string) (map[string]Split, error) {
	out, rest := map[string]Split{}, Split{}
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, value, found := strings.Cut(entry, "=")
		name = strings.TrimSpace(name)
		words := strings.Fields(value)
		if !found || len(words) != 2 {
			return nil, fmt.Errorf("%q is no split such as \"ticketing=10%% 1.5.0\"", entry)
		}
		number, found := strings.CutSuffix(words[0], "%")
		percent, err := strconv.Atoi(number)
		if !found || err != nil || percent < 0 || percent > 100 {
			return nil, fmt.Errorf("%s: %q is no part from 0%% to 100%%", name, words[0])
		}
		split := Split{words[1], percent}
		switch {
		case name == "*":
			rest = split
		case !slices.Contains(services, name):
			return nil, fmt.Errorf("there is no service %s", name)
		default:
			if _, twice := out[name]; twice {
				return nil, fmt.Errorf("%s is there twice", name)
			}
			out[name] = split
		}
	}
	if rest == (Split{}) {
		return out, nil
	}
	for _, name := range services {
		if _, own := out[name]; !own {
			out[name] = rest
		}
	}
	return out, nil
}
