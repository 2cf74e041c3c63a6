package natsconf_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// wire stands before a server and can go dead: it takes connections and bytes, and passes nothing on.
type wire struct {
	net.Listener
	mu   sync.Mutex
	live *sync.Cond
	dead bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: ln}
	w.live = sync.NewCond(&w.mu)
	t.Cleanup(func() { ln.Close(); w.set(false) })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go w.join(c, to)
		}
	}()
	return w
}

func (w *wire) join(c net.Conn, to string) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	go func() {
		defer s.Close()
		w.pass(s, c)
	}()
	w.pass(c, s)
}

func (w *wire) pass(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		for w.dead {
			w.live.Wait()
		}
		w.mu.Unlock()
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}

func (w *wire) set(dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = dead
	w.live.Broadcast()
}

func (w *wire) url() string { return "nats://" + w.Addr().String() }

// A server that hangs is left within six seconds, and taken again once it is back.
func TestConnectionLeavesAHungServerAndComesBack(t *testing.T) {
	dir := external(t)
	ports := []int{freePort(t), freePort(t)}
	t.Setenv("NATS_ROUTES", fmt.Sprintf("[nats://127.0.0.1:%d, nats://127.0.0.1:%d]", ports[0], ports[1]))
	wires := map[string]*wire{}
	var list string
	for i, port := range ports {
		t.Setenv("NATS_NAME", fmt.Sprintf("n%d", i+1))
		srv := outside(t, filepath.Join(dir, "cluster.conf"), func(o *server.Options) {
			o.Cluster.Host, o.Cluster.Port, o.Cluster.NoAdvertise = "127.0.0.1", port, true
			o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
		})
		w := newWire(t, srv.Addr().String())
		wires[w.url()], list = w, list+w.url()+","
	}
	nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: list, Role: "config", Creds: filepath.Join(dir, "creds"), HomeAfter: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	home := nc.ConnectedUrl()
	reconnected := nc.StatusChanged(nats.CONNECTED)
	wires[home].set(true)
	start := time.Now()
	select {
	case <-reconnected:
	case <-time.After(testkit.Within(10 * time.Second)):
	}
	if took := time.Since(start); took > 6*time.Second || nc.ConnectedUrl() == home {
		t.Fatalf("after %s the connection is at %q", took, nc.ConnectedUrl())
	}
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	wires[home].set(false)
	eventually(t, "the connection is where it belongs", func() bool { return nc.ConnectedUrl() == home })
}

// Many connections are spread over the servers, and each goes back to its own after it was away.
func TestConnectionsSpread(t *testing.T) {
	srv := start(t, natsconf.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	one, other := newWire(t, strings.TrimPrefix(srv.URL(), "nats://")), newWire(t, strings.TrimPrefix(srv.URL(), "nats://"))
	places := func(conns []*nats.Conn) (at []string, ofOne int) {
		for _, nc := range conns {
			at = append(at, nc.ConnectedUrl())
			if at[len(at)-1] == one.url() {
				ofOne++
			}
		}
		return at, ofOne
	}
	var conns []*nats.Conn
	for range 40 {
		nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: one.url() + "," + other.url(), Role: "payment", Creds: srv.Creds("payment"), HomeAfter: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conns = append(conns, nc)
	}
	before, n := places(conns)
	if n < 5 || n > 35 { // in one run of ten million
		t.Errorf("%d of 40 connections are at one of two servers", n)
	}
	for _, nc := range conns {
		if err := nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "each is where it was", func() bool {
		now, _ := places(conns)
		return slices.Equal(now, before)
	})
}
