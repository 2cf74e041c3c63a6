package system_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// The inventory's files are gone after a stop. The system starts without them, the command brings back what the database
// knows, and the audit proves it.
func TestRebuildLostInventory(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	s, _, stop := start(t, cfg)
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	event := s.concert(admin, 5, 2500)
	s.pay(admin, call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 3)))
	pending := call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 1))
	stop()
	var lost []string
	err := filepath.WalkDir(cfg.Data, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "KV_inventory" {
			lost = append(lost, path)
			return filepath.SkipDir
		}
		return err
	})
	if err != nil || len(lost) != 1 {
		t.Fatalf("files of the inventory: %v %v", lost, err)
	}
	if err := os.RemoveAll(lost[0]); err != nil {
		t.Fatal(err)
	}

	s, sys, _ := start(t, cfg)
	var out, errs bytes.Buffer
	args := []string{"rebuild", "inventory", "--data", cfg.Data, "--nats-url", sys.NATSURL()}
	if exit := command.Main(args, &out, &errs); exit != 0 || !strings.Contains(out.String(), "2 of 2 orders mended") {
		t.Errorf("exit %d: %s %s", exit, &out, &errs)
	}
	if got := s.left(event); got.Sold != 3 || got.Held != 1 || got.Available != 1 {
		t.Errorf("the pool is %+v", got)
	}
	admin = s.login(adminEmail)
	s.refused("sold_out", "POST", "/v1/orders", admin, seats(event, 2))
	s.pay(admin, pending)
	mustAudit(t, cfg, ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))
}
