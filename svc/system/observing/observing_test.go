package observing_test

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/demo"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

// config is that of a whole system that takes payments at the sandbox.
func config(t *testing.T) system.Config {
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox = true
	return cfg
}

// join starts one more process of a system, with these roles.
func join(t *testing.T, sys *system.System, cfg system.Config, roles ...string) *systemtest.Process {
	t.Helper()
	return systemtest.Spawn(t, "starlight", []string{"STARLIGHT_DATA=" + t.TempDir(), "STARLIGHT_OPS=off",
		"STARLIGHT_NATS_URL=" + sys.NATSURL(), "STARLIGHT_NATS_CREDS=" + filepath.Join(cfg.Data, "creds"),
		"STARLIGHT_DATABASE_URL=sqlite:" + filepath.Join(cfg.Data, "sql"),
		"STARLIGHT_OTLP=" + cfg.Traces}, append([]string{"run"}, roles...)...)
}

// venue opens the doors of an event at a venue, admits there, and returns where its metrics are.
func venue(t *testing.T, hub *systemtest.Site, s *system.System, cfg system.Config) (ops string) {
	t.Helper()
	hub.Unlimited(hub.Login(systemtest.AdminEmail))
	_, owner := hub.Join("owner@example.org")
	_, buyer := hub.Join("buyer@example.org")
	h := &systemtest.Hall{Hub: hub, Owner: owner, Event: hub.Concert(owner, 100, 2500), Cfg: cfg}
	tickets := hub.Pay(buyer, systemtest.Call[api.Order](hub, 201, "POST", "/v1/orders", buyer, systemtest.Seats(h.Event, 2)))
	h.Open(t, strings.TrimPrefix(systemtest.LeafURL(t, s), "nats-leaf://"))
	at, ops := testkit.FreeAddress(t), testkit.FreeAddress(t)
	h.P = systemtest.Spawn(t, "starlight", nil, "edge", "--venue", h.Venue.ID.String(), "--hub", "nats-leaf://"+h.Line.Addr,
		"--creds", h.Creds, "--data", h.Folder, "--http", at, "--ops", ops)
	h.Edge = &systemtest.Site{T: t, URL: "http://" + at}
	systemtest.Call[api.Lease](hub, 201, "POST", h.At("/leases"), owner,
		api.NewLease{VenueID: h.Venue.ID, TicketTypeID: h.Event.TicketTypes[0].ID, Quantity: 5})
	h.Take(t)
	h.AtVenue(t, tickets[0])
	return ops
}

// sell has the tour buy two tickets, and admits one of them.
func sell(t *testing.T, s *system.System) {
	t.Helper()
	cfg := demo.Config{BaseURL: s.URL(), Out: io.Discard, AdminEmail: systemtest.AdminEmail,
		AdminPassword: systemtest.Password}
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
