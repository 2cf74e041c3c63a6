package natsconf_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// mayPublish asks the server itself: the publish is followed by a round trip, and a refusal arrives before its answer.
func mayPublish(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	return !refused(t, nc, func() error { return nc.Publish(subject, []byte("x")) })
}

func maySubscribe(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	var sub *nats.Subscription
	no := refused(t, nc, func() (err error) {
		sub, err = nc.SubscribeSync(subject)
		return err
	})
	_ = sub.Unsubscribe()
	return !no
}

func refused(t *testing.T, nc *nats.Conn, do func() error) bool {
	t.Helper()
	errs := make(chan error, 8)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err })
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	// The refusal is in LastError as soon as Flush returns; the handler runs a little later.
	if !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
		return false
	}
	select {
	case err := <-errs:
		return errors.Is(err, nats.ErrPermissionViolation)
	case <-time.After(testkit.Within(5 * time.Second)):
		t.Fatal("the error handler was not called")
		return false
	}
}

func denied(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	if mayPublish(t, nc, subject) {
		t.Errorf("%s may publish %s", nc.Opts.Name, subject)
	}
}

// What the grants come to. The roles of the system are asked in svc/system.
func TestPermissions(t *testing.T) {
	srv := start(t, natsconf.Config{})
	ensured(t, srv)
	var names []string
	for _, r := range roles() {
		names = append(names, r.Name)
	}
	tests := []struct {
		subject string
		only    string // the roles that may, separated by spaces
	}{
		{"$KV.inventory.pool.e1", "ticketing"},
		{"$KV.inventory.checkpoint.e1.7.0", "ticketing"},
		{"$JS.API.STREAM.PURGE.KV_inventory", "ticketing"},
		{"$JS.API.STREAM.DELETE.KV_inventory", ""},
		{"$JS.API.STREAM.MSG.DELETE.KV_inventory", ""},
		{"$JS.API.STREAM.UPDATE.KV_inventory", "config"},
		{"$JS.API.STREAM.RESTORE.KV_inventory", ""},
		{"$JS.API.STREAM.DELETE.EVENTS", "admin"},
		{"$JS.API.STREAM.DELETE.X", "admin config"},
		{"$JS.API.STREAM.CREATE.X", "admin"},
		{"$JS.API.STREAM.UPDATE.EVENTS", "admin config"},
		{"$JS.API.STREAM.RESTORE.X", "admin"},
		{"$JS.SNAPSHOT.ACK.X.y.1.1", "admin"},
		{"$JS.SNAPSHOT.RESTORE.X.y", "admin"},
		{"$JS.API.STREAM.INFO.EVENTS", "admin ops notification config"},
		{"$JS.API.CONSUMER.CREATE.EVENTS.x", "admin ops"},
		{"$JS.API.CONSUMER.CREATE.EVENTS.notification", "admin notification"},
		{"$JS.API.CONSUMER.CREATE.EVENTS.notification.ev.x", "admin notification"},
		{"$JS.API.CONSUMER.DELETE.EVENTS.notification", "admin notification"},
		{"$KV.config.ticketing.hold_ttl", "config ops"},
		{"api.ticketing.create_order", "gateway"},
		{"api.config.put", "gateway"},
		{"api.ticketing.begin_payment", "payment"},
		{"api.event.offer", "ticketing"},
		{"api.event.unheard_of", ""},
		{"ev.ticketing.order.paid", "ticketing"},
		{"ev.payment.payment.captured", "payment"},
		{"facts.http.request", "gateway"},
		{"dead.notification.x", "notification"},
		{"$JS.API.CONSUMER.MSG.NEXT.EVENTS.notification", "notification admin"},
		{"$JS.ACK.EVENTS.notification.1.1.1.1.1", "notification admin"},
		{"$JS.API.CONSUMER.MSG.NEXT.KV_config.x", "gateway ticketing payment config ops admin"},
		{"$SRV.PING", "ops admin"},
		{"$SYS.REQ.SERVER.PING", ""},
		{"_INBOX_gateway.x", "ticketing payment notification config"},
		{"_INBOX_payment.x", "ticketing"},
		{"_INBOX.x", "ticketing payment notification config"},
	}
	for _, name := range names {
		nc := func() *nats.Conn { return connect(t, srv, name) } // a fresh one each time: LastError stays
		for _, tt := range tests {
			want := strings.Contains(" "+tt.only+" ", " "+name+" ")
			if got := mayPublish(t, nc(), tt.subject); got != want {
				t.Errorf("%s publishes %s: %v, want %v", name, tt.subject, got, want)
			}
		}
		for _, other := range names {
			subject := natsconf.InboxPrefix(other) + ".>"
			if got, want := maySubscribe(t, nc(), subject), other == name; got != want {
				t.Errorf("%s subscribes to %s: %v, want %v", name, subject, got, want)
			}
		}
		for subject, only := range map[string]string{
			"_INBOX.>": "ops admin", ">": "", "api.>": "", "api.ticketing.>": "ticketing", "api.ticketing.create_order": "ticketing",
			"$KV.inventory.>": "", "$SYS.>": "", "$JS.API.>": "", "ev.>": "ops", "notify.>": "",
			"$JS.EVENT.ADVISORY.STREAM.UPDATED.*":                            "config ops admin",
			"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS.notification": "notification ops admin",
			"$SRV.>": "ticketing payment notification config",
		} {
			want := strings.Contains(" "+only+" ", " "+name+" ")
			if got := maySubscribe(t, nc(), subject); got != want {
				t.Errorf("%s subscribes to %s: %v, want %v", name, subject, got, want)
			}
		}
	}
}

func TestPermissionErrorsAreReported(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]error{}
	srv := start(t, natsconf.Config{OnPermissionError: func(role string, err error) {
		mu.Lock()
		defer mu.Unlock()
		seen[role] = err
	}})
	nc := connect(t, srv, "payment")
	sub, err := nc.SubscribeSync("api.ticketing.create_order")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(5 * time.Second); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("NextMsg: %v", err)
	}
	eventually(t, "the hook is called", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return errors.Is(seen["payment"], nats.ErrPermissionViolation)
	})
}

// TestRolesCanWork walks what roles do every day with the permissions they have.
func TestRolesCanWork(t *testing.T) {
	denials := make(chan error, 16)
	srv := start(t, natsconf.Config{OnPermissionError: func(_ string, err error) { denials <- err }})
	ensured(t, srv)
	ticketing, payment, gateway := connect(t, srv, "ticketing"), connect(t, srv, "payment"), connect(t, srv, "gateway")

	service, err := micro.AddService(ticketing, micro.Config{Name: "ticketing", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = service.Stop() }()
	for _, endpoint := range []string{"create_order", "begin_payment"} {
		err := service.AddEndpoint(endpoint, micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte("ok")) }),
			micro.WithEndpointSubject("api.ticketing."+endpoint), micro.WithEndpointQueueGroup("ticketing"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ticketing.Flush(); err != nil {
		t.Fatal(err)
	}
	ask := func(nc *nats.Conn, subject string) {
		t.Helper()
		if m, err := nc.Request(subject, nil, 5*time.Second); err != nil || (string(m.Data) != "ok" && !strings.HasPrefix(subject, "$SRV")) {
			t.Errorf("%s asks %s: %v", nc.Opts.Name, subject, err)
		}
	}
	ask(gateway, "api.ticketing.create_order")
	ask(payment, "api.ticketing.begin_payment")
	ask(connect(t, srv, "ops"), "$SRV.INFO.ticketing")

	// A watch of the live settings, and a change by the role that may.
	kv, err := jetStream(t, gateway).KeyValue(t.Context(), settings.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writer, err := jetStream(t, connect(t, srv, "config")).KeyValue(t.Context(), settings.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Put(t.Context(), "log.level", []byte("debug")); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.History(t.Context(), "log.level"); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case e := <-watch.Updates():
			if e == nil {
				continue // the end of what was there
			}
			if e.Key() != "log.level" || string(e.Value()) != "debug" {
				t.Fatalf("watched %s = %s", e.Key(), e.Value())
			}
		case <-time.After(testkit.Within(5 * time.Second)):
			t.Fatal("the watch is silent")
		}
		break
	}
	if err := watch.Stop(); err != nil {
		t.Fatal(err)
	}

	// An event, and a durable consumer of it.
	if _, err := jetStream(t, ticketing).Publish(t.Context(), "ev.ticketing.order.paid", []byte("{}"), jetstream.WithMsgID("1")); err != nil {
		t.Fatal(err)
	}
	js := jetStream(t, connect(t, srv, "notification"))
	for _, filters := range [][]string{{"ev.ticketing.>"}, {"ev.ticketing.>", "ev.user.>"}, nil} {
		consumer, err := js.CreateOrUpdateConsumer(t.Context(), api.EventsStream, jetstream.ConsumerConfig{Durable: "notification",
			AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: filters, AckWait: time.Second})
		if err != nil {
			t.Fatal(filters, err)
		}
		if filters != nil {
			continue
		}
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-denials:
		t.Errorf("refused on the way: %v", err)
	default:
	}
}

func TestRolesThatBreakTheRules(t *testing.T) {
	tests := map[string]natsconf.Role{
		"writes the inventory":           natsconf.NewRole("x", natsconf.WriteKV(api.InventoryBucket)),
		"owns another's bucket":          natsconf.NewRole("x", natsconf.OwnKV(api.InventoryBucket)),
		"writes all buckets":             natsconf.NewRole("x", natsconf.PublishTo("$KV.>")),
		"writes by a wildcard":           natsconf.NewRole("x", natsconf.PublishTo("*.inventory.pool.*")),
		"publishes everything":           natsconf.NewRole("ticketing", natsconf.PublishTo(">")),
		"calls everything":               natsconf.NewRole("gateway", natsconf.PublishTo("api.>")),
		"calls a whole service":          natsconf.NewRole("gateway", natsconf.PublishTo("api.event.*")),
		"calls all of an instance":       natsconf.NewRole("gateway", natsconf.PublishTo("api.event.*.*")),
		"calls all that HTTP reaches":    natsconf.NewRole("x", natsconf.PublishTo("http.*.*.*")),
		"calls instances of services":    natsconf.NewRole("gateway", natsconf.PublishTo("api.*.list.*")),
		"reads the tool's inbox":         natsconf.NewRole("x", natsconf.SubscribeTo("_INBOX.>")),
		"reads another's inbox":          natsconf.NewRole("x", natsconf.SubscribeTo("_INBOX_gateway.a.>")),
		"reads everything":               natsconf.NewRole("x", natsconf.SubscribeTo(">")),
		"reads inboxes by a wildcard":    natsconf.NewRole("x", natsconf.SubscribeTo("*.a")),
		"has a queue in a subject":       natsconf.NewRole("x", natsconf.SubscribeTo("api.x.> q")),
		"has an empty token":             natsconf.NewRole("x", natsconf.PublishTo("ev..x")),
		"has a name that is a path":      natsconf.NewRole("../x"),
		"has a name with a wildcard":     natsconf.NewRole("*"),
		"has no name":                    natsconf.NewRole(""),
		"is there twice":                 natsconf.NewRole("gateway"),
		"has the name of the system":     natsconf.NewRole("sys"),
		"takes another's messages":       natsconf.NewRole("x", natsconf.PublishTo("$JS.API.CONSUMER.MSG.NEXT.EVENTS.*")),
		"acknowledges for another":       natsconf.NewRole("x", natsconf.PublishTo("$JS.ACK.EVENTS.>")),
		"reshapes another's consumer":    natsconf.NewRole("x", natsconf.PublishTo("$JS.API.CONSUMER.CREATE.EVENTS.*")),
		"names it in the request":        natsconf.NewRole("x", natsconf.PublishTo("$JS.API.CONSUMER.CREATE.EVENTS")),
		"deletes another's consumer":     natsconf.NewRole("x", natsconf.PublishTo("$JS.API.CONSUMER.DELETE.*.durable")),
		"has the same consumer":          natsconf.NewRole("x", natsconf.Follow(api.EventsStream, "durable")),
		"replays where others consume":   natsconf.NewRole("x", natsconf.Replay(api.EventsStream)),
		"an admin writes the inventory":  {Name: "x", Operator: true, Admin: true, Publish: []string{"$KV.inventory.pool.e1"}},
		"an admin reads another's inbox": {Name: "x", Operator: true, Admin: true, Subscribe: []string{"_INBOX_gateway.>"}},
	}
	for name, role := range tests {
		t.Run(name, func(t *testing.T) {
			gateway := natsconf.NewRole("gateway", natsconf.Consume(api.EventsStream, "durable"))
			if role.Name == "gateway" && len(role.Publish) > 0 {
				gateway.Name = "other"
			}
			owner := natsconf.NewRole("owner", natsconf.OwnKV(api.InventoryBucket))
			srv, err := natsconf.Start(t.Context(), natsconf.Config{Dir: t.TempDir(), Roles: []natsconf.Role{gateway, owner, role}})
			if err == nil {
				stop(t, srv)
				t.Error("accepted")
			}
		})
	}
}
