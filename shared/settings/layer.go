package settings

import "strings"

// Source says where the value in force comes from. The bucket has two layers: that of the environment, and below it a
// base that several environments have in common, whose keys begin with "base."
type Source string

// The sources, each above the one before.
const (
	FromDefault     Source = "default"
	FromBase        Source = "base"
	FromEnvironment Source = "environment"
)

// basePrefix begins the keys of the base.
const basePrefix = "base."

// BaseKey returns the key of a setting in the base.
func BaseKey(key string) string { return basePrefix + key }

// CutBase returns the key of the setting that a key of the bucket gives a value, and whether it does so in the base.
func CutBase(key string) (setting string, inBase bool) { return strings.CutPrefix(key, basePrefix) }

// Access says who may change a setting, beside administrators.
type Access string

// Who may. What moves money, says who is trusted, or deletes records is for administrators, and so is the base.
const (
	Operators Access = "operators" // whoever has ops.creds, too
	Admins    Access = "admins"    // administrators alone, and whoever has admin.creds
)

// AccessTo returns who may change a key of the bucket. A key that no definition has is for nobody but administrators.
func AccessTo(defs []Definition, key string) Access {
	for _, def := range defs {
		if spec := def.Spec(); spec.Key == key {
			return spec.Access
		}
	}
	return Admins
}

// layer is what one layer says of a setting. The watching goroutine writes it under the mutex of its cell.
type layer struct {
	value    any
	set      bool
	revision uint64 // of the bucket entry looked at last
	refused  string // why that entry is not in force; "" when it is
}

// The layers of a cell, the one that counts first.
const (
	environment = iota
	base
	layerCount
)

// keyAt returns the key of a setting in a layer.
func keyAt(key string, at int) string {
	if at == base {
		return BaseKey(key)
	}
	return key
}

// resolve returns the value in force and where it comes from: THE place where layers are put over each other. The mutex
// is held.
func (c *cell) resolve() (any, Source) {
	for at, from := range [layerCount]Source{FromEnvironment, FromBase} {
		if c.layers[at].set {
			return c.layers[at].value, from
		}
	}
	return c.def.defaultAny(), FromDefault
}
