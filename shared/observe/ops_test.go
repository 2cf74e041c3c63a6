package observe_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestHealth(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	var runs atomic.Int32
	var failure atomic.Value
	failure.Store("")
	h := observe.NewHealth(clock.Now, observe.Check{Name: "sql", Run: func(context.Context) error {
		runs.Add(1)
		if s := failure.Load().(string); s != "" {
			return errors.New(s)
		}
		return nil
	}})
	ctx := t.Context()
	if r := h.Report(ctx); r.Ready || r.Reason != "starting" {
		t.Errorf("before Start: %+v", r)
	}
	h.Start()
	if !h.Ready(ctx) {
		t.Error("not ready")
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the check ran %d times within a second", n)
	}
	failure.Store("disk full at postgres://u:hunter22@db")
	if !h.Ready(ctx) {
		t.Error("the report was not kept for a second")
	}
	clock.Advance(time.Second)
	r := h.Report(ctx)
	if r.Ready || len(r.Checks) != 1 || r.Checks[0].OK || !strings.Contains(r.Checks[0].Error, "disk full") {
		t.Errorf("after a failure: %+v", r)
	}
	if strings.Contains(r.Checks[0].Error, "hunter22") {
		t.Errorf("a password is in the report: %s", r.Checks[0].Error)
	}
	failure.Store("")
	clock.Advance(time.Second)
	if !h.Ready(ctx) {
		t.Error("does not recover")
	}
	h.Drain()
	h.Start()
	if r := h.Report(ctx); r.Ready || r.Reason != "draining" {
		t.Errorf("after Drain: %+v", r)
	}
}

// A check that panics or never comes back is a failure, and does not pile up.
func TestHealthBadChecks(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	release := make(chan struct{})
	var hanging atomic.Int32
	h := observe.NewHealth(clock.Now,
		observe.Check{Name: "panics", Run: func(context.Context) error { panic("boom") }},
		observe.Check{Name: "hangs", Run: func(context.Context) error { hanging.Add(1); <-release; return nil }},
	)
	h.Start()
	gone, cancel := context.WithCancel(t.Context())
	cancel() // a caller that left must not turn into a failure of the others
	r := h.Report(gone)
	if r.Ready || r.Checks[0].Error != "panic: boom" || !strings.Contains(r.Checks[1].Error, "no answer in 2s") {
		t.Errorf("report is %+v", r)
	}
	clock.Advance(time.Second)
	if r = h.Report(t.Context()); !strings.Contains(r.Checks[1].Error, "has not come back") || hanging.Load() != 1 {
		t.Errorf("second report is %+v, %d runs", r, hanging.Load())
	}
	close(release)
	testkit.Eventually(t, 5*time.Second, func() error {
		clock.Advance(time.Second)
		if r := h.Report(t.Context()); !r.Checks[1].OK {
			return errors.New(r.Checks[1].Error)
		}
		return nil
	})
}

// A check that is late passes until its last success is ten seconds old: what is slow is not broken. One that fails, fails.
func TestSlowChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where sleeping takes no time
		var slow, broken atomic.Bool
		h := observe.NewHealth(time.Now, observe.Check{Name: "sql", Run: func(ctx context.Context) error {
			if broken.Load() {
				return errors.New("disk full")
			}
			if slow.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		h.Start()
		if !h.Ready(t.Context()) {
			t.Fatal("not ready")
		}
		began := time.Now()
		slow.Store(true)
		time.Sleep(time.Second)
		if r := h.Report(t.Context()); !r.Ready || r.Checks[0].Error == "" {
			t.Errorf("late once: %+v", r)
		}
		for time.Since(began) < 10*time.Second {
			time.Sleep(time.Second)
			h.Report(t.Context())
		}
		if r := h.Report(t.Context()); r.Ready {
			t.Errorf("late for %v: %+v", time.Since(began), r)
		}
		slow.Store(false)
		time.Sleep(time.Second)
		if !h.Ready(t.Context()) {
			t.Error("does not recover")
		}
		broken.Store(true)
		time.Sleep(time.Second)
		if h.Ready(t.Context()) {
			t.Error("a failure passes")
		}
	})
}

func TestOpsListener(t *testing.T) {
	srv := testkit.NATS(t)
	healthy := atomic.Bool{}
	healthy.Store(true)
	clock := testkit.NewClock(time.Time{})
	ops := &observe.Ops{
		Instance: "gateway-1",
		Registry: sampleRegistry(),
		NATS:     srv.Conn,
		Log:      testkit.Log(t),
		Health: observe.NewHealth(clock.Now, observe.Check{Name: "nats", Run: func(context.Context) error {
			if !healthy.Load() {
				return errors.New("no write")
			}
			return nil
		}}),
	}
	ops.Health.Start()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- ops.Serve(ctx, ln) }()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := client.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}

	if status, body := get("/healthz"); status != 200 || !strings.Contains(body, "ok") {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if status, _ := get("/readyz"); status != 200 {
		t.Errorf("/readyz: %d", status)
	}
	healthy.Store(false)
	clock.Advance(time.Second)
	status, body := get("/readyz")
	var report observe.Report
	if err := json.Unmarshal([]byte(body), &report); err != nil || status != 503 ||
		report.Checks[0].Error != "no write" {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, body := get("/healthz"); status != 200 {
		t.Errorf("alive but not ready is not healthy: %d %s", status, body)
	}
	status, body = get("/metrics")
	if status != 200 || !strings.Contains(body, `starlight_seats{instance="gateway-1",state="held"} 7`) {
		t.Errorf("/metrics: %d", status)
	}
	promtool(t, body, "check", "metrics")
	if status, body := get("/debug/pprof/goroutine?debug=1"); status != 200 ||
		!strings.Contains(body, "goroutine profile") {
		t.Errorf("pprof: %d", status)
	}
	if status, _ := get("/nothing"); status != 404 {
		t.Errorf("/nothing: %d", status)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// A name that a page of the web can have is refused, and profiles from elsewhere, unless the token is there.
func TestOpsAccess(t *testing.T) {
	health := observe.NewHealth(time.Now)
	health.Start()
	ask := func(token, path, host, from, authorization string) int {
		ops := &observe.Ops{Instance: "a", Registry: sampleRegistry(), Log: testkit.Log(t), Health: health, Token: token}
		r := httptest.NewRequest("GET", path, nil)
		r.Host, r.RemoteAddr = host, from
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		ops.Handler().ServeHTTP(w, r)
		return w.Code
	}
	const here, there, profile = "127.0.0.1:999", "10.0.0.7:999", "/debug/pprof/heap"
	for _, tt := range []struct {
		token, path, host, from, authorization string
		want                                   int
	}{
		{"", "/metrics", "127.0.0.1:9090", here, "", 200},
		{"", "/metrics", "[::1]:9090", "[::1]:9", "", 200},
		{"", "/metrics", "localhost:9090", here, "", 200},
		{"", "/metrics", "gateway:9090", there, "", 200},
		{"", "/metrics", "10.0.0.5", there, "", 200},
		{"", "/metrics", "evil.example", here, "", 403},
		{"", "/healthz", "evil.example:9090", here, "", 403},
		{"", "/healthz", "127.0.0.1.evil.example", here, "", 403},
		{"", "/healthz", "", here, "", 403},
		{"", profile, "127.0.0.1:9090", here, "", 200},
		{"", profile, "[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]:9", "", 200},
		{"", profile, "gateway:9090", there, "", 403},
		{"", profile, "gateway:9090", there, "Bearer ", 403},
		{"s3cret", profile, "gateway:9090", there, "", 403},
		{"s3cret", profile, "gateway:9090", there, "Bearer wrong", 403},
		{"s3cret", profile, "gateway:9090", there, "Bearer s3cret", 200},
		{"s3cret", "/metrics", "ops.example.org", there, "Bearer s3cret", 200},
		{"s3cret", "/metrics", "ops.example.org", there, "", 403},
	} {
		if got := ask(tt.token, tt.path, tt.host, tt.from, tt.authorization); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}
