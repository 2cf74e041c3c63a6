// Package passkey keeps the passkeys of people, WebAuthn credentials, and carries out their ceremonies. Who may do so
// is the question of the user service, which locks the person first.
package passkey

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
)

const mostPasskeys = 10 // of a person

// ErrWrong is wrapped by the errors of a response that is not an authenticator's to this challenge. Their texts are for
// logs.
var ErrWrong = errors.New("passkey: the response is not valid")

// ErrCloned is wrapped by the error of an authenticator whose counter has gone back: there may be two of it.
var ErrCloned = fmt.Errorf("%w: the counter has gone back", ErrWrong)

// Store keeps passkeys in the database of the user service.
type Store struct {
	db         *store.DB
	live       *settings.Live
	challenges challenges
}

// New returns the store. The signer authenticates challenges.
func New(db *store.DB, live *settings.Live, signer Signer, now func() time.Time) *Store {
	return &Store{db: db, live: live, challenges: challenges{signer, now}}
}

type row struct {
	bun.BaseModel `bun:"table:passkeys"`

	ID           ids.Passkey `bun:"id,pk"`
	UserID       ids.User    `bun:"user_id"`
	Name         string      `bun:"name"`
	CredentialID string      `bun:"credential_id"` // base64url, as the authenticator names it
	Credential   string      `bun:"credential"`    // JSON of webauthn.Credential, with the public key and the counter
	CreatedAt    time.Time   `bun:"created_at"`
	LastUsedAt   time.Time   `bun:"last_used_at,nullzero"`
}

func (r *row) passkey() api.Passkey {
	p := api.Passkey{ID: r.ID, Name: r.Name, CreatedAt: r.CreatedAt.UTC()}
	if !r.LastUsedAt.IsZero() {
		at := r.LastUsedAt.UTC()
		p.LastUsedAt = &at
	}
	return p
}

func (r *row) credential() (c webauthn.Credential, err error) {
	err = json.Unmarshal([]byte(r.Credential), &c)
	return c, err
}

// Person is whom a passkey is made for, as an authenticator shows it.
type Person struct {
	ID    ids.User
	Email string
	Name  string

	credentials []webauthn.Credential
}

// WebAuthnID implements webauthn.User.
func (p *Person) WebAuthnID() []byte { return []byte(p.ID) }

// WebAuthnName implements webauthn.User.
func (p *Person) WebAuthnName() string { return p.Email }

// WebAuthnDisplayName implements webauthn.User.
func (p *Person) WebAuthnDisplayName() string { return p.Name }

// WebAuthnCredentials implements webauthn.User.
func (p *Person) WebAuthnCredentials() []webauthn.Credential { return p.credentials }

// party returns the relying party that the settings of this moment say.
func (s *Store) party() (*webauthn.WebAuthn, error) {
	origins := strings.FieldsFunc(api.RelyingPartyOrigins.Get(s.live),
		func(r rune) bool { return r == ',' || r == ' ' })
	return webauthn.New(&webauthn.Config{RPID: api.RelyingParty.Get(s.live),
		RPDisplayName: api.SiteName.Get(s.live), RPOrigins: origins,
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementPreferred,
			UserVerification: protocol.VerificationRequired}})
}

// session returns what was asked of an authenticator by a challenge.
func session(party *webauthn.WebAuthn, challenge []byte, user ids.User) webauthn.SessionData {
	return webauthn.SessionData{Challenge: base64.RawURLEncoding.EncodeToString(challenge),
		RelyingPartyID: party.Config.RPID, UserID: []byte(user), UserVerification: protocol.VerificationRequired,
		CredParams: webauthn.CredentialParametersDefault()}
}

// CreationOptions returns the options by which an authenticator makes a passkey, for an answer with the same purpose.
func (s *Store) CreationOptions(ctx context.Context, p Person, purpose string) (*api.PasskeyOptions, error) {
	party, err := s.party()
	if err != nil {
		return nil, err
	}
	rows, err := s.of(ctx, s.db.Read(), p.ID)
	if err != nil {
		return nil, err
	}
	known, err := descriptors(rows)
	if err != nil {
		return nil, err
	}
	options, _, err := party.BeginRegistration(&p, webauthn.WithExclusions(known),
		func(o *protocol.PublicKeyCredentialCreationOptions) error {
			o.Challenge = s.challenges.make(purpose)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return encode(options.Response)
}

// RequestOptions returns the options by which an authenticator proves who a person is, for an answer with the same
// purpose. Without a person it is one that the authenticator knows.
func (s *Store) RequestOptions(ctx context.Context, user ids.User, purpose string) (*api.PasskeyOptions, error) {
	party, err := s.party()
	if err != nil {
		return nil, err
	}
	var known []protocol.CredentialDescriptor
	if user != "" {
		rows, err := s.of(ctx, s.db.Read(), user)
		if err != nil {
			return nil, err
		}
		if known, err = descriptors(rows); err != nil {
			return nil, err
		}
	}
	options, _, err := party.BeginDiscoverableLogin(webauthn.WithAllowedCredentials(known),
		webauthn.WithChallenge(s.challenges.make(purpose)))
	if err != nil {
		return nil, err
	}
	return encode(options.Response)
}

func encode(options any) (*api.PasskeyOptions, error) {
	text, err := json.Marshal(options)
	return &api.PasskeyOptions{PublicKey: text}, err
}

func descriptors(rows []row) ([]protocol.CredentialDescriptor, error) {
	all := make([]protocol.CredentialDescriptor, len(rows))
	for i := range rows {
		c, err := rows[i].credential()
		if err != nil {
			return nil, err
		}
		all[i] = c.Descriptor()
	}
	return all, nil
}

func (s *Store) of(ctx context.Context, q bun.IDB, user ids.User) (rows []row, err error) {
	err = q.NewRaw("SELECT * FROM passkeys WHERE user_id = ? ORDER BY id", user).Scan(ctx, &rows)
	return rows, err
}

// List returns the passkeys of a person, the oldest first.
func (s *Store) List(ctx context.Context, user ids.User) ([]api.Passkey, error) {
	rows, err := s.of(ctx, s.db.Read(), user)
	list := make([]api.Passkey, len(rows))
	for i := range rows {
		list[i] = rows[i].passkey()
	}
	return list, err
}

// Made is a passkey that an authenticator has made, and that is not stored yet.
type Made struct {
	row       row
	challenge []byte
}

// Passkey returns it as its owner sees it.
func (m *Made) Passkey() api.Passkey { return m.row.passkey() }

// Verify checks the response of an authenticator to CreationOptions of the same purpose.
func (s *Store) Verify(p Person, name, purpose string, response []byte, now time.Time) (*Made, error) {
	party, err := s.party()
	if err != nil {
		return nil, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return nil, wrong(err)
	}
	challenge, err := s.challenges.check(parsed.Response.CollectedClientData.Challenge, purpose)
	if err != nil {
		return nil, err
	}
	c, err := party.CreateCredential(&p, session(party, challenge, p.ID), parsed)
	if err != nil {
		return nil, wrong(err)
	}
	c.Attestation = webauthn.CredentialAttestation{} // none was asked for
	text, err := json.Marshal(c)
	return &Made{challenge: challenge, row: row{ID: ids.New[ids.PasskeyKind](now), UserID: p.ID, Name: name,
		CredentialID: base64.RawURLEncoding.EncodeToString(c.ID), Credential: string(text), CreatedAt: now}}, err
}

// wrong returns an error that wraps ErrWrong, with what the library says of a response.
func wrong(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("%w: %s: %s", ErrWrong, e.Details, e.DevInfo)
	}
	return fmt.Errorf("%w: %w", ErrWrong, err)
}

// Add stores a passkey. The fault is Conflict if there are too many, or if it is there already.
func (s *Store) Add(ctx context.Context, tx bun.Tx, m *Made) error {
	rows, err := s.of(ctx, tx, m.row.UserID)
	if err != nil {
		return err
	}
	if len(rows) >= mostPasskeys {
		return fault.New(fault.Conflict, "there are %d passkeys already; remove one first", len(rows))
	}
	if err := useUp(ctx, tx, m.challenge); err != nil {
		return err
	}
	res, err := tx.NewInsert().Model(&m.row).On("CONFLICT (credential_id) DO NOTHING").Exec(ctx)
	if err != nil {
		return err
	}
	return changed(res, fault.New(fault.Conflict, "this passkey is known already"))
}

// Exists reports whether a passkey is stored.
func (s *Store) Exists(ctx context.Context, tx bun.Tx, id ids.Passkey) (exists bool, err error) {
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM passkeys WHERE id = ?)", id).Scan(ctx, &exists)
	return exists, err
}

// OwnerOf returns whose passkey has given a response. The response is not checked. The fault is NotFound.
func (s *Store) OwnerOf(ctx context.Context, response []byte) (user ids.User, err error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return "", fault.New(fault.NotFound, noPasskey)
	}
	err = s.db.Read().NewRaw("SELECT user_id FROM passkeys WHERE credential_id = ?",
		base64.RawURLEncoding.EncodeToString(parsed.RawID)).Scan(ctx, &user)
	return user, store.OrNotFound(err, noPasskey)
}

const noPasskey = "there is no such passkey"

// Use checks the response of an authenticator to RequestOptions of the same purpose, for a locked person, and uses the
// challenge up. A response that is not valid is an error that wraps ErrWrong.
func (s *Store) Use(
	ctx context.Context, tx bun.Tx, user ids.User, purpose string, response []byte, now time.Time,
) error {
	party, err := s.party()
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return wrong(err)
	}
	challenge, err := s.challenges.check(parsed.Response.CollectedClientData.Challenge, purpose)
	if err != nil {
		return err
	}
	var found row
	err = tx.NewRaw("SELECT * FROM passkeys WHERE credential_id = ? AND user_id = ?",
		base64.RawURLEncoding.EncodeToString(parsed.RawID), user).Scan(ctx, &found)
	if err = store.OrNotFound(err, noPasskey); fault.Is(err, fault.NotFound) {
		return fmt.Errorf("%w: it is another's", ErrWrong)
	}
	if err != nil {
		return err
	}
	known, err := found.credential()
	if err != nil {
		return err
	}
	used, err := party.ValidateLogin(&Person{ID: user, credentials: []webauthn.Credential{known}},
		session(party, challenge, user), parsed)
	if err != nil {
		return wrong(err)
	}
	if used.Authenticator.CloneWarning {
		return ErrCloned
	}
	text, err := json.Marshal(used)
	if err != nil {
		return err
	}
	if err := useUp(ctx, tx, challenge); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE passkeys SET credential = ?, last_used_at = ? WHERE id = ?", string(text), now,
		found.ID)
	return err
}

// Rename gives a passkey of a person another name. The fault is NotFound.
func (s *Store) Rename(
	ctx context.Context, tx bun.Tx, user ids.User, id ids.Passkey, name string,
) (api.Passkey, error) {
	var renamed row
	err := tx.NewRaw("UPDATE passkeys SET name = ? WHERE id = ? AND user_id = ? RETURNING *", name, id, user).
		Scan(ctx, &renamed)
	return renamed.passkey(), store.OrNotFound(err, noPasskey)
}

// RemoveAll removes all passkeys of a person.
func (s *Store) RemoveAll(ctx context.Context, tx bun.Tx, user ids.User) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM passkeys WHERE user_id = ?", user)
	return err
}

// Remove removes a passkey of a person. The fault is NotFound.
func (s *Store) Remove(ctx context.Context, tx bun.Tx, user ids.User, id ids.Passkey) error {
	res, err := tx.ExecContext(ctx, "DELETE FROM passkeys WHERE id = ? AND user_id = ?", id, user)
	if err != nil {
		return err
	}
	return changed(res, fault.New(fault.NotFound, noPasskey))
}
