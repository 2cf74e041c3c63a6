package system_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// An organizer reads what was done to it and to its events, while they were its own, and nothing of others.
func TestAuditLogOfAnOrganizer(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	people := cast(s, admin, cfg)
	stranger, buyer, owner, finance := people[2], people[3], people[4], people[7]
	mine, theirs := api.OrganizerOf(owner.id), api.OrganizerOf(stranger.id)
	log := "/v1/organizers/" + mine.String() + "/audit-log"

	moved := s.Concert(owner.token, 5, 1000)
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer.token, systemtest.Seats(moved, 1))
	s.Pay(buyer.token, order)
	order = systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+order.ID.String(), buyer.token, nil)
	refund(s, owner.token, order, api.NewRefund{})
	acts := func(token, log string) (acts []string) {
		t.Helper()
		for _, l := range systemtest.Call[api.List[api.AuditEntry]](s, 200, "GET", log+"?limit=200", token, nil).Items {
			acts = append(acts, l.Act+" "+l.EventID.String())
		}
		return acts
	}
	has := func(token, log, act string) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			if got := acts(token, log); !slices.Contains(got, act) {
				return fmt.Errorf("%s is not in %q", act, got)
			}
			return nil
		})
	}
	has(owner.token, log, "payment.refund "+moved.ID.String())
	has(owner.token, log, "event.invite_member ")
	has(owner.token, log, "event.publish "+moved.ID.String())
	for _, l := range systemtest.Call[api.List[api.AuditEntry]](s, 200, "GET", log, admin, nil).Items {
		if l.By.UserID != "" && l.By.Address == "" {
			t.Errorf("an administrator does not see from where: %+v", l)
		}
	}

	// What is done after the event has become another's is in the log of that one alone.
	systemtest.Call[api.TeamMember](s, 200, "PUT", "/v1/events/"+moved.ID.String()+"/team/"+stranger.id.String(), owner.token,
		map[string]string{"role": api.RoleManager})
	systemtest.Call[api.Event](s, 200, "PUT", "/v1/events/"+moved.ID.String()+"/organizer", owner.token, api.SetOrganizer{UserID: stranger.id})
	systemtest.Call[api.Event](s, 200, "PATCH", "/v1/events/"+moved.ID.String(), admin, map[string]string{"name": "Moved"})
	has(stranger.token, "/v1/organizers/"+theirs.String()+"/audit-log", "event.update "+moved.ID.String())
	if got := acts(owner.token, log); slices.Contains(got, "event.update "+moved.ID.String()) {
		t.Errorf("the log of the one before has %q", got)
	}

	s.Refused("not_found", "GET", log, stranger.token, nil)
	s.Refused("forbidden", "GET", log, finance.token, nil)
	s.Refused("not_found", "GET", log+".csv", stranger.token, nil)
	s.Refused("invalid", "GET", log+"?event=x", owner.token, nil)
	s.Refused("invalid", "GET", log+".csv?from=yesterday", owner.token, nil)
	s.Refused("not_found", "GET", "/v1/organizers/org_0123456789abcdefghjkmnpqrs/audit-log", owner.token, nil)

	got, err := s.Send("GET", log+".csv", owner.token, nil)
	if err != nil || got.Status != 200 {
		t.Fatalf("%d %s %v", got.Status, got.Body, err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(got.Body))).ReadAll()
	if err != nil || len(rows) != 1+len(acts(owner.token, log)) || rows[0][3] != "act" {
		t.Errorf("%d rows, %v: %s", len(rows), err, got.Body)
	}

	// Lines whose organizer was not known when they came get it later.
	db, err := store.Open(t.Context(), "sqlite:"+cfg.Data+"/sql", "audit", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	before := acts(stranger.token, "/v1/organizers/"+theirs.String()+"/audit-log")
	err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE lines SET organizer_id = '' WHERE event_id <> '' AND event_id <> ?", moved.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		if now := acts(stranger.token, "/v1/organizers/"+theirs.String()+"/audit-log"); len(now) < len(before) {
			return fmt.Errorf("%q, before %q", now, before)
		}
		return nil
	})
}
