package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // the driver named "sqlite"
)

// readers bounds the connections that read one SQLite file.
const readers = 4

// Pages that a connection keeps, in kB. Those of readers are in the system's cache, too, where a read of them costs
// nothing that could be measured; a large transaction is kept until its commit.
const (
	readCache  = 2000
	writeCache = 8000
)

// walLimit is how large the write-ahead log may stay, in bytes, and checkpointWait how long writers wait for readers to
// let it shrink.
const (
	walLimit       = 32 << 20
	busyTimeout    = 5 * time.Second
	checkpointWait = 100 * time.Millisecond
)

// openSQLite opens, or creates, <dir>/<service>.db.
func (db *DB) openSQLite(ctx context.Context, dir string) error {
	if dir == "" {
		return errors.New("the URL sqlite:DIR needs a folder")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path, err := filepath.Abs(filepath.Join(dir, db.service+".db"))
	if err != nil {
		return err
	}
	// SQLite gives the journal files the permissions of the database, which holds what only this service may read.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db.dialect, db.path = SQLite, path
	if db.write, err = sqlitePool(path, 1, writeCache, "_txlock", "immediate"); err != nil {
		return err
	}
	db.queue = &queue{db: db, pool: db.write}
	// Two processes that turn a new file to WAL at the same moment are refused without the busy timeout.
	for attempt := 1; ; attempt++ {
		err := db.write.PingContext(ctx)
		if err == nil {
			break
		}
		if !retryable(err) || attempt == attempts || !pause(ctx, attempt) {
			return fmt.Errorf("open %s: %w", path, err)
		}
	}
	db.read, err = sqlitePool(path, readers, readCache, "_query_only", "1")
	return err
}

// Checkpoint empties the write-ahead log of SQLite if that is large. The automatic checkpoints copy it into the
// database, but begin it anew only at a moment without readers, which a busy service may never have; this waits a
// moment for one. With PostgreSQL there is nothing to do. Call it now and then.
func (db *DB) Checkpoint(ctx context.Context) error {
	if db.dialect != SQLite {
		return nil
	}
	info, err := os.Stat(db.path + "-wal")
	if err != nil || info.Size() <= walLimit {
		return nil // there is none, or it is fine
	}
	conn, err := db.write.DB.Conn(ctx) // the one that writes: nothing is written meanwhile
	if err != nil {
		return err
	}
	defer conn.Close()
	wait := func(d time.Duration) error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx),
			fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
		return err
	}
	if err := wait(checkpointWait); err != nil {
		return err
	}
	var busy, frames, done int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &done)
	return errors.Join(err, wait(busyTimeout)) // busy: next time
}

// sqlitePool opens path with room for n connections of that cache, and one more parameter of the driver.
func sqlitePool(path string, n, cache int, param, value string) (*bun.DB, error) {
	q := url.Values{
		"_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())},
		"_foreign_keys": {"1"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		// a misspelt column is an error, not a string
		"_dqs": {"0"},
		"_pragma": {fmt.Sprintf("cache_size(-%d)", cache), "temp_store(memory)",
			fmt.Sprintf("journal_size_limit(%d)", walLimit)},
		param: {value},
	}
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
	plain, err := sql.Open("sqlite", dsn) // for its driver, which is registered
	if err != nil {
		return nil, err
	}
	if err := plain.Close(); err != nil {
		return nil, err
	}
	sqldb := sql.OpenDB(prepared{plain.Driver(), dsn})
	sqldb.SetMaxOpenConns(n)
	sqldb.SetMaxIdleConns(n)
	return bun.NewDB(sqldb, sqlitedialect.New()), nil
}
