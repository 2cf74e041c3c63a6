package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The computer of a venue gets credentials from a running system, which takes it in at once, and loses them again.
func TestAuthVenue(t *testing.T) {
	data := t.TempDir()
	s := up(t, data, "--leaf", "127.0.0.1:0")
	venue := string(ids.New[ids.VenueKind](time.Now()))
	creds := filepath.Join(t.TempDir(), "venue.creds")
	if out := s.does("auth", "venue", venue, "--out", creds); !strings.Contains(out, creds) {
		t.Errorf("auth venue said %q", out)
	}
	if info, err := os.Stat(creds); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the credentials: %v %v", info, err)
	}
	leaf, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Venue: venue, Hub: s.ready["leaf"], Creds: creds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = leaf.Shutdown(t.Context()) })
	linked := func(want bool) {
		t.Helper()
		testkit.Eventually(t, 15*time.Second, func() error {
			if leaf.Linked() != want {
				return fmt.Errorf("linked: %v", !want)
			}
			return nil
		})
	}
	linked(true)
	fails(t, nil, "exists", "auth", "venue", venue, "--out", creds, "--data", data)
	fails(t, nil, "not", "auth", "venue", "evt_1", "--data", data)
	s.does("auth", "venue", venue, "--revoke")
	linked(false)
	testkit.Eventually(t, 20*time.Second, func() error { // one line of each, none of what failed
		log := s.does("audit-log")
		if n := strings.Count(log, `"auth.venue"`); n != 2 || strings.Count(log, venue) != 2 {
			return fmt.Errorf("%d lines: %s", n, log)
		}
		return nil
	})

	s.end(syscall.SIGTERM)
	if _, err := os.Stat(filepath.Join(data, "members")); err == nil {
		t.Error("an embedded server has credentials for itself")
	}
	fails(t, nil, "no server knows the venue yet", "auth", "venue", venue, "--out", creds+"2", "--data", data)
}

// For outside servers the system has credentials of its own, which end with those of the venue.
func TestAuthVenueOfOutsideServers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "auth")
	if code, _, stderr := execute(t, nil, "auth", "init", dir); code != 0 {
		t.Fatal(stderr)
	}
	venue := string(ids.New[ids.VenueKind](time.Now()))
	out := filepath.Join(t.TempDir(), "venue.creds")
	own := natsconf.HubCreds(filepath.Join(dir, "members", "venue", "venues"), venue)
	auth := func(args ...string) string {
		t.Helper()
		args = append([]string{"auth", "venue", venue, "--data", dir, "--nats-url", "nats://127.0.0.1:1"}, args...)
		fails(t, nil, "no server answers", args...)
		text, err := os.ReadFile(own)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := auth("--out", out)
	if auth("--out", out+"2") != first {
		t.Error("more credentials for the venue are others for the system")
	}
	if auth("--revoke") == first {
		t.Error("the system keeps credentials that are revoked")
	}
}
