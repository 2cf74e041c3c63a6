package venues_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// scanMany shows tickets at many gates of the venue at once, n times altogether.
func scanMany(t *testing.T, h *systemtest.Hall, tickets []api.Ticket, n int64) {
	t.Helper()
	const gates = 64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: gates}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var all sync.WaitGroup
	for range gates {
		all.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				body, err := json.Marshal(api.Admission{Code: tickets[i%int64(len(tickets))].Code, Gate: "north"})
				if err != nil {
					t.Error(err)
					return
				}
				req, err := http.NewRequest("POST", h.Edge.URL+h.At("/admissions"), bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+h.Pass)
				req.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				answer, err := io.ReadAll(resp.Body)
				if resp.Body.Close(); err != nil || resp.StatusCode != 200 {
					t.Errorf("%d %s %v", resp.StatusCode, answer, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// What waits at a venue after an evening without a line comes up over one that takes half a second each way and loses one
// in fifty segments: all of it, each scan once, while the doors go on. With STARLIGHT_EDGE 100,000 scans wait.
func TestBacklogOfAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.OpenHall(t)
	n := int64(6_000)
	if atHallFor(t) > 0 {
		n = 100_000
	}
	mend := h.Line.Pause()
	defer mend()
	began := time.Now()
	scanMany(t, h, tickets, n)
	took := time.Since(began)
	status := func() (got edge.Status, err error) {
		err = systemtest.Did(h.Edge, "GET", "/v1/status", "", nil, &got, "", 200)
		return got, err
	}
	waiting, err := status()
	if err != nil || waiting.Waiting != n {
		t.Fatalf("the venue is %+v, %v", waiting, err)
	}
	h.Line.Delay(500 * time.Millisecond)
	h.Line.Lose(50)
	mend()
	h.Line.Cut()
	began = time.Now()
	var up time.Duration // when the line was up, and what was handed up since
	testkit.Eventually(t, 10*time.Minute, func() error {
		got, err := status()
		if err != nil {
			return err
		}
		if got.Line.Up && up == 0 {
			up = time.Since(began)
		}
		if got.Waiting > 0 {
			return fmt.Errorf("%d entries wait, the line is %+v", got.Waiting, got.Line)
		}
		return nil
	})
	t.Logf("%d scans in %.1f s; the line was up after %.1f s, and all were at the system after %.1f s", n, took.Seconds(),
		up.Seconds(), time.Since(began).Seconds())
	h.Line.Delay(0)
	h.Line.Lose(0)
	judge(t, h)
	if got := len(h.Scans(h.Hub, h.Owner)); got != int(n) {
		t.Errorf("the system has %d of %d scans", got, n)
	}
}

// A venue has the list of tickets of a large event, which the system reads from its database page after page, and its
// doors. With STARLIGHT_EDGE there are 200,000 tickets.
func TestManifestOfAVenue(t *testing.T) {
	t.Parallel()
	h, tickets := systemtest.ReadyHall(t)
	n := 5_000
	if atHallFor(t) > 0 {
		n = 200_000
	}
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(h.Cfg.Data, "sql"), "ticketing", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?)
			INSERT INTO tickets (id, order_id, position, event_id, event_name, ticket_type_id, type_name, owner_id, holder_name,
				holder_email, status, revision, issued_at)
			SELECT substr(id, 1, 14) || printf('%016d', n), order_id, position + n, event_id, event_name, ticket_type_id,
				type_name, owner_id, 'Guest with a name ' || n, holder_email, status, revision, issued_at
			FROM tickets, c WHERE id = ?`, n, tickets[len(tickets)-1].ID)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	systemtest.Call[api.Authority](h.Hub, 200, "PUT", h.At("/authority"), h.Owner, api.NewAuthority{VenueID: h.Venue.ID})
	h.AwaitDoors(t, "venue")
	took := time.Since(began)
	got := systemtest.Call[edge.Status](h.Edge, 200, "GET", "/v1/status", "", nil)
	if want := int64(n + len(tickets)); got.Tickets != want {
		t.Errorf("the venue has %d tickets of %d", got.Tickets, want)
	}
	if took > time.Minute { // on a machine that has much else to do
		t.Errorf("the list took %s", took)
	}
	t.Logf("%d tickets, and the doors, were at the venue after %.1f s, in a file of %d MB", got.Tickets, took.Seconds(), got.DiskBytes>>20)
}
