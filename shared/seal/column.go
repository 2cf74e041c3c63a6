package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/store"
)

// Column is a column of a service's database whose values are sealed.
type Column struct {
	Table string
	ID    string // the column that names a row: text
	Value string // the column with the secret: text, never one that begins with "sealed."
}

// pageRows are sealed in one transaction.
const pageRows = 100

type row struct{ ID, Value string }

// Place returns what a value of a row is sealed for.
func (c Column) Place(db *store.DB, id string) string {
	return db.Service() + " " + c.Table + " " + c.Value + " " + id
}

// Adopt checks that the values can be opened, and seals those that are plain if there is a key. A service calls it when
// it starts, before it reads any. Instances may do so at the same time.
func (c Column) Adopt(ctx context.Context, db *store.DB, keys *Keys) error {
	if err := c.check(ctx, db, keys); err != nil || !keys.Set() {
		return err
	}
	_, err := c.seal(ctx, db, keys, prefix, nil)
	return err
}

// Rewrap seals all values by the present key that are not, and returns how many those were. It is for when every
// instance has the present key, and those that it follows are in keys, too. note, if not nil, is part of each
// transaction that seals, with how many values that seals.
func (c Column) Rewrap(
	ctx context.Context, db *store.DB, keys *Keys, note func(ctx context.Context, tx bun.Tx, sealed int) error,
) (int, error) {
	if !keys.Set() {
		return 0, errors.New("seal: no key is set: STARLIGHT_KEY or STARLIGHT_KEY_FILE")
	}
	return c.seal(ctx, db, keys, prefix+keys.ID()+".", note)
}

// check opens one value of each key.
func (c Column) check(ctx context.Context, db *store.DB, keys *Keys) error {
	const mark = len(prefix) + idBytes
	var first []string
	err := db.Read().NewSelect().Table(c.Table).ColumnExpr("MIN(?)", bun.Ident(c.ID)).
		Where("substr(?, 1, ?) = ?", bun.Ident(c.Value), len(prefix), prefix).
		GroupExpr("substr(?, 1, ?)", bun.Ident(c.Value), mark).Scan(ctx, &first)
	for _, id := range first {
		if err != nil {
			break
		}
		var value string
		err = db.Read().NewSelect().Table(c.Table).ColumnExpr("?", bun.Ident(c.Value)).
			Where("? = ?", bun.Ident(c.ID), id).Scan(ctx, &value)
		if _, _, sealed := parse(value); err == nil && sealed {
			_, err = keys.Open(c.Place(db, id), value)
		}
	}
	return c.wrap(err)
}

// seal seals all values that do not begin with head, and returns how many those were.
func (c Column) seal(
	ctx context.Context, db *store.DB, keys *Keys, head string, note func(context.Context, bun.Tx, int) error,
) (sealed int, err error) {
	for {
		var rows []row
		err := db.Read().NewSelect().Table(c.Table).
			ColumnExpr("? AS id, ? AS value", bun.Ident(c.ID), bun.Ident(c.Value)).
			Where("substr(?, 1, ?) <> ?", bun.Ident(c.Value), len(head), head).Limit(pageRows).Scan(ctx, &rows)
		if err != nil || len(rows) == 0 {
			return sealed, c.wrap(err)
		}
		n := 0
		if err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			if n, err = c.sealPage(ctx, tx, db, keys, rows); err != nil || n == 0 || note == nil {
				return err
			}
			return note(ctx, tx, n)
		}); err != nil {
			return sealed, c.wrap(err)
		}
		sealed += n
	}
}

// sealPage seals rows; what another instance has changed meanwhile stays.
func (c Column) sealPage(ctx context.Context, tx bun.Tx, db *store.DB, keys *Keys, rows []row) (sealed int, err error) {
	for _, r := range rows {
		place, value := c.Place(db, r.ID), r.Value
		if _, _, sealed := parse(value); sealed {
			if value, err = keys.Open(place, value); err != nil {
				return 0, fmt.Errorf("%s: %w", r.ID, err)
			}
		}
		res, err := tx.NewUpdate().Table(c.Table).Set("? = ?", bun.Ident(c.Value), keys.Seal(place, value)).
			Where("? = ?", bun.Ident(c.ID), r.ID).Where("? = ?", bun.Ident(c.Value), r.Value).Exec(ctx)
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		sealed += int(n)
	}
	return sealed, nil
}

func (c Column) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("seal: %s of %s: %w", c.Value, c.Table, err)
}
