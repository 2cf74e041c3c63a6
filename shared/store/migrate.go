package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// migration is one numbered SQL file.
type migration struct {
	name     string // set/0001_name.sql
	query    string
	checksum string
}

// Migrate applies the SQL files of fsys that the database has not seen yet.
//
// Files are named NNNN_what.sql and lie in migrations/ for both databases, or in migrations/sqlite/ and
// migrations/postgres/ where they differ; the folder migrations itself may also be the root of fsys. They run in the
// order of their names, each in one transaction, and never again: a file that changed after it was applied is an error.
// Files may hold several statements. The set keeps files of different origin apart.
//
// Several instances may start at the same time: one applies, the others wait. Files that the database knows and fsys
// does not have are left alone, so an older instance can run beside a newer one.
func (db *DB) Migrate(ctx context.Context, set string, fsys fs.FS) error {
	files, err := load(set, db.dialect, fsys)
	if err != nil {
		return err
	}
	pool, done, err := db.setupPool()
	if err != nil {
		return err
	}
	defer done()
	if err := db.setup(ctx, pool, createMigrations); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	for _, m := range files {
		if err := db.apply(ctx, pool, m); err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
	}
	return nil
}

func createMigrations(ctx context.Context, tx bun.Tx) error {
	_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (
		name     TEXT        NOT NULL PRIMARY KEY,
		checksum TEXT        NOT NULL,
		at       TIMESTAMPTZ NOT NULL
	)`)
	return err
}

// apply runs one file unless it has been run.
func (db *DB) apply(ctx context.Context, pool *bun.DB, m migration) error {
	if done, err := m.applied(ctx, pool); done || err != nil { // the usual case, without a lock
		return err
	}
	return db.setup(ctx, pool, func(ctx context.Context, tx bun.Tx) error {
		if done, err := m.applied(ctx, tx); done || err != nil {
			return err
		}
		// Straight to database/sql: bun would take the question marks of a file for arguments.
		if _, err := tx.Tx.ExecContext(ctx, m.query); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO schema_migrations (name, checksum, at) VALUES (?, ?, ?)",
			m.name, m.checksum, time.Now())
		if err == nil {
			db.log.DebugContext(ctx, "migration applied", "name", m.name)
		}
		return err
	})
}

// applied reports whether the database has seen the file, and fails if it has seen another one of that name.
func (m migration) applied(ctx context.Context, db bun.IDB) (bool, error) {
	var sums []string
	if err := db.NewRaw("SELECT checksum FROM schema_migrations WHERE name = ?", m.name).Scan(ctx, &sums); err != nil {
		return false, err
	}
	if len(sums) == 1 && sums[0] != m.checksum {
		return false, errors.New("the file changed after it was applied; add a new one instead")
	}
	return len(sums) == 1, nil
}

// setupPool returns the pool for changes of the schema, which on PostgreSQL need more time than a connection of the
// service allows, and a function that gives it back.
func (db *DB) setupPool() (*bun.DB, func(), error) {
	if !db.Postgres() {
		return db.write, func() {}, nil
	}
	connector, err := db.connector(db.dsn, 0, 0, setupTimeout)
	if err != nil {
		return nil, nil, err
	}
	sqldb := sql.OpenDB(connector)
	sqldb.SetMaxOpenConns(1)
	pool := bun.NewDB(sqldb, pgdialect.New()).WithQueryHook(failures{})
	return pool, func() { pool.Close() }, nil
}

// setup is Tx for changes of the schema: one at a time. On SQLite every transaction that writes is.
func (db *DB) setup(ctx context.Context, pool *bun.DB, fn func(ctx context.Context, tx bun.Tx) error) error {
	return (&queue{db: db, pool: pool}).do(ctx, func(ctx context.Context, tx bun.Tx) error {
		if db.Postgres() {
			if err := lockSchema(ctx, tx, db.service); err != nil {
				return err
			}
		}
		return fn(ctx, tx)
	})
}

// load reads the files for a dialect, in order.
func load(set, dialect string, fsys fs.FS) ([]migration, error) {
	root := "migrations"
	if _, err := fs.Stat(fsys, root); err != nil {
		root = "."
	}
	var files []migration
	for _, dir := range []string{root, path.Join(root, dialect)} {
		names, err := fs.Glob(fsys, path.Join(dir, "*.sql"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := fs.ReadFile(fsys, name)
			if err != nil {
				return nil, err
			}
			query := strings.ReplaceAll(string(text), "\r\n", "\n") // a checkout on Windows is the same file
			sum := sha256.Sum256([]byte(query))
			files = append(files, migration{name: set + "/" + path.Base(name), query: query,
				checksum: hex.EncodeToString(sum[:])})
		}
	}
	slices.SortFunc(files, func(a, b migration) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(files); i++ {
		if files[i].name == files[i-1].name {
			return nil, fmt.Errorf("migration %s exists twice", files[i].name)
		}
	}
	return files, nil
}
