package testkit

import (
	"context"
	"io/fs"
	"testing"

	"github.com/starlightsymphony/starlight/shared/store"
)

// DB runs a test of a store on SQLite and on PostgreSQL, as subtests, each with a fresh database of the service.
func DB(t *testing.T, service string, migrations fs.FS, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	t.Run(store.SQLite, func(t *testing.T) { test(t, Open(t, SQLite(t), service, migrations)) })
	t.Run(store.Postgres, func(t *testing.T) { test(t, Open(t, Postgres(t), service, migrations)) })
}

// Open opens the database of a service and closes it when the test ends. Opening the same URL twice is like starting
// two instances.
func Open(t testing.TB, url, service string, migrations fs.FS) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), url, service, migrations, Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// SQLite returns the URL of a fresh folder for SQLite.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + t.TempDir()
}

// Postgres returns the URL of a fresh PostgreSQL database, dropped when the test ends.
//
// The server is the one of STARLIGHT_TEST_DATABASE_URL, whose user must be allowed to create databases, or one that
// testkit starts from the machine's own binaries. With neither the test is skipped, but fails if CI=true.
func Postgres(t testing.TB) string {
	t.Helper()
	server, release := acquire(t)
	url, drop, err := server.create(t.Context())
	if err != nil {
		release()
		t.Fatalf("testkit: PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		drop()
		release()
	})
	return url
}

func missing(t testing.TB, why string) {
	t.Helper()
	Missing(t, "no PostgreSQL: "+why+"; set STARLIGHT_TEST_DATABASE_URL or install PostgreSQL")
}
