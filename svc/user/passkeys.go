package user

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/user/factor"
	"github.com/starlightsymphony/starlight/svc/user/passkey"
)

// What a challenge for a passkey is good for, and for whom.
const purposeOfPasskeyLogin = "login"

func purposeOfLogin(challenge string) string { return "second step of " + challenge }

func purposeOfProof(p rpc.Principal) string { return "proof in " + p.Session.String() }

func purposeOfCreation(p rpc.Principal) string { return "creation in " + p.Session.String() }

// passkeyOptions answers what an authenticator is asked: by whom is said by the login or the session that asks.
func (s *Service) passkeyOptions(ctx context.Context, req *api.PasskeyRequest) (*api.PasskeyOptions, error) {
	caller := rpc.Caller(ctx)
	switch {
	case req.Challenge != "":
		login, err := s.openChallenge(ctx, s.db.Read(), req.Challenge)
		if err != nil {
			return nil, err
		}
		return s.passkeys.RequestOptions(ctx, login.UserID, purposeOfLogin(req.Challenge))
	case caller.Known():
		row, err := s.current(ctx)
		if err != nil {
			return nil, err
		}
		return s.passkeys.RequestOptions(ctx, row.ID, purposeOfProof(caller))
	}
	return s.passkeys.RequestOptions(ctx, "", purposeOfPasskeyLogin)
}

// usePasskey checks the answer of an authenticator of a locked person, and reports whether it is right.
func (s *Service) usePasskey(
	ctx context.Context, tx bun.Tx, id ids.User, purpose string, response []byte,
) (bool, error) {
	err := s.passkeys.Use(ctx, tx, id, purpose, response, s.now())
	if errors.Is(err, passkey.ErrCloned) {
		s.log.WarnContext(ctx, "a passkey was refused: there may be a copy of it", "user", id)
	}
	if errors.Is(err, passkey.ErrWrong) {
		s.log.DebugContext(ctx, "a passkey was refused", "user", id, "error", err)
		return false, nil
	}
	return err == nil, err
}

// passkeyLogin begins the session of the person whose passkey it is. Wrong answers are not guesses, and slow down no
// one.
func (s *Service) passkeyLogin(ctx context.Context, req *api.PasskeyLogin) (*api.Tokens, error) {
	wrong := fault.New(fault.Unauthenticated, "the passkey is not known here, or its answer is not valid")
	id, err := s.passkeys.OwnerOf(ctx, req.Credential)
	if fault.Is(err, fault.NotFound) {
		s.attempted(ctx, "passkey", "", "wrong")
		return nil, wrong
	}
	if err != nil {
		return nil, err
	}
	owner, err := s.byID(ctx, id)
	if err != nil {
		return nil, err
	}
	device, err := s.knownDevice(ctx, owner.address(), req.DeviceToken)
	if err != nil {
		return nil, err
	}
	a := s.arrive(ctx, id, req.DeviceToken, device, req.Client)
	var row userRow
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if row, err = s.lock(ctx, tx, id); err == nil && row.Locked {
			err = s.locked(ctx, id)
		}
		if err != nil {
			return err
		}
		if done, err := sessionExists(ctx, tx, a.session.ID); done || err != nil { // by an earlier run
			return err
		}
		if ok, err := s.usePasskey(ctx, tx, id, purposeOfPasskeyLogin, req.Credential); !ok || err != nil {
			return errors.Join(err, errWrong)
		}
		return s.enter(ctx, tx, &row, a)
	})
	if errors.Is(err, errWrong) {
		s.factorGuesses("wrong").Inc()
		s.attempted(ctx, "passkey", id, "wrong")
		return nil, wrong
	}
	if err != nil {
		return nil, err
	}
	s.factorGuesses("right").Inc()
	s.attempted(ctx, "passkey", id, "right")
	return s.admitted(ctx, &row, a)
}

func (s *Service) listPasskeys(ctx context.Context, _ *rpc.None) (*api.List[api.Passkey], error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.passkeys.List(ctx, row.ID)
	return &api.List[api.Passkey]{Items: list}, err
}

func (s *Service) newPasskeyOptions(ctx context.Context, _ *rpc.None) (*api.PasskeyOptions, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return s.passkeys.CreationOptions(ctx, passkey.Person{ID: row.ID, Email: row.Email, Name: row.Name},
		purposeOfCreation(rpc.Caller(ctx)))
}

// addPasskey stores a passkey that an authenticator has made. The first second factor of an account brings recovery
// codes.
func (s *Service) addPasskey(ctx context.Context, req *api.NewPasskey) (*api.AddedPasskey, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	name, err := factorName(req.Name)
	if err != nil {
		return nil, err
	}
	made, err := s.passkeys.Verify(passkey.Person{ID: row.ID, Email: row.Email, Name: row.Name}, name,
		purposeOfCreation(rpc.Caller(ctx)), req.Credential, s.now())
	if errors.Is(err, passkey.ErrWrong) {
		s.log.DebugContext(ctx, "a passkey was not added", "user", row.ID, "error", err)
		var check fault.Check
		check.Field(false, "credential", "is no answer of an authenticator to options of this session")
		return nil, check.Err()
	}
	if err != nil {
		return nil, err
	}
	codes := factor.NewCodes()
	answer := &api.AddedPasskey{Passkey: made.Passkey()}
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.lock(ctx, tx, row.ID); err != nil {
			return err
		}
		if done, err := s.passkeys.Exists(ctx, tx, answer.ID); done || err != nil { // by an earlier run
			return err
		}
		if answer.RecoveryCodes, err = s.firstCodes(ctx, tx, row.ID, codes); err != nil {
			return err
		}
		if err := s.passkeys.Add(ctx, tx, made); err != nil {
			return err
		}
		return s.tellFactor(ctx, tx, api.FactorWasAdded, row.ID, api.FactorPasskey)
	})
	if errors.Is(err, passkey.ErrWrong) {
		return nil, fault.New(fault.Conflict, "these options were answered before")
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func (s *Service) renamePasskey(ctx context.Context, req *api.PasskeyName) (*api.Passkey, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	name, err := factorName(req.Name)
	if err != nil {
		return nil, err
	}
	var renamed api.Passkey
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		renamed, err = s.passkeys.Rename(ctx, tx, row.ID, req.ID, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &renamed, nil
}

func (s *Service) deletePasskey(ctx context.Context, req *api.PasskeyRef) (*rpc.None, error) {
	return nil, s.removing(ctx, api.FactorPasskey, func(ctx context.Context, tx bun.Tx, id ids.User) error {
		return s.passkeys.Remove(ctx, tx, id, req.ID)
	})
}
