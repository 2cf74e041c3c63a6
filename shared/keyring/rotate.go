package keyring

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

// Lead is that of most keys. By then every instance has read it, and every gateway has asked
// for the keys again.
const Lead = 15 * time.Minute

// Tickets is the purpose of the keys of tickets. Computers of venues, which may be cut off for days, have to know them.
const (
	Tickets     = "tickets"
	leadTickets = 7 * 24 * time.Hour
)

// Lead returns how long a new key is shown before it signs.
func (r *Ring) Lead() time.Duration {
	if r.purpose == Tickets {
		return leadTickets
	}
	return Lead
}

// lookEvery is how often Run reads the keys, and changedEvery how often it looks whether one was made or withdrawn.
const (
	lookEvery    = time.Minute
	changedEvery = time.Second
)

// Schedule says when keys are replaced.
type Schedule struct {
	Lifetime func() time.Duration // after which a key is followed by a new one
	Keep     time.Duration        // how long a key that was followed still verifies; 0 means for ever
	Log      *slog.Logger
}

// Rotate makes the key that signs once it was shown for long enough; until then the present one does. If one is waiting
// for that already, it makes no other. Of several instances that rotate at the same time one makes the key and the
// others take it. note, if not nil, is part of the transaction that makes it.
func (r *Ring) Rotate(ctx context.Context, note func(ctx context.Context, tx bun.Tx, id string) error) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	r.mu.RLock()
	newest := r.newest()
	waits := newest.id != r.current().id
	r.mu.RUnlock()
	if waits {
		return nil
	}
	return r.make(ctx, newest.generation+1, note)
}

// ErrUnknown is returned by Withdraw.
var ErrUnknown = errors.New("keyring: there is no such key")

// Withdraw deletes a key, because it was stolen: what it has signed is good no more. If it was the newest, another
// takes its place; the newest of those that were shown for long enough signs, and without one the oldest, at once. note
// is part of the transaction. Instances know within a second or two (see Run).
func (r *Ring) Withdraw(ctx context.Context, id string, note func(context.Context, bun.Tx) error) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	if _, ok := r.lookup(id); !ok {
		return fmt.Errorf("%w: %q for %s", ErrUnknown, id, r.purpose)
	}
	r.mu.RLock()
	newest := r.newest()
	r.mu.RUnlock()
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM signing_keys WHERE purpose = ? AND id = ?", r.purpose,
			id); err != nil {
			return err
		}
		if newest.id == id {
			if _, err := r.insert(ctx, tx, newest.generation+1); err != nil {
				return err
			}
		}
		return note(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return r.reload(ctx)
}

// make makes the key of a generation, unless there is one.
func (r *Ring) make(
	ctx context.Context, generation int64, note func(context.Context, bun.Tx, string) error,
) error {
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		id, err := r.insert(ctx, tx, generation)
		if err != nil || id == "" || note == nil {
			return err
		}
		return note(ctx, tx, id)
	})
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return r.reload(ctx)
}

// insert writes the key of a generation and returns its id, "" if there is one already.
func (r *Ring) insert(ctx context.Context, tx bun.Tx, generation int64) (id string, err error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", fmt.Errorf("keyring: %w", err)
	}
	id = name(public)
	seed := r.seal.Seal(Seeds().Place(r.db, id), base64.StdEncoding.EncodeToString(private.Seed()))
	res, err := tx.ExecContext(ctx,
		"INSERT INTO signing_keys (id, purpose, generation, seed, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT "+
			"(purpose, generation) DO NOTHING",
		id, r.purpose, generation, seed, r.now())
	if err != nil {
		return "", err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return "", err
	}
	return id, nil
}

// Run follows the keys of other instances and of the command line, and replaces them by a schedule, until ctx ends.
func (r *Ring) Run(ctx context.Context, s Schedule) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	look := time.NewTicker(changedEvery)
	defer look.Stop()
	tend := true
	for {
		if tend {
			if err := r.tend(ctx, s); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "the signing keys cannot be looked after; the known ones stay", "purpose",
					r.purpose, "error", err)
			}
		}
		select {
		case <-tick.C:
			tend = true
		case <-look.C:
			tend = r.stale(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// stale reports whether other keys are known here than are there. A database that is away says nothing.
func (r *Ring) stale(ctx context.Context) bool {
	var there []string
	err := r.db.Read().NewRaw("SELECT id FROM signing_keys WHERE purpose = ?", r.purpose).Scan(ctx, &there)
	r.mu.RLock()
	defer r.mu.RUnlock()
	gone := func(k key) bool { return !slices.Contains(there, k.id) }
	return err == nil && (len(there) != len(r.order) || slices.ContainsFunc(r.order, gone))
}

// tend reads the keys, makes the next one if that is due, and deletes those that verify nothing any more.
func (r *Ring) tend(ctx context.Context, s Schedule) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	r.mu.RLock()
	due := r.now().Sub(r.newest().created) >= s.Lifetime()
	r.mu.RUnlock()
	if due {
		if err := r.Rotate(ctx, nil); err != nil {
			return err
		}
		s.Log.InfoContext(ctx, "a new key will sign", "purpose", r.purpose, "after", r.Lead())
	}
	if s.Keep == 0 {
		return nil
	}
	return r.drop(ctx, s.Keep)
}

// drop deletes the keys whose successor has been signing for that long.
func (r *Ring) drop(ctx context.Context, keep time.Duration) error {
	r.mu.RLock()
	var ended []string
	for i, next := range r.order[1:] {
		if r.now().Sub(next.created) >= r.Lead()+keep {
			ended = append(ended, r.order[i].id)
		}
	}
	r.mu.RUnlock()
	if len(ended) == 0 {
		return nil
	}
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM signing_keys WHERE purpose = ? AND id IN (?)", r.purpose,
			bun.List(ended))
		return err
	})
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return r.reload(ctx)
}

// newest returns the newest key. The caller holds mu, and there is one.
func (r *Ring) newest() key { return r.order[len(r.order)-1] }

// current returns the key that signs: the newest that has been shown for long enough, or else the oldest. The caller
// holds mu.
func (r *Ring) current() key {
	now := r.now()
	for i := len(r.order) - 1; i > 0; i-- {
		if now.Sub(r.order[i].created) >= r.Lead() {
			return r.order[i]
		}
	}
	return r.order[0]
}
