package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // the driver named "sqlite"
)

// readers bounds the connections that read one SQLite file.
const readers = 4

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
	db.dialect = SQLite
	if db.write, err = sqlitePool(path, 1, "_txlock", "immediate"); err != nil {
		return err
	}
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
	db.read, err = sqlitePool(path, readers, "_query_only", "1")
	return err
}

// sqlitePool opens path with room for n connections and one more parameter of the driver.
func sqlitePool(path string, n int, param, value string) (*bun.DB, error) {
	q := url.Values{
		"_busy_timeout": {"5000"},
		"_foreign_keys": {"1"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_dqs":          {"0"},                                        // a misspelt column is an error, not a string
		"_pragma":       {"cache_size(-16000)", "temp_store(memory)"}, // 16 MB a connection
		param:           {value},
	}
	sqldb, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	sqldb.SetMaxOpenConns(n)
	sqldb.SetMaxIdleConns(n)
	return bun.NewDB(sqldb, sqlitedialect.New()), nil
}
