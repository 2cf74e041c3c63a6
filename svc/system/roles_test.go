package system_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/analytics"
	"github.com/starlightsymphony/starlight/svc/notification"
	"github.com/starlightsymphony/starlight/svc/system"
)

// asked is a connection of a role that finds out what the server lets it do.
type asked struct {
	t      *testing.T
	nc     *nats.Conn
	denied chan string
}

func ask(t *testing.T, srv *natsconf.Server, role string) *asked {
	t.Helper()
	nc, err := srv.Connect(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	a := &asked{t, nc, make(chan string, 1<<16)}
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			a.denied <- err.Error()
		}
	})
	return a
}

// serverOfRoles starts a NATS server for the roles of the system.
func serverOfRoles(t *testing.T) *natsconf.Server {
	t.Helper()
	srv, err := natsconf.Start(t.Context(), natsconf.Config{Dir: t.TempDir(), Roles: system.Roles()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// lastWord is a subject that no role may use: refusals come in order, so its own is the last.
const lastWord = "no.role.may.say.this"

// refused returns those of the subjects that the server refuses.
func (a *asked) refused(verb string, subjects []string, do func(string) error) map[string]bool {
	a.t.Helper()
	for _, s := range append(slices.Clone(subjects), lastWord) {
		if err := do(s); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := a.nc.Flush(); err != nil {
		a.t.Fatal(err)
	}
	out := map[string]bool{}
	for {
		select {
		case said := <-a.denied:
			if strings.Contains(said, fmt.Sprintf("%q", lastWord)) {
				return out
			}
			for _, s := range subjects {
				if strings.Contains(said, fmt.Sprintf("%s to %q", verb, s)) {
					out[s] = true
				}
			}
		case <-time.After(testkit.Within(10 * time.Second)):
			a.t.Fatal("the server did not refuse what no role may")
		}
	}
}

// durables are the consumers of the system, by their owners.
func durables() map[string][][2]string {
	named := func(of string, names ...string) (out [][2]string) {
		for _, n := range names {
			out = append(out, [2]string{of, n})
		}
		return out
	}
	withReplays := func(of string, names ...string) [][2]string {
		out := named(of, names...)
		for _, n := range names {
			out = append(out, [2]string{stream.DeadStream, n + "-replay"})
		}
		return out
	}
	return map[string][][2]string{
		"ticketing":    withReplays(api.EventsStream, "ticketing"),
		"payment":      withReplays(api.EventsStream, "payment"),
		"notification": append(withReplays(api.EventsStream, "notification"), withReplays(api.NotificationsStream, notification.Consumers()...)...),
		"analytics":    append(named(api.EventsStream, analytics.Consumers(api.EventsStream)...), named(api.AnalyticsStream, analytics.Consumers(api.AnalyticsStream)...)...),
	}
}

// What the roles of the running system may publish and hear, asked of the server: to each subject exactly those that it
// is for.
func TestRoles(t *testing.T) {
	t.Parallel()
	srv := serverOfRoles(t)
	var names []string
	for _, r := range system.Roles() {
		names = append(names, r.Name)
	}
	services := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "ops" || n == "admin" || n == "node" || n == "gateway" })

	publish := map[string][]string{ // the roles that may
		"$KV.inventory.pool.e1":                 {"ticketing"},
		"$KV.inventory.checkpoint.e1.7.0":       {"ticketing"},
		"$JS.API.STREAM.PURGE.KV_inventory":     {"ticketing"},
		"$JS.API.STREAM.DELETE.KV_inventory":    nil,
		"$JS.API.STREAM.UPDATE.KV_inventory":    {"node"},
		"$KV.config.ticketing.hold_ttl":         {"config", "ops", "admin"},
		"$KV.config.base.ticketing.hold_ttl":    {"config", "admin"},
		"$KV.config.payment.provider":           {"config", "admin"},
		"$KV.config.audit.retention":            {"config", "admin"},
		"$KV.config.ticketing.hold_tll":         {"config", "admin"}, // there is none
		"$JS.API.STREAM.DELETE.EVENTS":          {"admin"},
		"$JS.API.STREAM.DELETE.LOGS":            {"admin"},
		"$JS.API.STREAM.DELETE.X":               {"admin", "node"},
		"$JS.API.STREAM.CREATE.X":               {"admin"},
		"$JS.API.STREAM.UPDATE.X":               {"admin"},
		"$JS.API.STREAM.RESTORE.X":              {"admin"},
		"$JS.API.STREAM.RESTORE.EVENTS":         {"admin"},
		"$JS.API.STREAM.SNAPSHOT.EVENTS":        {"admin"},
		"$JS.SNAPSHOT.ACK.EVENTS.x.1.1":         {"admin"},
		"$JS.SNAPSHOT.RESTORE.EVENTS.x":         {"admin"},
		"$JS.API.STREAM.PURGE.EVENTS":           {"admin"},
		"$JS.API.STREAM.MSG.DELETE.EVENTS":      {"admin"},
		"$JS.API.STREAM.MSG.DELETE.DEAD":        {"notification", "admin"},
		"$JS.API.CONSUMER.CREATE.EVENTS":        {"admin"},
		"$JS.API.CONSUMER.CREATE.EVENTS.x":      {"ops", "admin"},
		"$JS.API.CONSUMER.MSG.NEXT.ANALYTICS.x": {"ops", "admin"},
		"facts.gateway.views":                   {"gateway"},
		"notify.mail":                           {"notification"},
		"dead.replay.ticketing":                 {"notification", "admin"},
		"live.analytics.e1":                     {"analytics"},
		"live.notification.u1":                  {"notification"},
		api.AnalyticsPeers:                      {"analytics"},
		"$SRV.PING":                             {"discovery", "ops", "admin"},
		"$SYS.REQ.SERVER.PING":                  nil,
		"_INBOX.x":                              services,
		natsconf.InboxPrefix("gateway") + ".x":  services,
	}
	for _, s := range []string{"user", "event", "ticketing", "payment"} {
		publish["ev."+s+".thing.happened"] = []string{s}
	}
	publish["ev.analytics.thing.happened"], publish["ev.notification.thing.happened"] = nil, nil
	for _, d := range slices.Concat(api.All(), line.Endpoints()) {
		var may []string
		if d.Path != "" {
			may = append(may, "gateway")
		}
		publish[d.Subject()] = append(may, d.Callers...)
	}
	for owner, consumers := range durables() {
		for _, c := range consumers {
			name := c[0] + "." + c[1]
			may := []string{owner, "admin"}
			for _, s := range []string{"$JS.API.CONSUMER.CREATE." + name, "$JS.API.CONSUMER.CREATE." + name + ".ev.x", "$JS.API.CONSUMER.MSG.NEXT." + name, "$JS.API.CONSUMER.DELETE." + name} {
				publish[s] = may
			}
			if owner != "analytics" { // those of analytics need no acknowledgement
				publish["$JS.ACK."+name+".1.1.1.1.1"], publish["dead."+strings.TrimSuffix(c[1], "-replay")] = may, []string{owner}
			} else {
				publish["$JS.ACK."+name+".1.1.1.1.1"] = []string{"admin"}
			}
		}
	}
	publish["dead.analytics"] = []string{"analytics"}

	subscribe := map[string][]string{
		">": nil, "$SYS.>": nil, "$JS.API.>": nil, "$KV.inventory.>": nil, "notify.>": nil, "api.>": nil,
		"ev.>": {"ops", "admin"}, "facts.>": {"ops", "admin"}, "_INBOX.>": {"ops", "admin"}, "live.>": {"gateway"}, "$SRV.>": services, api.AnalyticsPeers: {"analytics"},
	}
	for _, n := range names {
		subscribe[natsconf.InboxPrefix(n)+".>"] = []string{n}
	}
	for _, n := range services {
		subscribe["api."+n+".>"] = []string{n}
	}

	for _, name := range names {
		a := ask(t, srv, name)
		check := func(verb, does string, table map[string][]string, do func(string) error) {
			t.Helper()
			var subjects []string
			for s := range table {
				subjects = append(subjects, s)
			}
			refused := a.refused(verb, subjects, do)
			for s, may := range table {
				if got, want := !refused[s], slices.Contains(may, name); got != want {
					t.Errorf("%s %s %s: %v, want %v", name, does, s, got, want)
				}
			}
		}
		check("Publish", "publishes", publish, func(s string) error { return a.nc.Publish(s, []byte("x")) })
		check("Subscription", "subscribes to", subscribe, func(s string) error {
			_, err := a.nc.Subscribe(s, func(*nats.Msg) {})
			return err
		})
	}
}

// A service cannot take the messages of another one, nor make it deaf.
func TestConsumersOfOthers(t *testing.T) {
	t.Parallel()
	srv := serverOfRoles(t)
	streams := func(role string) jetstream.JetStream {
		js, err := jetstream.New(ask(t, srv, role).nc, jetstream.WithDefaultTimeout(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	if err := natsconf.Ensure(t.Context(), streams("node"), api.Streams(), 1); err != nil {
		t.Fatal(err)
	}
	owner := streams("ticketing")
	cfg := jetstream.ConsumerConfig{Durable: "ticketing", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"ev.payment.>"}}
	if _, err := owner.CreateOrUpdateConsumer(t.Context(), api.EventsStream, cfg); err != nil {
		t.Fatal(err)
	}
	deaf := cfg
	deaf.FilterSubjects = []string{"ev.nothing"}
	if _, err := streams("analytics").CreateOrUpdateConsumer(t.Context(), api.EventsStream, deaf); err == nil {
		t.Error("analytics has changed the consumer of ticketing")
	}
	if c, err := streams("analytics").Consumer(t.Context(), api.EventsStream, "ticketing"); err == nil {
		if batch, err := c.FetchNoWait(1); err == nil && batch.Error() == nil {
			t.Error("analytics asks for the messages of ticketing")
		}
	}
	c, err := owner.Consumer(t.Context(), api.EventsStream, "ticketing")
	if err != nil || c.CachedInfo().Config.FilterSubject+strings.Join(c.CachedInfo().Config.FilterSubjects, "") != "ev.payment.>" {
		t.Errorf("the consumer of ticketing is %+v, %v", c.CachedInfo().Config, err)
	}
}
