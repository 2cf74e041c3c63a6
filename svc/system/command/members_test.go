package command_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

func authInit(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := command.Main(append([]string{"auth", "init"}, args...), &out, &out); code != 0 {
		t.Fatalf("auth init: %d %s", code, out.String())
	}
}

// Each member of a cluster gets its own credentials and no others, and no key that signs.
func TestMembersHaveTheirOwnSecrets(t *testing.T) {
	dir := t.TempDir()
	authInit(t, dir)
	want := map[string][]string{"members/ops": {"ca.pem", "ops.creds"}, "servers/postgres": {"server.key", "server.pem"},
		"servers/nats": {"auth.conf", "secure.conf"}, "servers/nats/tls": {"ca.pem", "server.key", "server.pem"}}
	for _, role := range system.Names() {
		want["members/"+role] = []string{"ca.pem", "node.creds", role + ".creds"}
	}
	got := map[string][]string{}
	for _, top := range []string{"members", "servers"} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				name, _ := filepath.Rel(dir, filepath.Dir(path))
				got[name] = append(got[name], d.Name())
				if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", path, info.Mode(), err)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for folder, files := range want {
		slices.Sort(files)
		if slices.Sort(got[folder]); !slices.Equal(got[folder], files) {
			t.Errorf("%s has %v, want %v", folder, got[folder], files)
		}
	}
	if len(got) != len(want) {
		t.Errorf("folders are %v", got)
	}

	before := map[string]string{}
	files := []string{"tls/ca.pem", "tls/server.pem", "members/event/event.creds"}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		before[name] = string(text)
	}
	authInit(t, dir)
	authInit(t, dir, "--host", "localhost,db.internal")
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if same := before[name] == string(text); same == (name == "tls/server.pem") { // it lacked a host
			t.Errorf("%s is the same: %v", name, same)
		}
	}
}

// The servers of a cluster speak TLS with their clients, which know them by the authority.
func TestSecureServers(t *testing.T) {
	dir := t.TempDir()
	authInit(t, dir)
	srv := secureServer(t, dir)
	url := "nats://" + strings.SplitN(srv.ClientURL(), "://", 2)[1]
	own := filepath.Join(dir, "members", "event")
	nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: url, Role: "event", Creds: own, CA: filepath.Join(own, "ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if state, err := nc.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
		t.Errorf("TLS: %v, %v", state.Version, err)
	}
	if nc, err := nats.Connect(url, nats.UserCredentials(filepath.Join(own, "event.creds")), nats.Secure(&tls.Config{})); err == nil {
		nc.Close()
		t.Error("an authority that is not known is trusted")
	}
	if nc, err := nats.Connect(strings.Replace(url, "127.0.0.1", "127.0.0.2", 1), nats.RootCAs(filepath.Join(own, "ca.pem")), nats.UserCredentials(filepath.Join(own, "event.creds"))); err == nil {
		nc.Close()
		t.Error("a server with another address is trusted")
	}
}

// secureServer starts a server with the configuration of compose.yaml, on free ports and without the others.
func secureServer(t *testing.T, dir string) *server.Server {
	t.Helper()
	t.Chdir(filepath.Join(dir, "servers", "nats")) // the paths of its configuration are relative
	t.Setenv("NATS_NAME", "n1")
	t.Setenv("NATS_ROUTES", "[]")
	opts, err := server.ProcessConfigFile("secure.conf")
	if err != nil {
		t.Fatal(err)
	}
	if c := opts.Cluster.TLSConfig; c == nil || c.ClientAuth != tls.RequireAndVerifyClientCert || opts.LeafNode.TLSConfig == nil {
		t.Errorf("routes: %+v, leaf nodes: %+v", opts.Cluster.TLSConfig, opts.LeafNode.TLSConfig)
	}
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog, opts.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, t.TempDir()
	opts.Cluster, opts.LeafNode.Host, opts.LeafNode.Port = server.ClusterOpts{}, "127.0.0.1", server.RANDOM_PORT
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
		t.Fatal("not ready")
	}
	return srv
}

// A venue reaches the servers of compose.yaml over TLS, by the authority that starlight auth init has made, and not
// otherwise.
func TestSecureLeaf(t *testing.T) {
	dir := t.TempDir()
	authInit(t, dir)
	srv := secureServer(t, dir)
	ca := filepath.Join(dir, "tls", "ca.pem")
	url := "nats://" + strings.SplitN(srv.ClientURL(), "://", 2)[1]
	system, err := nats.Connect(url, nats.UserCredentials(filepath.Join(dir, "creds", "sys.creds")), nats.RootCAs(ca))
	if err != nil {
		t.Fatal(err)
	}
	defer system.Close()
	v, err := natsconf.OpenVenue(dir, "ven_a")
	if err != nil {
		t.Fatal(err)
	}
	venues := filepath.Join(dir, "members", "venue", "venues")
	text, err := v.Credentials(t.Context())
	creds := filepath.Join(t.TempDir(), "venue.creds")
	err = errors.Join(err, v.Push(t.Context(), system), v.WriteHubCreds(t.Context(), venues), os.WriteFile(creds, text, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	hub, err := natsconf.VenueFolder{Dir: venues, Dial: natsconf.DialConfig{URL: url, CA: ca}}.DialVenue(t.Context(), "ven_a")
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	if _, err := hub.Subscribe("$SRV.PING.hub", func(m *nats.Msg) { _ = m.Respond([]byte("{}")) }); err != nil {
		t.Fatal(err)
	}
	z, err := srv.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(z.LeafNode.Port)
	for _, c := range []struct {
		hub, ca string
		up      bool
		says    string
	}{
		{"tls://127.0.0.1:", ca, true, ""},
		{"tls://127.0.0.1:", "", true, ""}, // the authority is in the credentials
		{"nats-leaf://127.0.0.1:", "", true, ""},
		{"tls://127.0.0.2:", ca, false, ""}, // for which the certificate is not
	} {
		leaf, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Venue: "ven_a", Hub: c.hub + port, CA: c.ca, Creds: creds})
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 20*time.Second, func() error {
			if got := leaf.State(); got.Up != c.up || !strings.Contains(got.Reason, c.says) {
				return fmt.Errorf("the line is %+v", got)
			}
			return nil
		})
		if err := leaf.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, wrong := range []natsconf.LeafConfig{{Hub: "nats-leaf://127.0.0.1:" + port, CA: ca, Plain: true},
		{Hub: "tls://127.0.0.1:" + port, Plain: true}, {Hub: "tls://127.0.0.1:" + port, CA: "members_test.go"}} {
		wrong.Venue, wrong.Creds = "ven_a", creds
		if leaf, err := natsconf.StartLeaf(t.Context(), wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
			_ = leaf.Shutdown(t.Context())
		}
	}
}
