package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/phone"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// phoneKind names the ids of requests to prove a number. The id is not the secret.
type phoneKind struct{}

// Prefix implements ids.Kind.
func (phoneKind) Prefix() string { return "pcf" }

type phoneID = ids.ID[phoneKind]

// A code has six digits, so few guesses are all that protects it: at most 25 a day find one of a million.
const (
	phoneCodes   = 1_000_000
	phoneGuesses = 5                // at one code
	phoneMost    = 5                // codes to one person, and to one number, within the window
	phoneWindow  = 24 * time.Hour   // also how long requests are kept
	phoneTTL     = 10 * time.Minute // how long a code works
)

type phoneRow struct {
	bun.BaseModel `bun:"table:phone_confirmations"`

	ID          phoneID   `bun:"id,pk"`
	UserID      ids.User  `bun:"user_id"`
	Phone       string    `bun:"phone"`
	CodeHash    string    `bun:"code_hash"`
	CodeUntil   time.Time `bun:"code_until,nullzero"`
	Guesses     int       `bun:"guesses"`
	Ended       bool      `bun:"ended"`
	RequestedAt time.Time `bun:"requested_at"`
}

func (r phoneRow) hash(code string) string { return opaque.Hash(r.ID.String() + " " + code) }

// requestPhone has a code sent to the number of the caller.
func (s *Service) requestPhone(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	c := phoneRow{ID: ids.New[phoneKind](now), UserID: row.ID, RequestedAt: now}
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var known bool
		err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM phone_confirmations WHERE id = ?)", c.ID).Scan(ctx, &known)
		if err != nil || known { // an earlier run has done it
			return err
		}
		if row, err = s.lock(ctx, tx, row.ID); err != nil {
			return err
		}
		switch {
		case row.Phone == "":
			return fault.New(fault.Conflict, "the profile has no phone number")
		case row.PhoneVerified:
			return fault.New(fault.Conflict, "the phone number is confirmed already")
		}
		if err := phone.Check(row.Phone, api.SMSCountries.Get(s.live)); err != nil {
			return fault.New(fault.Conflict, "no code can be sent to this number: %v", err)
		}
		c.Phone = row.Phone
		if err := s.countCodes(ctx, tx, c); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE phone_confirmations SET ended = ? WHERE user_id = ? AND NOT ended", true,
			row.ID)
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&c).Exec(ctx); err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.PhoneConfirmationRequested.Subject,
			api.PhoneEvent{UserID: row.ID, ConfirmationID: c.ID.String(), At: now})
	})
}

// countCodes refuses one code too many for a person, or for a number: by many accounts a stranger would be sent as many
// messages.
func (s *Service) countCodes(ctx context.Context, tx bun.Tx, c phoneRow) error {
	if err := s.db.Alone(ctx, tx, "phone "+c.Phone); err != nil {
		return err
	}
	for _, by := range []struct {
		column bun.Ident
		value  string
	}{{"user_id", c.UserID.String()}, {"phone", c.Phone}} {
		var recent int
		err := tx.NewRaw("SELECT count(*) FROM phone_confirmations WHERE ? = ? AND requested_at > ?", by.column,
			by.value, c.RequestedAt.Add(-phoneWindow)).Scan(ctx, &recent)
		if err != nil {
			return err
		}
		if recent >= phoneMost {
			return fault.New(fault.RateLimited, "too many codes were sent; wait a day").After(phoneWindow)
		}
	}
	return nil
}

// mintPhone makes the code of a request at the moment when it is sent, so that the code is in the message and nowhere
// else. Minting again makes the code before worthless.
func (s *Service) mintPhone(ctx context.Context, req *api.MintPhone) (*api.MintedPhone, error) {
	gone := fault.New(fault.NotFound, "there is no such request to confirm a phone number")
	id, err := ids.Parse[phoneKind](req.ConfirmationID)
	if err != nil {
		return nil, gone
	}
	n, err := rand.Int(rand.Reader, big.NewInt(phoneCodes))
	if err != nil {
		return nil, err
	}
	code := fmt.Sprintf("%06d", n)
	now := s.now()
	until := now.Add(phoneTTL)
	var row userRow
	c := phoneRow{ID: id}
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewRaw("UPDATE phone_confirmations SET code_hash = ?, code_until = ? "+
			"WHERE id = ? AND NOT ended AND requested_at > ? RETURNING *", c.hash(code), until, id,
			now.Add(-phoneTTL)).Scan(ctx, &c)
		if err != nil {
			return store.OrNotFound(err, "there is no such request to confirm a phone number")
		}
		row, err = s.lock(ctx, tx, c.UserID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if row.Phone != c.Phone { // changed since
		return nil, gone
	}
	to := *row.contact()
	to.Phone = c.Phone
	return &api.MintedPhone{Contact: to, Code: code, ExpiresAt: until}, nil
}

// confirmPhone proves the number of the caller. A guess is counted before it is looked at, so that no two are one.
func (s *Service) confirmPhone(ctx context.Context, req *api.ConfirmPhone) (*rpc.None, error) {
	var check fault.Check
	check.Field(len(req.Code) == 6, "code", "must have six digits")
	if err := check.Err(); err != nil {
		return nil, err
	}
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	over := fault.New(fault.Expired, "there is no code that could be used; ask for another one")
	var c phoneRow
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return tx.NewRaw(`UPDATE phone_confirmations SET guesses = guesses + 1
			WHERE user_id = ? AND NOT ended AND code_hash <> '' AND code_until > ? AND guesses < ? RETURNING *`,
			row.ID, s.now(), phoneGuesses).Scan(ctx, &c)
	})
	if err = store.OrNotFound(err, "there is no code"); fault.Is(err, fault.NotFound) {
		return nil, over
	}
	if err != nil {
		return nil, err
	}
	check.Field(subtle.ConstantTimeCompare([]byte(c.hash(req.Code)), []byte(c.CodeHash)) == 1, "code",
		"is not the one that was sent")
	if err := check.Err(); err != nil {
		return nil, err
	}
	runs := 0
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err := s.lock(ctx, tx, row.ID)
		if err != nil {
			return err
		}
		if runs++; runs > 1 && row.PhoneVerified && row.Phone == c.Phone { // an earlier run has done it
			return nil
		}
		res, err := tx.ExecContext(ctx, "UPDATE phone_confirmations SET ended = ? WHERE id = ? AND NOT ended", true,
			c.ID)
		if err != nil {
			return err
		}
		if err := changed(res, over); err != nil {
			return err
		}
		if row.Phone != c.Phone {
			return over
		}
		row.PhoneVerified = true
		if err := saveUser(ctx, tx, &row, s.now()); err != nil {
			return err
		}
		return s.publish(ctx, tx, api.UserUpdated, row.ID)
	})
}
