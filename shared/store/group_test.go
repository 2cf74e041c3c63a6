package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Changes that share a transaction fail alone: by their own decision, or because the database refuses one of their
// statements.
func TestGroup(t *testing.T) {
	testkit.DB(t, "grouped", nil, func(t *testing.T, db *store.DB) {
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY, CHECK (n >= 0))")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		g := store.NewGroup(db)
		changed := errors.New("changed its mind")
		insert := func(n int) func(context.Context, bun.Tx) error {
			return func(ctx context.Context, tx bun.Tx) error {
				if _, err := tx.ExecContext(ctx, "INSERT INTO numbers (n) VALUES (?)", n); err != nil {
					return err
				}
				if n%5 == 1 {
					return changed
				}
				return nil
			}
		}
		errs := make([]error, 200)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				n := i
				if i%5 == 2 {
					n = -i // the table refuses it
				}
				errs[i] = g.Do(t.Context(), insert(n))
			})
		}
		wg.Wait()
		want := 0
		for i, err := range errs {
			switch i % 5 {
			case 1:
				if !errors.Is(err, changed) {
					t.Errorf("%d: %v", i, err)
				}
			case 2:
				if !store.IsCheck(err) {
					t.Errorf("%d: %v", i, err)
				}
			default:
				want++
				if err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		}
		var got int
		if err := db.Read().NewRaw("SELECT COUNT(*) FROM numbers").Scan(t.Context(), &got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%d numbers are there, want %d", got, want)
		}
	})
}

func TestCursor(t *testing.T) {
	for _, key := range [][]string{{"a"}, {"2026-01-01T00:00:00Z", "ord_1"}, {"", ""}} {
		got, err := store.DecodeCursor(store.EncodeCursor(key...), len(key))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(key) {
			t.Errorf("%q came back as %q, %v", key, got, err)
		}
	}
	if got, err := store.DecodeCursor("", 2); got != nil || err != nil {
		t.Errorf("no cursor is %q, %v", got, err)
	}
	for _, bad := range []string{"!", "YQ==", store.EncodeCursor("one"), store.EncodeCursor("a", "b", "c"), "_____"} {
		if _, err := store.DecodeCursor(bad, 2); !fault.Is(err, fault.Invalid) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	for n, want := range map[int]int{0: 50, 1: 1, 200: 200} {
		if got, err := store.Limit(n); got != want || err != nil {
			t.Errorf("Limit(%d) = %d, %v", n, got, err)
		}
	}
	for _, n := range []int{-1, 201} {
		if _, err := store.Limit(n); !fault.Is(err, fault.Invalid) {
			t.Errorf("Limit(%d): %v", n, err)
		}
	}
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add(store.EncodeCursor("2026-01-01T00:00:00Z", "evt_1"))
	f.Add("%00")
	f.Fuzz(func(t *testing.T, s string) {
		key, err := store.DecodeCursor(s, 2)
		if err != nil || s == "" {
			return
		}
		if len(key) != 2 || store.EncodeCursor(key...) != s {
			t.Fatalf("%q is %q", s, key)
		}
	})
}
