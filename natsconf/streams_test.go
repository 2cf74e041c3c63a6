package natsconf_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func inventory(t testing.TB, js jetstream.JetStream) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), api.InventoryStream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

// drift changes the inventory's settings the way `nats kv edit` does: it builds them anew from what a bucket knows.
func drift(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	cfg := inventory(t, js)
	cfg.DiscardNewPerSubject, cfg.AllowDirect = false, true
	cfg.MaxMsgsPerSubject, cfg.MaxAge, cfg.AllowRollup = 1, time.Hour, false
	cfg.RePublish = &jetstream.RePublish{Source: ">", Destination: "elsewhere.>"}
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func checkInventory(t testing.TB, cfg jetstream.StreamConfig) {
	t.Helper()
	if !healthy(cfg) {
		t.Errorf("inventory: %+v", cfg)
	}
}

func healthy(cfg jetstream.StreamConfig) bool {
	return cfg.DiscardNewPerSubject && !cfg.AllowDirect && cfg.AllowRollup && cfg.DenyDelete && cfg.MaxMsgsPerSubject == 65_535 &&
		cfg.MaxAge == 0 && cfg.RePublish == nil && cfg.Discard == jetstream.DiscardNew && cfg.Storage == jetstream.FileStorage
}

func TestEnsure(t *testing.T) {
	srv := start(t, natsconf.Config{})
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 { // processes that start together
		js := jetStream(t, connect(t, srv, "config"))
		wg.Go(func() { errs <- natsconf.Ensure(t.Context(), js, api.Streams(), 1) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	js := jetStream(t, connect(t, srv, "config"))
	ops := jetStream(t, connect(t, srv, "ops"))
	names := map[string]bool{}
	for name := range ops.StreamNames(t.Context()).Name() {
		names[name] = true
	}
	for _, want := range api.Streams() {
		if !names[want.Name] {
			t.Errorf("%s is missing", want.Name)
		}
	}
	if len(names) != len(api.Streams()) {
		t.Errorf("streams: %v", names)
	}
	checkInventory(t, inventory(t, js))

	drift(t, js)
	if healthy(inventory(t, js)) {
		t.Fatal("the drift had no effect")
	}
	if err := natsconf.Ensure(t.Context(), js, api.Streams(), 1); err != nil {
		t.Fatal(err)
	}
	checkInventory(t, inventory(t, js))
}

// TestEnsureIsQuiet shows that a declared stream reads back as declared: otherwise every start would update it.
func TestEnsureIsQuiet(t *testing.T) {
	srv := start(t, natsconf.Config{})
	js := ensured(t, srv)
	updates, err := js.Conn().SubscribeSync("$JS.EVENT.ADVISORY.STREAM.UPDATED.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := natsconf.Ensure(t.Context(), js, api.Streams(), 1); err != nil {
		t.Fatal(err)
	}
	// A change that is certainly announced: whatever comes before it was done by Ensure.
	admin := jetStream(t, connect(t, srv, "admin"))
	mark := jetstream.StreamConfig{Name: "MARK", Subjects: []string{"mark.>"}}
	if _, err := admin.CreateStream(t.Context(), mark); err != nil {
		t.Fatal(err)
	}
	mark.MaxAge = time.Hour
	if _, err := admin.UpdateStream(t.Context(), mark); err != nil {
		t.Fatal(err)
	}
	msg, err := updates.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "$JS.EVENT.ADVISORY.STREAM.UPDATED.MARK" {
		t.Errorf("Ensure changed a stream that was as declared: %s", msg.Subject)
	}
}

func TestEnsureRefusesMemory(t *testing.T) {
	srv := start(t, natsconf.Config{})
	js := jetStream(t, connect(t, srv, "config"))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: api.InventoryStream, Subjects: []string{"$KV.inventory.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	if err := natsconf.Ensure(t.Context(), js, api.Streams(), 1); err == nil {
		t.Error("an inventory in memory was accepted")
	}
}

func TestGuard(t *testing.T) {
	srv := start(t, natsconf.Config{})
	js := ensured(t, srv)
	drift(t, js) // before the guard is there
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- natsconf.Guard(ctx, js, natsconf.GuardConfig{Streams: api.Streams(), Replicas: 1, Log: slog.New(slog.DiscardHandler)})
	}()
	eventually(t, "the old drift is repaired", func() bool { return healthy(inventory(t, js)) })
	for range 3 {
		drift(t, js)
		began := time.Now()
		eventually(t, "the drift is repaired", func() bool { return healthy(inventory(t, js)) })
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the repair took %s", took)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A stream that collects requests, or publishes into what the parts of the system say, is removed. Others stay: a newer
// version may have declared them.
func TestGuardRemovesStreams(t *testing.T) {
	srv := start(t, natsconf.Config{})
	js := ensured(t, srv)
	admin := jetStream(t, connect(t, srv, "admin"))
	removed := make(chan string, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	create := func(cfg jetstream.StreamConfig) {
		t.Helper()
		cfg.Storage = jetstream.MemoryStorage
		if _, err := admin.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	create(jetstream.StreamConfig{Name: "BEFORE", Subjects: []string{"api.user.login"}})
	go func() {
		done <- natsconf.Guard(ctx, js, natsconf.GuardConfig{Streams: api.Streams(), Replicas: 1, Reserved: []string{"api.>", "live.>"},
			Log: slog.New(slog.DiscardHandler), Removed: func(name string) { removed <- name }})
	}()
	want := func(name string) {
		t.Helper()
		select {
		case got := <-removed:
			if got != name {
				t.Errorf("%s was removed, not %s", got, name)
			}
		case <-time.After(testkit.Within(10 * time.Second)):
			t.Fatalf("%s was not removed", name)
		}
		if _, err := admin.Stream(t.Context(), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	want("BEFORE")
	keep := []jetstream.StreamConfig{{Name: "NEWER", Subjects: []string{"newer.>"}}, {Name: "KV_newer", Subjects: []string{"$KV.newer.>"}},
		{Name: "COPY", Sources: []*jetstream.StreamSource{{Name: api.EventsStream}}},
		{Name: "ASIDE", Subjects: []string{"aside.>"}, RePublish: &jetstream.RePublish{Source: "aside.>", Destination: "elsewhere.>"}}}
	for _, cfg := range keep {
		create(cfg)
	}
	for name, cfg := range map[string]jetstream.StreamConfig{
		"REQUESTS": {Subjects: []string{"api.>"}},
		"LOGINS":   {Subjects: []string{"api.*.login"}},
		"LIVE":     {Subjects: []string{"live.user.u1"}},
		"REPLIES":  {Subjects: []string{"_INBOX_gateway.>"}},
		"TOOL":     {Subjects: []string{"_INBOX.>"}},
		"FORGER":   {Subjects: []string{"x.a"}, RePublish: &jetstream.RePublish{Source: "x.a", Destination: "api.event.cancel"}},
		"MONEY":    {Subjects: []string{"x.b"}, RePublish: &jetstream.RePublish{Source: "x.b", Destination: "ev.payment.payment.succeeded"}},
	} {
		cfg.Name = name
		create(cfg)
		want(name)
	}
	create(jetstream.StreamConfig{Name: "LATER", Subjects: []string{"x.c"}})
	if _, err := admin.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "LATER", Storage: jetstream.MemoryStorage, Subjects: []string{"x.c", "api.user.login"}}); err != nil {
		t.Fatal(err)
	}
	want("LATER")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, cfg := range append(keep, api.Streams()...) {
		if _, err := admin.Stream(t.Context(), cfg.Name); err != nil {
			t.Errorf("%s: %v", cfg.Name, err)
		}
	}
}

// TestInventoryCommit shows that one of two commits that follow the same record is taken, that no record pushes out
// another, and that the newest is what the bucket says.
func TestInventoryCommit(t *testing.T) {
	srv := start(t, natsconf.Config{})
	ensured(t, srv)
	js := jetStream(t, connect(t, srv, "ticketing"))
	last := uint64(0)
	for i := range 70 {
		ack, err := js.Publish(t.Context(), "$KV.inventory.pool.e1", fmt.Append(nil, i), jetstream.WithExpectLastSequencePerSubject(last))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "$KV.inventory.pool.e1", nil, jetstream.WithExpectLastSequencePerSubject(last)); err == nil {
			t.Fatal("a stale commit was taken")
		}
		last = ack.Sequence
	}
	kv, err := js.KeyValue(t.Context(), api.InventoryBucket)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "pool.e1"); err != nil || string(e.Value()) != "69" {
		t.Errorf("pool: %v, %v", e, err)
	}
	s, err := js.Stream(t.Context(), api.InventoryStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 70 {
		t.Errorf("%d records of 70 are kept", n)
	}
}

// TestOutboxBatch shows that a relay may publish many events with message ids as one write.
func TestOutboxBatch(t *testing.T) {
	srv := start(t, natsconf.Config{})
	ensured(t, srv)
	js := jetStream(t, connect(t, srv, "ticketing"))
	publish := func(first, last int) error {
		batch, err := jetstreamext.NewBatchPublisher(js)
		if err != nil {
			return err
		}
		msg := func(i int) *nats.Msg {
			m := nats.NewMsg("ev.ticketing.order.paid")
			m.Header.Set(jetstream.MsgIDHeader, fmt.Sprint(i))
			return m
		}
		for i := first; i < last; i++ {
			if err := batch.AddMsg(msg(i)); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = batch.CommitMsg(ctx, msg(last))
		return err
	}
	if err := publish(1, 50); err != nil {
		t.Fatal(err)
	}
	var refused *jetstream.APIError
	if err := publish(50, 60); !errors.As(err, &refused) || refused.ErrorCode != 10201 {
		t.Errorf("a batch with a known id: %v", err)
	}
	if _, err := js.Publish(t.Context(), "ev.ticketing.order.paid", nil, jetstream.WithMsgID("60")); err != nil {
		t.Fatal(err)
	}
	ops := jetStream(t, connect(t, srv, "ops"))
	s, err := ops.Stream(t.Context(), api.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 51 {
		t.Errorf("%d events, want 51", n)
	}
}

func BenchmarkStart(b *testing.B) {
	ready := func(b *testing.B, dir string) *natsconf.Server {
		srv, err := natsconf.Start(b.Context(), natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Roles: roles()})
		if err != nil {
			b.Fatal(err)
		}
		nc, err := srv.Connect("config")
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		if err := natsconf.Ensure(b.Context(), jetStream(b, nc), api.Streams(), 1); err != nil {
			b.Fatal(err)
		}
		return srv
	}
	b.Run("empty", func(b *testing.B) {
		for b.Loop() {
			srv := ready(b, b.TempDir())
			b.StopTimer()
			stop(b, srv)
			b.StartTimer()
		}
	})
	b.Run("used", func(b *testing.B) {
		dir := b.TempDir()
		stop(b, ready(b, dir))
		for b.Loop() {
			srv := ready(b, dir)
			b.StopTimer()
			stop(b, srv)
			b.StartTimer()
		}
	})
}

// TestProbe shows that readiness checks can write, and that what they write does not pile up.
func TestProbe(t *testing.T) {
	prober := natsconf.NewRole("prober", natsconf.PublishTo("probe.>"))
	srv := start(t, natsconf.Config{Roles: append(roles(), prober)})
	ensured(t, srv)
	nc := jetStream(t, connect(t, srv, "prober"))
	for range 3 {
		for _, instance := range []string{"probe.one", "probe.two"} {
			if ack, err := nc.Publish(t.Context(), instance, []byte("now")); err != nil || ack.Stream != api.ProbeStream {
				t.Fatalf("%s: %+v %v", instance, ack, err)
			}
		}
	}
	stream, err := jetStream(t, connect(t, srv, "config")).Stream(t.Context(), api.ProbeStream)
	if err != nil {
		t.Fatal(err)
	}
	if info := stream.CachedInfo(); info.State.Msgs != 2 || info.Config.MaxAge != 24*time.Hour || info.Config.Storage != jetstream.FileStorage {
		t.Errorf("%d messages, %+v", info.State.Msgs, info.Config)
	}
}
