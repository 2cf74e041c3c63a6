package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/uptrace/bun/driver/pgdriver"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// ErrUnknown is wrapped by the error of a transaction whose commit was cut off: it may or may not have happened. The
// caller settles it by reading, under a key of its own, whether the change is there.
var ErrUnknown = errors.New("store: commit outcome unknown")

// SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	pgUnique        = "23505"
	pgForeignKey    = "23503"
	pgCheck         = "23514"
	pgSerialization = "40001"
	pgDeadlock      = "40P01"
	pgLockTimeout   = "55P03"
)

// pgCode returns the SQLSTATE of err, or "".
func pgCode(err error) string {
	var e pgdriver.Error
	if errors.As(err, &e) {
		return e.Field('C')
	}
	return ""
}

// liteCode returns the extended result code of SQLite of err, or 0.
func liteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// IsUnique reports whether err is a violation of a primary key or unique constraint.
func IsUnique(err error) bool {
	switch liteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return pgCode(err) == pgUnique
}

// IsCheck reports whether err is a violation of a CHECK constraint.
func IsCheck(err error) bool {
	return liteCode(err) == sqlite3.SQLITE_CONSTRAINT_CHECK || pgCode(err) == pgCheck
}

// IsForeignKey reports whether err is a violation of a foreign key.
func IsForeignKey(err error) bool {
	return liteCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY || pgCode(err) == pgForeignKey
}

// OrNotFound turns "no rows" into a fault of code NotFound with the given detail, and a database that cannot be reached
// into one of code Unavailable. Everything else, and nil, is returned as it is.
func OrNotFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, format, args...)
	}
	return classify(err)
}

// retryable reports whether the transaction was refused because of others and may succeed when run again.
func retryable(err error) bool {
	switch liteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	switch pgCode(err) {
	case pgSerialization, pgDeadlock:
		return true
	}
	return false
}

// refused reports whether the database itself said no, as opposed to a connection that broke.
func refused(err error) bool {
	if code := pgCode(err); code != "" {
		return !strings.HasPrefix(code, "08") && !strings.HasPrefix(code, "57P") // connection exceptions, shutdowns
	}
	switch code := liteCode(err) & 0xff; code {
	case 0, sqlite3.SQLITE_IOERR:
		return false
	default:
		return true
	}
}

// classify makes a fault of the errors that say something about the database and nothing about the query.
func classify(err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if unavailable(err) {
		return fault.Wrap(err, fault.Unavailable, "the database is not available")
	}
	return err
}

// Unavailable reports whether err, as a query returned it, says that the database or the way to it is away for now.
func Unavailable(err error) bool { return err != nil && unavailable(err) }

func unavailable(err error) bool {
	switch liteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY:
		return true
	}
	if code := pgCode(err); len(code) == 5 {
		switch code[:2] {
		case "08", "40", "53": // connection exception, transaction rollback, insufficient resources
			return true
		}
		switch code {
		case pgLockTimeout, "25006", "57P01", "57P02", "57P03", // read-only standby, shutting down, starting up
			"25P03", "25P04", "57P05": // the transaction was idle or took too long, the session was idle
			return true
		}
		return false
	}
	var ne net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &ne)
}
