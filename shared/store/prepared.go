package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/uptrace/bun"
)

// sqliteTime is how bun writes times into the text of a statement for SQLite.
const sqliteTime = "2006-01-02 15:04:05.999999-07:00"

// Exec runs a statement with ? for each argument, as tx.ExecContext does, and spares SQLite to parse it each time: for
// the statements that every purchase runs. The text is a constant, and the arguments are strings, numbers, booleans,
// times or bytes.
func Exec(ctx context.Context, tx bun.IDB, query string, args ...any) (sql.Result, error) {
	inner, ok := tx.(bun.Tx)
	if !ok || inner.Dialect().Name().String() != SQLite {
		return tx.ExecContext(ctx, query, args...)
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case time.Time:
			args[i] = v.UTC().Format(sqliteTime)
		case *time.Time:
			if args[i] = nil; v != nil {
				args[i] = v.UTC().Format(sqliteTime)
			}
		case []byte:
			if v == nil {
				args[i] = nil
			}
		}
	}
	return inner.Tx.ExecContext(ctx, query, args...)
}

// prepared opens connections that keep the statements which have arguments prepared.
type prepared struct {
	driver driver.Driver
	dsn    string
}

// Connect implements driver.Connector.
func (p prepared) Connect(context.Context) (driver.Conn, error) {
	conn, err := p.driver.Open(p.dsn)
	if err != nil {
		return nil, err
	}
	return &preparedConn{sqliteConn: conn.(sqliteConn), statements: map[string]driver.Stmt{}}, nil
}

// Driver implements driver.Connector.
func (p prepared) Driver() driver.Driver { return p.driver }

// sqliteConn is what database/sql uses of a connection of SQLite.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// mostStatements are kept of one connection. Their texts are constants of the program, and far fewer.
const mostStatements = 100

// preparedConn keeps its statements. Like every connection it is used by one goroutine at a time.
type preparedConn struct {
	sqliteConn
	statements map[string]driver.Stmt
}

// ExecContext implements driver.ExecerContext.
func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 { // the values are in the text: it does not come again
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	stmt, ok := c.statements[query]
	if !ok {
		if len(c.statements) == mostStatements {
			return c.sqliteConn.ExecContext(ctx, query, args)
		}
		var err error
		if stmt, err = c.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
		c.statements[query] = stmt
	}
	return stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// Close implements driver.Conn.
func (c *preparedConn) Close() error {
	for _, stmt := range c.statements {
		stmt.Close()
	}
	return c.sqliteConn.Close()
}
