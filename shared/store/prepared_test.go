package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A value is stored as bun would store it, whatever it is.
func TestExecStoresWhatBunStores(t *testing.T) {
	testkit.DB(t, "prepared", nil, func(t *testing.T, db *store.DB) {
		at := time.Date(2026, 7, 1, 12, 30, 0, 123456789, time.FixedZone("", 7200))
		var none *time.Time
		type row struct {
			Text, ID string
			N        int64
			Yes      bool
			Data     []byte
			At       time.Time
			Maybe    *time.Time
		}
		var rows []row
		var kinds []string
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, `CREATE TABLE kinds (text TEXT, id TEXT, n BIGINT, yes BOOLEAN, data BYTEA,
				at TIMESTAMPTZ, maybe TIMESTAMPTZ)`)
			if err != nil {
				return err
			}
			for _, maybe := range []*time.Time{none, &at} {
				for _, data := range [][]byte{nil, {}, {0, '\'', 255}} {
					const query = "INSERT INTO kinds (text, id, n, yes, data, at, maybe) VALUES (?, ?, ?, ?, ?, ?, ?)"
					args := []any{"it's ? \\ ü", ids.Event("evt_1"), -7, true, data, at, maybe}
					if _, err := tx.ExecContext(ctx, query, args...); err != nil {
						return err
					}
					if _, err := store.Exec(ctx, tx, query, args...); err != nil {
						return err
					}
				}
			}
			if err := tx.NewRaw("SELECT * FROM kinds").Scan(ctx, &rows); err != nil || db.Postgres() {
				return err
			}
			return tx.NewRaw(`SELECT concat_ws('|', quote(text), quote(id), quote(n), quote(yes), quote(data), quote(at), quote(maybe))
				FROM kinds ORDER BY rowid`).Scan(ctx, &kinds)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 12 {
			t.Fatalf("%d rows", len(rows))
		}
		for i := 0; i < len(kinds); i += 2 {
			if kinds[i] != kinds[i+1] {
				t.Errorf("stored\n%s, bun stores\n%s", kinds[i+1], kinds[i])
			}
		}
		for i, r := range rows {
			if r.Text != rows[0].Text || r.ID != "evt_1" || r.N != -7 || !r.Yes || !r.At.Equal(at.Truncate(time.Microsecond)) {
				t.Errorf("row %d is %+v", i, r)
			}
		}
	})
}

// A statement that is kept prepared lives through failures, other schemas and nested transactions.
func TestExecGoesOn(t *testing.T) {
	testkit.DB(t, "prepared", nil, func(t *testing.T, db *store.DB) {
		run := func(query string, args ...any) error {
			return db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := store.Exec(ctx, tx, query, args...)
				return err
			})
		}
		if err := run("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY, CHECK (n > 0))"); err != nil {
			t.Fatal(err)
		}
		const insert = "INSERT INTO numbers (n) VALUES (?)"
		for n, ok := range map[int]bool{1: true, 2: true, -1: false} {
			if err := run(insert, n); (err == nil) != ok {
				t.Errorf("%d: %v", n, err)
			}
		}
		if err := run(insert, 1); !store.IsUnique(err) {
			t.Errorf("twice: %v", err)
		}
		if err := run("ALTER TABLE numbers ADD COLUMN at TIMESTAMPTZ"); err != nil {
			t.Fatal(err)
		}
		if err := run(insert, 3); err != nil {
			t.Error(err)
		}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			inner, err := tx.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := store.Exec(ctx, inner, insert, 4); err != nil {
				return err
			}
			if err := inner.Rollback(); err != nil {
				return err
			}
			_, err = store.Exec(ctx, tx, insert, 5)
			return err
		})
		var sum int
		if serr := db.Read().NewRaw("SELECT sum(n) FROM numbers").Scan(t.Context(), &sum); err != nil || serr != nil || sum != 1+2+3+5 {
			t.Errorf("%v, %v, sum %d", err, serr, sum)
		}
	})
}

func BenchmarkExec(b *testing.B) {
	db := testkit.Open(b, testkit.SQLite(b), "bench", nil)
	const query = "INSERT INTO processed (consumer, message_id, at) VALUES (?, ?, ?) ON CONFLICT (consumer, message_id) DO NOTHING"
	const outbox = "INSERT INTO outbox (id, subject, header, payload, at) VALUES (?, ?, ?, ?, ?)"
	payload := []byte(strings.Repeat("x", 600))
	for name, exec := range map[string]func(context.Context, bun.Tx, string, ...any) error{
		"bun": func(ctx context.Context, tx bun.Tx, query string, args ...any) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		},
		"prepared": func(ctx context.Context, tx bun.Tx, query string, args ...any) error {
			_, err := store.Exec(ctx, tx, query, args...)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			err := db.Tx(b.Context(), func(ctx context.Context, tx bun.Tx) error {
				for b.Loop() {
					now := time.Now()
					if err := exec(ctx, tx, query, "ticketing", ids.New[ids.EventKind](now).String(), now); err != nil {
						return err
					}
					if err := exec(ctx, tx, outbox, ids.New[ids.EventKind](now).String(), "ev.a.b.c", "{}", payload, now); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
