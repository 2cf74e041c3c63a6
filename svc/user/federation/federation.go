// Package federation signs people in through identity providers that speak OpenID Connect: by the authorization code
// flow with PKCE, state and nonce. It keeps the providers, and which of a provider's people is which person here. Who
// may be linked with whom is the question of the user service.
package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	mostProviders  = 50
	mostIdentities = 10 // of a person
)

// Store keeps providers and identities in the database of the user service, and speaks with the providers.
type Store struct {
	db     *store.DB
	keys   *seal.Keys
	signer Signer
	client *client
	now    func() time.Time
}

// New returns the store. The keys seal client secrets, the signer authenticates login tokens.
func New(db *store.DB, keys *seal.Keys, signer Signer, now func() time.Time) *Store {
	return &Store{db: db, keys: keys, signer: signer, client: newClient(now), now: now}
}

// Secrets returns the column with the secrets of clients.
func Secrets() seal.Column {
	return seal.Column{Table: "identity_providers", ID: "id", Value: "client_secret"}
}

type providerRow struct {
	bun.BaseModel `bun:"table:identity_providers"`

	ID              ids.IdentityProvider `bun:"id,pk"`
	Name            string               `bun:"name"`
	Issuer          string               `bun:"issuer"`
	ClientID        string               `bun:"client_id"`
	ClientSecret    string               `bun:"client_secret"` // sealed
	RedirectURIs    string               `bun:"redirect_uris"` // JSON, like the next two
	Domains         string               `bun:"domains"`
	SecondFactor    string               `bun:"second_factor"`
	CreatesAccounts bool                 `bun:"creates_accounts"`
	Enabled         bool                 `bun:"enabled"`
	Revision        int64                `bun:"revision"`
	CreatedAt       time.Time            `bun:"created_at"`
	UpdatedAt       time.Time            `bun:"updated_at"`
}

// Provider is an identity provider, with the secret of this system there.
type Provider struct {
	api.IdentityProvider
	secret string
}

// SetSecret gives the provider another client secret; "" is none.
func (p *Provider) SetSecret(secret string) { p.secret, p.HasSecret = secret, secret != "" }

// Vouches reports whether a mail address is of a domain that the provider vouches for.
func (p *Provider) Vouches(domain string) bool { return slices.Contains(p.Domains, domain) }

// AskedForFactor reports whether the provider has asked a person for a second factor.
func (p *Provider) AskedForFactor(c *Claims) bool {
	return slices.ContainsFunc(c.Methods, func(m string) bool { return m != "" && slices.Contains(p.SecondFactor, m) })
}

func (s *Store) place(id ids.IdentityProvider) string { return Secrets().Place(s.db, id.String()) }

func (s *Store) provider(r *providerRow) (*Provider, error) {
	p := &Provider{IdentityProvider: api.IdentityProvider{ID: r.ID, Name: r.Name, Issuer: r.Issuer,
		ClientID: r.ClientID, CreatesAccounts: r.CreatesAccounts, Enabled: r.Enabled, Revision: r.Revision,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}}
	for _, list := range []struct {
		text string
		into *[]string
	}{{r.RedirectURIs, &p.RedirectURIs}, {r.Domains, &p.Domains}, {r.SecondFactor, &p.SecondFactor}} {
		if err := json.Unmarshal([]byte(list.text), list.into); err != nil {
			return nil, fmt.Errorf("the identity provider %s: %w", r.ID, err)
		}
	}
	secret, err := s.keys.Open(s.place(r.ID), r.ClientSecret)
	if err != nil {
		return nil, err
	}
	p.SetSecret(secret)
	return p, nil
}

func (s *Store) row(p *Provider) (*providerRow, error) {
	r := &providerRow{ID: p.ID, Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID,
		ClientSecret: s.keys.Seal(s.place(p.ID), p.secret), CreatesAccounts: p.CreatesAccounts, Enabled: p.Enabled,
		Revision: p.Revision, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt}
	for _, list := range []struct {
		from []string
		into *string
	}{{p.RedirectURIs, &r.RedirectURIs}, {p.Domains, &r.Domains}, {p.SecondFactor, &r.SecondFactor}} {
		text, err := json.Marshal(list.from)
		if err != nil {
			return nil, err
		}
		*list.into = string(text)
	}
	return r, nil
}

const noProvider = "there is no such identity provider"

// Provider returns a provider. The fault is NotFound.
func (s *Store) Provider(ctx context.Context, q bun.IDB, id ids.IdentityProvider) (*Provider, error) {
	var r providerRow
	if err := q.NewRaw("SELECT * FROM identity_providers WHERE id = ?", id).Scan(ctx, &r); err != nil {
		return nil, store.OrNotFound(err, noProvider)
	}
	return s.provider(&r)
}

// Hold keeps a provider as it is until the end of the transaction, which may read it or change it. The fault is
// NotFound.
func (s *Store) Hold(ctx context.Context, tx bun.Tx, id ids.IdentityProvider, change bool) (*Provider, error) {
	if s.db.Postgres() {
		clause := bun.Safe("FOR SHARE")
		if change {
			clause = "FOR UPDATE"
		}
		_, err := tx.ExecContext(ctx, "SELECT 1 FROM identity_providers WHERE id = ? ?", id, clause)
		if err != nil {
			return nil, err
		}
	}
	return s.Provider(ctx, tx, id)
}

// Providers returns all providers, the oldest first.
func (s *Store) Providers(ctx context.Context) ([]Provider, error) {
	var rows []providerRow
	err := s.db.Read().NewRaw("SELECT * FROM identity_providers ORDER BY id").Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	list := make([]Provider, 0, len(rows))
	for i := range rows {
		p, err := s.provider(&rows[i])
		if err != nil {
			return nil, err
		}
		list = append(list, *p)
	}
	return list, nil
}

// Add stores a new provider, and reports false if it is there already. The fault is Conflict if its issuer is known, or
// if there are too many.
func (s *Store) Add(ctx context.Context, tx bun.Tx, p *Provider) (fresh bool, err error) {
	r, err := s.row(p)
	if err != nil {
		return false, err
	}
	var all int
	if err := tx.NewRaw("SELECT count(*) FROM identity_providers WHERE id <> ?", p.ID).Scan(ctx, &all); err != nil {
		return false, err
	}
	if all >= mostProviders {
		return false, fault.New(fault.Conflict, "there are %d identity providers already; remove one first", all)
	}
	res, err := tx.NewInsert().Model(r).On("CONFLICT DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return true, err
	}
	var own bool
	err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM identity_providers WHERE id = ?)", p.ID).Scan(ctx, &own)
	if err == nil && !own {
		err = fault.New(fault.Conflict, "there is an identity provider with this issuer already")
	}
	return false, err
}

// Save writes a changed provider.
func (s *Store) Save(ctx context.Context, tx bun.Tx, p *Provider) error {
	r, err := s.row(p)
	if err != nil {
		return err
	}
	_, err = tx.NewUpdate().Model(r).WherePK().Exec(ctx)
	return err
}

// Delete removes a provider, and by the foreign key who was linked with whom.
func (s *Store) Delete(ctx context.Context, tx bun.Tx, id ids.IdentityProvider) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM identity_providers WHERE id = ?", id)
	return err
}

// Start begins an attempt at a provider, and returns where the browser goes and the login token of the client.
func (s *Store) Start(ctx context.Context, p *Provider, a Attempt) (where, token string, err error) {
	a.ProviderID = p.ID
	if a, err = newAttempt(s.signer, a, s.now()); err != nil {
		return "", "", err
	}
	where, err = s.client.authorizeURL(ctx, p, a)
	return where, a.token, err
}

// Open returns the attempt of a login token, and false if it is none, or is over.
func (s *Store) Open(ctx context.Context, token string) (Attempt, bool) {
	return openAttempt(ctx, s.signer, token, s.now())
}

// Finish returns what the provider says of the person who came back. The error wraps ErrRefused or ErrUnavailable. The
// caller has noted the attempt as used.
func (s *Store) Finish(ctx context.Context, p *Provider, a Attempt, r Return) (*Claims, error) {
	return s.client.exchange(ctx, p, a, r)
}

// Complete asks the provider for the address and the name of the person if the ID token did not have them.
func (s *Store) Complete(ctx context.Context, c *Claims) error {
	if c.missing == nil {
		return nil
	}
	leave, err := s.client.enter(c.issuer)
	if err != nil {
		return err
	}
	defer leave()
	if err := c.missing(ctx); err != nil {
		return err
	}
	c.missing = nil
	return nil
}

// IsSafe reports whether an address is https, or http on this machine.
func IsSafe(address string) bool { return isSafe(address) }
