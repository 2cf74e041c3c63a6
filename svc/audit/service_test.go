package audit

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// line returns the row of an act at a time.
func line(t *testing.T, object string, at time.Time) row {
	t.Helper()
	l, err := auditlog.NewLine(t.Context(), "event", auditlog.Act{Act: "event.update", Object: object, At: at})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRow(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Two instances append at once, and a line that comes again is there once: one chain without a gap.
func TestInstancesAppendToOneChain(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite,
		store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) {
			at, now := url(t), time.Now()
			var wg sync.WaitGroup
			dbs := []*store.DB{testkit.Open(t, at, "audit", Migrations()), testkit.Open(t, at, "audit", Migrations())}
			db := dbs[0]
			rows := make([]row, 20)
			for i := range rows {
				rows[i] = line(t, fmt.Sprint("thing ", i), now)
			}
			for _, db := range dbs {
				for range 4 {
					wg.Go(func() {
						for _, r := range rows {
							if err := (log{db}).append(t.Context(), r); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			wg.Wait()
			n, err := log{db}.list(t.Context(), filter{limit: 100})
			if err != nil || len(n) != len(rows) || n[0].Number != int64(len(rows)) {
				t.Errorf("%d lines, %v", len(n), err)
			}
			if lines, broken, err := verify(t.Context(), db); err != nil || lines != len(rows) || len(broken) > 0 {
				t.Errorf("%d lines, broken: %v, %v", lines, broken, err)
			}
		})
	}
}

// What is old is deleted from the beginning of the chain, which stays whole and says so.
func TestOldLinesAreDeleted(t *testing.T) {
	testkit.DB(t, "audit", Migrations(), func(t *testing.T, db *store.DB) {
		l, now := log{db}, time.Now()
		for i := range 10 {
			if err := l.append(t.Context(), line(t, fmt.Sprint("thing ", i), now.Add(time.Duration(i-10)*time.Hour))); err != nil {
				t.Fatal(err)
			}
		}
		note := func(first, last row) (row, error) {
			return line(t, fmt.Sprintf("%d-%d", first.Number, last.Number), now), nil
		}
		if n, err := l.deleteBefore(t.Context(), now.Add(-5*time.Hour-time.Minute), note); n != 5 || err != nil {
			t.Fatalf("%d deleted, %v", n, err)
		}
		if n, err := l.deleteBefore(t.Context(), now.Add(-5*time.Hour-time.Minute), note); n != 0 || err != nil {
			t.Errorf("again: %d deleted, %v", n, err)
		}
		rows, err := l.list(t.Context(), filter{limit: 100})
		if err != nil || len(rows) != 6 || rows[0].Object != "1-5" || rows[5].Number != 6 {
			t.Errorf("left: %+v, %v", rows, err)
		}
		if _, broken, err := verify(t.Context(), db); err != nil || len(broken) > 0 {
			t.Errorf("broken: %v, %v", broken, err)
		}
	})
}

func TestOnlyWhatChangedIsKept(t *testing.T) {
	by := &api.AuditAuthor{Service: "test"}
	l, err := auditlog.NewLine(t.Context(), "event", auditlog.Act{Act: "x", By: by, Without: []string{"secret"},
		Before: map[string]any{"a": 1, "b": "same", "gone": true, "secret": 1},
		After:  map[string]any{"a": 2, "b": "same", "new": nil, "secret": 2}})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(l.Before)
	after, _ := json.Marshal(l.After)
	if string(before) != `{"a":1,"gone":true}` || string(after) != `{"a":2,"new":null}` {
		t.Errorf("before %s, after %s", before, after)
	}
}
