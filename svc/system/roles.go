package system

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/coherence"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/analytics"
	"github.com/starlightsymphony/starlight/svc/audit"
	"github.com/starlightsymphony/starlight/svc/config"
	"github.com/starlightsymphony/starlight/svc/discovery"
	"github.com/starlightsymphony/starlight/svc/event"
	"github.com/starlightsymphony/starlight/svc/notification"
	"github.com/starlightsymphony/starlight/svc/notification/webhook"
	"github.com/starlightsymphony/starlight/svc/payment"
	"github.com/starlightsymphony/starlight/svc/ticketing"
	"github.com/starlightsymphony/starlight/svc/ticketing/vies"
	"github.com/starlightsymphony/starlight/svc/user"
	"github.com/starlightsymphony/starlight/svc/user/passwords"
	"github.com/starlightsymphony/starlight/svc/venue"
)

// The roles that are not services: every process has a connection as node, the gateway only calls, and so does an
// operator.
const (
	roleNode    = "node"
	roleGateway = "gateway"
	roleAdmin   = "admin"
)

// service is what every svc package offers. One that works in the background has a method Run, too.
type service interface {
	Register(*rpc.Server)
}

// role is one kind of member of the system. A new service is one more line in services.
type role struct {
	name        string
	description string
	migrations  func() fs.FS         // nil: the role has no database
	sealed      func() []seal.Column // with secrets; nil: there are none
	grants      []natsconf.Grant     // besides serving its endpoints and calling those that name it
	start       func(context.Context, *member) (service, error)
}

// member is a running role.
type member struct {
	sys    *System
	name   string
	log    *slog.Logger
	db     *store.DB
	nc     *nats.Conn
	js     jetstream.JetStream
	client *rpc.Client

	server  *rpc.Server
	service service
}

// services returns the services in the order in which they start.
func services() []role {
	return []role{
		{name: "config", description: "live settings", grants: []natsconf.Grant{
			natsconf.WriteKV(settings.Bucket), natsconf.PublishTo(api.AuditClaims("config")),
			natsconf.Follow(api.AuditStream)}, // for the claims
			start: func(ctx context.Context, m *member) (service, error) {
				return config.New(ctx, config.Deps{JS: m.js, Log: m.log})
			}},
		{
			name:        "discovery",
			description: "who is there and how they do",
			grants:      []natsconf.Grant{natsconf.Discover(), natsconf.Follow(observe.LogStream, "*")},
			start: func(ctx context.Context, m *member) (service, error) {
				return discovery.New(ctx, discovery.Deps{NATS: m.nc, JS: m.js, Contract: endpoints(), Log: m.log,
					Now: m.sys.cfg.Now})
			},
		},
		{name: "user", description: "people and sessions", migrations: user.Migrations, sealed: user.Sealed,
			grants: append(publishes("user"), natsconf.OwnKV(revocation.Bucket)),
			start: func(ctx context.Context, m *member) (service, error) {
				stolen, err := stolenPasswords(m.sys.cfg.Passwords)
				if err != nil {
					return nil, err
				}
				return user.New(ctx, user.Deps{DB: m.db, JS: m.js, Client: m.client, Live: m.sys.live, Log: m.log,
					Metrics: m.sys.registry, Now: m.sys.cfg.Now, Keys: m.sys.cfg.Keys, Stolen: stolen})
			}},
		{name: "event", description: "what is offered", migrations: event.Migrations,
			grants: append(append(publishes("event"), consumesEvents("event")...),
				natsconf.SubscribeTo(api.EventChanges), ownsCopies("event"), natsconf.WriteObjects(media.Bucket)),
			start: func(ctx context.Context, m *member) (service, error) {
				files, err := m.sys.media(m.js)
				if err != nil {
					return nil, err
				}
				return event.New(ctx, event.Deps{DB: m.db, JS: m.js, Client: m.client, Log: m.log, Media: files,
					Metrics: m.sys.registry, Now: m.sys.cfg.Now, Live: m.sys.live})
			}},
		{name: "ticketing", description: "seats, orders, tickets, doors", migrations: ticketing.Migrations,
			sealed: ticketing.Sealed,
			grants: append(append(publishes("ticketing"), consumesEvents("ticketing")...),
				natsconf.OwnKV(api.InventoryBucket),
				natsconf.SubscribeTo(api.EventChanges, api.OrganizerChanges),
				publishesLive("ticketing")),
			start: func(ctx context.Context, m *member) (service, error) {
				registry, err := vies.NewClient(m.sys.cfg.VIESURL, m.sys.cfg.Now)
				if err != nil {
					return nil, err
				}
				return ticketing.New(ctx, ticketing.Deps{DB: m.db, NATS: m.nc, JS: m.js, Client: m.client,
					Live: m.sys.live, Log: m.log, Metrics: m.sys.registry, Now: m.sys.cfg.Now, Keys: m.sys.cfg.Keys,
					VIES: registry})
			}},
		{name: "payment", description: "money", migrations: payment.Migrations,
			grants: append(publishes("payment"), consumesEvents("payment")...),
			start: func(ctx context.Context, m *member) (service, error) {
				list, err := providers(ctx, m)
				if err != nil {
					return nil, fmt.Errorf("payment providers: %w", err)
				}
				return payment.New(payment.Deps{DB: m.db, JS: m.js, Client: m.client, Live: m.sys.live, Log: m.log,
					Metrics: m.sys.registry, Now: m.sys.cfg.Now, PublicURL: m.sys.cfg.PublicURL, Providers: list}), nil
			}},
		{name: "notification", description: "messages to people", migrations: notification.Migrations,
			sealed: notification.Sealed,
			grants: slices.Concat(audits("notification"), consumesEvents("notification"),
				consumesEvents(webhook.Consumer),
				consumes(api.NotificationsStream, notification.Consumers()...), []natsconf.Grant{
					natsconf.PublishTo(api.JobSubjects), publishesLive("notification"), replays()}),
			start: func(ctx context.Context, m *member) (service, error) {
				cfg := m.sys.cfg
				return notification.New(ctx, notification.Deps{DB: m.db, NATS: m.nc, JS: m.js, Client: m.client,
					Live: m.sys.live,
					Log:  m.log, Metrics: m.sys.registry, Now: cfg.Now, OutboxDir: cfg.outboxDir(),
					PublicURL: cfg.PublicURL, SMTPURL: cfg.SMTPURL, SMSURL: cfg.SMSURL, From: cfg.MailFrom,
					PushPrivate: cfg.PushPrivate, Keys: cfg.Keys, Requests: m.sys.serving.underWay})
			}},
		{name: "audit", description: "the audit log", migrations: audit.Migrations,
			grants: append(consumes(api.AuditStream, audit.Consumer), natsconf.ReadKV(settings.Bucket)),
			start: func(ctx context.Context, m *member) (service, error) {
				return audit.New(audit.Deps{DB: m.db, JS: m.js, Client: m.client, Live: m.sys.live, Log: m.log,
					Metrics: m.sys.registry, Now: m.sys.cfg.Now}), nil
			}},
		{name: "venue", description: "places with doors", migrations: venue.Migrations, grants: audits("venue"),
			start: func(ctx context.Context, m *member) (service, error) {
				return newVenue(m), nil
			}},
		{name: "analytics", description: "numbers for organizers", grants: []natsconf.Grant{
			natsconf.Follow(api.EventsStream, analytics.Consumers(api.EventsStream)...),
			natsconf.Follow(api.AnalyticsStream, analytics.Consumers(api.AnalyticsStream)...),
			natsconf.PublishTo(stream.DeadSubject("analytics"), api.AnalyticsPeers),
			natsconf.SubscribeTo(api.AnalyticsPeers), publishesLive("analytics")},
			start: func(ctx context.Context, m *member) (service, error) {
				return analytics.New(ctx, analytics.Deps{Dir: filepath.Join(m.sys.cfg.Data, "analytics"), NATS: m.nc,
					JS: m.js, Client: m.client, Live: m.sys.live, Log: m.log,
					Metrics: m.sys.registry, Now: m.sys.cfg.Now})
			}},
	}
}

// publishes lets a service publish its domain events, and its lines of the audit log.
func publishes(name string) []natsconf.Grant {
	return append(audits(name), natsconf.PublishTo(api.EventSubjectsOf(name)))
}

// audits lets a service publish its lines of the audit log, and those of no other.
func audits(name string) []natsconf.Grant {
	return []natsconf.Grant{natsconf.PublishTo(api.AuditSubject(name))}
}

// publishesLive lets a service publish changes to the clients that follow them.
func publishesLive(name string) natsconf.Grant { return natsconf.PublishTo(live.SubjectsOf(name)) }

// ownsCopies lets a service invalidate copies of its answers, its own instances' too, and confirm.
func ownsCopies(name string) natsconf.Grant {
	subjects := coherence.SubjectsOf(name)
	return natsconf.Grant{Publish: []string{subjects}, Subscribe: []string{subjects}}
}

// consumesEvents lets a service consume the domain events of all services.
func consumesEvents(name string) []natsconf.Grant { return consumes(api.EventsStream, name) }

// consumes lets a service work on a stream with durable consumers, put aside what it cannot handle, and take replays of
// that.
func consumes(of string, durables ...string) []natsconf.Grant {
	grants := []natsconf.Grant{natsconf.Consume(of, durables...)}
	for _, d := range durables {
		grants = append(grants, natsconf.PublishTo(stream.DeadSubject(d)),
			natsconf.Consume(stream.DeadStream, stream.ReplayDurable(d)))
	}
	return grants
}

// replays lets a role read dead letters and replay them.
func replays() natsconf.Grant {
	const dead, js = stream.DeadStream, "$JS.API."
	return natsconf.PublishTo(js+"STREAM.INFO."+dead, js+"STREAM.MSG.GET."+dead, js+"STREAM.MSG.DELETE."+dead,
		js+"DIRECT.GET."+dead, js+"DIRECT.GET."+dead+".>", js+"CONSUMER.INFO."+dead+".*", stream.ReplaySubjects)
}

// reserved are the subjects on which the parts of the system talk to each other, and that no stream keeps.
func reserved() []string {
	return []string{
		"api.>",
		"http.>",
		api.ExternalPrefix + ">",
		"$SRV.>",
		live.Subjects,
		coherence.Subjects,
		observe.MetricsSubject,
		instances.BeatSubject,
		api.AnalyticsPeers,
		BackupSubject,
	}
}

// operator lets an operator with the nats tool look on.
func operator() natsconf.Grant {
	return natsconf.SubscribeTo(api.SettingSubjects, api.EventSubjects, api.TrafficSubjects, observe.LogSubjects,
		stream.DeadSubjects, api.AuditSubjects)
}

// tunes lets an operator change the live settings that are for operators, each by its name: NATS itself refuses the
// others, and keys that there are not.
func tunes() natsconf.Grant {
	var subjects []string
	for _, def := range api.Settings() {
		if spec := def.Spec(); spec.Access == settings.Operators {
			subjects = append(subjects, api.SettingSubject(spec.Key))
		}
	}
	return natsconf.PublishTo(subjects...)
}

// endpoints returns all that the services serve.
func endpoints() []rpc.Descriptor { return slices.Concat(api.All(), line.Endpoints()) }

// Contract returns all endpoints that the services declare, those of the line to venues too.
func Contract() []rpc.Descriptor { return endpoints() }

// Roles returns every role that may connect, with exactly the permissions that shared/api implies: only the gateway may
// send to an endpoint that has a path, and only the callers that an internal endpoint names may send to that.
func Roles() []natsconf.Role {
	all := endpoints()
	calls := func(name string) natsconf.Grant {
		var subjects []string
		for _, d := range all {
			if name == roleGateway && d.Path != "" || slices.Contains(d.Callers, name) {
				subjects = append(subjects, d.Subject())
				if name != roleGateway || d.Path == "" { // it has HTTPSubjects
					subjects = append(subjects, d.SubjectAt("*"))
				}
			}
		}
		return natsconf.PublishTo(subjects...)
	}
	callers := func(name string) []string {
		var out []string
		for _, d := range all {
			if d.Service == name {
				out = append(out, d.Callers...)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	roles := []natsconf.Role{
		natsconf.Ops(operator(), tunes()),
		natsconf.Admin(calls(roleAdmin), operator(), natsconf.PublishTo(api.SettingSubjects, stream.ReplaySubjects,
			api.AuditSubject(roleAdmin), BackupSubject)),
		natsconf.NewRole(roleNode, natsconf.ManageStreams(api.Streams()), natsconf.ReadKV(settings.Bucket),
			natsconf.PublishTo(observe.LogSubjects, api.ProbeSubjects, observe.MetricsSubject, instances.BeatSubject,
				natsconf.InboxPrefix(roleNode)+".>", natsconf.InboxPrefix(roleAdmin)+".>"),
			natsconf.SubscribeTo(observe.MetricsSubject, BackupSubject, instances.BeatSubject)),
		natsconf.NewRole(
			roleGateway,
			natsconf.Announce(roleGateway), natsconf.PublishTo("$SRV.INFO.*", api.ExternalPrefix+">"),
			natsconf.PublishTo(api.TrafficSubjectsOf(roleGateway)),
			calls(roleGateway), natsconf.PublishTo(rpc.HTTPSubjects),
			natsconf.ReadKV(revocation.Bucket), natsconf.ReadObjects(media.Bucket),
			natsconf.SubscribeTo(live.Subjects, coherence.GatewaySubjects, api.EventChanges,
				api.OrganizerChanges),
			natsconf.PublishTo(coherence.GatewayConfirms),
		),
	}
	for _, r := range services() {
		grants := append([]natsconf.Grant{natsconf.Serve(r.name, callers(r.name)...), calls(r.name)}, r.grants...)
		roles = append(roles, natsconf.NewRole(r.name, grants...))
	}
	return roles
}

// Names returns the names of the roles that `starlight run` accepts.
func Names() []string {
	names := []string{roleGateway}
	for _, r := range services() {
		names = append(names, r.name)
	}
	return names
}

// stolenPasswords reads the file of stolen passwords, if there is one.
func stolenPasswords(path string) (*passwords.Filter, error) {
	if path == "" {
		return nil, nil
	}
	return passwords.Open(path)
}
