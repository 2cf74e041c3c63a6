package user

import (
	"context"
	"strings"
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

// confirmationKind names the ids of requests to prove an address. The id is not the secret.
type confirmationKind struct{}

// Prefix implements ids.Kind.
func (confirmationKind) Prefix() string { return "ecf" }

type confirmationID = ids.ID[confirmationKind]

const (
	confirmationPrefix  = "ec_"
	confirmationTTL     = 24 * time.Hour // how long the token in a mail works
	confirmationKept    = 24 * time.Hour // how long a request waits for its mail to be sent
	confirmationsWindow = time.Hour
	confirmationsMost   = 5 // mails of one person, and to one address, within the window
)

type confirmationRow struct {
	bun.BaseModel `bun:"table:email_confirmations"`

	ID          confirmationID `bun:"id,pk"`
	UserID      ids.User       `bun:"user_id"`
	Address     string         `bun:"address"`
	AddressKey  string         `bun:"address_key"`
	Former      string         `bun:"former"`
	SessionID   ids.Session    `bun:"session_id"`
	TokenHash   string         `bun:"token_hash,nullzero"`
	TokenUntil  time.Time      `bun:"token_until,nullzero"`
	Ended       bool           `bun:"ended"`
	RequestedAt time.Time      `bun:"requested_at"`

	tell bool // the former address, which is proven
}

// confirmation returns a request to prove an address of a person: the one of the account, or one to replace it.
func (s *Service) confirmation(row *userRow, a address, session ids.Session) confirmationRow {
	now := s.now()
	c := confirmationRow{ID: ids.New[confirmationKind](now), UserID: row.ID, Address: a.text, AddressKey: a.key,
		SessionID: session, RequestedAt: now}
	if a.text != row.Email {
		c.Former, c.tell = row.Email, row.EmailVerified
	}
	return c
}

// ask stores a request in the place of those before, and has it mailed. The person is locked. Too many are refused with
// RateLimited.
func (s *Service) ask(ctx context.Context, tx bun.Tx, c *confirmationRow) error {
	if err := s.db.Alone(ctx, tx, "confirmations "+c.AddressKey); err != nil { // others may name the same address
		return err
	}
	since := c.RequestedAt.Add(-confirmationsWindow)
	var recent int
	err := tx.NewRaw(`SELECT count(*) FROM email_confirmations
		WHERE (user_id = ? OR address_key = ?) AND requested_at > ?`, c.UserID, c.AddressKey, since).Scan(ctx, &recent)
	if err != nil {
		return err
	}
	if recent >= confirmationsMost {
		return fault.New(fault.RateLimited, "too many mails to confirm an address; wait an hour").After(
			confirmationsWindow)
	}
	if err := endConfirmations(ctx, tx, c.UserID); err != nil {
		return err
	}
	res, err := tx.NewInsert().Model(c).On("CONFLICT (id) DO NOTHING").Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return stream.Add(ctx, tx, api.EmailConfirmationRequested.Subject, api.ConfirmationEvent{UserID: c.UserID,
		ConfirmationID: c.ID.String(), Change: c.tell, At: c.RequestedAt})
}

// endConfirmations makes the tokens worthless that were mailed to a person.
func endConfirmations(ctx context.Context, tx bun.Tx, id ids.User) error {
	_, err := tx.ExecContext(ctx, "UPDATE email_confirmations SET ended = ?, token_hash = NULL WHERE user_id = ? "+
		"AND NOT ended", true, id)
	return err
}

// dropChange forgets a change of the address that is not confirmed. The person is locked.
func dropChange(ctx context.Context, tx bun.Tx, row *userRow) error {
	if row.PendingEmail == "" {
		return nil
	}
	row.PendingEmail = ""
	row.Revision++
	_, err := tx.ExecContext(ctx, "UPDATE users SET pending_email = '', revision = ? WHERE id = ?", row.Revision,
		row.ID)
	if err != nil {
		return err
	}
	return endConfirmations(ctx, tx, row.ID)
}

// requestConfirmation mails the caller one more token, for the address that is to be proven.
func (s *Service) requestConfirmation(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	var c *confirmationRow
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if row, err = s.lock(ctx, tx, row.ID); err != nil {
			return err
		}
		a := row.address()
		if row.PendingEmail != "" {
			if a, err = parseAddress(row.PendingEmail); err != nil {
				return err
			}
		} else if row.EmailVerified {
			return fault.New(fault.Conflict, "the mail address is confirmed already")
		}
		if c == nil {
			fresh := s.confirmation(&row, a, rpc.Caller(ctx).Session)
			c = &fresh
		} else if known, err := confirmationExists(ctx, tx, c.ID); err != nil || known { // an earlier run has done it
			return err
		}
		return s.ask(ctx, tx, c)
	})
}

func confirmationExists(ctx context.Context, tx bun.Tx, id confirmationID) (known bool, err error) {
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM email_confirmations WHERE id = ?)", id).Scan(ctx, &known)
	return known, err
}

// mintConfirmation makes the token of a request at the moment when it is mailed, so that the token is in the mail and
// nowhere else. Minting again makes the token before worthless.
func (s *Service) mintConfirmation(ctx context.Context, req *api.MintConfirmation) (*api.MintedConfirmation, error) {
	const gone = "there is no such request to confirm an address"
	id, err := ids.Parse[confirmationKind](req.ConfirmationID)
	if err != nil {
		return nil, fault.New(fault.NotFound, gone)
	}
	now := s.now()
	secret, hash := opaque.New(confirmationPrefix)
	var c confirmationRow
	var row userRow
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewRaw("SELECT * FROM email_confirmations WHERE id = ? AND NOT ended AND requested_at > ?", id,
			now.Add(-confirmationKept)).Scan(ctx, &c)
		if err != nil {
			return store.OrNotFound(err, gone)
		}
		if row, err = s.lock(ctx, tx, c.UserID); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "UPDATE email_confirmations SET token_hash = ?, token_until = ? "+
			"WHERE id = ? AND NOT ended", hash, now.Add(confirmationTTL), id)
		if err != nil {
			return err
		}
		return changed(res, fault.New(fault.NotFound, gone))
	})
	if err != nil {
		return nil, err
	}
	to := *row.contact()
	to.Email = c.Address
	return &api.MintedConfirmation{Contact: to, Token: secret, ExpiresAt: now.Add(confirmationTTL)}, nil
}

// formerContact returns how to reach the address that a request would replace, also after it did.
func (s *Service) formerContact(ctx context.Context, req *api.MintConfirmation) (*api.FormerContact, error) {
	const gone = "there is no such change of an address"
	var c confirmationRow
	err := s.db.Read().NewRaw("SELECT * FROM email_confirmations WHERE id = ? AND former <> ''",
		req.ConfirmationID).Scan(ctx, &c)
	if err != nil {
		return nil, store.OrNotFound(err, gone)
	}
	row, err := s.byID(ctx, c.UserID)
	if err != nil {
		return nil, err
	}
	to := *row.contact()
	to.Email = c.Former
	return &api.FormerContact{Contact: to, Address: masked(c.Address)}, nil
}

// masked returns an address so that its owner knows it again, and others do not learn it.
func masked(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	return local[:1] + "…@" + domain
}

// confirmAddress proves an address by the token that was mailed to it. If it replaces another one, every session ends
// but the one that asked, and what was mailed to the other address is worthless.
func (s *Service) confirmAddress(ctx context.Context, req *api.ConfirmEmail) (*rpc.None, error) {
	c, err := s.openConfirmation(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	a, err := parseAddress(c.Address)
	if err != nil {
		return nil, err
	}
	runs := 0
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		row, err := s.lock(ctx, tx, c.UserID)
		if err != nil {
			return nil, errUsedConfirmation()
		}
		if runs++; runs > 1 && row.EmailVerified && row.Email == c.Address {
			return nil, nil // an earlier run has done it
		}
		res, err := tx.ExecContext(ctx, "UPDATE email_confirmations SET ended = ?, token_hash = NULL WHERE id = ? "+
			"AND token_hash = ? AND NOT ended", true, c.ID, c.TokenHash)
		if err != nil {
			return nil, err
		}
		if err := changed(res, errUsedConfirmation()); err != nil {
			return nil, err
		}
		row.EmailVerified = true
		if c.Former == "" {
			if err := saveUser(ctx, tx, &row, s.now()); err != nil {
				return nil, err
			}
			return nil, s.publish(ctx, tx, api.UserUpdated, row.ID)
		}
		return s.replaceAddress(ctx, tx, &row, a, c.SessionID)
	})
}

// replaceAddress gives a locked person another address, and ends what the one before could open.
func (s *Service) replaceAddress(
	ctx context.Context, tx bun.Tx, row *userRow, a address, keep ids.Session,
) ([]revocation.Fact, error) {
	row.setAddress(a)
	row.PendingEmail = ""
	row.Generation++
	if err := saveUser(ctx, tx, row, s.now()); err != nil {
		return nil, err
	}
	if err := endSessions(ctx, tx, row.ID, keep); err != nil {
		return nil, err
	}
	if err := endResets(ctx, tx, row.ID); err != nil {
		return nil, err
	}
	return []revocation.Fact{revocation.OfUser(row.ID, row.Generation, keep)},
		s.publish(ctx, tx, api.UserUpdated, row.ID)
}

func errUsedConfirmation() error {
	return fault.New(fault.Expired, "this confirmation is over; ask for another one")
}

// openConfirmation returns the request whose token this is and that can still be used.
func (s *Service) openConfirmation(ctx context.Context, secret string) (c confirmationRow, err error) {
	var check fault.Check
	check.Field(opaque.Is(confirmationPrefix, secret), "token", "is not one that was mailed")
	if err := check.Err(); err != nil {
		return c, err
	}
	err = s.db.Read().NewRaw("SELECT * FROM email_confirmations WHERE token_hash = ? AND NOT ended",
		opaque.Hash(secret)).Scan(ctx, &c)
	if err = store.OrNotFound(err, "there is no such token"); fault.Is(err, fault.NotFound) ||
		err == nil && !s.now().Before(c.TokenUntil) {
		return c, errUsedConfirmation()
	}
	return c, err
}
