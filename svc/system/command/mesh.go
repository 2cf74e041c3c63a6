package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/discovery"
	"github.com/starlightsymphony/starlight/svc/system"
)

// meshCommand asks the instances themselves, over NATS: no gateway, database or service discovery has to be there.
type meshCommand struct {
	List  meshList  `cmd:"" name:"ls" help:"Every instance, gateways and third-party services too."`
	Map   meshMap   `cmd:""           help:"Who may call whom, and what differs from the contract."`
	Top   meshTop   `cmd:""           help:"Requests, errors and latency of each endpoint since the last look."`
	Drift meshDrift `cmd:""           help:"What runs and is not as declared; exit 1 if anything is."`
}

// mesh asks the running system who is there.
func (t target) mesh(s *streams, do func(ask func() (*api.Mesh, error)) error) error {
	js, done, err := t.connect(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	return do(func() (*api.Mesh, error) { return askMesh(s.ctx, js.Conn(), s.err) })
}

func askMesh(ctx context.Context, nc *nats.Conn, warnings io.Writer) (*api.Mesh, error) {
	found, err := discovery.Ask(ctx, nc, slog.New(slog.NewTextHandler(warnings, nil)))
	if err != nil {
		return nil, fmt.Errorf("the services cannot be asked: %w", err)
	}
	return discovery.Mesh(found, system.Contract()), nil
}

type meshList struct{ target }

// Run lists the instances.
func (c meshList) Run(s *streams) error {
	return c.mesh(s, func(ask func() (*api.Mesh, error)) error {
		m, err := ask()
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "SERVICE\tINSTANCE\tVERSION\tZONE\tHEALTHY\tEJECTED BY\tPING\tUP\tENDPOINTS\tBUSY\t"+
			"REQUESTS\tERRORS")
		for _, i := range m.Instances {
			var requests, errs uint64
			for _, e := range i.Endpoints {
				requests, errs = requests+e.Requests, errs+e.Errors
			}
			up := "-"
			if !i.StartedAt.IsZero() {
				up = time.Since(i.StartedAt).Truncate(time.Second).String()
			}
			fmt.Fprintf(w, "%.40s\t%.40s\t%.40s\t%.40s\t%t\t%d\t%.1fms\t%s\t%d\t%d\t%d\t%d\n", shown(i.Service),
				shown(i.ID), shown(i.Version), shown(cmp.Or(i.Zone, "-")), i.Healthy, i.EjectedBy, i.Latency, up,
				len(i.Endpoints), i.Busy, requests, errs)
		}
		return w.Flush()
	})
}

// shown is a text that another program has made, as a terminal may show it: without what it would obey.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

type meshMap struct {
	target
	Format string `enum:"text,svg,mermaid" default:"text" help:"text, svg or mermaid."`
}

// Run draws the mesh.
func (c meshMap) Run(s *streams) error {
	return c.mesh(s, func(ask func() (*api.Mesh, error)) error {
		m, err := ask()
		if err != nil {
			return err
		}
		switch c.Format {
		case "svg":
			_, err = s.out.Write(discovery.SVG(m))
			return err
		case "mermaid":
			_, err = fmt.Fprint(s.out, discovery.Mermaid(m))
			return err
		}
		there := map[string]group{}
		for _, i := range m.Instances {
			there[i.Service] = there[i.Service].with(i)
		}
		w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "FROM\tTO\tENDPOINTS\tINSTANCES\tVERSIONS\tZONES\tEJECTED\tBUSY")
		for _, call := range m.Calls {
			g := there[call.To]
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%d\t%d\n", call.From, call.To, call.Endpoints, g.instances,
				listed(g.versions), listed(g.zones), g.ejected, g.busy)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		return writeDrift(s.out, m)
	})
}

// group is the instances of a service.
type group struct {
	instances, ejected int
	busy               int64
	versions, zones    map[string]int
}

func (g group) with(i api.ServiceInstance) group {
	if g.instances++; g.instances == 1 {
		g.versions, g.zones = map[string]int{}, map[string]int{}
	}
	g.versions[i.Version]++
	if i.Zone != "" {
		g.zones[i.Zone]++
	}
	if i.EjectedBy > 0 {
		g.ejected++
	}
	g.busy += i.Busy
	return g
}

// listed returns names with how many have each, or "-".
func listed(counts map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%.40s×%d", shown(name), counts[name]))
	}
	return cmp.Or(strings.Join(out, " "), "-")
}

// writeDrift writes what is not as declared, a line each.
func writeDrift(out io.Writer, m *api.Mesh) error {
	for _, d := range m.Drift {
		at := d.Service
		for _, more := range []string{d.Endpoint, d.Instance} {
			if more != "" {
				at += " " + more
			}
		}
		if _, err := fmt.Fprintf(out, "drift: %s: %s: %s\n", d.Kind, shown(at), shown(d.Detail)); err != nil {
			return err
		}
	}
	return nil
}

type meshDrift struct{ target }

// Run lists what is not as declared.
func (c meshDrift) Run(s *streams) error {
	return c.mesh(s, func(ask func() (*api.Mesh, error)) error {
		m, err := ask()
		if err != nil {
			return err
		}
		if err := writeDrift(s.out, m); err != nil {
			return err
		}
		if len(m.Drift) > 0 {
			return errors.New("what runs is not what is declared")
		}
		_, err = fmt.Fprintln(s.out, "all is as declared")
		return err
	})
}

type meshTop struct {
	target
	Every time.Duration `default:"2s" help:"Between two looks."`
	Count int           `default:"0"  help:"How many looks; 0 means until interrupted."`
	Lines int           `default:"20" help:"How many lines, the busiest first."`

	Instances bool `help:"A line for each instance, instead of each endpoint."`
}

// row is an endpoint in meshTop, over all instances; or an instance, over all endpoints.
type row struct {
	service, name      string
	version, zone      string
	busy               int64
	ejectedBy          int
	requests, errors   uint64
	meanMs, p99        float64
	instances, healthy int
}

// Run shows the busiest endpoints again and again.
func (c meshTop) Run(s *streams) error {
	return c.mesh(s, func(ask func() (*api.Mesh, error)) error {
		before, at := map[string]row{}, time.Time{}
		tick := time.NewTicker(max(c.Every, 100*time.Millisecond))
		defer tick.Stop()
		for look := 0; c.Count == 0 || look <= c.Count; look++ {
			m, err := ask()
			if s.ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			now, seconds := c.rows(m), time.Since(at).Seconds()
			if look > 0 {
				if err := c.show(s.out, before, now, seconds); err != nil || look == c.Count {
					return err
				}
			}
			before, at = now, time.Now()
			select {
			case <-tick.C:
			case <-s.ctx.Done():
				return nil
			}
		}
		return nil
	})
}

func (c meshTop) rows(m *api.Mesh) map[string]row {
	out := map[string]row{}
	for _, i := range m.Instances {
		for _, e := range i.Endpoints {
			name := e.Name
			if c.Instances {
				name = i.ID
			}
			r := out[i.Service+" "+name]
			r.service, r.name = i.Service, name
			r.version, r.zone, r.busy, r.ejectedBy = i.Version, i.Zone, i.Busy, i.EjectedBy
			if all := r.requests + e.Requests; all > 0 {
				r.meanMs = (r.meanMs*float64(r.requests) + e.MeanMs*float64(e.Requests)) / float64(all)
			}
			r.requests, r.errors, r.p99 = r.requests+e.Requests, r.errors+e.Errors, max(r.p99, e.P99Ms)
			if r.instances++; i.Healthy {
				r.healthy++
			}
			out[i.Service+" "+name] = r
		}
	}
	return out
}

// show writes what happened between two looks. Where an instance went, counts fall: they show as none.
func (c meshTop) show(out io.Writer, before, now map[string]row, seconds float64) error {
	var list []row
	for key, r := range now {
		r.requests -= min(before[key].requests, r.requests)
		r.errors -= min(before[key].errors, r.errors)
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b row) int {
		return cmp.Or(
			cmp.Compare(b.requests, a.requests),
			cmp.Compare(a.service, b.service),
			cmp.Compare(a.name, b.name),
		)
	})
	fmt.Fprintf(out, "%s\n", time.Now().Format(time.TimeOnly))
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	if c.Instances {
		fmt.Fprintln(w, "SERVICE\tINSTANCE\tVERSION\tZONE\tEJECTED BY\tBUSY\tREQUESTS/S\tERRORS/S\tMEAN\tP99")
		for _, r := range list[:min(len(list), c.Lines)] {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%.1f\t%.1f\t%.2fms\t%.1fms\n", shown(r.service), shown(r.name),
				shown(r.version), shown(cmp.Or(r.zone, "-")), r.ejectedBy, r.busy, float64(r.requests)/seconds,
				float64(r.errors)/seconds, r.meanMs, r.p99)
		}
		return w.Flush()
	}
	fmt.Fprintln(w, "SERVICE\tENDPOINT\tHEALTHY\tREQUESTS/S\tERRORS/S\tMEAN\tP99")
	for _, r := range list[:min(len(list), c.Lines)] {
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%.1f\t%.1f\t%.2fms\t%.1fms\n", shown(r.service), shown(r.name), r.healthy,
			r.instances, float64(r.requests)/seconds, float64(r.errors)/seconds, r.meanMs, r.p99)
	}
	return w.Flush()
}
