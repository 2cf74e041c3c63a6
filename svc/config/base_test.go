package config_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/svc/config"
)

const below = "base." + key

// The base is a layer with all that settings have: schema, dry run, history with authors, rollback.
func TestBase(t *testing.T) {
	h := open(t)
	ada, asAda := h.person()
	refused(h, fault.Invalid, api.PutSetting, &api.SetSetting{Key: below, Value: "soon"})
	refused(h, fault.NotFound, api.PutSetting, &api.SetSetting{Key: "base.no.such", Value: "5m"})
	refused(h, fault.NotFound, api.PutSetting, &api.SetSetting{Key: "base.base." + key, Value: "5m"})
	refused(h, fault.Conflict, api.PutSetting, &api.SetSetting{Key: "base.mesh.faults", Value: "event.list=10% delay 200ms"})
	dry := ask(h, api.PutSetting, &api.SetSetting{Key: below, Value: "5m", DryRun: true})
	if dry.Key != below || dry.Value != "5m" || dry.Source != "base" || dry.Revision != 0 {
		t.Errorf("a dry run answers %+v", dry)
	}
	h.holds("10m", false)

	put := ask(asAda, api.PutSetting, &api.SetSetting{Key: below, Value: " 5m "})
	if put.Key != below || put.Value != "5m" || !put.IsSet || put.Source != "base" || put.Access != "admins" {
		t.Errorf("put answers %+v", put)
	}
	h.holds("5m", false)
	if up := ask(h, api.PutSetting, &api.SetSetting{Key: key, Value: "6m"}); up.Source != "environment" ||
		up.Base == nil || *up.Base != "5m" || up.Access != "operators" {
		t.Errorf("above the base there is %+v", up)
	}
	h.holds("6m", true)
	ask(h, api.PutSetting, &api.SetSetting{Key: below, Value: "7m"})
	h.holds("6m", true)
	ask(h, api.DeleteSetting, &api.SettingRef{Key: key})
	h.holds("7m", false)
	if back := ask(h, api.RollbackToSetting, &api.RollbackSetting{Key: below}); back.Value != "5m" {
		t.Errorf("rolled back to %+v", back)
	}
	h.holds("5m", false)
	for _, one := range ask(h, api.ListSettings, &rpc.None{}).Items {
		if isIt := one.Key == key; isIt != (one.Source == "base") || isIt != (one.Base != nil) {
			t.Errorf("in the list: %+v", one)
		}
	}
	history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: below}).Items
	if len(history) != 3 || history[2].By.UserID != ada || history[2].Value != " 5m " {
		t.Errorf("its history is %+v", history)
	}
	ask(h, api.DeleteSetting, &api.SettingRef{Key: below})
	h.holds("10m", false)
}

// A file becomes the base: as a whole or, where something is wrong with it, not at all.
func TestFileOfTheBase(t *testing.T) {
	h := open(t)
	values, err := config.Open(t.Context(), h.nats.JS)
	if err != nil {
		t.Fatal(err)
	}
	plan := func(text string) ([]config.BaseChange, error) {
		t.Helper()
		file, err := config.ParseBase(strings.NewReader(text))
		if err != nil {
			return nil, err
		}
		return values.PlanBase(t.Context(), file)
	}
	load := func(text string, want ...string) {
		t.Helper()
		changes, err := plan(text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range changes {
			got = append(got, c.String())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the plan is %q, want %q", got, want)
		}
		if err := values.SetBase(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"ticketing.hold_ttl":                                     "line 1",
		"log.level = info\nlog.level=warn":                       "line 2",
		"log.level = loud\nno.such = 1\nticketing.hold_ttl = 5m": "log.level: value: ",
		"no.such = 1": "no.such: there is no such setting",
		below + "=5m": "without",
	} {
		if _, err := plan(text); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.NotFound) ||
			!strings.Contains(fault.From(err).Detail, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	load("# in common\n\n"+key+" = 5m\nuser.site_name = A = B\nuser.password_words =\n", key+": (none) -> 5m",
		"user.password_words: (none) -> ", "user.site_name: (none) -> A = B")
	h.holds("5m", false)
	load(key + "=5m\nuser.site_name=A = B\nuser.password_words=") // nothing to do
	if _, err := h.kv.PutString(t.Context(), below, "rubbish"); err != nil {
		t.Fatal(err)
	}
	h.holds("5m", false)
	load(key+"=6m", key+": 5m -> 6m", "user.password_words:  -> (none)", "user.site_name: A = B -> (none)")
	h.holds("6m", false)

	// Two files at the same time: the second is told.
	late, err := plan(key + "=8m")
	if err != nil {
		t.Fatal(err)
	}
	load(key+"=9m", key+": 6m -> 9m")
	if err := values.SetBase(t.Context(), late); !fault.Is(err, fault.Conflict) {
		t.Errorf("the second file: %v", err)
	}
	h.holds("9m", false)
	load("", key+": 9m -> (none)")
	h.holds("10m", false)
	load(key+"=9m", key+": (none) -> 9m")
	h.holds("9m", false)
	if s := settings.BaseKey(key); s != below {
		t.Errorf("the key of the base is %s", s)
	}
}
