package user

import (
	"context"
	"net/netip"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// limit says how wrong passwords slow down further attempts: the first few cost nothing, each later one doubles the
// wait.
type limit struct {
	from   int           // the failure that is followed by the first wait
	first  time.Duration // that wait
	most   time.Duration // the longest wait
	forget time.Duration // a failure this long after the one before starts anew
}

// Many people share an address, so it may fail more often than an account, and is slowed down rather than locked.
func accountLimit() limit {
	return limit{from: 5, first: time.Second, most: 15 * time.Minute, forget: time.Hour}
}
func addressLimit() limit {
	return limit{from: 50, first: time.Second, most: 10 * time.Second, forget: time.Hour}
}

// wait returns how long after the last failure the next attempt is allowed.
func (l limit) wait(failures int) time.Duration {
	over := failures - l.from
	if over < 0 {
		return 0
	}
	if over > 20 { // beyond any longest wait, and not yet beyond an int64
		return l.most
	}
	return min(l.first<<over, l.most)
}

// attempt is an attempt to give a password: the keys under which failures are counted, and their limits. The keys are
// hashes: mistyped addresses stay private, and unknown accounts count like known ones.
type attempt struct {
	account string // "" if none is named whose password could be guessed
	address string // "" if the client's address is not known
}

func newAttempt(ctx context.Context, account address) attempt {
	a := attempt{account: opaque.Hash("account " + account.key)}
	if client := network(rpc.From(ctx).Address); client != "" {
		a.address = opaque.Hash("address " + client)
	}
	return a
}

// network returns what counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is what one
// subscriber has.
func network(s string) string {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return ""
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ""
	}
	return prefix.String()
}

type failureRow struct {
	bun.BaseModel `bun:"table:login_failures"`

	Key      string    `bun:"key,pk"`
	Failures int       `bun:"failures"`
	LastAt   time.Time `bun:"last_at"`
}

// allow refuses an attempt that comes too early, with RateLimited. It returns the failures of the account that still
// count, if there are any.
func (s *Service) allow(ctx context.Context, q bun.IDB, a attempt) (past failureRow, err error) {
	now := s.now()
	var rows []failureRow
	err = q.NewRaw("SELECT * FROM login_failures WHERE key IN (?, ?)", a.account, a.address).Scan(ctx, &rows)
	if err != nil {
		return past, store.OrNotFound(err, "there is no such row")
	}
	var wait time.Duration
	for _, row := range rows {
		l := addressLimit()
		if row.Key == a.account {
			l, past = accountLimit(), row
		}
		if now.Sub(row.LastAt) < l.forget {
			wait = max(wait, row.LastAt.Add(l.wait(row.Failures)).Sub(now))
		}
	}
	if wait > 0 {
		s.logins("throttled").Inc()
		return past, errThrottled().After(wait)
	}
	return past, nil
}

func errThrottled() *fault.Error {
	return fault.New(fault.RateLimited, "too many wrong attempts; wait and try again")
}

// claim counts an attempt at an account that has to wait after each failure as the next failure, and reports whether
// it did. Of several attempts that were allowed at the same moment one goes on; the others are RateLimited.
func (s *Service) claim(ctx context.Context, past failureRow) (bool, error) {
	l, now := accountLimit(), s.now()
	if past.Failures < l.from || now.Sub(past.LastAt) >= l.forget {
		return false, nil
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx,
			"UPDATE login_failures SET failures = failures + 1, last_at = ? WHERE key = ? AND failures = ?",
			now, past.Key, past.Failures)
		if err != nil {
			return err
		}
		return changed(res, errThrottled().After(l.wait(past.Failures+1)))
	})
	if fault.Is(err, fault.RateLimited) {
		s.logins("throttled").Inc()
	}
	return err == nil, err
}

// attempted writes to the log that somebody has tried to prove who they are: by what, at which account if there is one,
// from where, and what came of it. Attempts that come too early are looked at by nobody, and are counted.
func (s *Service) attempted(ctx context.Context, by string, id ids.User, outcome string) {
	m := rpc.From(ctx)
	s.log.InfoContext(ctx, "an attempt to prove who one is", "at", m.Endpoint, "by", by, "user", id, "outcome", outcome,
		"address", m.Address)
}

// toldAfter is the failure of which the owner of an account is told.
const toldAfter = 10

// fail counts a wrong password, for the account unless the attempt is claimed. The statement does the counting, so
// that no two instances count as one. The owner of the account, if it has one, is told once there were many.
func (s *Service) fail(ctx context.Context, a attempt, claimed bool, past failureRow, owner ids.User) error {
	now := s.now()
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		failures := past.Failures + 1
		if !claimed && a.account != "" {
			if failures, err = countFailure(ctx, tx, a.account, accountLimit(), now); err != nil {
				return err
			}
		}
		if err := s.noteFailure(ctx, tx, owner); err != nil {
			return err
		}
		if failures == toldAfter && owner != "" {
			if err := s.publish(ctx, tx, api.LoginsHaveFailed, owner); err != nil {
				return err
			}
		}
		if a.address == "" {
			return nil
		}
		_, err = countFailure(ctx, tx, a.address, addressLimit(), now)
		return err
	})
}

// countFailure counts a failure and returns how many there were.
func countFailure(ctx context.Context, tx bun.Tx, key string, l limit, now time.Time) (failures int, err error) {
	err = tx.NewRaw(`
		INSERT INTO login_failures (key, failures, last_at) VALUES (?, 1, ?)
		ON CONFLICT (key) DO UPDATE SET
			failures = CASE WHEN login_failures.last_at <= ? THEN 1 ELSE login_failures.failures + 1 END,
			last_at = excluded.last_at
		RETURNING failures`, key, now, now.Add(-l.forget)).Scan(ctx, &failures)
	return failures, err
}

func clearFailures(ctx context.Context, tx bun.Tx, account string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM login_failures WHERE key = ?", account)
	return err
}
