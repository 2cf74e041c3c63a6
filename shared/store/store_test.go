package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func schema() fstest.MapFS {
	return fstest.MapFS{
		"migrations/0001_things.sql": file(`
			CREATE TABLE things (
				id    TEXT        NOT NULL PRIMARY KEY,
				n     BIGINT      NOT NULL CHECK (n >= 0),
				at    TIMESTAMPTZ NOT NULL,
				maybe TIMESTAMPTZ,
				ok    BOOLEAN     NOT NULL DEFAULT FALSE,
				tags  TEXT        NOT NULL DEFAULT '[]',
				note  TEXT        NOT NULL DEFAULT 'why?'
			);
			CREATE TABLE parts (thing TEXT NOT NULL REFERENCES things (id));`),
		"migrations/sqlite/0002_only.sql":   file(`CREATE TABLE only_sqlite (x INTEGER)`),
		"migrations/postgres/0002_only.sql": file(`CREATE TABLE only_postgres (x BIGINT)`),
	}
}

// databases returns how to get the URL of a fresh database, for tests that open it more than once.
func databases() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{store.SQLite: testkit.SQLite, store.Postgres: testkit.Postgres}
}

type thing struct {
	bun.BaseModel `bun:"table:things"`

	ID    string `bun:",pk"`
	N     int64
	At    time.Time
	Maybe *time.Time
	OK    bool
	Tags  []string          `bun:"type:text"`
	Note  map[string]string `bun:"type:text"`
}

func each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	testkit.DB(t, "user", schema(), test) // a reserved word of PostgreSQL
}

func insert(ctx context.Context, db *store.DB, th *thing) error {
	return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(th).Exec(ctx)
		return err
	})
}

func value(t *testing.T, db *store.DB, id string) int64 {
	t.Helper()
	var n int64
	if err := db.Read().NewRaw("SELECT n FROM things WHERE id = ?", id).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEveryTypeComesBackAsItWas(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		at := time.Date(2031, 7, 1, 23, 30, 0, 123456789, time.FixedZone("", 2*3600))
		in := &thing{ID: "a ? 'quoted' \\ ünïcode", N: 1 << 60, At: at, Maybe: &at, OK: true, Tags: []string{"x", "y"},
			Note: map[string]string{"k": "v?"}}
		if err := insert(t.Context(), db, in); err != nil {
			t.Fatal(err)
		}
		var out thing
		if err := db.Read().NewSelect().Model(&out).Where("id = ?", in.ID).Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !out.At.Equal(store.Time(at)) || !out.Maybe.Equal(store.Time(at)) {
			t.Errorf("times %s, %s; want %s", out.At, out.Maybe, store.Time(at))
		}
		if _, offset := out.At.Zone(); offset != 0 {
			t.Errorf("time read in zone %s, want UTC", out.At.Location())
		}
		if out.ID != in.ID || out.N != in.N || !out.OK || fmt.Sprint(out.Tags, out.Note) != fmt.Sprint(in.Tags, in.Note) {
			t.Errorf("read %+v, want %+v", out, in)
		}
	})
}

func TestTimesSortAndCompare(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		base := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		offsets := []time.Duration{0, 1, 10, 100_000, 120_000, 999_999, 1_000_000, 1_500_000} // microseconds
		for i, o := range offsets {
			if err := insert(t.Context(), db, &thing{ID: fmt.Sprint(i), At: base.Add(o * time.Microsecond)}); err != nil {
				t.Fatal(err)
			}
		}
		var ids []string
		err := db.Read().NewSelect().Table("things").Column("id").
			Where("at >= ?", base.Add(10*time.Microsecond)).Where("at < ?", base.Add(1500*time.Millisecond)).
			Order("at DESC").Scan(t.Context(), &ids)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(ids, " "), "6 5 4 3 2"; got != want {
			t.Errorf("ids by time %s, want %s", got, want)
		}
	})
}

func TestConstraintsAreRecognised(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		if err := insert(ctx, db, &thing{ID: "a", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		unique := insert(ctx, db, &thing{ID: "a", At: time.Now()})
		check := insert(ctx, db, &thing{ID: "b", N: -1, At: time.Now()})
		foreign := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO parts (thing) VALUES (?)", "nobody")
			return err
		})
		for _, c := range []struct {
			name                   string
			err                    error
			unique, check, foreign bool
		}{
			{"unique", unique, true, false, false},
			{"check", check, false, true, false},
			{"foreign key", foreign, false, false, true},
			{"other", errors.New("other"), false, false, false},
			{"none", nil, false, false, false},
		} {
			if store.IsUnique(c.err) != c.unique || store.IsCheck(c.err) != c.check || store.IsForeignKey(c.err) != c.foreign {
				t.Errorf("%s: %v: unique=%t check=%t foreign key=%t", c.name, c.err, store.IsUnique(c.err),
					store.IsCheck(c.err), store.IsForeignKey(c.err))
			}
		}
		err := db.Read().NewRaw("SELECT n FROM things WHERE id = ?", "nobody").Scan(ctx, new(int64))
		if err := store.OrNotFound(err, "thing %s", "nobody"); !fault.Is(err, fault.NotFound) {
			t.Errorf("OrNotFound: %v", err)
		}
		if err := store.OrNotFound(nil, "x"); err != nil {
			t.Errorf("OrNotFound(nil): %v", err)
		}
	})
}

func TestSQLiteReadRefusesToWrite(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "user", schema())
	if _, err := db.Read().ExecContext(t.Context(), "DELETE FROM things"); err == nil {
		t.Error("a write through Read went through")
	}
}

func TestSQLiteIsDurableAndPrivate(t *testing.T) {
	url := testkit.SQLite(t)
	db := testkit.Open(t, url, "user", schema())
	var mode string
	var sync, keys int
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		return errors.Join(
			tx.NewRaw("PRAGMA journal_mode").Scan(ctx, &mode),
			tx.NewRaw("PRAGMA synchronous").Scan(ctx, &sync),
			tx.NewRaw("PRAGMA foreign_keys").Scan(ctx, &keys))
	})
	if err != nil || mode != "wal" || sync != 2 || keys != 1 {
		t.Errorf("journal_mode=%s synchronous=%d foreign_keys=%d, %v", mode, sync, keys, err)
	}
	for _, name := range []string{"user.db", "user.db-wal"} {
		info, err := os.Stat(strings.TrimPrefix(url, "sqlite:") + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if perm := info.Mode().Perm(); perm != 0o600 {
			t.Errorf("%s has permissions %o", name, perm)
		}
	}
}

func TestConcurrentStartMigratesOnce(t *testing.T) {
	for name, url := range databases() {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					db, err := store.Open(t.Context(), at, "user", schema(), nil)
					if err != nil {
						t.Error(err)
						return
					}
					defer db.Close()
					if _, err := db.Read().ExecContext(t.Context(), "SELECT count(*) FROM only_"+db.Dialect()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestMigrationErrors(t *testing.T) {
	for name, url := range databases() {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			testkit.Open(t, at, "user", schema()).Close()

			changed := schema()
			changed["migrations/0001_things.sql"] = file("CREATE TABLE others (x INTEGER)")
			broken := schema()
			broken["migrations/0003_broken.sql"] = file("CREATE TABLE half (x INTEGER); CREATE TABLE nonsense (")
			twice := schema()
			twice["migrations/0002_only.sql"] = file("SELECT 1")
			for name, fsys := range map[string]fstest.MapFS{"changed": changed, "broken": broken, "twice": twice} {
				if db, err := store.Open(t.Context(), at, "user", fsys, nil); err == nil {
					db.Close()
					t.Errorf("%s: Open went through", name)
				}
			}
			more := schema()
			more["migrations/0003_fixed.sql"] = file("CREATE TABLE half (x INTEGER)") // not left over from the broken one
			testkit.Open(t, at, "user", more).Close()
			testkit.Open(t, at, "user", schema()) // an older instance beside a newer one
		})
	}
}

func TestServicesDoNotSeeEachOther(t *testing.T) {
	for name, url := range databases() {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			testkit.Open(t, at, "user", schema())
			other := testkit.Open(t, at, "event", nil)
			if _, err := other.Read().ExecContext(t.Context(), "SELECT count(*) FROM things"); err == nil {
				t.Error("a service reads the table of another")
			}
		})
	}
}

func TestBadURLs(t *testing.T) {
	for _, url := range []string{"", "sqlite:", "mysql://x", "postgres://u:geheim@127.0.0.1:1/x?sslmode=wat",
		"postgres://u:geheim@127.0.0.1:1/x?sslmode=disable", "postgres://u:geheim@127.0.0.1:1/x?pool=0", "postgres://u:geheim@\x7f/"} {
		db, err := store.Open(t.Context(), url, "user", nil, nil)
		if err == nil {
			db.Close()
			t.Errorf("%q: Open went through", url)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
	if _, err := store.Open(t.Context(), testkit.SQLite(t), "../x", nil, nil); err == nil {
		t.Error("a service named ../x went through")
	}
	unreachable := "postgres://u:geheim@127.0.0.1:1/x"
	if _, err := store.Open(t.Context(), unreachable, "user", nil, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("unreachable: %v, want unavailable", err)
	}
}
