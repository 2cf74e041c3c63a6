package system_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// intruder is somebody with the NATS credentials of a role.
type intruder struct {
	t    *testing.T
	role string
	nc   *nats.Conn
	js   nats.JetStreamContext
}

func intrude(t *testing.T, cfg system.Config, sys *system.System, role string) *intruder {
	t.Helper()
	nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: sys.NATSURL(), Role: role, Creds: filepath.Join(cfg.Data, "creds")})
	if err != nil {
		t.Fatal(err)
	}
	nc.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	t.Cleanup(nc.Close)
	patience := 10 * time.Millisecond // a request that is not allowed gets no answer
	if role == "node" || role == "ops" || role == "admin" {
		patience = 300 * time.Millisecond
	}
	js, err := nc.JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	return &intruder{t, role, nc, js}
}

// cancel is a request to cancel an event as an administrator who is made up.
func cancel(subject string, event ids.Event) *nats.Msg {
	admin := rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Session: ids.New[ids.SessionKind](time.Now()), Roles: []string{rpc.RoleAdmin}}
	return &nats.Msg{Subject: subject, Data: []byte(`{}`), Header: nats.Header{
		rpc.HeaderCall: {"5000|gateway|req_forged||"}, rpc.HeaderParams: {"id=" + string(event)},
		rpc.HeaderPrincipal: {admin.String()}}}
}

// attempts returns the ways to get a request to an endpoint.
func (i *intruder) attempts(event ids.Event) map[string]func() {
	subject := api.CancelEvent.Subject()
	store := func(s string) { // wherever the role may write
		_ = i.nc.PublishMsg(cancel(s, event))
	}
	return map[string]func(){
		"a request":             func() { _ = i.nc.PublishMsg(cancel(subject, event)) },
		"a request for a reply": func() { _, _ = i.nc.RequestMsg(cancel(subject, event), 10*time.Millisecond) },
		"a stream that publishes again": func() {
			name := "X" + i.role
			_, _ = i.js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{"x." + i.role}, Storage: nats.MemoryStorage,
				RePublish: &nats.RePublish{Source: "x." + i.role, Destination: subject}})
			store("x." + i.role)
		},
		"a stream of the system that publishes again": func() {
			for stream, stored := range map[string]string{"PROBE": "probe.x", "LOGS": "logs.x.info", "EVENTS": "ev.event.event.x",
				"ANALYTICS": "facts.gateway.x", "KV_config": "$KV.config.x"} {
				info, err := i.js.StreamInfo(stream)
				if err != nil {
					continue
				}
				changed := info.Config
				changed.RePublish = &nats.RePublish{Source: stored, Destination: subject}
				_, _ = i.js.UpdateStream(&changed)
				store(stored)
			}
		},
		"a consumer that delivers there": func() {
			for _, s := range []string{"EVENTS", "PROBE", "LOGS", "KV_config", "ANALYTICS", "DEAD"} {
				_, _ = i.js.AddConsumer(s, &nats.ConsumerConfig{DeliverSubject: subject, AckPolicy: nats.AckNonePolicy, Name: "x" + i.role})
			}
		},
		"answers of JetStream": func() {
			for _, s := range api.Streams() {
				_ = i.nc.PublishRequest("$JS.API.DIRECT.GET."+s.Name, subject, []byte(`{"seq":1}`))
				_ = i.nc.PublishRequest("$JS.API.STREAM.MSG.GET."+s.Name, subject, []byte(`{"seq":1}`))
			}
			_ = i.nc.PublishRequest("$JS.API.INFO", subject, nil)
		},
	}
}

// With the credentials of no role can one act for a person.
func TestForgedRequests(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	_, token := s.Join("olga@example.org")
	event := s.Concert(token, 10, 1000)
	for _, role := range system.Roles() {
		i := intrude(t, cfg, sys, role.Name)
		for name, attempt := range i.attempts(event.ID) {
			attempt()
			if err := i.nc.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+string(event.ID), token, nil); got.Status != api.EventPublished {
				t.Fatalf("%s cancelled an event by %s", role.Name, name)
			}
		}
	}
	// What an endpoint was sent is handled before what it is sent now.
	systemtest.Call[api.Event](s, 200, "POST", "/v1/events/"+string(event.ID)+"/cancel", token, nil)
}

// What a person types to sign in reaches the user service, and no other role, whatever it subscribes to and stores.
func TestCollectedPasswords(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	secrets := []string{systemtest.Password, "a new battery"}
	endpoints := []string{api.CreateSession.Subject(), api.RegisterUser.Subject(), api.ChangeMyPassword.Subject(), api.ConfirmPasswordReset.Subject()}
	type collected struct {
		role string
		msgs chan *nats.Msg
	}
	var all []collected
	var streams []*intruder
	for _, role := range system.Roles() {
		i := intrude(t, cfg, sys, role.Name)
		c := collected{role.Name, make(chan *nats.Msg, 1<<12)}
		for _, subject := range append(endpoints, ">", "api.>", "api.user.>", "api.*.*", natsconf.InboxPrefix("gateway")+".>", natsconf.InboxPrefix("user")+".>") {
			_, _ = i.nc.ChanSubscribe(subject, c.msgs)
		}
		if _, err := i.js.AddStream(&nats.StreamConfig{Name: "Y" + role.Name, Subjects: endpoints, Storage: nats.MemoryStorage}); err == nil {
			streams = append(streams, i)
		}
		for _, known := range api.Streams() {
			if info, err := i.js.StreamInfo(known.Name); err == nil {
				changed := info.Config
				changed.Subjects = append(changed.Subjects, endpoints...)
				_, _ = i.js.UpdateStream(&changed)
			}
		}
		if err := i.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	var tokens api.Tokens
	s.Send("POST", "/v1/users", "", api.Register{Email: "olga@example.org", Password: systemtest.Password, Name: "Olga"})
	if got, err := s.Send("POST", "/v1/sessions", "", api.Login{Email: "olga@example.org", Password: systemtest.Password}); err == nil {
		_ = json.Unmarshal(got.Body, &tokens)
	}
	s.Send("POST", "/v1/me/password", tokens.AccessToken, map[string]string{"current_password": secrets[0], "new_password": secrets[1]})
	s.Send("POST", "/v1/sessions", "", map[string]string{"email": "olga@example.org", "password": secrets[1]})
	check := func(role, subject string, data []byte) {
		t.Helper()
		for _, secret := range append(secrets, "refresh_token") {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s reads on %s: %s", role, subject, data)
			}
		}
	}
	seen := 0
	for _, c := range all {
		for len(c.msgs) > 0 {
			msg := <-c.msgs
			seen++
			check(c.role, msg.Subject, msg.Data)
		}
	}
	if seen == 0 {
		t.Error("no role sees anything, not even the user service its own requests")
	}
	for _, i := range streams {
		info, err := i.js.StreamInfo("Y" + i.role)
		if errors.Is(err, nats.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for seq := info.State.FirstSeq; seq > 0 && seq <= info.State.LastSeq; seq++ {
			if msg, err := i.js.GetMsg(info.Config.Name, seq); err == nil {
				check(i.role, fmt.Sprint(info.Config.Name, " ", msg.Subject), msg.Data)
			}
		}
	}
}
