package natsconf_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// hubOf connects the hub to a venue, where it answers pings, and echoes on hub.echo.
func hubOf(t *testing.T, srv *natsconf.Server, v *natsconf.Venue) *nats.Conn {
	t.Helper()
	nc, err := srv.ConnectVenue(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	answer(t, nc, "$SRV.PING.hub", "{}")
	answer(t, nc, "hub.echo", "here")
	return nc
}

// states collects what a leaf node says of its line.
type states struct {
	mu  sync.Mutex
	all []natsconf.LineState
}

func (s *states) add(one natsconf.LineState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

func (s *states) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.all)
}

// line starts the server of a venue whose line is watched closely.
func line(t *testing.T, cfg natsconf.LeafConfig) (*natsconf.Leaf, *nats.Conn) {
	t.Helper()
	cfg.Log = testkit.Log(t)
	l, err := natsconf.StartLeaf(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	nc, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return l, nc
}

func isUp(t *testing.T, l *natsconf.Leaf, want bool, within time.Duration) natsconf.LineState {
	t.Helper()
	var state natsconf.LineState
	testkit.Eventually(t, within, func() error {
		if state = l.State(); state.Up != want {
			return fmt.Errorf("the line is %+v", state)
		}
		return nil
	})
	return state
}

// echoes waits until both sides reach each other.
func echoes(t *testing.T, nc, hub *nats.Conn, within time.Duration) {
	t.Helper()
	if _, err := nc.Subscribe("venue.echo", func(m *nats.Msg) { _ = m.Respond([]byte("there")) }); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, within, func() error {
		for subject, from := range map[string]*nats.Conn{"hub.echo": nc, "venue.echo": hub} {
			if _, err := from.Request(subject, nil, 3*time.Second); err != nil {
				return fmt.Errorf("%s: %w", subject, err)
			}
		}
		return nil
	})
}

// A line whose credentials are revoked goes within seconds, and says why; with new ones in the same file it comes back.
func TestLineSaysWhyItIsCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	v, creds := venue(t, srv, dir, "ven_a")
	hubOf(t, srv, v)
	var seen states
	l, _ := line(t, natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: srv.LeafURL(), Creds: creds, OnChange: seen.add})
	isUp(t, l, true, 10*time.Second)
	if err := v.Revoke(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := v.Push(t.Context(), sys(t, srv)); err != nil {
		t.Fatal(err)
	}
	isUp(t, l, false, 5*time.Second)
	testkit.Eventually(t, 10*time.Second, func() error {
		if state := l.State(); !strings.Contains(state.Reason, "refuses the credentials") {
			return fmt.Errorf("the reason is %q", state.Reason)
		}
		return nil
	})
	fresh, err := v.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(creds, fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	if state := isUp(t, l, true, 15*time.Second); state.Reason != "" {
		t.Errorf("the line is up: %+v", state)
	}
	if n := strings.Count(seen.String(), "true"); n != 2 {
		t.Errorf("it said %s", &seen)
	}
}

// The hub has lost where the answers to one connection of the venue are to go. The line counts as cut, though another one
// is answered, and its server is started anew.
func TestLineThatLosesTheAnswersOfOneConnection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	v, creds := venue(t, srv, dir, "ven_a")
	hub, err := srv.ConnectVenue(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Close)
	var lost atomic.Pointer[string]
	if _, err := hub.Subscribe("$SRV.PING.hub", func(m *nats.Msg) {
		if inbox := lost.Load(); inbox == nil || !strings.HasPrefix(m.Reply, *inbox) {
			_ = m.Respond([]byte("{}"))
		}
	}); err != nil {
		t.Fatal(err)
	}
	l, nc := line(t, natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: srv.LeafURL(), Creds: creds, Patience: time.Second})
	isUp(t, l, true, 10*time.Second)
	inbox := nc.NewRespInbox()
	inbox = inbox[:strings.LastIndex(inbox, ".")]
	lost.Store(&inbox)
	isUp(t, l, false, 25*time.Second)
	testkit.Eventually(t, 15*time.Second, func() error {
		if state := l.State(); state.Restarts == 0 {
			return fmt.Errorf("the line is %+v", state)
		}
		return nil
	})
	lost.Store(nil)
	isUp(t, l, true, 15*time.Second)
}

func TestLineNeedsCredentials(t *testing.T) {
	_, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: "nats-leaf://127.0.0.1:7422", Creds: "/nowhere"})
	if err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("started without credentials: %v", err)
	}
}

// A hub that is reached and does not answer is no line, and the server is started anew, ever less often. The
// connections of the process come back.
func TestLineIsProbedEndToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	v, creds := venue(t, srv, dir, "ven_a")
	l, nc := line(t, natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: srv.LeafURL(), Creds: creds, Patience: 2 * time.Second})
	linked(t, l, true)
	testkit.Eventually(t, 20*time.Second, func() error {
		if state := l.State(); state.Restarts < 2 || !strings.Contains(state.Reason, "venue service") {
			return fmt.Errorf("the line is %+v", state)
		}
		return nil
	})
	hub := hubOf(t, srv, v)
	isUp(t, l, true, 10*time.Second)
	echoes(t, nc, hub, 10*time.Second)
}

// What mobile networks do: they lose a connection without a word, again and again, and take half a second each way.
func TestLineOverBadNetworks(t *testing.T) {
	t.Parallel() // it waits most of the time
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	v, creds := venue(t, srv, dir, "ven_a")
	hub := hubOf(t, srv, v)
	net := testkit.NewProxy(t, strings.TrimPrefix(srv.LeafURL(), "nats-leaf://"))
	l, nc := line(t, natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: "nats-leaf://" + net.Addr, Creds: creds})
	isUp(t, l, true, 10*time.Second)

	net.Drop()
	isUp(t, l, false, 30*time.Second)
	isUp(t, l, true, 20*time.Second)
	echoes(t, nc, hub, 10*time.Second)

	flap := time.NewTicker(2 * time.Second)
	defer flap.Stop()
	for i := range 6 {
		<-flap.C
		if i%2 == 0 {
			net.Drop()
		} else {
			net.Cut()
		}
	}
	testkit.Eventually(t, 40*time.Second, func() error {
		_, err := nc.Request("hub.echo", nil, time.Second)
		return err
	})
	echoes(t, nc, hub, 20*time.Second)

	net.Delay(500 * time.Millisecond)
	net.Cut()
	testkit.Eventually(t, 30*time.Second, func() error {
		sent := time.Now()
		_, err := nc.Request("hub.echo", nil, 3*time.Second)
		if took := time.Since(sent); err == nil && took < time.Second {
			err = fmt.Errorf("an answer took %s", took)
		}
		return err
	})
	isUp(t, l, true, 30*time.Second)
	echoes(t, nc, hub, 20*time.Second)
}

// A hub that is started again is found again.
func TestLineToRestartedHub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := natsconf.Start(t.Context(), natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	v, creds := venue(t, srv, dir, "ven_a")
	hubOf(t, srv, v)
	at := srv.LeafURL()
	l, nc := line(t, natsconf.LeafConfig{Plain: true, Venue: "ven_a", Hub: at, Creds: creds})
	isUp(t, l, true, 10*time.Second)
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	isUp(t, l, false, 5*time.Second)
	srv = start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: strings.TrimPrefix(at, "nats-leaf://")})
	hub := hubOf(t, srv, v)
	isUp(t, l, true, 20*time.Second)
	echoes(t, nc, hub, 10*time.Second)
}
