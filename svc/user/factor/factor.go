// Package factor keeps what people prove themselves by besides a password: authenticator apps, whose codes are those of
// RFC 6238, and recovery codes. It stores and checks them. Who may do so, and how often a wrong code may be tried, is
// the question of the user service, which locks the person first.
package factor

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	period   = 30 * time.Second
	skew     = 1 // steps that a clock may be off
	mostApps = 5 // of a person: each code that is good is one that can be guessed
)

// Store keeps the second factors of people in the database of the user service.
type Store struct {
	db   *store.DB
	keys *seal.Keys
}

// New returns the store. The keys seal the secrets of apps.
func New(db *store.DB, keys *seal.Keys) *Store { return &Store{db: db, keys: keys} }

// Secrets returns the column with the secrets of apps.
func Secrets() seal.Column { return seal.Column{Table: "second_factors", ID: "id", Value: "secret"} }

func (s *Store) place(id ids.Factor) string { return Secrets().Place(s.db, id.String()) }

type appRow struct {
	bun.BaseModel `bun:"table:second_factors"`

	ID         ids.Factor `bun:"id,pk"`
	UserID     ids.User   `bun:"user_id"`
	Name       string     `bun:"name"`
	Secret     string     `bun:"secret"` // base 32, sealed
	Active     bool       `bun:"active"`
	LastStep   int64      `bun:"last_step"` // of the last code that was taken: it and those before are used up
	CreatedAt  time.Time  `bun:"created_at"`
	LastUsedAt time.Time  `bun:"last_used_at,nullzero"`
}

// Count is how many second factors a person has.
type Count struct {
	Apps     int `bun:"apps"` // whose first code was given
	Passkeys int `bun:"passkeys"`
	Codes    int `bun:"codes"` // recovery codes
}

// Any reports whether there is a second factor. Recovery codes are no factor, but stand for one.
func (c Count) Any() bool { return c.Apps+c.Passkeys > 0 }

// Methods returns by what the person can prove themselves.
func (c Count) Methods() []string {
	methods := []string{}
	if c.Apps > 0 {
		methods = append(methods, api.FactorTOTP)
	}
	if c.Passkeys > 0 {
		methods = append(methods, api.FactorPasskey)
	}
	if c.Codes > 0 && c.Any() {
		methods = append(methods, api.FactorRecovery)
	}
	return methods
}

// Count counts what a person has.
func (s *Store) Count(ctx context.Context, q bun.IDB, user ids.User) (n Count, err error) {
	err = q.NewRaw(`SELECT (SELECT count(*) FROM second_factors WHERE user_id = ? AND active) AS apps,
		(SELECT count(*) FROM passkeys WHERE user_id = ?) AS passkeys,
		(SELECT count(*) FROM recovery_codes WHERE user_id = ?) AS codes`, user, user, user).Scan(ctx, &n)
	return n, err
}

// List returns the apps of a person, the oldest first.
func (s *Store) List(ctx context.Context, user ids.User) ([]api.SecondFactor, error) {
	var rows []appRow
	err := s.db.Read().NewRaw("SELECT * FROM second_factors WHERE user_id = ? ORDER BY id", user).Scan(ctx, &rows)
	list := make([]api.SecondFactor, len(rows))
	for i, r := range rows {
		list[i] = api.SecondFactor{ID: r.ID, Kind: api.FactorTOTP, Name: r.Name, Active: r.Active,
			CreatedAt: r.CreatedAt.UTC()}
		if !r.LastUsedAt.IsZero() {
			at := r.LastUsedAt.UTC()
			list[i].LastUsedAt = &at
		}
	}
	return list, err
}

// Enrolment is an app that is being added.
type Enrolment struct {
	api.Enrolment
	row appRow
}

// Enrol makes an app for an account of a site. It is not stored yet.
func (s *Store) Enrol(user ids.User, name, site, account string, now time.Time) (*Enrolment, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: strings.ReplaceAll(site, ":", " "), AccountName: account,
		Period: uint(period / time.Second), SecretSize: 20, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return nil, err
	}
	row := appRow{ID: ids.New[ids.FactorKind](now), UserID: user, Name: name, CreatedAt: now}
	row.Secret = s.keys.Seal(s.place(row.ID), key.Secret())
	return &Enrolment{api.Enrolment{ID: row.ID, Secret: key.Secret(), URI: key.URL()}, row}, nil
}

// Add stores an app, in the place of one whose first code was never given. The fault is Conflict if there are too many.
func (s *Store) Add(ctx context.Context, tx bun.Tx, e *Enrolment) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM second_factors WHERE user_id = ? AND NOT active", e.row.UserID)
	if err != nil {
		return err
	}
	n, err := s.Count(ctx, tx, e.row.UserID)
	if err == nil && n.Apps >= mostApps {
		err = fault.New(fault.Conflict, "there are %d authenticator apps already; remove one first", n.Apps)
	}
	if err != nil {
		return err
	}
	_, err = tx.NewInsert().Model(&e.row).Exec(ctx)
	return err
}

const noApp = "there is no such authenticator app"

// Activate takes the first code of an app. It reports false if the code is wrong. The fault is NotFound if no such app
// waits for its first code.
func (s *Store) Activate(
	ctx context.Context, tx bun.Tx, user ids.User, id ids.Factor, code string, now time.Time,
) (bool, error) {
	var row appRow
	err := tx.NewRaw("SELECT * FROM second_factors WHERE id = ? AND user_id = ? AND NOT active", id, user).
		Scan(ctx, &row)
	if err != nil {
		return false, store.OrNotFound(err, noApp)
	}
	ok, err := s.take(ctx, tx, &row, code, now)
	if err == nil && ok {
		_, err = tx.ExecContext(ctx, "UPDATE second_factors SET active = ? WHERE id = ?", true, id)
	}
	return ok, err
}

// IsActive reports whether a person has an app whose first code was given.
func (s *Store) IsActive(ctx context.Context, tx bun.Tx, user ids.User, id ids.Factor) (active bool, err error) {
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM second_factors WHERE id = ? AND user_id = ? AND active)", id, user).
		Scan(ctx, &active)
	return active, err
}

// UseCode takes a code of any app of a person, each once. It reports false if it is none.
func (s *Store) UseCode(ctx context.Context, tx bun.Tx, user ids.User, code string, now time.Time) (bool, error) {
	var rows []appRow
	err := tx.NewRaw("SELECT * FROM second_factors WHERE user_id = ? AND active ORDER BY id", user).Scan(ctx, &rows)
	if err != nil {
		return false, err
	}
	for i := range rows {
		if ok, err := s.take(ctx, tx, &rows[i], code, now); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// take uses a code of an app up, and with it those before: a code that was seen over a shoulder is worth nothing.
func (s *Store) take(ctx context.Context, tx bun.Tx, row *appRow, code string, now time.Time) (bool, error) {
	secret, err := s.keys.Open(s.place(row.ID), row.Secret)
	if err != nil {
		return false, err
	}
	step, err := stepOf(secret, strings.ReplaceAll(code, " ", ""), row.LastStep, now)
	if err != nil || step == 0 {
		return false, err
	}
	res, err := tx.ExecContext(ctx,
		"UPDATE second_factors SET last_step = ?, last_used_at = ? WHERE id = ? AND last_step < ?", step, now, row.ID,
		step)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// stepOf returns the step of time after last whose code this is, as far as clocks may differ from now, or 0.
func stepOf(secret, code string, last int64, now time.Time) (found int64, err error) {
	at := now.Unix() / int64(period/time.Second)
	for step := at - skew; step <= at+skew; step++ {
		want, err := hotp.GenerateCodeCustom(secret, uint64(step),
			hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, err
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > last {
			found = step
		}
	}
	return found, nil
}

// Remove removes an app of a person. The fault is NotFound.
func (s *Store) Remove(ctx context.Context, tx bun.Tx, user ids.User, id ids.Factor) error {
	res, err := tx.ExecContext(ctx, "DELETE FROM second_factors WHERE id = ? AND user_id = ?", id, user)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return fault.New(fault.NotFound, noApp)
}

// RemoveAll removes everything that a person has.
func (s *Store) RemoveAll(ctx context.Context, tx bun.Tx, user ids.User) error {
	for _, query := range []string{"DELETE FROM second_factors WHERE user_id = ?",
		"DELETE FROM passkeys WHERE user_id = ?",
		"DELETE FROM recovery_codes WHERE user_id = ?"} {
		if _, err := tx.ExecContext(ctx, query, user); err != nil {
			return err
		}
	}
	return nil
}
