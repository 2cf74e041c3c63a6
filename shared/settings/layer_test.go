package settings_test

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/settings"
)

func (f *fixture) remove(key string) {
	f.t.Helper()
	if err := f.kv.Delete(f.t.Context(), key); err != nil {
		f.t.Fatal(err)
	}
}

// from checks what is in force, in this process and in one that starts now.
func (f *fixture) from(want time.Duration, source settings.Source) {
	f.t.Helper()
	f.soon(want)
	for range 2 {
		if s, _ := f.live.State(holdTTL.Key()); holdTTL.Get(f.live) != want || s.Source != source ||
			s.Set != (source == settings.FromEnvironment) {
			f.t.Errorf("state is %+v, want %s from %s", s, want, source)
		}
		f.reopen()
	}
}

// The environment is above the base, and that above the default, in whatever order they come and go.
func TestLayers(t *testing.T) {
	f := open(t)
	key, below := holdTTL.Key(), settings.BaseKey(holdTTL.Key())
	f.from(10*time.Minute, settings.FromDefault)
	f.put(below, "5m")
	f.from(5*time.Minute, settings.FromBase)
	f.put(key, "6m")
	f.from(6*time.Minute, settings.FromEnvironment)
	f.put(below, "7m")
	f.put("ticketing.max_per_order", "3") // comes after it
	f.from(6*time.Minute, settings.FromEnvironment)
	f.remove(key)
	f.from(7*time.Minute, settings.FromBase)
	f.put(below, "forever")
	f.put("ticketing.max_per_order", "4")
	f.from(7*time.Minute, settings.FromBase) // the last good one
	f.put(key, "soon")
	f.from(7*time.Minute, settings.FromBase) // nothing good was ever there
	f.put(key, "8m")
	f.from(8*time.Minute, settings.FromEnvironment)
	f.remove(below)
	f.remove(key)
	f.from(10*time.Minute, settings.FromDefault)
	f.put("base.ticketing.hold_tll", "5m")
	f.logged(1, "unknown setting ignored")
}

func TestAccess(t *testing.T) {
	guarded := settings.Bool("payment.manual", false, "Whether there is cash.").ForAdmins()
	defs := []settings.Definition{holdTTL, guarded}
	for key, want := range map[string]settings.Access{
		holdTTL.Key(): settings.Operators, guarded.Key(): settings.Admins, "no.such": settings.Admins,
		settings.BaseKey(holdTTL.Key()): settings.Admins,
	} {
		if got := settings.AccessTo(defs, key); got != want {
			t.Errorf("%s is for %s, want %s", key, got, want)
		}
	}
}
