package user

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/user/factor"
)

const longestFactorName = 100 // characters

func (s *Service) listFactors(ctx context.Context, _ *rpc.None) (*api.SecondFactors, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var session sessionRow
	err = s.db.Read().NewRaw("SELECT * FROM sessions WHERE id = ?", rpc.Caller(ctx).Session).Scan(ctx, &session)
	if err != nil {
		return nil, store.OrNotFound(err, noSession)
	}
	has, err := s.factors.Count(ctx, s.db.Read(), row.ID)
	if err != nil {
		return nil, err
	}
	list := &api.SecondFactors{RecoveryCodes: has.Codes, Passkeys: has.Passkeys,
		Required: row.Admin && api.AdminFactor.Get(s.live)}
	if until := s.freshUntil(session.ProvenAt).UTC(); until.After(s.now()) {
		list.FreshUntil = &until
	}
	list.Items, err = s.factors.List(ctx, row.ID)
	return list, err
}

func (s *Service) addFactor(ctx context.Context, req *api.NewFactor) (*api.Enrolment, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	name, err := factorName(req.Name)
	if err != nil {
		return nil, err
	}
	e, err := s.factors.Enrol(row.ID, name, api.SiteName.Get(s.live), row.Email, s.now())
	if err != nil {
		return nil, err
	}
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.lock(ctx, tx, row.ID); err != nil {
			return err
		}
		return s.factors.Add(ctx, tx, e)
	})
	if err != nil {
		return nil, err
	}
	return &e.Enrolment, nil
}

// factorName returns what a person calls a second factor.
func factorName(s string) (string, error) {
	name := text.Clean(s)
	var check fault.Check
	text.CheckLine(&check, "name", name, 1, longestFactorName)
	return name, check.Err()
}

// confirmFactor makes an app count, from its first code on. The first of an account brings recovery codes.
func (s *Service) confirmFactor(ctx context.Context, req *api.FirstCode) (*api.RecoveryCodes, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(codeRule.MatchString(req.Code), "code", "must have six digits")
	if err := check.Err(); err != nil {
		return nil, err
	}
	codes := factor.NewCodes()
	answer, runs := &api.RecoveryCodes{RecoveryCodes: []string{}}, 0
	err = s.guess(ctx, row.ID, func(ctx context.Context, tx bun.Tx, row *userRow) (bool, error) {
		if runs++; runs > 1 { // an earlier run may have done it
			if done, err := s.factors.IsActive(ctx, tx, row.ID, req.ID); done || err != nil {
				return done, err
			}
		}
		given, err := s.firstCodes(ctx, tx, row.ID, codes)
		if err != nil {
			return false, err
		}
		if ok, err := s.factors.Activate(ctx, tx, row.ID, req.ID, req.Code, s.now()); !ok || err != nil {
			return false, err
		}
		answer.RecoveryCodes = given
		return true, s.tellFactor(ctx, tx, api.FactorWasAdded, row.ID, api.FactorTOTP)
	})
	if errors.Is(err, errWrong) {
		return nil, errWrongCode()
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// firstCodes stores recovery codes for a locked person without a second factor, and returns those that were stored.
func (s *Service) firstCodes(ctx context.Context, tx bun.Tx, id ids.User, codes []string) ([]string, error) {
	has, err := s.factors.Count(ctx, tx, id)
	if err != nil || has.Any() {
		return []string{}, err
	}
	return codes, s.factors.SetCodes(ctx, tx, id, codes)
}

// tellFactor adds a domain event about a second factor to the outbox.
func (s *Service) tellFactor(
	ctx context.Context, tx bun.Tx, topic api.Topic[api.FactorEvent], id ids.User, kind string,
) error {
	return stream.Add(ctx, tx, topic.Subject, api.FactorEvent{UserID: id, Kind: kind, At: s.now()})
}

func (s *Service) deleteFactor(ctx context.Context, req *api.FactorRef) (*rpc.None, error) {
	return nil, s.removing(ctx, api.FactorTOTP, func(ctx context.Context, tx bun.Tx, id ids.User) error {
		return s.factors.Remove(ctx, tx, id, req.ID)
	})
}

// removing removes a second factor of the caller. With the last one the recovery codes end; an administrator who must
// have one keeps it.
func (s *Service) removing(
	ctx context.Context, kind string, remove func(ctx context.Context, tx bun.Tx, id ids.User) error,
) error {
	row, err := s.current(ctx)
	if err != nil {
		return err
	}
	runs := 0
	return s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err := s.lock(ctx, tx, row.ID)
		if err != nil {
			return err
		}
		before, err := s.factors.Count(ctx, tx, row.ID)
		if err != nil {
			return err
		}
		err = remove(ctx, tx, row.ID)
		if runs++; runs > 1 && fault.Is(err, fault.NotFound) {
			return nil // an earlier run has done it
		}
		if err != nil {
			return err
		}
		has, err := s.factors.Count(ctx, tx, row.ID)
		switch {
		case err != nil:
			return err
		case has == before: // it never counted
			return nil
		case !has.Any() && row.Admin && api.AdminFactor.Get(s.live):
			return fault.New(fault.Conflict, "administrators must have a second factor; add another one first")
		case !has.Any():
			if err := s.factors.RemoveAll(ctx, tx, row.ID); err != nil {
				return err
			}
		}
		return s.tellFactor(ctx, tx, api.FactorWasRemoved, row.ID, kind)
	})
}

func (s *Service) renewRecoveryCodes(ctx context.Context, _ *rpc.None) (*api.RecoveryCodes, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	codes := factor.NewCodes()
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.lock(ctx, tx, row.ID); err != nil {
			return err
		}
		has, err := s.factors.Count(ctx, tx, row.ID)
		if err == nil && !has.Any() {
			err = fault.New(fault.Conflict, "there is no second factor that a recovery code could stand for")
		}
		if err != nil {
			return err
		}
		return s.factors.SetCodes(ctx, tx, row.ID, codes)
	})
	if err != nil {
		return nil, err
	}
	return &api.RecoveryCodes{RecoveryCodes: codes}, nil
}

// resetFactors removes all that a person proves themselves by but the password, and ends their sessions.
func (s *Service) resetFactors(ctx context.Context, req *api.UserRef) (*rpc.None, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		row, err := s.lock(ctx, tx, req.ID)
		if err != nil {
			return nil, err
		}
		has, err := s.factors.Count(ctx, tx, row.ID)
		if err != nil || !has.Any() {
			return nil, err
		}
		if err := s.factors.RemoveAll(ctx, tx, row.ID); err != nil {
			return nil, err
		}
		if err := endSessions(ctx, tx, row.ID, ""); err != nil {
			return nil, err
		}
		ended, err := renew(ctx, tx, &row, "")
		if err != nil {
			return nil, err
		}
		if err := auditlog.Add(ctx, tx, "user", auditlog.Act{At: s.now(), Object: row.ID.String()}); err != nil {
			return nil, err
		}
		return []revocation.Fact{ended}, s.tellFactor(ctx, tx, api.FactorWasRemoved, row.ID, "")
	})
}
