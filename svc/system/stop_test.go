package system_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// Stopped in the middle of a sale, the system answers what it has begun: there is no order of which its buyer was not
// told, and none is forgotten. The same keys give the same answers after the restart.
func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	address, data := testkit.FreeAddress(t), t.TempDir()
	p := systemtest.Spawn(t, "starlight", []string{"STARLIGHT_ADMIN_PASSWORD=" + systemtest.Password},
		"up", "--data", data, "--http", address, "--nats", testkit.FreeAddress(t), "--ops", "off", "--admin-email", systemtest.AdminEmail)
	s := &systemtest.Site{T: t, URL: "http://" + address}
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	event := s.Concert(admin, 100000, 1000)
	var (
		mu   sync.Mutex
		told = map[ids.Order]string{} // the key with which it was made
		wg   sync.WaitGroup
	)
	for buyer := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("buyer-%d-order-%d", buyer, n)
				got, err := s.Send("POST", "/v1/orders", admin, systemtest.Seats(event, 1), "Idempotency-Key", key)
				if err != nil {
					return // the listener is closed
				}
				var o api.Order
				if got.Status == 201 && json.Unmarshal(got.Body, &o) == nil {
					mu.Lock()
					told[o.ID] = key
					mu.Unlock()
					continue
				}
				if got.Status != 503 {
					t.Errorf("while it stops: %d %s", got.Status, got.Body)
				}
				return
			}
		})
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(told) < 200 {
			return fmt.Errorf("%d orders", len(told))
		}
		return nil
	})
	p.Terminate()
	wg.Wait()

	p.Again()
	admin = s.Login(systemtest.AdminEmail)
	made := map[ids.Order]bool{}
	for cursor := ""; ; {
		page := systemtest.Call[api.List[api.Order]](s, 200, "GET", "/v1/me/orders?limit=200&cursor="+cursor, admin, nil)
		for _, o := range page.Items {
			if made[o.ID] {
				t.Errorf("order %s is listed twice", o.ID)
			}
			made[o.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	for id := range made {
		if told[id] == "" {
			t.Errorf("order %s was not published", id)
		}
	}
	for id := range told {
		if !made[id] {
			t.Errorf("order %s is forgotten", id)
		}
	}
	if got := s.Left(event); got.Held != len(told) {
		t.Errorf("%d orders hold %d seats", len(told), got.Held)
	}
	for _, id := range slices.Sorted(maps.Keys(told))[:20] {
		again, err := s.Send("POST", "/v1/orders", admin, systemtest.Seats(event, 1), "Idempotency-Key", told[id])
		var o api.Order
		if err != nil || again.Status != 201 || json.Unmarshal(again.Body, &o) != nil || o.ID != id {
			t.Errorf("the same key again: %d %s %v, want order %s", again.Status, again.Body, err, id)
		}
	}
}
