package system_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A backup is made while people buy; then everything is destroyed. What was acknowledged before the backup was asked for
// is there again, whatever was on its way finds its end, and the records agree.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := systemtest.StartMortal(t, "")
	s.Unlimited(s.Admin)
	s.AnyOrders(s.Admin)
	event := s.Concert(s.Admin, 5000, 1500)
	starlight := func(args ...string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), systemtest.ActAs+"=starlight")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("starlight %v: %v\n%s", args, err, out)
		}
	}
	for round := range 2 {
		var mu sync.Mutex
		var known []api.Order // acknowledged as paid
		var over atomic.Bool
		var buyers sync.WaitGroup
		for range 4 {
			buyers.Go(func() {
				for !over.Load() {
					if o, err := purchase(s.Site, s.Admin, event); err == nil {
						mu.Lock()
						known = append(known, o)
						mu.Unlock()
					}
				}
			})
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(known)
		}
		more := func(n int) {
			t.Helper()
			want := count() + n
			testkit.Eventually(t, 60*time.Second, func() error {
				if count() < want {
					return errors.New("too few have bought")
				}
				return nil
			})
		}
		more(15)
		before := count()
		file := filepath.Join(t.TempDir(), "backup")
		starlight("backup", file, "--data", s.Cfg.Data, "--nats-url", "nats://"+s.Cfg.NATS)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the backup: %v %v", info, err)
		}
		if left, err := filepath.Glob(filepath.Join(s.Cfg.Data, "backup-*")); err != nil || len(left) > 0 {
			t.Errorf("left in the data folder: %v %v", left, err)
		}
		more(5)
		s.P.Kill()
		over.Store(true)
		buyers.Wait()
		if err := os.RemoveAll(s.Cfg.Data); err != nil {
			t.Fatal(err)
		}
		starlight("restore", file, "--data", s.Cfg.Data)
		s.P.Again()
		t.Logf("round %d: %d orders before the backup, %d when all was destroyed", round, before, len(known))
		s.Admin = s.Login(systemtest.AdminEmail)
		there := 0
		for i, o := range known {
			got, err := s.Send("GET", "/v1/orders/"+o.ID.String(), s.Admin, nil)
			switch {
			case err != nil:
				t.Fatal(err)
			case got.Status == 200 && i < before:
				s.Await(s.Admin, o, api.OrderPaid)
				there++
			case got.Status == 200: // its buyer may not have come to pay
				there++
			case i < before:
				t.Errorf("order %d, paid before the backup, is gone: %d %s", i, got.Status, got.Body)
			}
		}
		if there == len(known) {
			t.Errorf("all %d orders are there: the backup is not of the moment", there)
		}
		systemtest.MustAudit(t, s.Cfg, systemtest.Ops(t, "nats://"+s.Cfg.NATS, filepath.Join(s.Cfg.Data, "creds")))
	}
}

// purchase buys a seat, as far as the system lets it.
func purchase(s *systemtest.Site, token string, event api.Event) (o api.Order, err error) {
	var p api.Payment
	if err := systemtest.Did(s, "POST", "/v1/orders", token, systemtest.Seats(event, 1), &o, "", 201); err != nil {
		return o, err
	}
	if err := systemtest.Did(s, "POST", "/v1/orders/"+o.ID.String()+"/payments", token, api.NewPayment{Provider: "sandbox"}, &p, "", 201); err != nil {
		return o, err
	}
	if err := systemtest.Did(s, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"}, nil, "", 202); err != nil {
		return o, err
	}
	if err := systemtest.Did(s, "GET", "/v1/orders/"+o.ID.String()+"?wait=5s", token, nil, &o, "", 200); err != nil {
		return o, err
	}
	if o.Status != api.OrderPaid {
		return o, errors.New(o.Status)
	}
	return o, nil
}
