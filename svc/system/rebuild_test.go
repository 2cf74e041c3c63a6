package system_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/system/command"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The inventory's files are gone after a stop. The system starts without them, the command brings back what the database
// knows, and the audit proves it.
func TestRebuildLostInventory(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, stop := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 5, 2500)
	s.Pay(admin, systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 3)))
	pending := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
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

	s, sys, _ := systemtest.Start(t, cfg)
	var out, errs bytes.Buffer
	args := []string{"rebuild", "inventory", "--data", cfg.Data, "--nats-url", sys.NATSURL()}
	if exit := command.Main(args, &out, &errs); exit != 0 || !strings.Contains(out.String(), "2 of 2 orders mended") {
		t.Errorf("exit %d: %s %s", exit, &out, &errs)
	}
	if got := s.Left(event); got.Sold != 3 || got.Held != 1 || got.Available != 1 {
		t.Errorf("the pool is %+v", got)
	}
	admin = s.Login(systemtest.AdminEmail)
	s.Refused("sold_out", "POST", "/v1/orders", admin, systemtest.Seats(event, 2))
	s.Pay(admin, pending)
	systemtest.MustAudit(t, cfg, systemtest.Ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))
}

// What the database counts as sold is wrong. The audit finds it, the command says what it was and makes it anew on the
// running system, and the audit proves it. What cannot be so is an error.
func TestRebuildStock(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 5, 2500)
	s.Pay(admin, systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 3)))
	connect := systemtest.Ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds"))
	systemtest.MustAudit(t, cfg, connect)

	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(cfg.Data, "sql"), "ticketing", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	spoil := func(set string) {
		t.Helper()
		if err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE stock SET "+set)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	does := func(exit int, want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		args = append(args, "--data", cfg.Data, "--nats-url", sys.NATSURL())
		if got := command.Main(args, &out, &errs); got != exit || !strings.Contains(out.String(), want) {
			t.Errorf("%v: exit %d, want %d and %q: %s %s", args, got, exit, want, &out, &errs)
		}
	}
	typ := event.TicketTypes[0].ID.String()
	spoil("sold = 1")
	does(1, "BROKEN  fence", "audit")
	does(0, "sold of "+typ+" was 1 and is 3\n", "rebuild", "stock")
	systemtest.MustAudit(t, cfg, connect)
	does(0, "1 events looked at, 0 of 2 sums mended", "rebuild", "stock", "--event", event.ID.String())
	s.Refused("sold_out", "POST", "/v1/orders", admin, systemtest.Seats(event, 3))
	s.Pay(admin, systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 2)))
	spoil("sold = 1, capacity = 4")
	does(1, "sold of "+typ+" is 1 and should be 5", "rebuild", "stock")
}
