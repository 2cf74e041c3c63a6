package gateway_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// atDefaultLevel gives the gateway the log that an operator reads.
func atDefaultLevel(log *testkit.Buffer) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) }
}

// What people ask about by its request id is in the log: what was refused, and what may have changed something.
func TestRequestsAreFoundInTheLog(t *testing.T) {
	log := &testkit.Buffer{}
	d := open(t, atDefaultLevel(log))
	event, anna := "/v1/events/"+string(theEvent), "Bearer "+d.token(person())
	for i, c := range []struct {
		method, path, body string
		status             int
		logged             bool
	}{
		{"GET", event, "", 200, false},
		{"HEAD", event, "", 200, false},
		{"OPTIONS", event, "", 204, false},
		{"POST", "/v1/sessions", `{"email":"a@example.org","password":"x"}`, 201, true},
		{"DELETE", event, "", 204, true},
		{"POST", "/v1/sessions", `{`, 400, true},
		{"GET", "/v1/config", "", 403, true},
		{"GET", "/v1/" + strings.Repeat("x", 4000), "", 404, true},
		{"PUT", event, "", 405, true},
	} {
		id := fmt.Sprintf("req_%d", i)
		a := d.do(c.method, c.path, c.body, "X-Request-Id", id, "Content-Type", "application/json", "Authorization", anna)
		if a.StatusCode != c.status {
			t.Errorf("%s %.40s: status %d, want %d", c.method, c.path, a.StatusCode, c.status)
		}
		if logged := strings.Contains(log.String(), "request_id="+id+" "); logged != c.logged {
			t.Errorf("%s %.40s, %d: in the log: %t, want %t", c.method, c.path, c.status, logged, c.logged)
		}
	}
	if n := len(log.String()); n > 6*600 {
		t.Errorf("the log has %d bytes: a path is not bounded", n)
	}
}

// A flood does not become a flood of lines; what is left out is counted, and other answers still have theirs.
func TestLinesOfTheLogAreBounded(t *testing.T) {
	log, registry := &testkit.Buffer{}, observe.NewRegistry()
	d := open(t, atDefaultLevel(log), func(c *gateway.Config) { c.Registry = registry })
	const most = 100 // a second, which the clock of the test does not reach
	anna := "Bearer " + d.token(person())
	for range most + 10 {
		d.do("GET", "/v1/config", "", "Authorization", anna)
	}
	for range 11 { // of a stranger there is one line
		d.do("GET", "/v1/nothing", "")
	}
	d.do("PUT", "/v1/events", "")
	if n := strings.Count(log.String(), "status=403"); n != most {
		t.Errorf("%d lines of a person, want %d", n, most)
	}
	if n := strings.Count(log.String(), "status=404"); n != 1 {
		t.Errorf("%d lines of a stranger, want 1", n)
	}
	if !strings.Contains(log.String(), "status=405") {
		t.Error("another answer has no line")
	}
	var metrics strings.Builder
	if _, err := registry.WriteTo(&metrics); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(metrics.String(), "\nstarlight_http_log_lines_dropped_total 20\n") {
		t.Error("twenty lines that were dropped are not counted")
	}
}

// What browsers and robots ask for by themselves is answered.
func TestAsides(t *testing.T) {
	d := open(t)
	for path, contentType := range map[string]string{"/favicon.ico": "image/svg+xml", "/robots.txt": "text/plain; charset=utf-8"} {
		if a := d.do("GET", path, ""); a.StatusCode != 200 || a.Header.Get("Content-Type") != contentType || a.body == "" {
			t.Errorf("%s: %d, %s", path, a.StatusCode, a.Header.Get("Content-Type"))
		}
	}
	if a := d.do("GET", "/docs/", ""); a.StatusCode != 308 || a.Header.Get("Location") != "/docs" {
		t.Errorf("/docs/: %d, to %q", a.StatusCode, a.Header.Get("Location"))
	}
}
