package settings_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

type fixture struct {
	t    *testing.T
	nats *testkit.NATSServer
	kv   jetstream.KeyValue
	live *settings.Live
	log  *testkit.Buffer
	reg  *observe.Registry
}

func newBucket(t *testing.T) (*testkit.NATSServer, jetstream.KeyValue) {
	t.Helper()
	srv := testkit.NATS(t)
	kv, err := srv.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: settings.Bucket, History: 16})
	if err != nil {
		t.Fatal(err)
	}
	return srv, kv
}

func open(t *testing.T) *fixture {
	t.Helper()
	srv, kv := newBucket(t)
	f := &fixture{t: t, nats: srv, kv: kv}
	f.reopen()
	return f
}

// reopen follows the bucket as a process does that starts now.
func (f *fixture) reopen() {
	f.t.Helper()
	f.log, f.reg = &testkit.Buffer{}, observe.NewRegistry()
	live, err := settings.Open(f.t.Context(), f.kv, definitions(), slog.New(slog.NewJSONHandler(f.log, nil)), f.reg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(live.Close)
	f.live = live
}

func (f *fixture) put(key, text string) {
	f.t.Helper()
	if _, err := f.kv.PutString(f.t.Context(), key, text); err != nil {
		f.t.Fatal(err)
	}
}

// soon waits for the hold time to become want, within the second that is promised.
func (f *fixture) soon(want time.Duration) {
	f.t.Helper()
	testkit.Eventually(f.t, time.Second, func() error {
		if got := holdTTL.Get(f.live); got != want {
			return fmt.Errorf("hold time is %s, want %s", got, want)
		}
		return nil
	})
}

func (f *fixture) logged(times int, part string) {
	f.t.Helper()
	testkit.Eventually(f.t, 2*time.Second, func() error {
		if got := strings.Count(f.log.String(), part); got != times {
			return fmt.Errorf("logged %d times %q, want %d", got, part, times)
		}
		return nil
	})
}

func (f *fixture) rejected(want int) {
	f.t.Helper()
	var buf bytes.Buffer
	if _, err := f.reg.WriteTo(&buf); err != nil {
		f.t.Fatal(err)
	}
	line := fmt.Sprintf("starlight_settings_rejected_total{key=\"ticketing.hold_ttl\"} %d\n", want)
	if !strings.Contains(buf.String(), line) {
		f.t.Errorf("metrics lack %q", line)
	}
}

func TestChangeWithinASecond(t *testing.T) {
	f := open(t)
	if got := holdTTL.Get(f.live); got != 10*time.Minute {
		t.Fatalf("default is %s", got)
	}
	changed := make(chan time.Duration, 10)
	f.live.OnChange(holdTTL, func() { changed <- holdTTL.Get(f.live) })

	f.put("ticketing.hold_ttl", "5m")
	f.soon(5 * time.Minute)
	f.put("ticketing.hold_ttl", "5m0s") // the same value: no call
	f.put("ticketing.max_per_order", "3")
	f.put("ticketing.hold_ttl", "6m")
	f.soon(6 * time.Minute)
	for _, want := range []time.Duration{5 * time.Minute, 6 * time.Minute} {
		select {
		case got := <-changed:
			if got != want {
				t.Errorf("told of %s, want %s", got, want)
			}
		case <-time.After(time.Second):
			t.Fatalf("not told of %s", want)
		}
	}
	if got := perOrder.Get(f.live); got != 3 {
		t.Errorf("order limit is %d", got)
	}
}

func TestBadValueIsRefused(t *testing.T) {
	f := open(t)
	f.put("ticketing.hold_ttl", "5m")
	f.soon(5 * time.Minute)
	f.put("ticketing.hold_ttl", "forever")
	f.logged(1, "value of a setting refused")
	if got := holdTTL.Get(f.live); got != 5*time.Minute {
		t.Errorf("hold time is %s", got)
	}
	f.rejected(1)
	s, ok := f.live.State("ticketing.hold_ttl")
	if !ok || !s.Set || s.Value != "5m" || s.Revision != 2 || !strings.Contains(s.Refused, "not a duration") {
		t.Errorf("state is %+v", s)
	}

	f.put("ticketing.hold_ttl", "7m")
	f.soon(7 * time.Minute)
	if s, _ := f.live.State("ticketing.hold_ttl"); s.Refused != "" {
		t.Errorf("a good value is still refused: %+v", s)
	}
}

// A process that starts while the newest value is bad behaves like those that saw the good one before.
func TestStartWithBadValue(t *testing.T) {
	tests := []struct {
		name    string
		history []string // "" deletes
		want    time.Duration
		set     bool
	}{
		{"good then bad", []string{"5m", "x"}, 5 * time.Minute, true},
		{"bad twice", []string{"4m", "5m", "x", "99h"}, 5 * time.Minute, true},
		{"never good", []string{"x"}, 10 * time.Minute, false},
		{"deleted in between", []string{"5m", "", "x"}, 10 * time.Minute, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, kv := newBucket(t)
			f := &fixture{t: t, nats: srv, kv: kv}
			for _, text := range tt.history {
				if text != "" {
					f.put("ticketing.hold_ttl", text)
				} else if err := kv.Delete(t.Context(), "ticketing.hold_ttl"); err != nil {
					t.Fatal(err)
				}
			}
			f.reopen()
			if got := holdTTL.Get(f.live); got != tt.want {
				t.Errorf("hold time is %s, want %s", got, tt.want)
			}
			s, _ := f.live.State("ticketing.hold_ttl")
			if s.Set != tt.set || s.Refused == "" || s.Revision != uint64(len(tt.history)) {
				t.Errorf("state is %+v", s)
			}
			f.logged(1, "value of a setting refused")
			f.rejected(1)
		})
	}
}

func TestDeleteGivesTheDefault(t *testing.T) {
	for name, remove := range map[string]func(*fixture) error{
		"delete": func(f *fixture) error { return f.kv.Delete(f.t.Context(), "ticketing.hold_ttl") },
		"purge":  func(f *fixture) error { return f.kv.Purge(f.t.Context(), "ticketing.hold_ttl") },
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			f.put("ticketing.hold_ttl", "5m")
			f.soon(5 * time.Minute)
			if err := remove(f); err != nil {
				t.Fatal(err)
			}
			f.soon(10 * time.Minute)
		})
	}
}

func TestUnknownKeyIsIgnored(t *testing.T) {
	f := open(t)
	f.put("ticketing.hold_tll", "5m")
	f.put("ticketing.hold_tll", "6m")
	f.put("ticketing.hold_ttl", "7m")
	f.soon(7 * time.Minute)
	f.logged(1, "unknown setting ignored")
}

// The server goes away and comes back: values stay meanwhile, and changes made afterwards arrive.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.put("ticketing.hold_ttl", "5m")
	f.soon(5 * time.Minute)
	f.nats.Stop()
	if got := holdTTL.Get(f.live); got != 5*time.Minute {
		t.Errorf("without a server the hold time is %s", got)
	}
	f.nats.Start()
	testkit.Eventually(t, 10*time.Second, func() error {
		_, err := f.kv.PutString(t.Context(), "ticketing.hold_ttl", "6m")
		return err
	})
	testkit.Eventually(t, 8*time.Second, func() error {
		if got := holdTTL.Get(f.live); got != 6*time.Minute {
			return fmt.Errorf("hold time is %s", got)
		}
		return nil
	})
}

// The bucket is deleted and made again, as after a restore: what it has now counts, also what it does not have.
func TestBucketMadeAnew(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.put("ticketing.hold_ttl", "5m")
	f.put("ticketing.max_per_order", "7")
	f.soon(5 * time.Minute)
	if err := f.nats.JS.DeleteKeyValue(t.Context(), settings.Bucket); err != nil {
		t.Fatal(err)
	}
	var kv jetstream.KeyValue
	testkit.Eventually(t, 10*time.Second, func() (err error) { // the server may still be clearing the folder
		kv, err = f.nats.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: settings.Bucket})
		return err
	})
	if _, err := kv.PutString(t.Context(), "ticketing.hold_ttl", "8m"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if hold, order := holdTTL.Get(f.live), perOrder.Get(f.live); hold != 8*time.Minute || order != 20 {
			return fmt.Errorf("hold time %s, order limit %d", hold, order)
		}
		return nil
	})
}

func TestKeyDeclaredTwice(t *testing.T) {
	_, kv := newBucket(t)
	_, err := settings.Open(t.Context(), kv, []settings.Definition{holdTTL, holdTTL}, slog.New(slog.DiscardHandler),
		observe.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "declared twice") {
		t.Errorf("error is %v", err)
	}
}

func TestStates(t *testing.T) {
	f := open(t)
	states := f.live.States()
	if len(states) != len(definitions()) {
		t.Fatalf("%d states", len(states))
	}
	for i := 1; i < len(states); i++ {
		if states[i-1].Key >= states[i].Key {
			t.Errorf("%s before %s", states[i-1].Key, states[i].Key)
		}
	}
}
