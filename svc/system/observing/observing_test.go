package observing_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
	"github.com/starlightsymphony/starlight/svc/system/demo"
)

const (
	adminEmail    = "root@example.org"
	adminPassword = "a long enough sentence"
)

// actsAsMember makes the test binary one more process of a system: starlight with its command line.
const actsAsMember = "STARLIGHT_TEST_MEMBER"

func TestMain(m *testing.M) {
	if os.Getenv(actsAsMember) != "" {
		os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	testkit.Main(m)
}

// config is that of a whole system with its own NATS server and databases.
func config(t *testing.T) system.Config {
	return system.Config{Data: t.TempDir(), HTTP: "127.0.0.1:0", Ops: "127.0.0.1:0", NATS: "127.0.0.1:0", Sandbox: true,
		AdminEmail: adminEmail, AdminPassword: adminPassword, LogTo: io.Discard}
}

// start starts a system that ends with the test.
func start(t *testing.T, cfg system.Config) *system.System {
	t.Helper()
	s, err := system.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Within(20*time.Second))
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// join starts one more process of a system, with these roles. It is killed when the test ends, or by kill.
func join(t *testing.T, s *system.System, cfg system.Config, roles ...string) (kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"run"}, roles...)...)
	cmd.Env = append(os.Environ(), actsAsMember+"=1", "STARLIGHT_DATA="+t.TempDir(), "STARLIGHT_OPS=off",
		"STARLIGHT_NATS_URL="+s.NATSURL(), "STARLIGHT_NATS_CREDS="+filepath.Join(cfg.Data, "creds"),
		"STARLIGHT_DATABASE_URL=sqlite:"+filepath.Join(cfg.Data, "sql"),
		"STARLIGHT_OTLP="+cfg.Traces)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "ready") {
			return kill
		}
	}
	kill()
	t.Fatalf("%v did not become ready: %s", roles, &said)
	return nil
}

// sell has the tour buy two tickets, and admits one of them.
func sell(t *testing.T, s *system.System) {
	t.Helper()
	cfg := demo.Config{BaseURL: s.URL(), Out: io.Discard, AdminEmail: adminEmail, AdminPassword: adminPassword}
	if err := demo.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// run runs another program until the test ends, and shows what it said if the test failed.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	var said strings.Builder
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(program), &said)
		}
	})
}

// set changes a live setting.
func set(t *testing.T, s *system.System, key, value string) {
	t.Helper()
	var session struct {
		AccessToken string `json:"access_token"`
	}
	send := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if session.AccessToken != "" {
			req.Header.Set("Authorization", "Bearer "+session.AccessToken)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&session); err != nil || resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %v", method, path, resp.StatusCode, err)
		}
	}
	send("POST", "/v1/sessions", fmt.Sprintf(`{"email":%q,"password":%q}`, adminEmail, adminPassword))
	send("PUT", "/v1/config/"+key, fmt.Sprintf(`{"value":%q}`, value))
}
