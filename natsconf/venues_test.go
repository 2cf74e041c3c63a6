package natsconf_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// With outside servers the system finds its way to a venue by a folder of credentials. They end with those of the
// venue, and the connection comes back with the ones that are made then.
func TestVenueOfOutsideServers(t *testing.T) {
	dir := external(t)
	srv := outside(t, filepath.Join(dir, "hub.conf"), func(o *server.Options) {
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	})
	system, err := nats.Connect(srv.ClientURL(), nats.UserCredentials(filepath.Join(dir, "creds", "sys.creds")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(system.Close)
	folder := natsconf.VenueFolder{Dir: filepath.Join(dir, "creds", "venues"), Dial: natsconf.DialConfig{URL: srv.ClientURL()}}
	if ids, err := folder.Venues(); err != nil || len(ids) != 0 {
		t.Errorf("venues before the first one: %v %v", ids, err)
	}
	v, err := natsconf.OpenVenue(dir, "ven_a")
	if err != nil {
		t.Fatal(err)
	}
	creds := filepath.Join(t.TempDir(), "venue.creds")
	issue := func() {
		t.Helper()
		if err := v.Push(t.Context(), system); err != nil {
			t.Fatal(err)
		}
		if err := v.WriteHubCreds(t.Context(), folder.Dir); err != nil {
			t.Fatal(err)
		}
		text, err := v.Credentials(t.Context())
		if err == nil {
			err = os.WriteFile(creds, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	issue()
	if ids, err := folder.Venues(); err != nil || len(ids) != 1 || ids[0] != "ven_a" {
		t.Errorf("venues: %v %v", ids, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	hub, err := folder.DialVenue(ctx, "ven_a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Close)
	answer(t, hub, "$SRV.PING.hub", "{}")
	answer(t, hub, "hub.echo", "here")
	z, err := srv.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, nc := line(t, natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: "nats-leaf://127.0.0.1:" + strconv.Itoa(z.LeafNode.Port), Creds: creds})
	isUp(t, l, true, 15*time.Second)
	echoes(t, nc, hub, 10*time.Second)

	if err := v.Revoke(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := v.Push(t.Context(), system); err != nil {
		t.Fatal(err)
	}
	isUp(t, l, false, 10*time.Second)
	testkit.Eventually(t, 10*time.Second, func() error {
		if hub.IsConnected() {
			return context.DeadlineExceeded
		}
		return nil
	})
	issue()
	isUp(t, l, true, 20*time.Second)
	echoes(t, nc, hub, 10*time.Second)
}
