package config

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// BaseChange is what a file of the base changes about one setting.
type BaseChange struct {
	Key      string  // of the setting, without "base."
	From, To *string // nil: the base says nothing
	revision uint64  // of the entry that it follows
}

// ParseBase reads a file of the base: lines such as "ticketing.hold_ttl = 5m", empty ones, and comments after #.
func ParseBase(r io.Reader) (map[string]string, error) {
	out := make(map[string]string)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		if _, twice := out[key]; !found || twice {
			return nil, fault.New(fault.Invalid, "line %d: want KEY = VALUE, each key once", n)
		}
		out[key] = strings.TrimSpace(value)
	}
	return out, lines.Err()
}

// PlanBase returns what has to change for the base to say what the file says, and no more. It changes nothing. All that
// is wrong with the file is in one fault.
func (v *Values) PlanBase(ctx context.Context, file map[string]string) ([]BaseChange, error) {
	var wrong []string
	for _, key := range slices.Sorted(maps.Keys(file)) {
		if _, inBase := settings.CutBase(key); inBase {
			wrong = append(wrong, key+`: keys of the file are without "base."`)
		} else if _, err := v.accept(ctx, settings.BaseKey(key), file[key]); err != nil {
			wrong = append(wrong, key+": "+fault.From(err).Detail)
		}
	}
	if len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "%s", strings.Join(wrong, "; "))
	}
	keys := make([]string, 0, len(v.defs))
	for _, def := range v.defs {
		keys = append(keys, settings.BaseKey(def.Spec().Key))
	}
	entries, err := v.entries(ctx, keys...)
	if err != nil {
		return nil, err
	}
	var out []BaseChange
	for i, def := range v.defs {
		change := BaseChange{Key: def.Spec().Key}
		p := place{Definition: def, key: keys[i], inBase: true}
		stored := len(entries[keys[i]]) > 0
		if stored {
			newest := entries[keys[i]][0]
			change.revision, stored = newest.Revision(), isPut(newest)
		}
		if now, ok := p.lastGood(entries[keys[i]]); ok {
			change.From = &now
		}
		want, wanted := file[change.Key]
		if wanted {
			change.To = &want
		}
		if wanted != (change.From != nil) || wanted && want != *change.From || !wanted && stored {
			out = append(out, change)
		}
	}
	return out, nil
}

// SetBase makes the changes of a plan. It fails with Conflict at the first setting that has changed meanwhile; those
// before it are made, and the next plan has the rest.
func (v *Values) SetBase(ctx context.Context, plan []BaseChange) error {
	for _, c := range plan {
		_, err := v.write(ctx, settings.BaseKey(c.Key), c.To, jetstream.WithExpectLastSequencePerSubject(c.revision))
		if err != nil {
			f := fault.From(unavailable(err))
			return fault.Wrap(err, f.Code, "%s: %s", c.Key, f.Detail)
		}
	}
	return nil
}

// String returns a change as a person reads it.
func (c BaseChange) String() string {
	say := func(s *string) string {
		if s == nil {
			return "(none)"
		}
		return *s
	}
	return fmt.Sprintf("%s: %s -> %s", c.Key, say(c.From), say(c.To))
}
