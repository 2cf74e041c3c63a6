package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// What Select reads is what bun reads, for lists of any length, and whatever a query is asked for.
func TestSelectReadsWhatBunReads(t *testing.T) {
	testkit.DB(t, "prepared", nil, func(t *testing.T, db *store.DB) {
		type row struct {
			N    int64
			Name ids.Event
			At   *time.Time
		}
		at := time.Date(2026, 7, 1, 12, 30, 0, 0, time.UTC)
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "CREATE TABLE rows (n BIGINT, name TEXT, at TIMESTAMPTZ)"); err != nil {
				return err
			}
			for n := range 20 {
				if _, err := store.Exec(ctx, tx, "INSERT INTO rows (n, name, at) VALUES (?, ?, ?)", n, "it's ?", at); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for _, from := range []bun.IDB{tx, db.Read()} {
				for _, length := range []int{0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 1024, 1025, 40000} {
					list := make([]int, length)
					for i := range list {
						list[i] = 2 * i
					}
					const query = "SELECT * FROM rows WHERE name = ? AND n IN (?) AND at >= ? ORDER BY n ?"
					var want, got []row
					if err := from.NewRaw(query, "it's ?", bun.List(list), at, bun.Safe("DESC")).Scan(ctx, &want); err != nil {
						return err
					}
					if err := store.Select(ctx, from, &got, query, "it's ?", store.List(list), at, bun.Safe("DESC")); err != nil {
						return err
					}
					if fmt.Sprint(dates(got)) != fmt.Sprint(dates(want)) || len(got) != min(length, 10) {
						t.Errorf("%d in the list: %v, bun reads %v", length, got, want)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time by the statement that the first has left
			var one row
			if err := store.Select(t.Context(), db.Read(), &one, "SELECT * FROM rows WHERE n = ?", 7); err != nil || one.N != 7 {
				t.Errorf("one row: %+v, %v", one, err)
			}
			var there bool
			err := store.Select(t.Context(), db.Read(), &there, "SELECT EXISTS (SELECT 1 FROM rows WHERE n = ?)", 7)
			if err != nil || !there {
				t.Errorf("a value: %t, %v", there, err)
			}
			err = store.Select(t.Context(), db.Read(), &one, "SELECT * FROM rows WHERE n = ?", 70)
			if !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("no row: %v", err)
			}
			if err := store.Select(t.Context(), db.Read(), &one, "SELECT * FROM nothing WHERE n = ?", 7); err == nil {
				t.Error("a table that is not there was read")
			}
		}
	})
}

func dates[T any](rows []T) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		b, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		out[i] = string(b)
	}
	return out
}

// A row is stored as bun would store it, and those that are there already are left out.
func TestInsertStoresWhatBunStores(t *testing.T) {
	testkit.DB(t, "prepared", nil, func(t *testing.T, db *store.DB) {
		type member struct{ A string }
		type row struct {
			bun.BaseModel `bun:"table:kinds,alias:k"`

			Table string    `bun:",pk"`
			ID    ids.Event `bun:",pk"`
			N     int64
			Part  float64
			Yes   bool
			Data  []byte
			List  []member `bun:"type:text"`
			Maybe string   `bun:",nullzero"`
			At    time.Time
			Then  *time.Time
		}
		at := time.Date(2026, 7, 1, 12, 30, 0, 123456789, time.FixedZone("", 7200))
		full := row{ID: "it's ? \\ ü", N: -7, Part: 0.5, Yes: true, Data: []byte{0, '\'', 255}, List: []member{{"it's"}, {"b"}},
			Maybe: "X'00'", At: at, Then: &at}
		empty := row{ID: "NULL", Data: []byte{}, List: []member{}, At: at}
		nothing := row{ID: "TRUE", At: at}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, `CREATE TABLE kinds ("table" TEXT, id TEXT, n BIGINT, part DOUBLE PRECISION, yes BOOLEAN,
				data BYTEA, list TEXT, maybe TEXT, at TIMESTAMPTZ, "then" TIMESTAMPTZ, PRIMARY KEY ("table", id))`)
			if err != nil {
				return err
			}
			mine, buns := []*row{}, []row{}
			for _, r := range []row{full, empty, nothing} {
				r.Table = "bun"
				buns = append(buns, r)
				r.Table = "store"
				mine = append(mine, &r)
			}
			if _, err := tx.NewInsert().Model(&buns).Exec(ctx); err != nil {
				return err
			}
			first, err := store.Insert(ctx, tx, mine[:2], "")
			if err != nil || len(first) != 2 {
				t.Errorf("%d are inserted, %v", len(first), err)
			}
			rest, err := store.Insert(ctx, tx, mine, `CONFLICT ("table", id) DO NOTHING`)
			if err != nil || len(rest) != 1 || rest[0].ID != "TRUE" {
				t.Errorf("%d more are inserted, %v", len(rest), err)
			}
			changed, err := store.Insert(ctx, tx, mine, `CONFLICT ("table", id) DO UPDATE SET n = k.n + 1 WHERE k.n < 0`)
			if err != nil || len(changed) != 1 || changed[0].ID != full.ID {
				t.Errorf("%d are changed, %v", len(changed), err)
			}
			if none, err := store.Insert(ctx, tx, mine, `CONFLICT ("table", id) DO NOTHING`); err != nil || len(none) != 0 {
				t.Errorf("%d are inserted again, %v", len(none), err)
			}
			_, err = store.Exec(ctx, tx, `UPDATE kinds SET n = n - 1 WHERE "table" = ? AND id = ?`, "store", full.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		quoted := map[bool]string{
			true: `SELECT concat_ws('|', id, n, part, yes, data, list, coalesce(maybe, 'NULL'), at, "then") FROM kinds `,
			false: `SELECT concat_ws('|', quote(id), quote(n), quote(part), quote(yes), quote(data), quote(list), quote(maybe), quote(at),
				quote("then")) FROM kinds `,
		}[db.Postgres()]
		var by [2][]string
		for i, table := range []string{"bun", "store"} {
			if err := store.Select(t.Context(), db.Read(), &by[i], quoted+`WHERE "table" = ? ORDER BY id`, table); err != nil {
				t.Fatal(err)
			}
		}
		if len(by[0]) != 3 || !slices.Equal(by[0], by[1]) {
			t.Errorf("stored\n%s\nbun stores\n%s", strings.Join(by[1], "\n"), strings.Join(by[0], "\n"))
		}
	})
}

// A table that numbers its rows does so for Insert, and a value that no column can have is an error.
func TestInsertNumbersAndRefuses(t *testing.T) {
	testkit.DB(t, "prepared", nil, func(t *testing.T, db *store.DB) {
		type row struct {
			bun.BaseModel `bun:"table:numbered"`

			Seq  int64 `bun:",pk,autoincrement"`
			Text string
		}
		kind := "INTEGER PRIMARY KEY AUTOINCREMENT"
		if db.Postgres() {
			kind = "BIGSERIAL PRIMARY KEY"
		}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "CREATE TABLE numbered (seq "+kind+", text TEXT)"); err != nil {
				return err
			}
			_, err := store.Insert(ctx, tx, []row{{Text: "a"}, {Text: "b"}}, "")
			return err
		})
		var seqs []int64
		if serr := db.Read().NewRaw("SELECT seq FROM numbered ORDER BY text").Scan(t.Context(), &seqs); err != nil || serr != nil ||
			!slices.Equal(seqs, []int64{1, 2}) {
			t.Errorf("%v, %v, %v", seqs, err, serr)
		}
		err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := store.Insert(ctx, tx, []row{{Text: "a\x00b"}}, "")
			return err
		})
		if err == nil {
			t.Error("a zero byte was stored in a text")
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
