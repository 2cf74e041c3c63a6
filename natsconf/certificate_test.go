package natsconf_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The line to an embedded server has TLS from its first start on, with nothing to set up: a venue knows it by what is
// in its credentials, also after a restart and by whatever address, and takes no other one for it.
func TestLineHasTLS(t *testing.T) {
	dir := t.TempDir()
	cfg := natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0", LeafTLS: true}
	srv := start(t, cfg)
	_, creds := venue(t, srv, dir, "ven_a")
	text, err := os.ReadFile(creds)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwt.ParseDecoratedJWT(text); err != nil {
		t.Error(err)
	}
	if _, err := jwt.ParseDecoratedUserNKey(text); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(text, []byte("BEGIN CERTIFICATE")) {
		t.Fatal("the credentials have no authority")
	}
	write := func(content []byte) string {
		path := filepath.Join(t.TempDir(), "other.creds")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := t.TempDir()
	start(t, natsconf.Config{Dir: other})
	stranger, err := natsconf.OpenVenue(other, "ven_a")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := stranger.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own := text[:bytes.Index(text, []byte("-----BEGIN CERTIFICATE"))]
	block, _ := pem.Decode(theirs[bytes.Index(theirs, []byte("-----BEGIN CERTIFICATE")):])
	at := srv.LeafURL()
	for _, c := range []struct {
		name, hub, creds string
		plain, up        bool
	}{
		{"by its address", at, creds, false, true},
		{"by another name", strings.Replace(at, "127.0.0.1", "localhost", 1), creds, false, true},
		{"as tls://", strings.Replace(at, "nats-leaf", "tls", 1), creds, false, true},
		{"plain", at, creds, true, false},
		{"with the authority of another system", at, write(append(bytes.Clone(own), pem.EncodeToMemory(block)...)), false, false},
		{"by those that the machine knows", strings.Replace(at, "nats-leaf", "tls", 1), write(own), false, false},
	} {
		l, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Venue: "ven_a", Hub: c.hub, Creds: c.creds, Plain: c.plain})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.up {
			linked(t, l, true)
		} else {
			testkit.Eventually(t, 20*time.Second, func() error {
				if s := l.State(); s.Up || l.Linked() || s.Reason == "" || strings.Contains(s.Reason, "has not been reached yet") {
					return fmt.Errorf("%s: the line is %+v", c.name, s)
				}
				return nil
			})
		}
		stopLeaf(t, l)
	}
	if _, err := natsconf.StartLeaf(t.Context(), natsconf.LeafConfig{Venue: "ven_a", Hub: at, Creds: write(own)}); err == nil ||
		!strings.Contains(err.Error(), "plain") {
		t.Errorf("without an authority: %v", err)
	}
	// The authority stays when all else is made anew.
	stop(t, srv)
	for _, name := range []string{"leaf.pem", "leaf.key"} {
		if err := os.Remove(filepath.Join(dir, "tls", name)); err != nil {
			t.Fatal(err)
		}
	}
	srv = start(t, cfg)
	l, _ := line(t, natsconf.LeafConfig{Venue: "ven_a", Hub: srv.LeafURL(), Creds: creds})
	linked(t, l, true)
}
