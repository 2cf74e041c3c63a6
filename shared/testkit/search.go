package testkit

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/store"
)

// Search returns where the tables of a database have one of the texts, whatever its case: "table.column: the value".
func Search(tb testing.TB, db *store.DB, texts ...string) (found []string) {
	tb.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if db.Dialect() == store.Postgres {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
	}
	var tables []string
	if err := db.Read().NewRaw(query).Scan(tb.Context(), &tables); err != nil {
		tb.Fatal(err)
	}
	for _, table := range tables {
		err := searchTable(tb.Context(), db, table, func(column, value string) {
			for _, text := range texts {
				if strings.Contains(strings.ToLower(value), strings.ToLower(text)) {
					found = append(found, fmt.Sprintf("%s.%s: %.300q", table, column, value))
				}
			}
		})
		if err != nil {
			tb.Fatalf("%s: %v", table, err)
		}
	}
	return found
}

// searchTable calls fn with each value of a table.
func searchTable(ctx context.Context, db *store.DB, table string, fn func(column, value string)) error {
	rows, err := db.Read().QueryContext(ctx, `SELECT * FROM "`+table+`"`)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, places := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return err
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			fn(columns[i], fmt.Sprint(v))
		}
	}
	return rows.Err()
}
