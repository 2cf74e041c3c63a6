package user

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// userRow is a person as stored. It is the aim of every lock: what changes a person, their sessions or their resets
// locks the row first, so that two such changes come one after the other.
type userRow struct {
	bun.BaseModel `bun:"table:users,alias:users"`

	ID                ids.User  `bun:"id,pk"`
	Email             string    `bun:"email"`
	EmailKey          string    `bun:"email_key"`
	EmailVerified     bool      `bun:"email_verified"`
	PendingEmail      string    `bun:"pending_email"`
	Name              string    `bun:"name"`
	Search            string    `bun:"search"`
	Password          string    `bun:"password"`
	Admin             bool      `bun:"admin"`
	Locked            bool      `bun:"locked"`
	Phone             string    `bun:"phone"`
	PhoneVerified     bool      `bun:"phone_verified"`
	Language          string    `bun:"language"`
	Timezone          string    `bun:"timezone"`
	BirthYear         int       `bun:"birth_year"`
	City              string    `bun:"city"`
	Country           string    `bun:"country"`
	ShareDemographics bool      `bun:"share_demographics"`
	Revision          int64     `bun:"revision"`
	Generation        int64     `bun:"generation"` // of its access tokens: see revoke.go
	CreatedAt         time.Time `bun:"created_at"`
	UpdatedAt         time.Time `bun:"updated_at"`
}

func newUserRow(account address, name, password string, admin bool, now time.Time) userRow {
	row := userRow{ID: ids.New[ids.UserKind](now), Name: name, Password: password, Admin: admin, Revision: 1,
		CreatedAt: now, UpdatedAt: now}
	row.setAddress(account)
	return row
}

func (r *userRow) address() address { return address{text: r.Email, key: r.EmailKey} }

func (r *userRow) setAddress(a address) {
	r.Email, r.EmailKey = a.text, a.key
	r.index()
}

// index writes what ListUsers looks through.
func (r *userRow) index() { r.Search = strings.ToLower(r.Name) + "\n" + r.EmailKey }

func (r *userRow) profile() api.Profile {
	return api.Profile{Phone: r.Phone, Language: r.Language, Timezone: r.Timezone, BirthYear: r.BirthYear, City: r.City,
		Country: r.Country, ShareDemographics: r.ShareDemographics}
}

func (r *userRow) setProfile(p api.Profile) {
	r.PhoneVerified = r.PhoneVerified && r.Phone == p.Phone
	r.Phone, r.Language, r.Timezone, r.BirthYear, r.City = p.Phone, p.Language, p.Timezone, p.BirthYear, p.City
	r.Country, r.ShareDemographics = p.Country, p.ShareDemographics
}

func (r *userRow) roles() []string {
	if r.Admin {
		return []string{rpc.RoleAdmin}
	}
	return []string{}
}

func (r *userRow) user() *api.User {
	return &api.User{ID: r.ID, Email: r.Email, EmailVerified: r.EmailVerified, PendingEmail: r.PendingEmail,
		Name: r.Name, Roles: r.roles(), Locked: r.Locked, Profile: r.profile(), PhoneVerified: r.PhoneVerified,
		Revision: r.Revision, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

func (r *userRow) contact() *api.Contact {
	c := &api.Contact{ID: r.ID, Email: r.Email, EmailVerified: r.EmailVerified, Name: r.Name, Language: r.Language,
		Timezone: r.Timezone}
	if r.PhoneVerified {
		c.Phone = r.Phone
	}
	return c
}

const noUser = "there is no such person"

// byID and byAddress return a person, or NotFound.
func (s *Service) byID(ctx context.Context, id ids.User) (row userRow, err error) {
	err = s.db.Read().NewRaw("SELECT * FROM users WHERE id = ?", id).Scan(ctx, &row)
	return row, store.OrNotFound(err, noUser)
}

func (s *Service) byAddress(ctx context.Context, a address) (row userRow, err error) {
	err = s.db.Read().NewRaw("SELECT * FROM users WHERE email_key = ?", a.key).Scan(ctx, &row)
	return row, store.OrNotFound(err, noUser)
}

// bySession returns the person who is signed in with a session, or NotFound if it has ended.
func (s *Service) bySession(ctx context.Context, p rpc.Principal) (row userRow, err error) {
	err = s.db.Read().NewRaw(`SELECT u.* FROM users AS u JOIN sessions AS s ON s.user_id = u.id
		WHERE s.id = ? AND u.id = ? AND s.expires_at > ?`, p.Session, p.User, s.now()).Scan(ctx, &row)
	return row, store.OrNotFound(err, noUser)
}

// forUpdate is the clause that keeps rows from changing until the end of the transaction. SQLite needs none: it has one
// writer.
func (s *Service) forUpdate() bun.Safe {
	if s.db.Postgres() {
		return "FOR UPDATE"
	}
	return ""
}

// lock returns a person who stays as they are until the end of the transaction, or NotFound.
func (s *Service) lock(ctx context.Context, tx bun.Tx, id ids.User) (row userRow, err error) {
	err = tx.NewRaw("SELECT * FROM users WHERE id = ? ?", id, s.forUpdate()).Scan(ctx, &row)
	return row, store.OrNotFound(err, noUser)
}

// lockAdmins returns the administrators and keeps their number until the end of the transaction. A transaction that
// needs it calls it before lock.
func (s *Service) lockAdmins(ctx context.Context, tx bun.Tx) (admins []ids.User, err error) {
	err = tx.NewRaw("SELECT id FROM users WHERE admin ORDER BY id ?", s.forUpdate()).Scan(ctx, &admins)
	return admins, err
}

// insertUser writes a person. It reports false if the person is there already, and a Conflict if the address is
// another's.
func insertUser(ctx context.Context, tx bun.Tx, row *userRow) (fresh bool, err error) {
	res, err := tx.NewInsert().Model(row).On("CONFLICT (email_key) DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return true, err
	}
	var own bool
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM users WHERE id = ?)", row.ID).Scan(ctx, &own)
	if err == nil && !own {
		err = errTaken()
	}
	return false, err
}

func errTaken() error { return fault.New(fault.Conflict, "this mail address has an account already") }

// changed returns otherwise unless a statement changed a row.
func changed(res sql.Result, otherwise error) error {
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return otherwise
	}
	return nil
}

// saveUser writes a changed person and counts the revision up. The address may have been taken: Conflict.
func saveUser(ctx context.Context, tx bun.Tx, row *userRow, now time.Time) error {
	row.Revision++
	row.UpdatedAt = now
	row.index()
	var taken bool
	err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM users WHERE email_key = ? AND id <> ?)", row.EmailKey,
		row.ID).Scan(ctx, &taken)
	if err != nil {
		return err
	}
	if taken {
		return errTaken()
	}
	_, err = tx.NewUpdate().Model(row).WherePK().Exec(ctx)
	if store.IsUnique(err) { // taken since the look
		return errTaken()
	}
	return err
}

func savePassword(ctx context.Context, tx bun.Tx, id ids.User, hash string) error {
	_, err := tx.ExecContext(ctx, "UPDATE users SET password = ? WHERE id = ?", hash, id)
	return err
}

// endSessions ends all sessions of a person but one; pass "" to end them all. The caller makes their tokens old.
func endSessions(ctx context.Context, tx bun.Tx, id ids.User, but ids.Session) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE user_id = ? AND id <> ?", id, but)
	return err
}

// endResets makes the reset mails that a person may still have worthless.
func endResets(ctx context.Context, tx bun.Tx, id ids.User) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM password_resets WHERE user_id = ?", id)
	return err
}

// refreshRow is a refresh token with the session it belongs to.
type refreshRow struct {
	SessionID ids.Session `bun:"session_id"`
	UserID    ids.User    `bun:"user_id"`
	Used      bool        `bun:"used"`
	ExpiresAt time.Time   `bun:"expires_at"`
	CreatedAt time.Time   `bun:"created_at"` // of the session
}

func refreshByHash(ctx context.Context, tx bun.Tx, hash string) (row refreshRow, err error) {
	err = tx.NewRaw(`SELECT t.session_id, s.user_id, t.used, t.expires_at, s.created_at FROM refresh_tokens AS t
		JOIN sessions AS s ON s.id = t.session_id WHERE t.hash = ?`, hash).Scan(ctx, &row)
	return row, store.OrNotFound(err, "there is no such token")
}

func insertRefresh(ctx context.Context, tx bun.Tx, hash string, session ids.Session, until time.Time) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO refresh_tokens (hash, session_id, used, expires_at) VALUES (?, ?, ?, ?)",
		hash, session, false, until)
	return err
}

type resetRow struct {
	bun.BaseModel `bun:"table:password_resets"`

	ID          resetID   `bun:"id,pk"`
	Address     string    `bun:"address"`
	UserID      ids.User  `bun:"user_id,nullzero"`
	TokenHash   string    `bun:"token_hash,nullzero"`
	TokenUntil  time.Time `bun:"token_until,nullzero"`
	RequestedAt time.Time `bun:"requested_at"`
}
