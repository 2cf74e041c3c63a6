package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/driver/pgdriver"
)

// Limits of a PostgreSQL session. The server's own come first, so that a slow statement ends with an error and not with
// a broken connection.
const (
	poolSize         = 10
	statementTimeout = 10 * time.Second
	lockTimeout      = 5 * time.Second
	readTimeout      = 15 * time.Second
	setupTimeout     = 10 * time.Minute // for migrations
)

// openPostgres opens a pool on the service's schema and creates the schema where missing.
//
// Beyond what pgdriver understands, the URL may have pool=N: the most connections that one instance of a service opens,
// 10 by default. Without sslmode the connection is encrypted, except to this very machine.
func (db *DB) openPostgres(ctx context.Context, dsn string) error {
	db.dialect = Postgres
	u, err := url.Parse(dsn)
	if err != nil {
		return errors.New("the database URL cannot be parsed") // err would quote it, with the password
	}
	q := u.Query()
	size := poolSize
	if s := q.Get("pool"); s != "" {
		if size, err = strconv.Atoi(s); err != nil || size < 2 {
			return errors.New("pool in the database URL must be a number from 2")
		}
	}
	q.Del("pool")
	if q.Get("sslmode") == "" && q.Get("sslrootcert") == "" && local(u) {
		q.Set("sslmode", "disable")
	}
	u.RawQuery = q.Encode()

	db.dsn = u.String()
	connector, err := db.connector(db.dsn, statementTimeout, lockTimeout, readTimeout)
	if err != nil {
		return err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(max(size/2, 2))
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(30 * time.Minute) // so that load spreads again after a failover
	db.write = bun.NewDB(pool, pgdialect.New()).WithQueryHook(failures{})
	db.read = db.write
	return db.createSchema(ctx)
}

// local reports whether u leads to this machine.
func local(u *url.URL) bool {
	host := u.Hostname()
	if h := u.Query().Get("host"); h != "" {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "" || host[0] == '/' || host == "localhost" || ip != nil && ip.IsLoopback()
}

// longestIdle is how long a transaction may do nothing. A process that hangs in one holds its locks for no longer.
const longestIdle = 10 * time.Second

// connector makes connections whose search path is the service's schema. Zero means no limit on statements and locks.
func (db *DB) connector(dsn string, statement, lock, read time.Duration) (c *pgdriver.Connector, err error) {
	defer func() {
		if r := recover(); r != nil { // that is how pgdriver reports a bad URL
			c, err = nil, fmt.Errorf("the database URL is wrong: %v", redact(r, dsn))
		}
	}()
	return pgdriver.NewConnector(
		pgdriver.WithDSN(dsn),
		pgdriver.WithApplicationName("starlight "+db.service),
		pgdriver.WithReadTimeout(read),
		func(conf *pgdriver.Config) {
			params := map[string]any{
				"timezone":                            "UTC",
				"statement_timeout":                   statement.Milliseconds(),
				"lock_timeout":                        lock.Milliseconds(),
				"idle_in_transaction_session_timeout": longestIdle.Milliseconds(),
			}
			for k, v := range conf.ConnParams { // those of the URL win
				params[k] = v
			}
			params["search_path"] = db.service
			conf.ConnParams = params
		},
	), nil
}

// redact keeps the URL, which may hold a password, out of an error text.
func redact(r any, dsn string) string {
	text := fmt.Sprint(r)
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		return "check its parameters"
	}
	return text
}

// createSchema creates the schema of the service. Several instances may do so at the same time.
func (db *DB) createSchema(ctx context.Context) error {
	return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var exists bool
		err := tx.NewRaw("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = ?)", db.service).Scan(ctx, &exists)
		if err != nil || exists { // asking first spares a role without the right to create
			return err
		}
		if err := lockSchema(ctx, tx, db.service); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS ?", bun.Ident(db.service))
		return err
	})
}

// lockSchema makes transactions that set up the same schema wait for each other.
func lockSchema(ctx context.Context, tx bun.Tx, service string) error {
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", "starlight schema "+service)
	return err
}
