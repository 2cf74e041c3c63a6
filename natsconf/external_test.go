package natsconf_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func external(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := natsconf.WriteExternal(dir, roles()); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // servers are started where their configuration is: its paths are relative
	return dir
}

// outside starts a server as nats-server -c would, on free ports and with its data in a folder of the test.
func outside(t *testing.T, conf string, change func(*server.Options)) *server.Server {
	t.Helper()
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if !opts.JetStream || !opts.SyncAlways {
		t.Errorf("%s: JetStream %v, sync always %v", conf, opts.JetStream, opts.SyncAlways)
	}
	if hung := opts.PingInterval * time.Duration(opts.MaxPingsOut+1); hung == 0 || hung > 20*time.Second {
		t.Errorf("%s: a client that hangs is served for %s", conf, hung)
	}
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	opts.StoreDir = t.TempDir()
	change(opts)
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(testkit.Within(10 * time.Second)) {
		t.Fatalf("%s: not ready", conf)
	}
	return srv
}

func TestHubConf(t *testing.T) {
	dir := external(t)
	srv := outside(t, filepath.Join(dir, "hub.conf"), func(*server.Options) {})
	for _, role := range roles() {
		nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: srv.ClientURL(), Role: role.Name, Creds: filepath.Join(dir, "creds")})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		switch role.Name {
		case "config":
			if err := natsconf.Ensure(t.Context(), jetStream(t, nc), api.Streams(), 1); err != nil {
				t.Fatal(err)
			}
			checkInventory(t, inventory(t, jetStream(t, nc)))
		case "payment":
			denied(t, nc, "$KV.inventory.pool.e1")
		}
	}

	// Again: what is there stays, also a changed .conf file.
	own := []byte("# ours\n")
	if err := os.WriteFile(filepath.Join(dir, "leaf.conf"), own, 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir, "creds", "nats")
	if err := natsconf.WriteExternal(dir, roles()); err != nil {
		t.Fatal(err)
	}
	if tree(t, dir, "creds", "nats") != before {
		t.Error("keys or credentials changed")
	}
	if now, err := os.ReadFile(filepath.Join(dir, "leaf.conf")); err != nil || string(now) != string(own) {
		t.Errorf("leaf.conf was overwritten: %q, %v", now, err)
	}
}

func TestClusterConf(t *testing.T) {
	dir := external(t)
	ports := []int{freePort(t), freePort(t), freePort(t)}
	t.Setenv("NATS_ROUTES", fmt.Sprintf("[nats://127.0.0.1:%d, nats://127.0.0.1:%d, nats://127.0.0.1:%d]", ports[0], ports[1], ports[2]))
	var url string
	for i, port := range ports {
		t.Setenv("NATS_NAME", fmt.Sprintf("n%d", i+1))
		opts, err := server.ProcessConfigFile(filepath.Join(dir, "cluster.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if hung := opts.Cluster.PingInterval * time.Duration(opts.Cluster.MaxPingsOut+1); hung == 0 || hung > 3*time.Second {
			t.Errorf("a server that hangs is a member for %s", hung)
		}
		if len(opts.Routes) != 3 || opts.Cluster.Name != "starlight" {
			t.Fatalf("cluster: %+v", opts.Cluster)
		}
		srv := outside(t, filepath.Join(dir, "cluster.conf"), func(o *server.Options) {
			o.Cluster.Host, o.Cluster.Port = "127.0.0.1", port
			o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
		})
		url = srv.ClientURL()
	}
	nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: url, Role: "config", Creds: filepath.Join(dir, "creds")})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	js := jetStream(t, nc)
	if err := natsconf.Ensure(ctx, js, api.Streams(), 3); err != nil { // waits for the election
		t.Fatal(err)
	}
	for _, want := range api.Streams() {
		s, err := js.Stream(ctx, want.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().Config.Replicas; got != 3 {
			t.Errorf("%s has %d replicas", want.Name, got)
		}
	}
	checkInventory(t, inventory(t, js))
}

// Three servers on one machine share no port and no folder, and find each other.
func TestLocalConfs(t *testing.T) {
	dir := external(t)
	taken := map[string]bool{}
	alone := func(what string, v any) {
		t.Helper()
		key := fmt.Sprint(what, v)
		if taken[key] {
			t.Errorf("two servers have the %s %v", what, v)
		}
		taken[key] = true
	}
	for i := range 3 {
		opts, err := server.ProcessConfigFile(filepath.Join(dir, fmt.Sprintf("local-n%d.conf", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		alone("name", opts.ServerName)
		alone("folder", opts.StoreDir)
		for _, port := range []int{opts.Port, opts.Cluster.Port, opts.LeafNode.Port} {
			alone("port", port)
		}
		if route := opts.Routes[i].Host; len(opts.Routes) != 3 || route != fmt.Sprintf("127.0.0.1:%d", opts.Cluster.Port) {
			t.Errorf("server %d listens to routes on %d, and is known as %s of %d", i+1, opts.Cluster.Port, route, len(opts.Routes))
		}
		if opts.Host != "127.0.0.1" || opts.Cluster.Host != "127.0.0.1" || opts.LeafNode.Host != "127.0.0.1" {
			t.Errorf("server %d can be reached from outside", i+1)
		}
	}
}

func TestLeafConf(t *testing.T) {
	dir := external(t)
	port := freePort(t)
	hub := outside(t, filepath.Join(dir, "hub.conf"), func(o *server.Options) { o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", port })
	t.Setenv("VENUE", "arena")
	t.Setenv("HUB_URL", fmt.Sprintf("nats://127.0.0.1:%d", port))
	t.Setenv("HUB_CREDS", filepath.Join(dir, "creds", "payment.creds"))
	leaf := outside(t, filepath.Join(dir, "leaf.conf"), func(*server.Options) {})
	eventually(t, "the venue is connected", func() bool { return hub.NumLeafNodes() == 1 })
	nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: leaf.ClientURL(), Role: "edge"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	info, err := jetStream(t, nc).AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Domain != "arena" {
		t.Errorf("domain %q", info.Domain)
	}
}

// freePort returns a port that nobody listens on: the members of a cluster must know each other's before they start.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
