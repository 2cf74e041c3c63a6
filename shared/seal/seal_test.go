package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// text returns a key.
func text(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func parse(t *testing.T, text string) *seal.Keys {
	t.Helper()
	k, err := seal.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOpen(t *testing.T) {
	none, one, two := parse(t, " \n"), parse(t, text(0xfb)), parse(t, text(2)+",\n"+text(0xfb)+"\n")
	sealed := one.Seal("here", "secret")
	parts := strings.Split(sealed, ".")
	if len(parts) != 3 || parts[0] != "sealed" || parts[1] != one.ID() || strings.Contains(sealed, "secret") {
		t.Errorf("sealed: %s", sealed)
	}
	if sealed == one.Seal("here", "secret") {
		t.Error("two values are sealed alike")
	}
	for name, c := range map[string]struct {
		keys          *seal.Keys
		place, stored string
		want          string
		err           error
	}{
		"it":               {one, "here", sealed, "secret", nil},
		"an earlier key":   {two, "here", sealed, "secret", nil},
		"plain":            {none, "here", "secret", "secret", nil},
		"plain with a key": {one, "here", "secret", "", seal.ErrPlain},
		"no key":           {none, "here", sealed, "", seal.ErrNoKey},
		"another key":      {parse(t, text(3)), "here", sealed, "", seal.ErrKey},
		"another place":    {one, "there", sealed, "", seal.ErrBroken},
		"cut off":          {one, "here", sealed[:20], "", seal.ErrBroken},
		"no base64":        {one, "here", sealed + "!", "", seal.ErrBroken},
		"no text":          {one, "here", "sealed." + one.ID(), "", seal.ErrBroken},
		"no id":            {one, "here", "sealed.", "", seal.ErrKey},
	} {
		if got, err := c.keys.Open(c.place, c.stored); got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if none.Seal("here", "secret") != "secret" || none.ID() != "" || none.Set() {
		t.Error("no key seals")
	}
}

func TestParse(t *testing.T) {
	same := parse(t, text(0xfb)).ID()
	for _, other := range []string{strings.TrimRight(text(0xfb), "="),
		base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32))} {
		if parse(t, other).ID() != same {
			t.Errorf("%s is another key", other)
		}
	}
	for _, bad := range []string{"hunter2", text(1)[:40], text(1) + "," + text(1), text(1) + ",x"} {
		if _, err := seal.Parse(bad); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

var column = seal.Column{Table: "things", ID: "name", Value: "secret"}

func things(t *testing.T, db *store.DB, n int) {
	t.Helper()
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "CREATE TABLE things (name TEXT PRIMARY KEY, secret TEXT NOT NULL)"); err != nil {
			return err
		}
		for i := range n {
			_, err := tx.ExecContext(ctx, "INSERT INTO things VALUES (?, ?)", fmt.Sprint("t", i), fmt.Sprint("secret ", i))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// opened fails unless all values open to what they were, and returns how many are sealed by the present key.
func opened(t *testing.T, db *store.DB, keys *seal.Keys, n int) (current int) {
	t.Helper()
	for i := range n {
		name, stored := fmt.Sprint("t", i), ""
		if err := db.Read().NewSelect().Table("things").Column("secret").Where("name = ?", name).
			Scan(t.Context(), &stored); err != nil {
			t.Fatal(err)
		}
		if got, err := keys.Open(column.Place(db, name), stored); err != nil || got != fmt.Sprint("secret ", i) {
			t.Fatalf("%s: %q, %v", name, got, err)
		}
		if strings.HasPrefix(stored, "sealed."+keys.ID()+".") {
			current++
		}
	}
	return current
}

func TestColumn(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		const n = 250
		ctx := t.Context()
		things(t, db, n)
		one, both, two := parse(t, text(1)), parse(t, text(2)+" "+text(1)), parse(t, text(2))

		if err := column.Adopt(ctx, db, nil); err != nil || opened(t, db, nil, n) != 0 {
			t.Fatalf("without a key: %v", err)
		}
		var wg sync.WaitGroup
		for range 4 { // instances that start at once
			wg.Go(func() {
				if err := column.Adopt(ctx, db, one); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := opened(t, db, one, n); got != n {
			t.Fatalf("%d are sealed", got)
		}
		if err := column.Adopt(ctx, db, nil); !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("a start without the key: %v", err)
		}
		if err := column.Adopt(ctx, db, two); !errors.Is(err, seal.ErrKey) {
			t.Errorf("a start with another key: %v", err)
		}
		if _, err := column.Rewrap(ctx, db, two, nil); !errors.Is(err, seal.ErrKey) {
			t.Errorf("another key alone: %v", err)
		}
		if err := column.Adopt(ctx, db, both); err != nil || opened(t, db, both, n) != 0 {
			t.Errorf("a start seals again what others still have to open: %v", err)
		}
		noted := 0
		note := func(_ context.Context, _ bun.Tx, sealed int) error { noted += sealed; return nil }
		if got, err := column.Rewrap(ctx, db, both, note); err != nil || got != n || noted != n {
			t.Errorf("rewrapped %d, noted %d, %v", got, noted, err)
		}
		if got := opened(t, db, two, n); got != n {
			t.Errorf("%d are sealed by the new key", got)
		}
		if err := column.Adopt(ctx, db, two); err != nil {
			t.Errorf("a start with the new key alone: %v", err)
		}
		if got, err := column.Rewrap(ctx, db, both, note); err != nil || got != 0 || noted != n {
			t.Errorf("a second time: %d, noted %d, %v", got, noted, err)
		}
	})
}

// A value that is put in the place of another is refused.
func TestSwappedValues(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		things(t, db, 2)
		keys := parse(t, text(1))
		if err := column.Adopt(t.Context(), db, keys); err != nil {
			t.Fatal(err)
		}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE things SET secret = (SELECT secret FROM things WHERE name = 't1')")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := column.Adopt(t.Context(), db, keys); !errors.Is(err, seal.ErrBroken) {
			t.Errorf("a start with a swapped value: %v", err)
		}
	})
}
