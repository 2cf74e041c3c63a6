package rpc_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/traffic"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// hanging is a service that hangs at each first call, and a client with rules.
func hanging(t *testing.T, rules traffic.Rules) (client *rpc.Client, calls *atomic.Int32) {
	t.Helper()
	url := natsServer(t, server.Options{})
	calls = new(atomic.Int32)
	s := rpc.NewServer(connect(t, url), rpc.ServerConfig{Service: "things", Log: testkit.Log(t),
		Registry: observe.NewRegistry()})
	hang := func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			<-ctx.Done()
		}
		return ctx.Err()
	}
	rpc.Handle(s, get(), func(ctx context.Context, r *thingRef) (*thing, error) {
		return &thing{ID: r.ID}, hang(ctx)
	})
	rpc.Handle(s, work(), func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
		return nil, hang(ctx)
	})
	testkit.Serve(t, s)
	c := traffic.New([]traffic.Name{{Service: "things", Endpoint: "get"}, {Service: "things", Endpoint: "work"}},
		observe.NewRegistry())
	if err := c.Set(rules); err != nil {
		t.Fatal(err)
	}
	return rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "gateway", Traffic: c}), calls
}

// A read that hangs is asked again beside the first try, within the budget; what changes something is not.
func TestReadsAreSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		budget int
		code   fault.Code
		calls  int32
	}{"with a budget": {10, "", 2}, "without one": {0, fault.Timeout, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, calls := hanging(t, traffic.Rules{Again: "*=20ms", Timeouts: "*=1s", Budget: c.budget})
			_, err := rpc.Call(t.Context(), client, get(), &thingRef{ID: ids.New[ids.EventKind](time.Now())})
			if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) || calls.Load() != c.calls {
				t.Errorf("%v after %d calls", err, calls.Load())
			}
		})
	}
	t.Run("a change", func(t *testing.T) {
		t.Parallel()
		client, calls := hanging(t, traffic.Rules{Again: "*=20ms", Timeouts: "*=200ms", Budget: 10})
		if _, err := rpc.Call(t.Context(), client, work(), &rpc.None{}); !fault.Is(err, fault.Timeout) || calls.Load() != 1 {
			t.Errorf("%v after %d calls", err, calls.Load())
		}
	})
}

// A change with a key is not sent again beside its first run, which may be about to succeed.
func TestSlowChangesAreNotSentAgain(t *testing.T) {
	url := natsServer(t, server.Options{})
	nc := connect(t, url)
	calls := new(atomic.Int32)
	if _, err := nc.Subscribe(create().Subject(), func(*nats.Msg) { calls.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := traffic.New([]traffic.Name{{Service: "things", Endpoint: "create"}}, observe.NewRegistry())
	if err := c.Set(traffic.Rules{Again: "*=20ms", Timeouts: "*=200ms", Budget: 100}); err != nil {
		t.Fatal(err)
	}
	client := rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "gateway", Traffic: c})
	_, err := rpc.CallOnce(t.Context(), client, create(), &newThing{}, "one key")
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if !fault.Is(err, fault.Timeout) || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

// A call leaves nothing behind that reads its header or its body: they are the caller's again, and used again.
func TestSecondTriesEndWithTheirCall(t *testing.T) {
	w := newTwins(t, traffic.Rules{Again: "*=1ms", Budget: 100})
	var n atomic.Int64
	w.handle = func(int, context.Context) error { // about as long as the second try waits
		timer := time.NewTimer(time.Duration(n.Add(1)%20) * 100 * time.Microsecond)
		defer timer.Stop()
		<-timer.C
		return nil
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			h, body := nats.Header{}, []byte("{}")
			for range 250 {
				if _, err := w.client.Forward(t.Context(), reading().Spec, h, body); err != nil {
					t.Error(err)
				}
				clear(h)
				body[0] = '{'
			}
		})
	}
	callers.Wait()
}

// A rule ends a call before its endpoint would, and faults come as they were asked for.
func TestRulesOfCalls(t *testing.T) {
	client, calls := hanging(t, traffic.Rules{Timeouts: "things.work=30ms", Faults: "things.get=100% error unavailable"})
	began := time.Now()
	_, err := rpc.Call(t.Context(), client, work(), &rpc.None{})
	if took := time.Since(began); !fault.Is(err, fault.Timeout) || took > time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if _, err = rpc.Call(t.Context(), client, get(), &thingRef{}); !fault.Is(err, fault.Unavailable) || calls.Load() != 1 {
		t.Errorf("a fault on purpose: %v, %d calls", err, calls.Load())
	}
	slow, _ := hanging(t, traffic.Rules{Faults: "things.get=100% delay 40ms", Again: "things.get=5ms", Budget: 10})
	began = time.Now()
	_, err = rpc.Call(t.Context(), slow, get(), &thingRef{ID: ids.New[ids.EventKind](time.Now())})
	if took := time.Since(began); err != nil || took < 40*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	}
}
