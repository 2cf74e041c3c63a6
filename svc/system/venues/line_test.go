package venues_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The computer of a venue connects with the credentials that its owner got, reaches the venue service and nothing else,
// and is cut off when they are revoked.
func TestLineOfAVenue(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Leaf = "127.0.0.1:0"
	s, sys, _ := systemtest.Start(t, cfg)
	_, owner := s.Join("owner@example.org")
	venue := systemtest.Call[api.Venue](s, 201, "POST", "/v1/venues", owner, api.NewVenue{Name: "Hall", Timezone: "UTC"})
	at := "/v1/venues/" + venue.ID.String()
	creds := filepath.Join(t.TempDir(), "venue.creds")
	fresh := func() {
		t.Helper()
		got := systemtest.Call[api.VenueCredentials](s, 201, "POST", at+"/credentials", owner, nil)
		if err := os.WriteFile(creds, []byte(got.Credentials), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fresh()
	leaf, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Venue: venue.ID.String(), Hub: systemtest.LeafURL(t, sys), Creds: creds,
		Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = leaf.Shutdown(t.Context()) })
	up := func(want bool, reason string) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			if state := leaf.State(); state.Up != want || !strings.Contains(state.Reason, reason) {
				return fmt.Errorf("the line is %+v", state)
			}
			return nil
		})
	}
	up(true, "")
	nc, err := leaf.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	edge := rpc.NewClient(nc, rpc.ClientConfig{Name: line.Edge})
	ask := &line.Ask{Session: line.Session{Edge: "edge-one-1", Number: 1}}
	if _, err := rpc.Call(t.Context(), edge, line.AskState, ask); !fault.Is(err, fault.Precondition) {
		t.Errorf("a request without a hello: %v", err)
	}
	for _, d := range append(api.All(), line.Endpoints()...) {
		_, err := nc.Request(d.Subject(), []byte("{}"), 200*time.Millisecond)
		if !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("the venue reaches %s: %v", d.Subject(), err)
		}
	}
	if status := systemtest.Call[api.VenueStatus](s, 200, "GET", at+"/status", owner, nil); status.Online {
		t.Errorf("a venue that said no hello is %+v", status)
	}

	systemtest.Call[any](s, 204, "DELETE", at+"/credentials", owner, nil)
	up(false, "refuses the credentials")
	fresh()
	up(true, "")
}
