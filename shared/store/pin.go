package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"

	"modernc.org/sqlite"
)

// Pinned is a SQLite database as it was at one moment, while others go on writing. Close ends it.
type Pinned struct {
	pool *sql.DB
	conn *sql.Conn
}

// Pin keeps the database as it is now, for a copy. On PostgreSQL there is nothing like it.
func (db *DB) Pin(ctx context.Context) (*Pinned, error) {
	if db.dialect != SQLite {
		return nil, errors.New("store: only databases of SQLite are copied")
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: db.path, RawQuery: "_query_only=1"}
	pool, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	p := &Pinned{pool: pool, conn: conn}
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	var tables int // the first read is what takes the snapshot
	if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// CopyTo writes the database to a new file.
func (p *Pinned) CopyTo(path string) error {
	return p.conn.Raw(func(c any) error {
		src, ok := c.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		})
		if !ok {
			return fmt.Errorf("store: the driver %T has no backup", c)
		}
		b, err := src.NewBackup((&url.URL{Scheme: "file", OmitHost: true, Path: path}).String())
		if err != nil {
			return err
		}
		more, err := b.Step(-1) // all pages, within the transaction that is open
		if err == nil && more {
			err = errors.New("store: the copy is not whole")
		}
		var into driver.Conn
		if err != nil {
			return errors.Join(err, b.Finish())
		}
		if into, err = b.Commit(); err != nil {
			return err
		}
		return into.Close()
	})
}

// Close lets go of the moment.
func (p *Pinned) Close() error { return errors.Join(p.conn.Close(), p.pool.Close()) }
