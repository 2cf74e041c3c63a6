package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"
)

// sqliteTime is how bun writes times into the text of a statement for SQLite.
const sqliteTime = "2006-01-02 15:04:05.999999-07:00"

// Exec runs a statement with ? for each argument, as tx.ExecContext does, and spares SQLite to parse it each time: for
// the statements that every purchase runs. The text is a constant, and the arguments are strings, numbers, booleans,
// times, bytes, or a List of them. What is a piece of SQL to bun, such as bun.Safe, becomes part of the text.
func Exec(ctx context.Context, tx bun.IDB, query string, args ...any) (sql.Result, error) {
	span := statement(ctx, query)
	result, err := exec(ctx, tx, query, args)
	ended(span, err)
	return result, err
}

func exec(ctx context.Context, tx bun.IDB, query string, args []any) (sql.Result, error) {
	c := liteOf(tx)
	if c.conn == nil {
		return tx.ExecContext(ctx, query, args...)
	}
	query, args, err := c.bind(query, args)
	if err != nil {
		return nil, err
	}
	return c.conn.ExecContext(ctx, query, args...)
}

// Select reads what a query returns into dest, as db.NewRaw(query, args...).Scan(ctx, dest) does, by the terms of
// Exec: a pointer to a slice takes all rows, one to anything else the first. sql.ErrNoRows means that there is none.
func Select(ctx context.Context, db bun.IDB, dest any, query string, args ...any) error {
	span := statement(ctx, query)
	err := selectInto(ctx, db, dest, query, args)
	ended(span, err)
	return err
}

func selectInto(ctx context.Context, db bun.IDB, dest any, query string, args []any) error {
	c := liteOf(db)
	if c.conn == nil {
		return db.NewRaw(query, args...).Scan(ctx, dest)
	}
	query, args, err := c.bind(query, args)
	if err != nil {
		return err
	}
	rows, err := c.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if reflect.TypeOf(dest).Elem().Kind() == reflect.Slice {
		return c.bun.ScanRows(ctx, rows, dest)
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	return c.bun.ScanRow(ctx, rows, dest)
}

// List stands for a list of values in a query: "IN (?)". An empty one has nothing in it.
func List[T any](values []T) schema.QueryAppender {
	l := listed{ListValues: bun.List(values), values: make([]any, len(values))}
	for i, v := range values {
		l.values[i] = v
	}
	return l
}

type listed struct {
	bun.ListValues
	values []any
}

// lite is a connection to SQLite that keeps its statements; without conn it is one to another database.
type lite struct {
	bun  *bun.DB
	conn interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func liteOf(db bun.IDB) (c lite) {
	if db.Dialect().Name() != dialect.SQLite {
		return c
	}
	switch db := db.(type) {
	case bun.Tx:
		c.bun, c.conn = db.NewRaw("").DB(), db.Tx
	case *bun.DB:
		c.bun, c.conn = db, db.DB
	}
	return c
}

// bind returns a query whose text is the same for all values, and the values as SQLite stores them.
func (c lite) bind(query string, args []any) (text string, values []any, err error) {
	values = make([]any, 0, len(args))
	isSQL := func(arg any) bool { _, ok := arg.(schema.QueryAppender); return ok }
	if !slices.ContainsFunc(args, isSQL) {
		for _, arg := range args {
			values = append(values, valueOf(arg))
		}
		return query, values, nil
	}
	var b []byte
	for _, arg := range args {
		before, after, _ := strings.Cut(query, "?")
		b, query = append(b, before...), after
		piece, ok := arg.(schema.QueryAppender)
		if !ok {
			b, values = append(b, '?'), append(values, valueOf(arg))
		} else if l, ok := piece.(listed); ok && len(l.values) > 0 && len(l.values) <= mostListed {
			b, values = l.bind(b, values)
		} else if b, err = piece.AppendQuery(c.bun.QueryGen(), b); err != nil {
			return "", nil, err
		}
	}
	return string(append(b, query...)), values, nil
}

// mostListed is how many values of a list can be arguments. Those of a longer one stand in the text.
const mostListed = 1024

// bind adds the values of a list, made longer by its last one to a power of two: so lists of all lengths need few
// statements.
func (l listed) bind(text []byte, values []any) ([]byte, []any) {
	for size, i := 1<<bits.Len(uint(len(l.values)-1)), 0; i < size; i++ {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(text, '?')
		values = append(values, valueOf(l.values[min(i, len(l.values)-1)]))
	}
	return text, values
}

// valueOf returns an argument as SQLite stores it.
func valueOf(arg any) any {
	switch v := arg.(type) {
	case time.Time:
		return v.UTC().Format(sqliteTime)
	case *time.Time:
		if v == nil {
			return nil
		}
		return v.UTC().Format(sqliteTime)
	case []byte:
		if v == nil {
			return nil
		}
	}
	return arg
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

// mostStatements are kept of one connection. Their texts are constants of the program, some of them for lists of
// several lengths, and far fewer.
const mostStatements = 200

// longestKept is the length of a statement that is kept, at most.
const longestKept = 8 << 10

// preparedConn keeps its statements. Like every connection it is used by one goroutine at a time, and no query of the
// same text begins before the rows of the one before are closed.
type preparedConn struct {
	sqliteConn
	statements map[string]driver.Stmt
}

// ExecContext implements driver.ExecerContext.
func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	stmt, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	return stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *preparedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	stmt, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	return stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// statement returns a query prepared, or nil if it is not to be kept.
func (c *preparedConn) statement(ctx context.Context, query string, args []driver.NamedValue) (driver.Stmt, error) {
	if len(args) == 0 || len(query) > longestKept { // values are in the text: it does not come again
		return nil, nil
	}
	stmt, ok := c.statements[query]
	if ok || len(c.statements) == mostStatements {
		return stmt, nil
	}
	stmt, err := c.PrepareContext(ctx, query)
	if err == nil {
		c.statements[query] = stmt
	}
	return stmt, err
}

// Close implements driver.Conn.
func (c *preparedConn) Close() error {
	for _, stmt := range c.statements {
		stmt.Close()
	}
	return c.sqliteConn.Close()
}
