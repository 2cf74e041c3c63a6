package user

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// resetKind names the ids of password resets. The id names the request; it is not the secret.
type resetKind struct{}

// Prefix implements ids.Kind.
func (resetKind) Prefix() string { return "rst" }

type resetID = ids.ID[resetKind]

const (
	resetTTL     = time.Hour      // how long the token in a mail works
	resetKept    = 24 * time.Hour // how long a request waits for its mail to be sent
	resetsWindow = time.Hour
	resetsMost   = 5 // mails to one address within the window; more would be a way to annoy people
)

// requestReset takes a request down and has it mailed. For an address without an account it does as much, so that
// nobody learns from it which addresses have one.
func (s *Service) requestReset(ctx context.Context, req *api.RequestReset) (*rpc.None, error) {
	var check fault.Check
	account, err := parseAddress(req.Email)
	check.Field(err == nil, "email", "%v", err)
	if err := check.Err(); err != nil {
		return nil, err
	}
	row, err := s.byAddress(ctx, account)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	now := s.now()
	reset := resetRow{ID: ids.New[resetKind](now), Address: opaque.Hash(account.key), UserID: row.ID, RequestedAt: now}
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.db.Alone(ctx, tx, "resets "+reset.Address); err != nil {
			return err
		}
		var recent int
		err := tx.NewRaw("SELECT count(*) FROM password_resets WHERE address = ? AND requested_at > ?",
			reset.Address, now.Add(-resetsWindow)).Scan(ctx, &recent)
		if err != nil || recent >= resetsMost {
			return err
		}
		res, err := tx.NewInsert().Model(&reset).On("CONFLICT (id) DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // an earlier run has done it
			return err
		}
		if reset.UserID == "" {
			// In the place of the outbox row: those before, which nothing waits for.
			_, err := tx.ExecContext(ctx, "DELETE FROM password_resets WHERE user_id IS NULL AND requested_at <= ?",
				now.Add(-resetsWindow))
			return err
		}
		return stream.Add(ctx, tx, api.PasswordResetRequested.Subject,
			api.ResetEvent{UserID: reset.UserID, ResetID: reset.ID.String(), At: now})
	})
	if store.IsForeignKey(err) { // the account was deleted since the look
		err = nil
	}
	return nil, err
}

// mintReset makes the token of a reset at the moment when it is mailed, so that the token is in the mail and nowhere
// else. Minting again, because a mail has to be sent again, makes the token before worthless.
func (s *Service) mintReset(ctx context.Context, req *api.MintReset) (*api.MintedReset, error) {
	const gone = "there is no such password reset"
	id, err := ids.Parse[resetKind](req.ResetID)
	if err != nil {
		return nil, fault.New(fault.NotFound, gone)
	}
	now := s.now()
	secret, hash := opaque.New(resetPrefix)
	var row userRow
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var reset resetRow
		err := tx.NewRaw("SELECT * FROM password_resets WHERE id = ? AND user_id IS NOT NULL AND requested_at > ?",
			id, now.Add(-resetKept)).Scan(ctx, &reset)
		if err != nil {
			return store.OrNotFound(err, gone)
		}
		if row, err = s.lock(ctx, tx, reset.UserID); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "UPDATE password_resets SET token_hash = ?, token_until = ? WHERE id = ?",
			hash, now.Add(resetTTL), id)
		if err != nil {
			return err
		}
		return changed(res, fault.New(fault.NotFound, gone))
	})
	if err != nil {
		return nil, err
	}
	return &api.MintedReset{Contact: *row.contact(), Token: secret, ExpiresAt: now.Add(resetTTL)}, nil
}

func (s *Service) confirmReset(ctx context.Context, req *api.ConfirmReset) (*rpc.None, error) {
	reset, err := s.openReset(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	owner, err := s.byID(ctx, reset.UserID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	s.judge(&check, "new_password", req.NewPassword, owner.Name, owner.address())
	if err := check.Err(); err != nil {
		return nil, err
	}
	hash, err := s.newHash(ctx, req.NewPassword)
	if err != nil {
		return nil, err
	}
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		row, err := s.lock(ctx, tx, reset.UserID)
		if err != nil || row.Password == hash { // an earlier run has done it
			return nil, err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM password_resets WHERE id = ? AND token_hash = ?", reset.ID,
			reset.TokenHash)
		if err != nil {
			return nil, err
		}
		if err := changed(res, errUsedReset()); err != nil {
			return nil, err
		}
		if err := clearFailures(ctx, tx, newAttempt(ctx, row.address()).account); err != nil {
			return nil, err
		}
		// who reads the mail has proven the address
		if reset.Address == opaque.Hash(row.EmailKey) && !row.EmailVerified {
			if err := s.proveAddress(ctx, tx, &row); err != nil {
				return nil, err
			}
		}
		return s.replacePassword(ctx, tx, &row, hash, "")
	})
}

// proveAddress confirms the address of an account for the first time, and takes away the ways to sign in to it but the
// password: somebody else may have registered with the address, and kept a way back. Authenticator apps stay, as no one
// signs in by them alone.
func (s *Service) proveAddress(ctx context.Context, tx bun.Tx, row *userRow) error {
	row.EmailVerified = true
	if err := saveUser(ctx, tx, row, s.now()); err != nil {
		return err
	}
	if err := s.publish(ctx, tx, api.UserUpdated, row.ID); err != nil {
		return err
	}
	linked, err := s.federation.Identities(ctx, tx, row.ID)
	if err != nil {
		return err
	}
	for _, i := range linked {
		if err := s.federation.Unlink(ctx, tx, row.ID, i.ID); err != nil {
			return err
		}
		if err := s.tellIdentity(ctx, tx, api.IdentityWasUnlinked, row.ID, i.Provider); err != nil {
			return err
		}
	}
	return s.passkeys.RemoveAll(ctx, tx, row.ID)
}

func errUsedReset() error {
	return fault.New(fault.Expired, "this password reset is over; ask for another one")
}

// openReset returns the reset whose token this is and that can still be used.
func (s *Service) openReset(ctx context.Context, secret string) (resetRow, error) {
	var reset resetRow
	var check fault.Check
	check.Field(opaque.Is(resetPrefix, secret), "token", "is not one that was mailed")
	if err := check.Err(); err != nil {
		return reset, err
	}
	err := s.db.Read().NewRaw("SELECT * FROM password_resets WHERE token_hash = ?", opaque.Hash(secret)).
		Scan(ctx, &reset)
	if err = store.OrNotFound(err, "there is no such password reset"); fault.Is(err, fault.NotFound) {
		return reset, errUsedReset()
	}
	if err == nil && !s.now().Before(reset.TokenUntil) {
		return reset, errUsedReset()
	}
	return reset, err
}
