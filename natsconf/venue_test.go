package natsconf_test

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
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// sys connects as the system account does.
func sys(t *testing.T, srv *natsconf.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(srv.URL(), nats.UserCredentials(srv.Creds("sys")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// venue makes a venue known to a running server, as "starlight auth venue" does.
func venue(t *testing.T, srv *natsconf.Server, dir, id string) (v *natsconf.Venue, creds string) {
	t.Helper()
	v, err := natsconf.OpenVenue(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := v.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(t.TempDir(), id+".creds")
	if err := os.WriteFile(creds, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Push(t.Context(), sys(t, srv)); err != nil {
		t.Fatal(err)
	}
	return v, creds
}

// leaf starts the server of a venue and connects to it.
func leaf(t *testing.T, hub, id, creds string) (*natsconf.Leaf, *nats.Conn) {
	t.Helper()
	l, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Plain: true, Venue: id, Hub: hub, Creds: creds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopLeaf(t, l) })
	nc, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return l, nc
}

func stopLeaf(t *testing.T, l *natsconf.Leaf) {
	t.Helper()
	if err := l.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
		t.Error(err)
	}
}

func linked(t *testing.T, l *natsconf.Leaf, want bool) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, func() error {
		if l.Linked() != want {
			return fmt.Errorf("linked %v, want %v", !want, want)
		}
		return nil
	})
}

// answer makes nc answer requests on a subject.
func answer(t *testing.T, nc *nats.Conn, subject, with string) {
	t.Helper()
	if _, err := nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(with)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// hears subscribes to everything that a connection may, and returns what came.
func hears(t *testing.T, nc *nats.Conn) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

// A venue reaches the hub's connection in its account and nothing else: not the mesh, not another venue. The mesh does
// not reach into a venue either.
func TestVenuesAreAlone(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	a, credsA := venue(t, srv, dir, "ven_a")
	_, credsB := venue(t, srv, dir, "ven_b")
	leafA, ncA := leaf(t, srv.LeafURL(), "ven_a", credsA)
	leafB, ncB := leaf(t, srv.LeafURL(), "ven_b", credsB)
	linked(t, leafA, true)
	linked(t, leafB, true)
	hubA, err := srv.ConnectVenue(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hubA.Close)
	ticketing, gateway, ops := connect(t, srv, "ticketing"), connect(t, srv, "gateway"), connect(t, srv, "ops")

	answer(t, hubA, "venue.manifest", "from the hub")
	answer(t, ncA, "venue.scans", "from the venue")
	answer(t, ticketing, "api.ticketing.create_order", "from the mesh")
	if _, err := ncB.Request("venue.scans", nil, 300*time.Millisecond); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a venue asks another: %v", err)
	}
	overheard := map[string]*nats.Subscription{"venue b": hears(t, ncB), "the mesh": hears(t, ops)}

	testkit.Eventually(t, 10*time.Second, func() error { // interest travels over the line
		for subject, nc := range map[string]*nats.Conn{"venue.manifest": ncA, "venue.scans": hubA} {
			if _, err := nc.Request(subject, []byte("?"), time.Second); err != nil {
				return fmt.Errorf("%s: %w", subject, err)
			}
		}
		return nil
	})
	if _, err := gateway.Request("api.ticketing.create_order", nil, time.Second); err != nil {
		t.Fatal("the mesh itself: ", err)
	}
	for _, subject := range []string{"api.ticketing.create_order", "api.user.login", "ev.ticketing.order.paid", "$KV.inventory.pool.e1",
		"$JS.API.INFO", "$JS.API.STREAM.LIST", "$SRV.PING", "$SYS.REQ.SERVER.PING", "_INBOX_gateway.x"} {
		if m, err := ncA.Request(subject, []byte("{}"), 300*time.Millisecond); err == nil && !isError(m.Data) {
			t.Errorf("the venue was answered on %s: %s", subject, m.Data)
		}
	}
	if _, err := ops.Request("venue.scans", []byte("from the mesh"), 300*time.Millisecond); err == nil {
		t.Error("the mesh asks a venue")
	}
	for who, sub := range overheard {
		for {
			m, err := sub.NextMsg(100 * time.Millisecond)
			if err != nil {
				break
			}
			if strings.HasPrefix(m.Subject, "venue.") && string(m.Data) != "from the mesh" {
				t.Errorf("%s heard %s", who, m.Subject)
			}
		}
	}
}

// isError reports whether an answer of the server says that something is not there.
func isError(data []byte) bool { return len(data) == 0 || strings.Contains(string(data), `"error"`) }

// The line goes and comes back by itself. Credentials that were revoked no longer open it, also after a restart.
func TestVenueIsRevoked(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	v, creds := venue(t, srv, dir, "ven_a")
	l, _ := leaf(t, srv.LeafURL(), "ven_a", creds)
	linked(t, l, true)
	hub, err := srv.ConnectVenue(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Close)
	answer(t, hub, "venue.echo", "here")

	if err := v.Revoke(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := v.Push(t.Context(), sys(t, srv)); err != nil {
		t.Fatal(err)
	}
	linked(t, l, false)
	stopLeaf(t, l)
	testkit.Eventually(t, 10*time.Second, func() error { // the system's own connection comes back
		_, err := hub.Request("venue.echo", nil, time.Second)
		return err
	})

	again, _ := leaf(t, srv.LeafURL(), "ven_a", creds)
	_, fresh := venue(t, srv, dir, "ven_a")
	other, _ := leaf(t, srv.LeafURL(), "ven_a2", fresh)
	linked(t, other, true) // so the hub takes leaf nodes
	if again.Linked() {
		t.Error("revoked credentials connect")
	}
}

func TestVenueIDsAreNames(t *testing.T) {
	dir := t.TempDir()
	start(t, natsconf.Config{Dir: dir})
	for _, id := range []string{"", "ven_", "ven_../x", "evt_1", "ven_A", "ven_a.b", "ven_a b"} {
		if _, err := natsconf.OpenVenue(dir, id); err == nil {
			t.Errorf("%q is taken for the id of a venue", id)
		}
	}
	if _, err := natsconf.OpenVenue(t.TempDir(), "ven_a"); err == nil {
		t.Error("a venue was made without an operator")
	}
}
