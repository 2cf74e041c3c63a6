package config

import (
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// place is a setting in one layer.
type place struct {
	settings.Definition
	key    string // in the bucket
	inBase bool
}

// place finds a setting. Only keys that are declared ever reach the bucket.
func (v *Values) place(key string) (place, error) {
	name, inBase := settings.CutBase(key)
	i := slices.IndexFunc(v.defs, func(d settings.Definition) bool { return d.Spec().Key == name })
	if i < 0 {
		return place{}, fault.New(fault.NotFound, "there is no such setting")
	}
	return place{Definition: v.defs[i], key: key, inBase: inBase}, nil
}

// keys returns the key of a place, and that of the base below it.
func (p place) keys() []string {
	if p.inBase {
		return []string{p.key}
	}
	return []string{p.key, settings.BaseKey(p.key)}
}

// describe tells what holds of a setting: in each layer the newest acceptable value, as every process decides it too.
func (p place) describe(entries map[string][]jetstream.KeyValueEntry) api.Setting {
	spec := p.Spec()
	out := api.Setting{Key: p.key, Kind: string(spec.Kind), Doc: spec.Doc, Bounds: spec.Bounds,
		Access: string(spec.Access), Default: spec.Default, Value: spec.Default, Source: string(settings.FromDefault)}
	if below, ok := p.lastGood(entries[settings.BaseKey(spec.Key)]); ok {
		out.Base, out.Value, out.Source = &below, below, string(settings.FromBase)
	}
	if p.inBase {
		out.Access, out.IsSet, out.Base = string(settings.Admins), out.Base != nil, nil
	} else if own, ok := p.lastGood(entries[p.key]); ok {
		out.Value, out.IsSet, out.Source = own, true, string(settings.FromEnvironment)
	}
	if own := entries[p.key]; len(own) > 0 {
		at := own[0].Created().UTC()
		out.Revision, out.UpdatedAt = own[0].Revision(), &at
	}
	return out
}

// lastGood returns the newest acceptable value of a layer, unless that was deleted, from a history with the newest
// first.
func (p place) lastGood(entries []jetstream.KeyValueEntry) (string, bool) {
	for _, e := range entries {
		if !isPut(e) {
			break
		}
		if p.Check(string(e.Value())) == nil {
			return strings.TrimSpace(string(e.Value())), true
		}
	}
	return "", false
}
