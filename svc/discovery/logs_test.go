package discovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Administrators follow a request through the logs of all services; nobody else reads any.
func TestLogs(t *testing.T) {
	m := open(t)
	stream := m.nats.Stream(observe.LogStream, observe.LogSubjects)
	shipper := observe.NewShipper(observe.NewRegistry())
	request := observe.ContextWithRequest(t.Context(), "req_1", "")
	for i, service := range []string{"gateway", "ticketing", "payment"} {
		log := observe.NewShippingLogger(t.Output(), service, service+"-1", slog.LevelDebug, shipper)
		log.InfoContext(request, "step", "number", i, "password", "canary")
		log.Warn("something else")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // it sends what waits even so
	shipper.Run(ended, m.nats.Conn)
	if err := m.nats.Conn.Publish("logs.broken.info", []byte("no JSON \xff")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		info, err := stream.Info(t.Context())
		if err == nil && info.State.Msgs != 7 {
			err = fmt.Errorf("%d lines", info.State.Msgs)
		}
		return err
	})
	read := func(q api.LogQuery) (said []string, next string) {
		t.Helper()
		got, err := rpc.Call(m.admin, m.client, api.ListLogs, &q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		for _, l := range got.Items {
			said = append(said, l.Service+" "+l.Level+" "+l.Message+" "+string(l.Attributes["number"]))
			if strings.Contains(fmt.Sprint(l), "canary") {
				t.Errorf("a secret: %+v", l)
			}
		}
		return said, got.NextCursor
	}
	for want, q := range map[string]api.LogQuery{
		"payment info step 2,ticketing info step 1,gateway info step 0": {Request: "req_1"},
		"ticketing warn something else ":                                {Service: "ticketing", Level: "warn"},
		" info no JSON ? ":                                              {Service: "broken"},
		"":                                                              {From: "2999-01-01T00:00:00Z"},
	} {
		if got, next := read(q); strings.Join(got, ",") != want || next != "" {
			t.Errorf("%+v: %q, and %q", q, got, next)
		}
	}
	first, next := read(api.LogQuery{Request: "req_1", Page: api.Page{Limit: 2}})
	rest, end := read(api.LogQuery{Request: "req_1", Page: api.Page{Limit: 2, Cursor: next}})
	if len(first) != 2 || len(rest) != 1 || end != "" {
		t.Errorf("%q, then %q and %q", first, rest, end)
	}
	for _, bad := range []api.LogQuery{{Level: "loud"}, {Service: "a.b"}, {Service: "*"}, {From: "yesterday"},
		{Page: api.Page{Limit: -1}}, {Page: api.Page{Cursor: "eA"}}} {
		if _, err := rpc.Call(m.admin, m.client, api.ListLogs, &bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := rpc.Call(rpc.WithPrincipal(t.Context(), rpc.Principal{User: ids.New[ids.UserKind](time.Now())}), m.client, api.ListLogs,
		&api.LogQuery{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("for others: %v", err)
	}
}
