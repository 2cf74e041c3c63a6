package observe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/observe/exposition"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestGatherMetrics(t *testing.T) {
	srv := testkit.NATS(t)
	log := testkit.Log(t)
	ctx := t.Context()
	for _, instance := range []string{"ticketing-1", "ticketing-2", "gateway-1"} {
		reg := sampleRegistry()
		if instance == "ticketing-2" {
			reg.Counter("starlight_only_two_total", "What just one instance has.").Inc()
		}
		nc := srv.Connect()
		if _, err := observe.AnswerMetrics(nc, instance, reg, log); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// An instance that answers nonsense must not spoil the rest, and one who disagrees about a type is left out there.
	if _, err := srv.Conn.Subscribe(observe.MetricsSubject, func(m *nats.Msg) {
		answer := nats.NewMsg(m.Reply)
		answer.Header.Set("Starlight-Instance", "broken-1")
		answer.Data = []byte("no gzip")
		if err := m.RespondMsg(answer); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	other := observe.NewRegistry()
	other.Gauge("starlight_request_duration_seconds", "A gauge here, a histogram elsewhere.").Set(1)
	if _, err := observe.AnswerMetrics(srv.Conn, "odd-1", other, log); err != nil {
		t.Fatal(err)
	}
	if err := srv.Conn.Flush(); err != nil {
		t.Fatal(err)
	}

	// The asking process also answers on the subject, like every process: it must be counted once.
	var buf bytes.Buffer
	err := observe.GatherMetrics(ctx, &buf, exposition.Text, srv.Connect(), "gateway-1", sampleRegistry())
	if err == nil || !strings.Contains(err.Error(), "broken-1") {
		t.Errorf("error is %v, want one about broken-1", err)
	}
	text := buf.String()
	checkStructure(t, text)
	for _, want := range []string{
		"starlight_instances 4\n",
		`starlight_requests_total{instance="ticketing-1",endpoint="orders.create",code="ok"} 3` + "\n",
		`starlight_requests_total{instance="gateway-1",endpoint="orders.create",code="ok"} 3` + "\n",
		`starlight_only_two_total{instance="ticketing-2"} 1` + "\n",
		`go_goroutines{instance="odd-1"} `,
	} {
		if got := strings.Count(text, want); got != 1 {
			t.Errorf("%q is there %d times", want, got)
		}
	}
	if strings.Contains(text, `starlight_request_duration_seconds{instance="odd-1"}`) {
		t.Error("one family has two types")
	}
	promtool(t, text, "check", "metrics")
}

func TestGatherWithoutOthers(t *testing.T) {
	srv := testkit.NATS(t)
	var buf bytes.Buffer
	if err := observe.GatherMetrics(t.Context(), &buf, exposition.Text, srv.Conn, "lonely-1", sampleRegistry()); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	for _, nc := range []*nats.Conn{nil, srv.Conn} {
		buf.Reset()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		// an error is allowed, an empty answer not
		_ = observe.GatherMetrics(ctx, &buf, exposition.Text, nc, "lonely-1", sampleRegistry())
		cancel()
		if !strings.Contains(buf.String(), `starlight_queue_depth{instance="lonely-1"`) {
			t.Errorf("own metrics are missing:\n%s", buf.String())
		}
	}
}

func TestShipAndTail(t *testing.T) {
	srv := testkit.NATS(t)
	stream := srv.Stream(observe.LogStream, "logs.>")
	reg := observe.NewRegistry()
	shipper := observe.NewShipper(reg)

	var local bytes.Buffer
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	ticketing := observe.NewShippingLogger(&local, "ticketing", "ticketing-1", level, shipper)
	payment := observe.NewShippingLogger(&local, "payment", "payment-1", level, shipper)
	ctx := observe.ContextWithRequest(t.Context(), "req_1", "")
	ticketing.DebugContext(ctx, "hold taken", "seats", 2) // before there is a connection
	payment.WarnContext(ctx, "provider slow", "took", 1500*time.Millisecond)
	payment.Error("provider gone", "error", errors.New("no \"level\":\"info\" route\x1b[2J"))

	run, cancel := context.WithCancel(t.Context())
	cancel() // Run sends what is queued even so
	shipper.Run(run, srv.Conn)
	testkit.Eventually(t, 5*time.Second, func() error {
		info, err := stream.Info(t.Context())
		if err == nil && info.State.Msgs != 3 {
			err = fmt.Errorf("%d lines in the stream", info.State.Msgs)
		}
		return err
	})

	tests := []struct {
		name string
		opts observe.TailOptions
		want string
	}{
		{"all", observe.TailOptions{}, "hold taken,provider slow,provider gone"},
		{"service", observe.TailOptions{Service: "payment"}, "provider slow,provider gone"},
		{"level", observe.TailOptions{Level: "error"}, "provider gone"},
		{"level and above", observe.TailOptions{Level: "info"}, "provider slow,provider gone"},
		{"request", observe.TailOptions{Request: "req_1"}, "hold taken,provider slow"},
		{"since", observe.TailOptions{Since: time.Now().Add(time.Hour)}, ""},
		{"nothing matches", observe.TailOptions{Service: "event"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			err := observe.Tail(t.Context(), srv.JS, tt.opts, func(e observe.Entry) error {
				got = append(got, e.Message)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, ",") != tt.want {
				t.Errorf("got %q", got)
			}
		})
	}
	for _, opts := range []observe.TailOptions{{Service: "*"}, {Service: "a.b"}, {Level: "loud"}} {
		if err := observe.Tail(t.Context(), srv.JS, opts, nil); err == nil {
			t.Errorf("%+v is accepted", opts)
		}
	}

	var text bytes.Buffer
	if err := observe.Tail(t.Context(), srv.JS, observe.TailOptions{},
		func(e observe.Entry) error { return e.WriteText(&text) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DEBUG ticketing/ticketing-1  hold taken request_id=req_1 seats=2", "took=1.5s",
		`\x1b[2J`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, text.String())
		}
	}
}

func TestTailFollows(t *testing.T) {
	srv := testkit.NATS(t)
	srv.Stream(observe.LogStream, "logs.>")
	shipper := observe.NewShipper(observe.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	shipping := make(chan struct{})
	go func() { defer close(shipping); shipper.Run(ctx, srv.Conn) }()

	got, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- observe.Tail(ctx, srv.JS, observe.TailOptions{Follow: true}, func(e observe.Entry) error {
			got <- e.Message
			return nil
		})
	}()
	log := observe.NewShippingLogger(&bytes.Buffer{}, "event", "event-1", slog.LevelInfo, shipper)
	for i := range 3 {
		want := fmt.Sprintf("line %d", i)
		log.Info(want)
		select {
		case m := <-got:
			if m != want {
				t.Errorf("got %q, want %q", m, want)
			}
		case <-time.After(testkit.Within(10 * time.Second)):
			t.Fatalf("%q does not arrive", want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end of the context is an error: %v", err)
	}
	<-shipping
}

// Lines beyond the queue are dropped and counted; no caller waits.
func TestShipperNeverBlocks(t *testing.T) {
	reg := observe.NewRegistry()
	shipper := observe.NewShipper(reg)
	log := observe.NewShippingLogger(&bytes.Buffer{}, "event", "event-1", slog.LevelInfo, shipper)
	for range 5000 {
		log.Info("x")
	}
	log.Info(strings.Repeat("long", 20_000))
	var buf bytes.Buffer
	if _, err := reg.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("starlight_log_lines_dropped_total %d\n", 5000-4096+1); !strings.Contains(buf.String(),
		want) {
		t.Errorf("metrics lack %q", want)
	}
}
