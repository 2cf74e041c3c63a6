package user

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

func (s *Service) me(ctx context.Context, _ *rpc.None) (*api.User, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return row.user(), nil
}

// confirm is prove for a caller who is signed in and gives the password once more. With a stolen session there are as
// many guesses as at a login. Of an account without a password the session needs a fresh proof instead.
func (s *Service) confirm(ctx context.Context, row userRow, field, password string) (proof, error) {
	if row.Password == "" {
		return proof{row: row}, s.fresh(ctx)
	}
	var check fault.Check
	check.Field(password != "", field, "must not be empty")
	if err := check.Err(); err != nil {
		return proof{}, err
	}
	// Not those of the account: who guesses elsewhere does not slow down the owner, who is signed in.
	a := attempt{account: opaque.Hash("session " + rpc.Caller(ctx).Session.String())}
	return s.prove(ctx, a, passage{class: hashing.Login}, password,
		func(ctx context.Context) (userRow, error) { return s.byID(ctx, row.ID) })
}

// fresh returns nil if the caller has proven who they are a moment ago.
func (s *Service) fresh(ctx context.Context) error {
	var session sessionRow
	err := s.db.Read().NewRaw("SELECT * FROM sessions WHERE id = ?", rpc.Caller(ctx).Session).Scan(ctx, &session)
	if err = store.OrNotFound(err, noSession); fault.Is(err, fault.NotFound) {
		return errEnded()
	}
	if err == nil && !s.freshUntil(session.ProvenAt).After(s.now()) {
		err = rpc.StepUpNeeded()
	}
	return err
}

// refused turns errWrong into the answer for a caller who is signed in.
func refused(err error) error {
	if errors.Is(err, errWrong) {
		return fault.New(fault.Forbidden, "the password is wrong")
	}
	return err
}

func (s *Service) updateMe(ctx context.Context, req *api.UpdateProfile) (*api.User, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	if !rpc.MatchETag(req.IfMatch, row.user().ETag()) {
		return nil, errStale()
	}
	change, err := s.checkUpdate(req)
	if err != nil {
		return nil, err
	}
	if change.profile != nil && row.PhoneVerified && change.profile.Phone != row.Phone {
		if err := s.fresh(ctx); err != nil {
			return nil, err
		}
	}
	take := func(ctx context.Context, tx bun.Tx) (userRow, error) { return s.lock(ctx, tx, row.ID) }
	var proof *confirmationRow
	if change.address != nil && change.address.text != row.Email {
		p, err := s.confirm(ctx, row, "current_password", req.CurrentPassword)
		if err != nil {
			return nil, refused(err)
		}
		take = func(ctx context.Context, tx bun.Tx) (userRow, error) { return s.lockProven(ctx, tx, p) }
		fresh := s.confirmation(&row, *change.address, rpc.Caller(ctx).Session)
		proof = &fresh
	}
	runs := 0
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if row, err = take(ctx, tx); err != nil {
			return err
		}
		before := row
		change.apply(&row)
		if runs++; runs > 1 && row == before {
			return nil // an earlier run has done it
		}
		if !rpc.MatchETag(req.IfMatch, before.user().ETag()) {
			return errStale()
		}
		if row == before {
			return nil
		}
		if err := s.changeAddress(ctx, tx, &row, before.PendingEmail, proof); err != nil {
			return err
		}
		if err := saveUser(ctx, tx, &row, s.now()); err != nil {
			return err
		}
		if row.Phone != before.Phone {
			if err := s.publish(ctx, tx, api.PhoneChanged, row.ID); err != nil {
				return err
			}
		}
		return s.publish(ctx, tx, api.UserUpdated, row.ID)
	})
	if err != nil {
		return nil, refused(err)
	}
	return row.user(), nil
}

// changeAddress has the new address of a locked person confirmed, if another one waits than before.
func (s *Service) changeAddress(
	ctx context.Context, tx bun.Tx, row *userRow, before string, proof *confirmationRow,
) error {
	switch {
	case row.PendingEmail == before:
		return nil
	case row.PendingEmail == "" || proof == nil: // the present address was given: it stays
		return endConfirmations(ctx, tx, row.ID)
	}
	var taken bool
	err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM users WHERE email_key = ? AND id <> ?)", proof.AddressKey,
		row.ID).Scan(ctx, &taken)
	if err == nil && taken {
		err = errTaken()
	}
	if err != nil {
		return err
	}
	return s.ask(ctx, tx, proof)
}

func errStale() error {
	return fault.New(fault.Precondition, "the account was changed meanwhile; read it again")
}

// update is a checked UpdateProfile; what is nil stays.
type update struct {
	name    *string
	address *address
	profile *api.Profile
}

func (s *Service) checkUpdate(req *api.UpdateProfile) (update, error) {
	var u update
	var check fault.Check
	if req.Name != nil {
		name := checkName(&check, *req.Name)
		u.name = &name
	}
	if req.Email != nil {
		a, err := parseAddress(*req.Email)
		check.Field(err == nil, "email", "%v", err)
		u.address = &a
	}
	if req.Profile.Given {
		u.profile = new(api.Profile)
		req.Profile.Apply(u.profile)
		*u.profile = checkProfile(&check, *u.profile, s.now())
	}
	return u, check.Err()
}

func (u update) apply(row *userRow) {
	if u.name != nil {
		row.Name = *u.name
	}
	if u.address != nil {
		if row.PendingEmail = u.address.text; u.address.text == row.Email {
			row.PendingEmail = ""
		}
	}
	if u.profile != nil {
		row.setProfile(*u.profile)
	}
	row.index()
}

func (s *Service) changePassword(ctx context.Context, req *api.ChangePassword) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	s.judge(&check, "new_password", req.NewPassword, row.Name, row.address())
	if err := check.Err(); err != nil {
		return nil, err
	}
	p, err := s.confirm(ctx, row, "current_password", req.CurrentPassword)
	if err != nil {
		return nil, refused(err)
	}
	hash, err := s.newHash(ctx, req.NewPassword)
	if err != nil {
		return nil, err
	}
	keep := rpc.Caller(ctx).Session
	return nil, refused(s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		if now, err := s.lock(ctx, tx, row.ID); err == nil && now.Password == hash { // an earlier run has done it
			return nil, nil
		}
		now, err := s.lockProven(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		return s.replacePassword(ctx, tx, &now, hash, keep)
	}))
}

// replacePassword sets a new password, and ends what was opened with the old one: sessions but the one to keep, and
// resets. The person is locked.
func (s *Service) replacePassword(
	ctx context.Context, tx bun.Tx, row *userRow, hash string, keep ids.Session,
) ([]revocation.Fact, error) {
	if err := savePassword(ctx, tx, row.ID, hash); err != nil {
		return nil, err
	}
	if err := forgetDevices(ctx, tx, row.ID, keep); err != nil {
		return nil, err
	}
	if err := endSessions(ctx, tx, row.ID, keep); err != nil {
		return nil, err
	}
	ended, err := renew(ctx, tx, row, keep)
	if err != nil {
		return nil, err
	}
	if err := endChallenges(ctx, tx, row.ID); err != nil {
		return nil, err
	}
	if err := endResets(ctx, tx, row.ID); err != nil {
		return nil, err
	}
	if err := dropChange(ctx, tx, row); err != nil { // a thief may have asked for it
		return nil, err
	}
	if err := s.noteAdmin(ctx, tx, row, false); err != nil {
		return nil, err
	}
	return []revocation.Fact{ended}, s.publish(ctx, tx, api.PasswordChanged, row.ID)
}

func (s *Service) deleteMe(ctx context.Context, req *api.DeleteAccount) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.confirm(ctx, row, "password", req.Password)
	if err != nil {
		return nil, refused(err)
	}
	if err := s.mayLeave(ctx, row.ID); err != nil {
		return nil, err
	}
	runs := 0
	return nil, refused(s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		admins, err := s.lockAdmins(ctx, tx)
		if err != nil {
			return nil, err
		}
		if _, err := s.lock(ctx, tx, row.ID); runs > 0 && fault.Is(err, fault.NotFound) {
			return nil, nil // an earlier run has done it
		}
		runs++
		row, err := s.lockProven(ctx, tx, p)
		if err != nil {
			return nil, err
		}
		if row.Admin && len(admins) < 2 {
			return nil, errLastAdmin()
		}
		return []revocation.Fact{revocation.OfUser(row.ID, revocation.Forever, "")}, s.erase(ctx, tx, &row)
	}))
}

// mayLeave returns a Conflict that names the events which still need their organizer, or nil if there are none.
func (s *Service) mayLeave(ctx context.Context, id ids.User) error {
	events, err := rpc.Call(ctx, s.client, api.GetRunningEvents, &api.PersonRef{UserID: id})
	if err != nil || len(events.Items) == 0 {
		return err
	}
	names := make([]string, len(events.Items))
	for i, e := range events.Items {
		names[i] = fmt.Sprintf("%s (%s)", e.Name, e.ID)
	}
	return fault.New(fault.Conflict,
		"this account organizes events that are not over; hand them over or cancel them first: %s",
		strings.Join(names, ", "))
}

func errLastAdmin() error {
	return fault.New(fault.Conflict, "this is the last administrator; appoint another one first")
}

// erase removes a person: the account, with it by the foreign keys sessions and resets, and what else was kept under
// their name or address.
func (s *Service) erase(ctx context.Context, tx bun.Tx, row *userRow) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM users WHERE id = ?", row.ID); err != nil {
		return err
	}
	if err := s.noteAdmin(ctx, tx, row, false); err != nil {
		return err
	}
	for _, a := range []attempt{newAttempt(ctx, row.address()), factorAttempt(ctx, row.ID)} {
		if err := clearFailures(ctx, tx, a.account); err != nil {
			return err
		}
	}
	if err := idempotency.DeleteOf(ctx, tx, row.ID); err != nil {
		return err
	}
	// The stored answer to an idempotent registration shows the account.
	if err := idempotency.DeleteAbout(ctx, tx, row.ID.String()); err != nil {
		return err
	}
	return s.publish(ctx, tx, api.UserDeleted, row.ID)
}
