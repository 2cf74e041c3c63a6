package api_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// What lets its holder in travels sealed.
func TestSecretsAreSealed(t *testing.T) {
	secret := regexp.MustCompile(`^(.*password|.*token|.*secret|credentials|ticket)$`)
	sealed := 0
	for _, d := range slices.Concat(api.All(), line.Endpoints()) {
		if d.Sealed {
			sealed++
		}
		for _, f := range slices.Concat(codec.Fields(d.Request), codec.Fields(d.Response)) {
			if f.In == codec.Body && secret.MatchString(f.Key) && !d.Sealed && f.Type.Kind().String() == "string" {
				t.Errorf("%s is not sealed, and has %s", d.Subject(), f.Key)
			}
		}
	}
	if sealed < 8 {
		t.Errorf("%d endpoints are sealed", sealed)
	}
}

// An identity is passed on only between endpoints that say so.
func TestIdentitiesThatArePassedOn(t *testing.T) {
	all := api.All()
	for _, d := range all {
		to := func(o rpc.Descriptor) bool { return o.OnBehalf && slices.Contains(o.Callers, d.Service) }
		from := func(o rpc.Descriptor) bool { return o.PassesOn && slices.Contains(d.Callers, o.Service) }
		if d.PassesOn && !slices.ContainsFunc(all, to) || d.OnBehalf && !slices.ContainsFunc(all, from) {
			t.Errorf("%s passes on or is passed an identity, and no other endpoint does", d.Subject())
		}
		if d.OnBehalf && strings.Contains(d.Path, "/") {
			t.Errorf("%s has a path", d.Subject())
		}
	}
}
