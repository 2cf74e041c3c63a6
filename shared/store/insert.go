package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// Insert inserts rows, structs of a table or pointers to them, as tx.NewInsert().Model(&rows) does, by statements that
// stay prepared on SQLite. What is not "" follows ON, such as "CONFLICT (id) DO NOTHING"; the rows that it leaves out
// are not in the result.
func Insert[Row any](ctx context.Context, tx bun.IDB, rows []Row, on string) (inserted []Row, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	c := liteOf(tx)
	if c.conn == nil {
		return insertAtOnce(ctx, tx, rows, on)
	}
	table := c.bun.Table(elem(reflect.TypeFor[Row]()))
	query := insertOne(table, on)
	values := make([]any, len(table.Fields))
	var buf []byte
	for _, row := range rows {
		v := reflect.Indirect(reflect.ValueOf(row))
		for i, field := range table.Fields {
			if values[i], buf, err = columnOf(c.bun, field, v, buf[:0]); err != nil {
				return nil, fmt.Errorf("store: column %s of %s: %w", field.Name, table.Name, err)
			}
		}
		res, err := c.conn.ExecContext(ctx, query, values...)
		if err != nil {
			return nil, err
		}
		if n, err := res.RowsAffected(); err != nil {
			return nil, err
		} else if n > 0 {
			inserted = append(inserted, row)
		}
	}
	return inserted, nil
}

func elem(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// insertOne returns the statement that inserts one row.
func insertOne(table *schema.Table, on string) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + string(table.SQLName) + " AS " + string(table.SQLAlias) + " (")
	for i, field := range table.Fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(field.SQLName))
	}
	b.WriteString(") VALUES (?" + strings.Repeat(", ?", len(table.Fields)-1) + ")")
	if on != "" {
		b.WriteString(" ON " + on)
	}
	return b.String()
}

// columnOf returns the value of a column, and the space that is used for it.
func columnOf(db *bun.DB, field *schema.Field, row reflect.Value, buf []byte) (value any, used []byte, err error) {
	if field.AutoIncrement { // NULL gets the next number
		return nil, buf, nil
	}
	if data, ok := field.Value(row).Interface().([]byte); ok && data != nil {
		return data, buf, nil
	}
	buf = field.AppendValue(db.QueryGen(), buf, row)
	value, err = literal(string(buf))
	return value, buf, err
}

// literal returns the value of a literal that bun has written for SQLite: what is stored is then the same.
func literal(text string) (any, error) {
	switch {
	case text == "NULL":
		return nil, nil
	case text == "TRUE":
		return true, nil
	case text == "FALSE":
		return false, nil
	case text[0] == '\'':
		return strings.ReplaceAll(text[1:len(text)-1], "''", "'"), nil
	case text[0] == 'X':
		return hex.DecodeString(text[2 : len(text)-1])
	case strings.Contains(text, "."):
		return strconv.ParseFloat(text, 64)
	}
	return strconv.ParseInt(text, 10, 64)
}

// insertAtOnce is Insert by one statement.
func insertAtOnce[Row any](ctx context.Context, tx bun.IDB, rows []Row, on string) (inserted []Row, err error) {
	q := tx.NewInsert().Model(&rows)
	table := q.DB().Table(elem(reflect.TypeFor[Row]()))
	for _, field := range table.Fields {
		if field.AutoIncrement {
			q = q.ExcludeColumn(field.Name)
		}
	}
	if on == "" {
		_, err := q.Returning("NULL").Exec(ctx)
		return rows, err
	}
	var keys []Row
	for _, field := range table.PKs {
		q = q.Returning("?", bun.Ident(field.Name))
	}
	if _, err := q.On(on).Exec(ctx, &keys); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	there := make(map[string]bool, len(keys))
	for _, row := range keys {
		there[keyOf(table, row)] = true
	}
	for _, row := range rows {
		if there[keyOf(table, row)] {
			inserted = append(inserted, row)
		}
	}
	return inserted, nil
}

// keyOf returns the primary key of a row as one string.
func keyOf(table *schema.Table, row any) string {
	var key []any
	for _, field := range table.PKs {
		key = append(key, field.Value(reflect.Indirect(reflect.ValueOf(row))).Interface())
	}
	return fmt.Sprintf("%q", key)
}
