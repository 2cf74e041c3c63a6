package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// ErrClaimLost says that the lease of a row is over, and another instance has claimed the row or finished its work.
var ErrClaimLost = errors.New("store: the claim to the row is lost")

// Claim hands out rows whose work is due, each to one instance at a time. Row is the bun model of the table.
//
// A row belongs to the instance that took it for as long as a lease. When the instance dies, the lease ends by itself
// and another instance takes the row. The work may therefore be done twice, and must bear that.
type Claim[Row any] struct {
	DB *DB
	// the column of the time from which on a row is due: in the hand of an instance, the end of its lease
	Due   string
	Where string           // a condition on the rows that wait, such as "status = 'pending'"; "" means all rows
	Lease time.Duration    // longer than the clocks of instances differ
	Now   func() time.Time // the clock that the instances share
}

// Take claims up to limit rows that are due. Rows that other instances are just claiming are passed over.
func (c Claim[Row]) Take(ctx context.Context, limit int) ([]*Row, error) {
	table, where, now := c.table(), c.where(), Time(c.Now())
	// Looked at without a lock first: mostly nothing is due, and then no instance waits for another.
	var due bool
	err := c.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM ? WHERE ? AND ? <= ?)",
		table.SQLName, where, bun.Ident(c.Due), now).Scan(ctx, &due)
	if err != nil || !due {
		return nil, err
	}
	key := bun.Safe(fieldNames(table.PKs))
	var rows []*Row
	err = c.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		return tx.NewRaw(`WITH due AS MATERIALIZED (SELECT ? FROM ? WHERE ? AND ? <= ? ORDER BY ? LIMIT ? ?)
			UPDATE ? SET ? = ? WHERE (?) IN (SELECT ? FROM due) RETURNING *`,
			key, table.SQLName, where, bun.Ident(c.Due), now, bun.Ident(c.Due), limit, c.skipLocked(),
			table.SQLName, bun.Ident(c.Due), Time(now.Add(c.Lease)), key, key).Scan(ctx, &rows)
	})
	return rows, err
}

// Work runs fn while row stays claimed: the lease is renewed before fn begins, if a third of it is over, and whenever
// another third is. If the claim is lost, the context of fn ends and Work returns ErrClaimLost.
func (c Claim[Row]) Work(ctx context.Context, row *Row, fn func(context.Context) error) error {
	due, err := c.due(row)
	if err != nil {
		return err
	}
	claimed := *due
	if c.Now().Add(c.Lease * 2 / 3).After(claimed) { // it has waited for its turn
		if err := c.move(ctx, row, &claimed, c.Now().Add(c.Lease)); err != nil {
			return err
		}
	}
	working, end := context.WithCancelCause(ctx)
	defer end(nil)
	var renewing sync.WaitGroup
	renewing.Go(func() { c.renew(working, end, row, &claimed) })
	err = fn(working)
	lost := errors.Is(context.Cause(working), ErrClaimLost)
	end(nil)
	renewing.Wait()
	*due = claimed
	if lost {
		return errors.Join(ErrClaimLost, err)
	}
	return err
}

// renew prolongs the lease that ends at claimed until ctx ends. What fails is tried again while there is time.
func (c Claim[Row]) renew(ctx context.Context, end context.CancelCauseFunc, row *Row, claimed *time.Time) {
	tick := time.NewTicker(c.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := c.move(ctx, row, claimed, c.Now().Add(c.Lease))
		if errors.Is(err, ErrClaimLost) || err != nil && ctx.Err() == nil && !c.Now().Before(*claimed) {
			end(ErrClaimLost)
			return
		}
	}
}

// Release gives row back: it is due again at next. A claim that is lost is ErrClaimLost, and the row stays as it is.
func (c Claim[Row]) Release(ctx context.Context, row *Row, next time.Time) error {
	due, err := c.due(row)
	if err != nil {
		return err
	}
	return c.move(ctx, row, due, next)
}

// move changes the due time of row, if that is still the given one, and writes down there what it has become.
func (c Claim[Row]) move(ctx context.Context, row *Row, due *time.Time, next time.Time) error {
	next = Time(next)
	err := c.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model(row).Set("? = ?", bun.Ident(c.Due), next).WherePK().
			Where("?", c.where()).Where("? = ?", bun.Ident(c.Due), Time(*due)).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n == 0 && err == nil {
			return ErrClaimLost
		}
		return err
	})
	if err == nil {
		*due = next
	}
	return err
}

func (c Claim[Row]) table() *schema.Table {
	return c.DB.write.Table(reflect.TypeFor[Row]())
}

func (c Claim[Row]) where() bun.Safe {
	if c.Where == "" {
		return "TRUE"
	}
	return bun.Safe("(" + c.Where + ")")
}

// due returns where the due time of row is.
func (c Claim[Row]) due(row *Row) (*time.Time, error) {
	field, err := c.table().Field(c.Due)
	if err != nil {
		return nil, err
	}
	due, ok := field.Value(reflect.ValueOf(row).Elem()).Addr().Interface().(*time.Time)
	if !ok {
		return nil, fmt.Errorf("store: the column %s is no time", c.Due)
	}
	return due, nil
}

func (c Claim[Row]) skipLocked() bun.Safe {
	if c.DB.Postgres() {
		return "FOR UPDATE SKIP LOCKED"
	}
	return "" // of SQLite there is one writer
}

// fieldNames returns the quoted names of fields, with commas between.
func fieldNames(fields []*schema.Field) string {
	names := ""
	for i, f := range fields {
		if i > 0 {
			names += ", "
		}
		names += string(f.SQLName)
	}
	return names
}
