package user

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/user/challenge"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

// passage is how a request gets to compute a password hash.
type passage struct {
	class   hashing.Class
	purpose string // of the challenge that may be asked for; "": none is, the caller is known
	answer  string // to an earlier challenge, may be empty
}

// turn waits until a request may compute a hash, and returns the function that ends that. While there is much to do, a
// caller who is not known solves a challenge first: the refusal brings it.
func (s *Service) turn(ctx context.Context, p passage) (leave func(), err error) {
	from := rpc.From(ctx).Address
	free := p.purpose == "" || api.ChallengeBits.Get(s.live) == 0
	leave, err = s.hasher.Enter(ctx, p.class, from, free)
	if !errors.Is(err, hashing.ErrBusy) {
		return leave, err
	}
	if p.answer != "" {
		solved, err := s.challenger.Solved(ctx, p.purpose, p.answer)
		if err != nil {
			return nil, err
		}
		if solved {
			s.challenges("solved").Inc()
			return s.hasher.Enter(ctx, p.class, from, true)
		}
		s.challenges("wrong").Inc()
	}
	s.challenges("asked").Inc()
	f := fault.New(fault.RateLimited,
		"many people are logging in: solve the challenge, and repeat the request with its answer").After(time.Second)
	f.Challenge = s.challenger.New(p.purpose, s.hasher.Load(p.class))
	return nil, f
}

// hashcash returns the challenger that asks for work.
func (s *Service) hashcash() challenge.Challenger {
	return challenge.Hashcash{MAC: s.keys.MAC, CheckMAC: s.keys.CheckMAC, Spend: s.spend, Now: s.now,
		Bits: func() int { return api.ChallengeBits.Get(s.live) }}
}

// spend notes that a challenge was solved, and reports false if it was noted before.
func (s *Service) spend(ctx context.Context, id string, until time.Time) (fresh bool, err error) {
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		fresh, err = spendIn(ctx, tx, id, until)
		return err
	})
	return fresh, err
}

// spendIn is spend as part of a transaction.
func spendIn(ctx context.Context, tx bun.Tx, id string, until time.Time) (fresh bool, err error) {
	res, err := tx.ExecContext(ctx,
		"INSERT INTO spent_challenges (id, expires_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", id, until)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
