package system_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// Members whose machines' clocks are ten minutes off, either way, neither end the holds of others early nor make holds of
// another length.
func TestClocksOfMachines(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.AnyOrders(admin)
	s.Set(admin, "ticketing.hold_ttl", "8m")
	event := s.Concert(admin, 100, 1500)
	first := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		systemtest.Start(t, system.Config{Roles: []string{"ticketing"}, Data: t.TempDir(), Ops: "off", NATSURL: sys.NATSURL(), NATSCreds: filepath.Join(cfg.Data, "creds"),
			DatabaseURL: "sqlite:" + filepath.Join(cfg.Data, "sql"), LogTo: cfg.LogTo, Now: func() time.Time { return time.Now().Add(off) }})
	}
	for range 12 { // all members make some of them
		made := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
		if lasts := time.Until(*made.ExpiresAt); (lasts - 8*time.Minute).Abs() > 10*time.Second {
			t.Errorf("an order lasts for %v", lasts)
		}
	}
	s.Set(admin, "ticketing.hold_ttl", "5s")
	var short api.Order
	testkit.Eventually(t, 5*time.Second, func() error { // the members take the setting over one by one
		short = systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
		if lasts := time.Until(*short.ExpiresAt); lasts > time.Minute {
			return fmt.Errorf("orders last for %v", lasts)
		}
		return nil
	})
	s.Await(admin, short, api.OrderExpired) // the members have looked at all holds meanwhile, many times
	if got := systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+first.ID.String(), admin, nil); got.Status != api.OrderPending {
		t.Errorf("an order that lasts until %v is %s", first.ExpiresAt, got.Status)
	}
}
