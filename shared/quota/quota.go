// Package quota bounds how much is made: of a person, an organizer or an event, in a day and in all.
//
// What is counted is counted in the transaction that makes it, so what is not made does not count. All instances of a
// service count in the same rows: of two transactions that count for one, the second waits for the end of the first,
// and no more is made than the limit says.
package quota

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Counter counts in the database of a service.
type Counter struct {
	DB   *store.DB
	Live *settings.Live
	Now  func() time.Time
}

// Take counts n more of what a setting limits, as made today by the person or organizer of this id, or returns
// RateLimited with the time until tomorrow. Days are those of UTC. What names the things: "events of an organizer".
func (c Counter) Take(
	ctx context.Context, tx bun.IDB, limit *settings.Setting[int], of, what string, n int,
) error {
	most := limit.Get(c.Live)
	got, err := Use(ctx, tx, c.Now(), []string{limit.Key() + " " + of}, n, most)
	if err == nil && len(got) == 0 {
		err = fault.New(fault.RateLimited, "at most %d %s can be made in a day (UTC)", most, what).After(Rest(c.Now()))
	}
	return err
}

// Room returns a Conflict fault unless there are fewer of what a setting limits than it says, by a query that counts
// them. Other transactions that ask for room of the same wait until this one has ended.
func (c Counter) Room(
	ctx context.Context, tx bun.IDB, limit *settings.Setting[int], of, what string, count *bun.RawQuery,
) error {
	most := limit.Get(c.Live)
	if most == 0 {
		return nil
	}
	if err := c.DB.Alone(ctx, tx, limit.Key()+" "+of); err != nil {
		return err
	}
	var n int
	if err := count.Scan(ctx, &n); err != nil {
		return err
	}
	if n >= most {
		return fault.New(fault.Conflict, "there are at most %d %s", most, what)
	}
	return nil
}

// Rest returns how long the day still is.
func Rest(now time.Time) time.Duration { return day(now).Add(24 * time.Hour).Sub(now) }

func day(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour) }

// countRow is what was used of one quota in a day.
type countRow struct {
	bun.BaseModel `bun:"table:day_counts,alias:day_counts"`

	Key  string    `bun:"key,pk"`
	Day  time.Time `bun:"day,pk"`
	Used int       `bun:"used"`
}

const rowsAtATime = 200

// Use takes n of each quota, where so much is left of the limit today, and returns the keys of those. A limit of 0 is
// none.
func Use(ctx context.Context, tx bun.IDB, now time.Time, keys []string, n, limit int) (map[string]bool, error) {
	taken := make(map[string]bool, len(keys))
	keys = slices.Clone(keys)
	slices.Sort(keys) // so that transactions lock in the same order
	keys = slices.Compact(keys)
	if limit == 0 || n == 0 {
		for _, key := range keys {
			taken[key] = true
		}
		return taken, nil
	}
	if n > limit {
		return taken, nil
	}
	for piece := range slices.Chunk(keys, rowsAtATime) {
		rows := make([]countRow, len(piece))
		for i, key := range piece {
			rows[i] = countRow{Key: key, Day: day(now), Used: n}
		}
		var got []string
		err := tx.NewInsert().Model(&rows).On("CONFLICT (key, day) DO UPDATE").
			Set("used = day_counts.used + excluded.used").Where("day_counts.used + excluded.used <= ?", limit).
			Returning("key").Scan(ctx, &got)
		if err != nil {
			return nil, err
		}
		for _, key := range got {
			taken[key] = true
		}
	}
	return taken, nil
}

// Forget deletes the counts of days before a time.
func Forget(ctx context.Context, db *store.DB, before time.Time) error {
	return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM day_counts WHERE day < ?", before)
		return err
	})
}
