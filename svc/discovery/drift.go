package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The members that are no service of the contract: gateways serve over HTTP, and the parts of the line to a venue live
// in the account of that venue.
const (
	gateway = "gateway"
	edge    = "edge"
	hub     = "hub"
)

// Mesh puts together what the instances have answered and what the contract declares.
func Mesh(found []*Answered, contract []rpc.Descriptor) *api.Mesh {
	return &api.Mesh{Instances: Instances(found), Calls: calls(contract), Drift: drift(found, contract)}
}

// calls returns who may call whom, without operators and venues.
func calls(contract []rpc.Descriptor) []api.MeshCall {
	known := map[string]bool{gateway: true}
	for _, d := range contract {
		known[d.Service] = d.Service != edge && d.Service != hub
	}
	count := map[[2]string]int{}
	for _, d := range contract {
		if d.Path != "" {
			count[[2]string{gateway, d.Service}]++
		}
		for _, caller := range d.Callers {
			if known[caller] && known[d.Service] && (caller != gateway || d.Path == "") {
				count[[2]string{caller, d.Service}]++
			}
		}
	}
	out := make([]api.MeshCall, 0, len(count))
	for at, n := range count {
		out = append(out, api.MeshCall{From: at[0], To: at[1], Endpoints: n})
	}
	slices.SortFunc(out, func(a, b api.MeshCall) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out
}

// declaration is what one service shall serve, by the names of its endpoints.
type declaration map[string]rpc.Descriptor

// drift returns where what runs is not what is declared.
func drift(found []*Answered, contract []rpc.Descriptor) []api.Drift {
	declared := map[string]declaration{}
	for _, d := range contract {
		if d.Service == edge || d.Service == hub {
			continue
		}
		if declared[d.Service] == nil {
			declared[d.Service] = declaration{}
		}
		declared[d.Service][d.Name] = d
	}
	out := []api.Drift{}
	versions := map[string][]string{}
	for _, one := range found {
		if one.Name == edge {
			continue
		}
		versions[one.Name] = append(versions[one.Name], one.Version)
		if one.ping == nil || one.info == nil || one.stats == nil {
			out = append(out, api.Drift{Kind: api.DriftUnhealthy, Service: one.Name, Instance: one.ID,
				Detail: "it has not answered all of PING, INFO and STATS in time"})
		}
		if one.info == nil || one.external() || one.Name == gateway {
			continue
		}
		if declared[one.Name] == nil {
			out = append(out, api.Drift{Kind: api.DriftUndeclared, Service: one.Name, Instance: one.ID,
				Detail: "the contract has no such service"})
			continue
		}
		out = append(out, declared[one.Name].differences(one)...)
	}
	for name, list := range versions {
		slices.Sort(list)
		if list = slices.Compact(list); len(list) > 1 {
			out = append(out, api.Drift{Kind: api.DriftVersions, Service: name,
				Detail: "side by side: " + strings.Join(list, ", ")})
		}
	}
	for name := range declared {
		if len(versions[name]) == 0 {
			out = append(out, api.Drift{Kind: api.DriftAbsent, Service: name, Detail: "no instance answers"})
		}
	}
	slices.SortFunc(out, func(a, b api.Drift) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	return out
}

// differences returns where an instance does not serve what is declared.
func (d declaration) differences(one *Answered) (out []api.Drift) {
	add := func(kind api.DriftKind, endpoint, format string, args ...any) {
		out = append(out, api.Drift{Kind: kind, Service: one.Name, Instance: one.ID, Endpoint: endpoint,
			Detail: fmt.Sprintf(format, args...)})
	}
	served := map[string]bool{}
	for _, e := range one.info.Endpoints {
		served[e.Name] = true
		want, ok := d[e.Name]
		if !ok {
			add(api.DriftUndeclared, e.Name, "it is served on %s, and the contract has no such endpoint", e.Subject)
			continue
		}
		if what := unlike(e, want); len(what) > 0 {
			add(api.DriftDiffers, e.Name, "another %s than declared", strings.Join(what, ", "))
		}
	}
	for name, want := range d {
		if !served[name] {
			add(api.DriftMissing, name, "%s is declared, and not served", want.Subject())
		}
	}
	return out
}

// unlike returns in what an endpoint that is served differs from its declaration.
func unlike(e micro.EndpointInfo, want rpc.Descriptor) (what []string) {
	if e.Subject != want.Subject() {
		what = append(what, "subject")
	}
	metadata := rpc.Metadata(want)
	for _, key := range []string{"method", "path", "access", "request", "response"} {
		if e.Metadata[key] != metadata[key] {
			what = append(what, key)
		}
	}
	return what
}
