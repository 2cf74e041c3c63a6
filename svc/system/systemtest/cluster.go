package systemtest

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// Cluster is three NATS servers that keep three copies of everything, PostgreSQL behind a proxy, and two processes of
// each kind.
type Cluster struct {
	T        *testing.T
	Cfg      system.Config
	NatsURL  string
	Creds    string
	Leafs    []string // where the NATS servers take leaf nodes
	Database *testkit.Proxy
	Nodes    []*Process            // NATS
	Members  map[string][]*Process // two of each
	Sites    []*Site               // the gateways
}

// Kinds are the processes of the cluster by what is likely to fail for its own reasons.
func Kinds() map[string][]string {
	return map[string][]string{"ticketing": {"ticketing"}, "payment": {"payment"}, "gateway": {"gateway"},
		"others": {"config", "discovery", "event", "user", "notification", "analytics", "venue", "audit"}}
}

// StartCluster starts a cluster of this program that ends with the test.
func StartCluster(t *testing.T) *Cluster { return StartClusterOf(t, "") }

// StartClusterOf starts a cluster in which the first process of each kind is another program: "" is this one.
func StartClusterOf(t *testing.T, program string) *Cluster {
	t.Helper()
	c := &Cluster{T: t, Members: map[string][]*Process{}}
	dir := t.TempDir()
	if exit := command.Main([]string{"auth", "init", dir}, io.Discard, os.Stderr); exit != 0 {
		t.Fatal("starlight auth init")
	}
	c.Creds = filepath.Join(dir, "creds")
	c.startDatabase()
	c.startNodes(dir)
	c.Cfg.Data = t.TempDir()
	env := []string{
		"STARLIGHT_NATS_URL=" + c.NatsURL,
		"STARLIGHT_NATS_CREDS=" + c.Creds,
		"STARLIGHT_DATABASE_URL=" + c.Cfg.DatabaseURL,
		"STARLIGHT_VENUE_CREDS=" + filepath.Join(dir, "members", "venue", "venues"),
		"STARLIGHT_REPLICAS=3",
		"STARLIGHT_OPS=off",
		"STARLIGHT_ADMIN_EMAIL=" + AdminEmail,
		"STARLIGHT_ADMIN_PASSWORD=" + Password,
	}
	var starting sync.WaitGroup
	addresses := []string{testkit.FreeAddress(t), testkit.FreeAddress(t)}
	for kind, roles := range Kinds() {
		for i, address := range addresses {
			p := &Process{
				T:    t,
				Args: append([]string{"run"}, roles...),
				Log:  filepath.Join(t.TempDir(), kind),
				Env: append([]string{
					ActAs + "=starlight",
					"STARLIGHT_DATA=" + filepath.Join(c.Cfg.Data, fmt.Sprintf("%s-%d", kind, i)),
					"STARLIGHT_HTTP=" + address,
					"STARLIGHT_PUBLIC_URL=http://" + addresses[0],
				}, env...),
			}
			if i == 0 {
				p.program = program
			}
			c.Members[kind] = append(c.Members[kind], p)
			starting.Go(func() {
				if err := p.Start(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	starting.Wait()
	for _, pair := range c.Members {
		for _, p := range pair {
			t.Cleanup(p.Kill)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, address := range addresses {
		c.Sites = append(c.Sites, &Site{T: t, URL: "http://" + address})
	}
	return c
}

// startDatabase makes a database that is reached through a proxy.
func (c *Cluster) startDatabase() {
	c.T.Helper()
	u, err := url.Parse(testkit.Postgres(c.T))
	if err != nil {
		c.T.Fatal(err)
	}
	c.Database = testkit.NewProxy(c.T, u.Host)
	u.Host = c.Database.Addr
	q := u.Query()
	q.Set("pool", "4")
	u.RawQuery = q.Encode()
	c.Cfg.DatabaseURL = u.String()
}

// startNodes starts NATS servers from the files for a cluster on one machine, on other ports.
func (c *Cluster) startNodes(dir string) {
	c.T.Helper()
	var ports []string // old, new, old, new ...
	for i := range 3 {
		for _, base := range []int{6222, 7422} {
			ports = append(ports, fmt.Sprintf("127.0.0.1:%d", base+i), testkit.FreeAddress(c.T))
		}
		c.Leafs = append(c.Leafs, ports[len(ports)-1])
	}
	var urls []string
	var starting sync.WaitGroup
	for i := range 3 {
		conf := filepath.Join(dir, fmt.Sprintf("local-n%d.conf", i+1))
		text, err := os.ReadFile(conf)
		if err == nil {
			err = os.WriteFile(conf, []byte(strings.NewReplacer(ports...).Replace(string(text))), 0o600)
		}
		if err != nil {
			c.T.Fatal(err)
		}
		address := testkit.FreeAddress(c.T)
		urls = append(urls, "nats://"+address)
		p := &Process{
			T:    c.T,
			Args: []string{conf, address},
			Env:  []string{ActAs + "=nats-server"},
			Log:  filepath.Join(c.T.TempDir(), "log"),
		}
		c.Nodes = append(c.Nodes, p)
		starting.Go(func() {
			if err := p.Start(); err != nil {
				c.T.Error(err)
			}
		})
	}
	starting.Wait()
	for _, p := range c.Nodes {
		c.T.Cleanup(p.Kill)
	}
	if c.T.Failed() {
		c.T.FailNow()
	}
	c.NatsURL = strings.Join(urls, ",")
}

// Pause stops a process where it is, until the returned function is called.
func (p *Process) Pause() (resume func()) {
	p.T.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.T.Fatal(err)
	}
	return func() { p.cmd.Process.Signal(syscall.SIGCONT) }
}
