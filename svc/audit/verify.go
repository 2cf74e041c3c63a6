package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Verify proves the chain of a database: each line follows on the one before without a gap, and the columns that are
// searched say what the line says. Then it compares the lines with those that the stream still has. It returns how many
// lines it has looked at, and what is wrong.
func Verify(ctx context.Context, db *store.DB, js jetstream.JetStream) (lines int, broken []string, err error) {
	if lines, broken, err = verify(ctx, db); err != nil {
		return lines, broken, err
	}
	missing, err := compare(ctx, db, js)
	return lines, append(broken, missing...), err
}

// verify proves the chain.
func verify(ctx context.Context, db *store.DB) (lines int, broken []string, err error) {
	h, err := readHead(ctx, db.Read())
	if err != nil {
		return 0, nil, err
	}
	number, hash := h.DeletedNumber, h.DeletedHash
	err = each(ctx, db, number, func(r row) error {
		if r.Number > h.Number { // added meanwhile
			return errDone
		}
		lines++
		number++
		if r.Number != number {
			broken = append(broken, fmt.Sprintf("lines %d to %d are missing", number, r.Number-1))
			number = r.Number
		}
		if r.Hash != chain(hash, r.Data) {
			broken = append(broken,
				fmt.Sprintf("line %d (%s) does not follow on the line before, or was changed", r.Number, r.ID))
		}
		hash = r.Hash
		if want, err := newRow([]byte(r.Data)); err != nil || !r.says(want) {
			broken = append(broken, fmt.Sprintf("line %d (%s) is listed as what it is not", r.Number, r.ID))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return lines, broken, err
	}
	if number != h.Number || hash != h.Hash {
		broken = append(broken, fmt.Sprintf("the log ends with line %d, and should with line %d", number, h.Number))
	}
	return lines, broken, nil
}

// errDone ends a walk.
var errDone = errors.New("done")

// says reports whether a row is listed as another one that was made of its line.
func (r row) says(want row) bool {
	return r.ID == want.ID && r.Act == want.Act && r.Object == want.Object && r.EventID == want.EventID &&
		r.UserID == want.UserID && r.At.Equal(want.At)
}

// each calls fn for all lines after a number, in order.
func each(ctx context.Context, db *store.DB, after int64, fn func(row) error) error {
	const page = 1000
	for {
		var rows []row
		err := db.Read().NewSelect().Model(&rows).Where("number > ?", after).OrderExpr("number").Limit(page).Scan(ctx)
		if err != nil {
			return store.FaultOf(ctx, err)
		}
		for _, r := range rows {
			if err := fn(r); err != nil {
				return err
			}
			after = r.Number
		}
		if len(rows) < page {
			return nil
		}
	}
}

// Each calls fn for the lines from the time from until the time to, oldest first. A zero time is no bound.
func Each(ctx context.Context, db *store.DB, from, to time.Time, fn func(api.AuditEntry) error) error {
	return each(ctx, db, 0, func(r row) error {
		if r.At.Before(from) || !to.IsZero() && !r.At.Before(to) {
			return nil
		}
		e, err := r.entry()
		if err != nil {
			return err
		}
		return fn(e)
	})
}

// compare looks in the database for what the stream has.
func compare(ctx context.Context, db *store.DB, js jetstream.JetStream) (broken []string, err error) {
	of, err := js.Stream(ctx, api.AuditStream)
	if err != nil {
		return nil, err
	}
	h, err := readHead(ctx, db.Read())
	if err != nil {
		return nil, err
	}
	var first row
	if h.DeletedNumber > 0 { // what is older was deleted, though the stream may have it
		if err := db.Read().NewSelect().Model(&first).OrderExpr("number").Limit(1).Scan(ctx); err != nil {
			return nil, store.FaultOf(ctx, err)
		}
	}
	for after := uint64(0); ; {
		m, err := of.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(api.AuditLines))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return broken, nil
		}
		if err != nil {
			return broken, err
		}
		after = m.Sequence
		want, err := newRow(m.Data)
		if err != nil || want.At.Before(first.At) {
			continue // it is a dead letter
		}
		var data []string
		err = db.Read().NewSelect().Model((*row)(nil)).Column("data").Where("id = ?", want.ID).Scan(ctx, &data)
		switch {
		case err != nil:
			return broken, store.FaultOf(ctx, err)
		case len(data) == 0:
			broken = append(broken, fmt.Sprintf("%s of %s, %s, is not in the log", want.ID,
				want.At.Format(time.RFC3339), want.Act))
		case data[0] != want.Data:
			broken = append(broken, fmt.Sprintf("%s was changed", want.ID))
		}
	}
}
