package ticketing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// numberLetters are what order numbers are made of: no two are taken for each other when they are read or said.
const numberLetters = "ACDEFGHJKLMNPQRTUVWXY34679"

const (
	numberLength = 5  // of most numbers
	mostNumbers  = 12 // that are tried for an order; each is longer than the one before
)

// numberOf returns what an order is called at its event, on the given attempt. It follows from the id, so the same
// request has the same number.
func numberOf(id ids.Order, attempt int) string {
	sum := sha256.Sum256([]byte(id))
	seed := binary.BigEndian.Uint64(sum[8*(attempt%4):])
	out := make([]byte, numberLength+attempt)
	for i := range out {
		out[i] = numberLetters[seed%uint64(len(numberLetters))]
		seed /= uint64(len(numberLetters))
	}
	return string(out)
}

// numbered writes an order whose number another of the event has, with the next one that is free. It reports false if
// the order is there already.
func numbered(ctx context.Context, tx tx, row orderRow) (orderRow, bool, error) {
	for attempt := range mostNumbers {
		row.Number = numberOf(row.ID, attempt)
		inserted, err := store.Insert(ctx, tx, []orderRow{row}, "CONFLICT DO NOTHING")
		if err != nil || len(inserted) == 1 {
			return row, true, err
		}
		var there bool
		err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM orders WHERE id = ?)", row.ID).Scan(ctx, &there)
		if err != nil || there {
			return row, false, err
		}
	}
	return row, false, fmt.Errorf("order %s: every number that it could have is taken", row.ID)
}

// renumber writes those orders of a batch that are not there because their numbers were taken, and the answers that say
// the new ones.
func (c *creation) renumber(ctx context.Context, tx tx, row orderRow) (orderRow, bool, error) {
	row, fresh, err := numbered(ctx, tx, row)
	if err != nil || !fresh || !c.remember || c.sale != nil {
		return row, fresh, err
	}
	if err := idempotency.Delete(ctx, tx, c.scope, c.key); err != nil {
		return row, fresh, err
	}
	answer, err := json.Marshal(row.order())
	if err != nil {
		return row, fresh, err
	}
	return row, fresh, idempotency.Keep(ctx, tx, c.scope, c.key, c.hash, 201, answer)
}
