// Package store opens the SQL database of one service and runs its transactions.
//
// One URL says where: "sqlite:DIR" is a file DIR/<service>.db, "postgres://..." is a schema named after the service in
// that database. Queries are written once, with bun, for both.
//
// # Reading and writing
//
// Reads go through Read, writes through Tx. On SQLite there is one connection that writes and a few that read; the file
// is in WAL mode with synchronous=FULL, so readers never wait for the writer and a commit is on disk when it returns.
// On PostgreSQL both use one pool.
//
// # Columns
//
// Times are TIMESTAMPTZ in both, time.Time in Go, written in UTC with microseconds: bun writes them for SQLite as text
// that sorts by time. So pass a time as an argument of the query, never as a literal or CURRENT_TIMESTAMP, and compare
// what was read with Equal. Time rounds a time to what will be stored. Booleans are BOOLEAN, money and counters BIGINT,
// bytes BLOB and BYTEA. JSON is TEXT in both, `bun:"type:text"` on a struct, map or slice.
package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// The databases, as DB.Dialect names them.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

//go:embed migrations
var common embed.FS

// DB is the database of one service. It is safe for concurrent use.
type DB struct {
	service string
	dialect string
	log     *slog.Logger
	read    *bun.DB
	write   *bun.DB // the same as read on PostgreSQL
	dsn     string  // of PostgreSQL
	path    string  // of the file of SQLite

	queue *queue // of SQLite, which has one writer

	rides rides

	aroundCommit func(done bool) // nil but in tests

	mu        sync.RWMutex
	announced []func()
}

// Open opens the database of a service at url, creates it where missing, and applies the migrations: first those of
// this package, then the service's (see Migrate for their layout; nil means none).
//
// The service is a name of 1 to 32 of [a-z0-9_] that begins with a letter. Errors never contain the password of the
// URL.
func Open(ctx context.Context, url, service string, migrations fs.FS, log *slog.Logger) (*DB, error) {
	if !nameRule.MatchString(service) {
		return nil, fmt.Errorf("store: %q is no name for a database", service)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	db := &DB{service: service, log: log}
	db.rides.db = db
	var err error
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case "sqlite":
		err = db.openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		err = db.openPostgres(ctx, url)
	default:
		err = fmt.Errorf("a database URL begins with sqlite: or postgres://")
	}
	if err == nil {
		err = db.migrateAll(ctx, migrations)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("store: %s: %w", service, err)
	}
	return db, nil
}

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

func (db *DB) migrateAll(ctx context.Context, service fs.FS) error {
	if err := db.Migrate(ctx, "store", common); err != nil {
		return err
	}
	if service == nil {
		return nil
	}
	return db.Migrate(ctx, db.service, service)
}

// Service returns the name that the database was opened with.
func (db *DB) Service() string { return db.service }

// Dialect returns SQLite or Postgres.
func (db *DB) Dialect() string { return db.dialect }

// Postgres reports whether the database is PostgreSQL; otherwise it is SQLite.
func (db *DB) Postgres() bool { return db.dialect == Postgres }

// Alone holds up other transactions that name the same until this one ends: what it counts stays so. On SQLite there is
// no other.
func (db *DB) Alone(ctx context.Context, tx bun.IDB, what string) error {
	if !db.Postgres() {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", "starlight alone "+what)
	return err
}

// Read returns the database for reading outside of a transaction. On SQLite it refuses to write.
func (db *DB) Read() bun.IDB { return db.read }

// Ping proves that the database takes writes, by a write. A full disk or a read-only standby fails it.
func (db *DB) Ping(ctx context.Context) error {
	return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx,
			"INSERT INTO probe (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at", time.Now())
		return err
	})
}

// Stats returns the state of the pool that writes, for metrics.
func (db *DB) Stats() sql.DBStats { return db.write.DB.Stats() }

// Waiting returns how many transactions wait for their turn on SQLite, for metrics.
func (db *DB) Waiting() int {
	if db.queue == nil {
		return 0
	}
	db.queue.mu.Lock()
	defer db.queue.mu.Unlock()
	return db.queue.waiting.Len()
}

// flushTimeout bounds the last commit of what was given to TxSoon.
const flushTimeout = 2 * time.Second

// Close finishes what was given to TxSoon and closes all connections. Running queries fail.
func (db *DB) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	db.rides.flush(ctx)
	var err error
	if db.read != nil && db.read != db.write {
		err = db.read.Close()
	}
	if db.write != nil {
		if werr := db.write.Close(); err == nil {
			err = werr
		}
	}
	return err
}

// OnAnnounce registers fn, to be called after each commit of a transaction that was marked with Announce. It must not
// block. The returned function takes the registration back.
func (db *DB) OnAnnounce(fn func()) (cancel func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	i := len(db.announced)
	db.announced = append(db.announced, fn)
	return func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.announced[i] = nil
	}
}

func (db *DB) announce() {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, fn := range db.announced {
		if fn != nil {
			fn()
		}
	}
}

// Time returns t as it will be read back: in UTC, cut to microseconds.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Given returns a time that was read, in UTC, or nil for the zero one: it is absent in answers.
func Given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
