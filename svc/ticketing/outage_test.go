package ticketing

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// with returns the lines that contain a text.
func (l *lines) with(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// While the database is away, overdue orders are tried again and again. That is one warning, and one line at its end.
func TestOutageWhileOrdersExpireIsLoggedOnce(t *testing.T) {
	outage := testkit.NewOutage(t, testkit.Postgres(t))
	db, err := store.Open(t.Context(), outage.URL, "ticketing", Migrations(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	h := newHarness(t, db)
	var log lines
	h.log = slog.New(slog.NewTextHandler(&log, nil))
	h.start()
	o := h.publish(10, 1000)
	placed := must(h.as(person()), h, api.CreateOrder, order(o, 1))
	outage.Begin()
	h.clock.Advance(time.Hour)
	testkit.Eventually(t, time.Minute, func() error {
		if len(log.with("overdue orders")) == 0 {
			return errors.New("the outage is not logged")
		}
		return nil
	})
	outage.End()
	testkit.Eventually(t, time.Minute, func() error {
		var status string
		err := db.Read().NewRaw("SELECT status FROM orders WHERE id = ?", placed.ID).Scan(t.Context(), &status)
		if err != nil || status != api.OrderExpired {
			return fmt.Errorf("status %q, error %v", status, err)
		}
		if len(log.with("background work succeeds again\" work=\"overdue orders\"")) != 1 {
			return errors.New("the end of the outage is not logged")
		}
		return nil
	})
	if found := log.with("overdue orders"); len(found) != 2 || !strings.Contains(found[0], "level=WARN") {
		t.Errorf("logged\n%s", strings.Join(found, ""))
	}
}

// How late seats come back is measured from the earliest end of a hold that an order still has.
func TestOldestPending(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		is := func(want time.Time) {
			t.Helper()
			if got, err := s.db.oldestPending(t.Context()); err != nil || !got.Equal(want) {
				var rows []orderRow
				failed := s.db.Read().NewRaw("SELECT * FROM orders ORDER BY id").Scan(t.Context(), &rows)
				t.Errorf("%v, %v, want %v; orders: %+v %v", got, err, want, rows, failed)
			}
		}
		is(time.Unix(1<<40, 0))
		o := h.publish(10, 1000)
		first := must(h.as(person()), h, api.CreateOrder, order(o, 1))
		h.clock.Advance(time.Second) // not to its end: it would be taken at once
		must(h.as(person()), h, api.CreateOrder, order(o, 1))
		is(*first.ExpiresAt)
	})
}
