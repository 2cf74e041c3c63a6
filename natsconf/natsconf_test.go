package natsconf_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// roles is a small house with every kind of role in it.
func roles() []natsconf.Role {
	return []natsconf.Role{
		natsconf.NewRole("gateway",
			natsconf.PublishTo("api.ticketing.create_order", "api.event.get", "api.config.put", "facts.http.request"),
			natsconf.ReadKV(settings.Bucket)),
		natsconf.NewRole("ticketing", natsconf.Serve("ticketing", "payment"),
			natsconf.PublishTo("api.event.offer", "ev.ticketing.>"),
			natsconf.OwnKV(api.InventoryBucket), natsconf.ReadKV(settings.Bucket)),
		natsconf.NewRole("payment", natsconf.Serve("payment"), natsconf.PublishTo("api.ticketing.begin_payment", "ev.payment.>"),
			natsconf.ReadKV(settings.Bucket)),
		natsconf.NewRole("notification", natsconf.Serve("notification"), natsconf.PublishTo("dead.notification.>"),
			natsconf.Consume(api.EventsStream, "notification")),
		natsconf.NewRole("config", natsconf.Serve("config"), natsconf.WriteKV(settings.Bucket), natsconf.ManageStreams(api.Streams())),
		natsconf.NewRole("mute"),
		natsconf.Ops(natsconf.PublishTo(api.SettingSubjects), natsconf.SubscribeTo(api.EventSubjects)),
		natsconf.Admin(natsconf.PublishTo(stream.ReplaySubjects)),
	}
}

func start(t testing.TB, cfg natsconf.Config) *natsconf.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Roles == nil {
		cfg.Roles = roles()
	}
	srv, err := natsconf.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, srv) })
	return srv
}

func stop(t testing.TB, srv *natsconf.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func connect(t testing.TB, srv *natsconf.Server, role string) *nats.Conn {
	t.Helper()
	nc, err := srv.Connect(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func ensured(t testing.TB, srv *natsconf.Server) jetstream.JetStream {
	t.Helper()
	js := jetStream(t, connect(t, srv, "config"))
	if err := natsconf.Ensure(t.Context(), js, api.Streams(), 1); err != nil {
		t.Fatal(err)
	}
	return js
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, func() error {
		if !ok() {
			return fmt.Errorf("did not happen: %s", what)
		}
		return nil
	})
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir})
	ensured(t, srv)
	nc := connect(t, srv, "ticketing")
	kv, err := jetStream(t, nc).KeyValue(t.Context(), api.InventoryBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "pool.e1", []byte("100")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir, "creds", "nats")
	if _, err := natsconf.Start(t.Context(), natsconf.Config{Dir: dir, Roles: roles()}); err == nil {
		t.Fatal("a second server started on the same folder")
	}
	nc.Close()
	stop(t, srv)

	srv = start(t, natsconf.Config{Dir: dir})
	ensured(t, srv)
	kv, err = jetStream(t, connect(t, srv, "ticketing")).KeyValue(t.Context(), api.InventoryBucket)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "pool.e1"); err != nil || string(e.Value()) != "100" {
		t.Fatalf("after the restart: %v, %v", e, err)
	}
	if after := tree(t, dir, "creds", "nats"); after != before {
		t.Error("keys or credentials changed in a restart")
	}
}

// tree returns the content of the files in folders, and checks that only the owner can read them.
func tree(t *testing.T, dir string, folders ...string) string {
	t.Helper()
	var b strings.Builder
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if e.IsDir() { // what the server keeps by itself
				if mode := info.Mode().Perm(); mode != 0o700 {
					t.Errorf("%s: mode %o", e.Name(), mode)
				}
				continue
			}
			if mode := info.Mode().Perm(); mode != 0o600 {
				t.Errorf("%s: mode %o", e.Name(), mode)
			}
			data, err := os.ReadFile(filepath.Join(dir, folder, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString(e.Name() + "\n" + string(data) + "\n")
		}
	}
	return b.String()
}

func TestNarrowedRoleLosesItsOldCredentials(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir})
	old, err := os.ReadFile(srv.Creds("payment"))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "payment.creds")
	if err := os.WriteFile(copied, old, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(srv.Creds("ticketing"))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, srv)

	var narrowed []natsconf.Role
	for _, r := range roles() {
		switch r.Name {
		case "payment":
			narrowed = append(narrowed, natsconf.NewRole("payment", natsconf.Serve("payment")))
		case "mute": // gone altogether
		default:
			narrowed = append(narrowed, r)
		}
	}
	srv = start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Roles: narrowed})
	if _, err := nats.Connect(srv.URL(), nats.UserCredentials(copied)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a copy of the old credentials: %v, want a refusal", err)
	}
	denied(t, connect(t, srv, "payment"), "api.ticketing.begin_payment")
	if now, err := os.ReadFile(srv.Creds("ticketing")); err != nil || string(now) != string(kept) {
		t.Error("an unchanged role got new credentials")
	}
	if _, err := os.Stat(srv.Creds("mute")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("credentials of a role that is gone: %v", err)
	}
	if _, err := srv.Connect("mute"); err == nil {
		t.Error("a role that is gone connects")
	}
}

func TestListeners(t *testing.T) {
	if srv := start(t, natsconf.Config{}); srv.URL() != "" || srv.Healthy() != nil {
		t.Errorf("without a listener: URL %q, health %v", srv.URL(), srv.Healthy())
	}

	cert, key := certificate(t)
	srv := start(t, natsconf.Config{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key})
	dial := natsconf.DialConfig{URL: srv.URL(), Role: "payment", Creds: filepath.Dir(srv.Creds("payment")), CA: cert}
	nc, err := natsconf.Dial(t.Context(), dial)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if state, err := nc.TLSConnectionState(); err != nil || state.Version < 0x0303 {
		t.Errorf("TLS: %v, %v", state.Version, err)
	}
	connect(t, srv, "payment") // in process, without TLS

	dial.Role = "nobody"
	if _, err := natsconf.Dial(t.Context(), dial); err == nil {
		t.Error("a role without credentials connects")
	}
	dial.Role, dial.Creds = "payment", ""
	if _, err := natsconf.Dial(t.Context(), dial); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without credentials: %v", err)
	}
	stop(t, srv)
	if srv.Healthy() == nil {
		t.Error("a stopped server is healthy")
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		cfg  natsconf.Config
	}{
		{"address in use", natsconf.Config{Listen: taken.Addr().String()}},
		{"address without a port", natsconf.Config{Listen: "127.0.0.1"}},
		{"bad port", natsconf.Config{Listen: "127.0.0.1:99999"}},
		{"certificate without a key", natsconf.Config{Listen: "127.0.0.1:0", TLSCert: "nowhere.pem"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Dir, tt.cfg.Roles = t.TempDir(), roles()
			srv, err := natsconf.Start(t.Context(), tt.cfg)
			if err == nil {
				stop(t, srv)
				t.Fatal("it started")
			}
			// The folder is free again.
			start(t, natsconf.Config{Dir: tt.cfg.Dir})
		})
	}
}

func TestDialWaitsForTheServer(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir, Listen: "127.0.0.1:0"})
	url := srv.URL()
	cfg := natsconf.DialConfig{URL: url, Role: "payment", Creds: srv.Creds("payment")}
	stop(t, srv)

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := natsconf.Dial(short, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nobody there: %v", err)
	}
	connected := make(chan error, 1)
	go func() {
		nc, err := natsconf.Dial(t.Context(), cfg)
		if err == nil {
			nc.Close()
		}
		connected <- err
	}()
	start(t, natsconf.Config{Dir: dir, Listen: strings.TrimPrefix(url, "nats://")})
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
}

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "starlight"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, key
}
