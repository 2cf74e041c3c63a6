package api_test

import (
	"regexp"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// guarded is what settings about money, trust and the end of records are called.
var guarded = regexp.MustCompile(`^(payment|user)\.|retention$|key_lifetime$|_(private|allowed)$|^gateway\.(origins|services)$`)

// open are the settings among those that operators may change all the same: they bound load, or say how the sandbox
// misbehaves, which is on only where an administrator has said so.
var open = regexp.MustCompile(`^payment\.(sandbox_\w+|manual_ttl|poll_after)$` +
	`|^user\.(max_sessions|challenge_bits|sessions_per_person)$`)

func TestAccessOfSettings(t *testing.T) {
	counts := make(map[settings.Access]int)
	for _, def := range api.Settings() {
		spec := def.Spec()
		counts[spec.Access]++
		want := settings.Operators
		if guarded.MatchString(spec.Key) && !open.MatchString(spec.Key) || spec.Key == api.AnalyticsMinutes.Key() {
			want = settings.Admins
		}
		if spec.Access != want {
			t.Errorf("%s is for %s, want %s", spec.Key, spec.Access, want)
		}
	}
	if counts[settings.Admins] == 0 || counts[settings.Operators] == 0 {
		t.Errorf("counted %v", counts)
	}
}
