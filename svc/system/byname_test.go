package system_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// twoConfigs is a system, and a process in another zone, with another version, that runs the config service once more.
type twoConfigs struct {
	*systemtest.Site
	t     *testing.T
	admin string
	other *systemtest.Process
	first string // the version of the system
}

func startTwoConfigs(t *testing.T) *twoConfigs {
	t.Helper()
	cfg := systemtest.Config(t.TempDir())
	cfg.Zone, cfg.Version = "east", "0.0.1"
	s, sys, _ := systemtest.Start(t, cfg)
	c := &twoConfigs{Site: s, t: t, first: cfg.Version}
	c.admin = s.Login(systemtest.AdminEmail)
	s.Unlimited(c.admin)
	c.other = systemtest.Spawn(t, "starlight", []string{"STARLIGHT_NATS_URL=" + sys.NATSURL(), "STARLIGHT_OPS=off",
		"STARLIGHT_NATS_CREDS=" + filepath.Join(cfg.Data, "creds"), "STARLIGHT_DATA=" + t.TempDir(), "STARLIGHT_ZONE=west",
		"STARLIGHT_DATABASE_URL=postgres://nobody@localhost/none"}, "run", "config")
	return c
}

// served returns how many calls each config service has answered: that of the system, and that of the other process.
func (c *twoConfigs) served() (own, other uint64, otherVersion string) {
	c.t.Helper()
	for _, i := range systemtest.Call[api.List[api.ServiceInstance]](c.Site, 200, "GET", "/v1/mesh/services", c.admin, nil).Items {
		if i.Service != "config" {
			continue
		}
		for _, e := range i.Endpoints {
			switch {
			case e.Name == "list" && i.Version == c.first && i.Zone == "east":
				own += e.Requests
			case e.Name == "list" && i.Zone == "west":
				other, otherVersion = other+e.Requests, i.Version
			}
		}
	}
	return own, other, otherVersion
}

// goTo waits until twenty calls in a row go to one of the two, and none takes long.
func (c *twoConfigs) goTo(other bool) {
	c.t.Helper()
	const n = 20
	testkit.Eventually(c.t, 30*time.Second, func() error {
		own, others, _ := c.served()
		for range n {
			began := time.Now()
			got, err := c.Send("GET", "/v1/config", c.admin, nil)
			if took := time.Since(began); err != nil || got.Status != 200 || took > 900*time.Millisecond {
				return fmt.Errorf("%d after %v: %v", got.Status, took, err) // the second try of a read is after a second
			}
		}
		owns, othersThen, _ := c.served()
		if there := othersThen - others; other && there != n || !other && owns-own != n {
			return fmt.Errorf("%d here, %d there", owns-own, there)
		}
		return nil
	})
}

// A version gets its calls, a zone keeps its own, and both are left when nobody is there: a process that is frozen,
// killed or stopped.
func TestInstancesByName(t *testing.T) {
	t.Parallel()
	c := startTwoConfigs(t)
	_, _, version := c.served()
	if version == "" {
		t.Fatal("the other process is not listed")
	}
	c.Set(c.admin, "mesh.versions", "config=100% "+version)
	c.goTo(true)
	resume := c.other.Pause()
	c.goTo(false)
	resume()
	c.goTo(true)
	c.other.Kill()
	c.goTo(false)
	c.other.Again()
	c.goTo(true)
	c.Set(c.admin, "mesh.versions", "")
	c.Set(c.admin, "mesh.zones", "true")
	c.goTo(false)
	c.Set(c.admin, "mesh.versions", "config=100% "+version) // a version is more than a zone
	c.goTo(true)
	c.other.Terminate()
	c.goTo(false)
	c.other.Again()
	systemtest.Call[struct{}](c.Site, 400, "PUT", "/v1/config/mesh.versions", c.admin, map[string]string{"value": "nobody=10% 1.0.0"})
}
