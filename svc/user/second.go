package user

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

const (
	challengePrefix = "lc_"
	challengeTTL    = 5 * time.Minute // enough to find the telephone
	factorToldAfter = 3               // wrong second factors in a row: who gives them has the password
	longestRecovery = 40              // characters of a recovery code, however it is typed
)

type challengeRow struct {
	bun.BaseModel `bun:"table:login_challenges"`

	Hash       string    `bun:"hash,pk"`
	UserID     ids.User  `bun:"user_id"`
	DeviceHash string    `bun:"device_hash"`
	Network    string    `bun:"network"`
	ExpiresAt  time.Time `bun:"expires_at"`

	ProviderID      ids.IdentityProvider `bun:"provider_id"`      // through which the login began, if it did
	ProviderSession string               `bun:"provider_session"` // sid: the session there
}

// newChallenge returns what a person whose password was right is asked to go on with, from the same network, and the
// same device if it is known.
func (s *Service) newChallenge(ctx context.Context, id ids.User, device string) (challengeRow, string) {
	secret, hash := opaque.New(challengePrefix)
	return challengeRow{Hash: hash, UserID: id, DeviceHash: device, Network: network(rpc.From(ctx).Address),
		ExpiresAt: s.now().Add(challengeTTL)}, secret
}

func insertChallenge(ctx context.Context, tx bun.Tx, row *challengeRow) error {
	_, err := tx.NewInsert().Model(row).On("CONFLICT (hash) DO NOTHING").Exec(ctx)
	return err
}

// endChallenges ends the logins of a person that wait for the second factor.
func endChallenges(ctx context.Context, tx bun.Tx, id ids.User) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM login_challenges WHERE user_id = ?", id)
	return err
}

func errLoginOver() error {
	return fault.New(fault.Unauthenticated, "this login is over; log in again")
}

// openChallenge returns the login of a challenge that can go on from this network.
func (s *Service) openChallenge(ctx context.Context, q bun.IDB, secret string) (row challengeRow, err error) {
	if !opaque.Is(challengePrefix, secret) {
		return row, errLoginOver()
	}
	err = q.NewRaw("SELECT * FROM login_challenges WHERE hash = ?", opaque.Hash(secret)).Scan(ctx, &row)
	if err = store.OrNotFound(err, "there is no such login"); err != nil && !fault.Is(err, fault.NotFound) {
		return row, err
	}
	if err != nil || !s.now().Before(row.ExpiresAt) || row.Network != network(rpc.From(ctx).Address) {
		return row, errLoginOver()
	}
	return row, nil
}

// challenge returns the login that a request goes on with.
func (s *Service) challenge(ctx context.Context, q bun.IDB, req *api.SecondStep) (challengeRow, error) {
	row, err := s.openChallenge(ctx, q, req.Challenge)
	if err == nil && row.DeviceHash != "" && row.DeviceHash != opaque.Hash(req.DeviceToken) {
		err = errLoginOver()
	}
	return row, err
}

// secondStep begins the session of a login whose password was right. Of several requests with one challenge one does.
func (s *Service) secondStep(ctx context.Context, req *api.SecondStep) (*api.Tokens, error) {
	var check fault.Check
	p := evidence{FactorProof: req.FactorProof, passkey: req.Passkey, purpose: purposeOfLogin(req.Challenge)}
	check.Field(p.check(&check) == 1, "code", "or recovery_code or passkey must be given, one of them")
	if err := check.Err(); err != nil {
		return nil, err
	}
	login, err := s.challenge(ctx, s.db.Read(), req)
	if err != nil {
		return nil, err
	}
	a := s.arrive(ctx, login.UserID, req.DeviceToken, login.DeviceHash, req.Client)
	a.session.ProviderID, a.session.ProviderSession = login.ProviderID, login.ProviderSession
	var row userRow
	err = s.guess(ctx, login.UserID, func(ctx context.Context, tx bun.Tx, now *userRow) (bool, error) {
		row = *now
		if done, err := sessionExists(ctx, tx, a.session.ID); done || err != nil { // by an earlier run
			return done, err
		}
		if _, err := s.challenge(ctx, tx, req); err != nil { // as it is behind the lock
			return false, err
		}
		if ok, err := s.useProof(ctx, tx, row.ID, &p); !ok || err != nil {
			return false, err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM login_challenges WHERE hash = ?", login.Hash); err != nil {
			return false, err
		}
		return true, s.enter(ctx, tx, &row, a)
	})
	if errors.Is(err, errWrong) {
		return nil, fault.New(fault.Unauthenticated, "the code is wrong or was used already")
	}
	if err != nil {
		return nil, err
	}
	return s.admitted(ctx, &row, a)
}

func sessionExists(ctx context.Context, tx bun.Tx, id ids.Session) (exists bool, err error) {
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?)", id).Scan(ctx, &exists)
	return exists, err
}

var codeRule = regexp.MustCompile(`^[0-9]{3} ?[0-9]{3}$`)

// evidence is a second factor that was given.
type evidence struct {
	api.FactorProof
	passkey json.RawMessage
	purpose string // of the passkey's challenge
}

// check records what is wrong with the form of it, and returns how many of its members are given.
func (e *evidence) check(check *fault.Check) (given int) {
	if e.Code != "" {
		check.Field(codeRule.MatchString(e.Code), "code", "must have six digits")
		given++
	}
	if e.RecoveryCode != "" {
		check.Field(len(e.RecoveryCode) <= longestRecovery, "recovery_code", "is none")
		given++
	}
	if len(e.passkey) > 0 {
		given++
	}
	return given
}

// useProof uses a second factor of a locked person up, and reports whether it was right.
func (s *Service) useProof(ctx context.Context, tx bun.Tx, id ids.User, e *evidence) (ok bool, err error) {
	by := "passkey"
	switch {
	case e.Code != "":
		by = "code"
		ok, err = s.factors.UseCode(ctx, tx, id, e.Code, s.now())
	case e.RecoveryCode != "":
		by = "recovery code"
		if ok, err = s.factors.UseRecoveryCode(ctx, tx, id, e.RecoveryCode); ok && err == nil {
			err = s.tellRecovery(ctx, tx, id)
		}
	default:
		ok, err = s.usePasskey(ctx, tx, id, e.purpose, e.passkey)
	}
	switch {
	case err != nil:
	case ok:
		s.factorGuesses("right").Inc()
		s.attempted(ctx, by, id, "right")
	default:
		s.attempted(ctx, by, id, "wrong")
	}
	return ok, err
}

// tellRecovery has a locked person told of a recovery code that was used, and how many are left.
func (s *Service) tellRecovery(ctx context.Context, tx bun.Tx, id ids.User) error {
	has, err := s.factors.Count(ctx, tx, id)
	if err != nil {
		return err
	}
	return stream.Add(ctx, tx, api.RecoveryCodeWasUsed.Subject, api.FactorEvent{UserID: id,
		Kind: api.FactorRecovery, Left: has.Codes, At: s.now()})
}

// factorAttempt is an attempt to give a second factor of a person.
func factorAttempt(ctx context.Context, id ids.User) attempt {
	a := attempt{account: opaque.Hash("factor " + id.String())}
	if client := network(rpc.From(ctx).Address); client != "" {
		a.address = opaque.Hash("address " + client)
	}
	return a
}

// guess has a locked person give a second factor, and returns errWrong if check reports that it was wrong. Attempts for
// one account come one after the other, at however many instances, so that each sees the failures before it: a
// thousand at once are no more than those that are allowed. Beyond them the fault is RateLimited.
func (s *Service) guess(
	ctx context.Context, id ids.User, check func(ctx context.Context, tx bun.Tx, row *userRow) (bool, error),
) error {
	a := factorAttempt(ctx, id)
	wrong := false
	err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		wrong = false
		row, err := s.lock(ctx, tx, id)
		if err == nil && row.Locked {
			err = s.locked(ctx, id)
		}
		if err != nil {
			return err
		}
		past, err := s.allow(ctx, tx, a)
		if err != nil {
			return err
		}
		ok, err := check(ctx, tx, &row)
		if err != nil {
			return err
		}
		if wrong = !ok; wrong {
			return s.missed(ctx, tx, a, id)
		}
		if past.Failures > 0 {
			return clearFailures(ctx, tx, a.account)
		}
		return nil
	})
	if err == nil && wrong {
		return errWrong
	}
	return err
}

// missed counts a wrong second factor. The person is told once there were several.
func (s *Service) missed(ctx context.Context, tx bun.Tx, a attempt, id ids.User) error {
	s.factorGuesses("wrong").Inc()
	now := s.now()
	failures, err := countFailure(ctx, tx, a.account, accountLimit(), now)
	if err == nil && failures == factorToldAfter {
		err = s.publish(ctx, tx, api.FactorsHaveFailed, id)
	}
	if err == nil && a.address != "" {
		_, err = countFailure(ctx, tx, a.address, addressLimit(), now)
	}
	return err
}

// proveAgain notes that the caller has proven once more who they are: by a second factor, or by the password without.
func (s *Service) proveAgain(ctx context.Context, req *api.Proof) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	has, err := s.factors.Count(ctx, s.db.Read(), row.ID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	e := evidence{FactorProof: req.FactorProof, passkey: req.Passkey, purpose: purposeOfProof(rpc.Caller(ctx))}
	given := e.check(&check)
	if has.Any() {
		check.Field(given == 1, "code", "or recovery_code or passkey must be given, one of them")
		check.Field(req.Password == "", "password", "is not enough: the account has a second factor")
	} else {
		check.Field(given == 0, "code", "is nothing that the account has")
		check.Field(req.Password != "" || row.Password == "", "password", "must not be empty")
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	now, runs := s.now(), 0
	if has.Any() {
		err = s.guess(ctx, row.ID, func(ctx context.Context, tx bun.Tx, row *userRow) (bool, error) {
			if runs++; runs > 1 { // an earlier run may have used the code up
				if done, err := provenAt(ctx, tx, now); done || err != nil {
					return done, err
				}
			}
			if ok, err := s.useProof(ctx, tx, row.ID, &e); !ok || err != nil {
				return false, err
			}
			return true, proven(ctx, tx, now)
		})
		if errors.Is(err, errWrong) {
			return nil, errWrongCode()
		}
		return nil, err
	}
	if row.Password == "" {
		return nil, fault.New(fault.Forbidden, "the account has neither a password nor a second factor: sign in again "+
			"through the identity provider, with fresh")
	}
	p, err := s.confirm(ctx, row, "password", req.Password)
	if err != nil {
		return nil, refused(err)
	}
	return nil, refused(s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.lockProven(ctx, tx, p); err != nil {
			return err
		}
		if has, err := s.factors.Count(ctx, tx, row.ID); err != nil || has.Any() {
			return errors.Join(err, errWrong)
		}
		return proven(ctx, tx, now)
	}))
}

func errWrongCode() error { return fault.New(fault.Forbidden, "the code is wrong or was used already") }

// proven notes that the caller has proven who they are.
func proven(ctx context.Context, tx bun.Tx, now time.Time) error {
	caller := rpc.Caller(ctx)
	res, err := tx.ExecContext(ctx, "UPDATE sessions SET proven_at = ? WHERE id = ? AND user_id = ?", now,
		caller.Session, caller.User)
	if err != nil {
		return err
	}
	return changed(res, errEnded())
}

// provenAt reports whether the caller has proven at this moment who they are.
func provenAt(ctx context.Context, tx bun.Tx, now time.Time) (done bool, err error) {
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ? AND proven_at = ?)", rpc.Caller(ctx).Session,
		now).Scan(ctx, &done)
	return done, err
}

// checkPassword says who a person is that signs in elsewhere, without a session here. There is one step: who has a
// second factor gives it with the password.
func (s *Service) checkPassword(ctx context.Context, req *line.CheckPassword) (*line.CheckedUser, error) {
	account, err := addressOf(req.Email, req.Password)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	e := evidence{FactorProof: req.FactorProof}
	given := e.check(&check)
	check.Field(given <= 1, "code", "or recovery_code may be given, not both")
	if err := check.Err(); err != nil {
		return nil, err
	}
	p, err := s.prove(ctx, newAttempt(ctx, account), passage{class: hashing.Login}, req.Password,
		func(ctx context.Context) (userRow, error) { return s.byAddress(ctx, account) })
	if err == nil {
		err = s.checkFactor(ctx, &p, given, &e)
	}
	if errors.Is(err, errWrong) {
		return nil, fault.New(fault.Unauthenticated, "the mail address or the password is wrong")
	}
	if err != nil {
		return nil, err
	}
	return &line.CheckedUser{ID: p.row.ID, Name: p.row.Name, Roles: p.row.roles(), Generation: p.row.Generation}, nil
}

// checkFactor checks the second factor that comes with a password, and that there is one if there has to be.
func (s *Service) checkFactor(ctx context.Context, p *proof, given int, e *evidence) error {
	wrong := false
	err := s.guess(ctx, p.row.ID, func(ctx context.Context, tx bun.Tx, _ *userRow) (bool, error) {
		row, err := s.lockProven(ctx, tx, *p)
		if err != nil {
			return false, err
		}
		p.row = row
		has, err := s.factors.Count(ctx, tx, row.ID)
		switch {
		case err != nil:
			return false, err
		case !has.Any():
			missing, err := s.mustEnrol(ctx, tx, &row)
			if err == nil && missing {
				err = api.FactorMissing()
			}
			return true, err
		case given == 0 && has.Apps == 0:
			return false, fault.New(fault.Unauthenticated, "passkeys work at the system alone: give a recovery code "+
				"with the password, or pair this device with a code instead").About("code", "is needed")
		case given == 0:
			return false, fault.New(fault.Unauthenticated, "the account has a second factor: give a code of the "+
				"authenticator app, or a recovery code, with the password").About("code", "is needed")
		}
		ok, err := s.useProof(ctx, tx, row.ID, e)
		wrong = !ok
		return ok, err
	})
	if errors.Is(err, errWrong) && wrong {
		return fault.New(fault.Unauthenticated, "the code is wrong or was used already").About("code", "is wrong")
	}
	return err
}
