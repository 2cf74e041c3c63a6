package user

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/user/federation"
)

func (s *Service) listProviders(ctx context.Context, _ *rpc.None) (*api.List[api.IdentityProvider], error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	all, err := s.federation.Providers(ctx)
	list := &api.List[api.IdentityProvider]{Items: make([]api.IdentityProvider, len(all))}
	for i, p := range all {
		list.Items[i] = p.IdentityProvider
	}
	return list, err
}

func (s *Service) getProvider(ctx context.Context, req *api.IdentityProviderRef) (*api.IdentityProvider, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	p, err := s.federation.Provider(ctx, s.db.Read(), req.ID)
	if err != nil {
		return nil, err
	}
	return &p.IdentityProvider, nil
}

func (s *Service) createProvider(ctx context.Context, req *api.NewIdentityProvider) (*api.IdentityProvider, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	now := s.now()
	p := &federation.Provider{IdentityProvider: api.IdentityProvider{ID: ids.New[ids.IdentityProviderKind](now),
		Name: req.Name, Issuer: req.Issuer, ClientID: req.ClientID, RedirectURIs: req.RedirectURIs,
		Domains: req.Domains, CreatesAccounts: req.CreatesAccounts, SecondFactor: req.SecondFactor, Enabled: true,
		Revision: 1, CreatedAt: now, UpdatedAt: now}}
	p.RedirectURIs = slices.Clone(p.RedirectURIs)
	for i, u := range p.RedirectURIs {
		p.RedirectURIs[i] = strings.ReplaceAll(u, "{id}", p.ID.String())
	}
	p.SetSecret(req.ClientSecret)
	if err := checkProvider(p); err != nil {
		return nil, err
	}
	err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if fresh, err := s.federation.Add(ctx, tx, p); !fresh || err != nil {
			return err
		}
		return s.noteProvider(ctx, tx, nil, p)
	})
	if err != nil {
		return nil, err
	}
	return &p.IdentityProvider, nil
}

// noteProvider writes the line of the audit log about a provider. One that is nil is not there.
func (s *Service) noteProvider(ctx context.Context, tx bun.Tx, before, after *federation.Provider) error {
	act := auditlog.Act{At: s.now(), Without: []string{"name", "revision", "updated_at"}}
	if before != nil {
		act.Object, act.Before = before.ID.String(), before.IdentityProvider
	}
	if after != nil {
		act.Object, act.After = after.ID.String(), after.IdentityProvider
	}
	return auditlog.Add(ctx, tx, "user", act)
}

const (
	longestProviderName = 100
	longestIssuer       = 500
	mostRedirects       = 10
	mostDomains         = 50
	mostMethods         = 20
	longestMethod       = 200
)

var methodRule = regexp.MustCompile(`^[!-~]+$`)

// checkProvider brings what an administrator wrote of a provider into its form, and checks it.
func checkProvider(p *federation.Provider) error {
	var check fault.Check
	p.Name = text.Clean(p.Name)
	text.CheckLine(&check, "name", p.Name, 1, longestProviderName)
	check.Field(federation.IsSafe(p.Issuer) && len(p.Issuer) <= longestIssuer && !strings.ContainsAny(p.Issuer, "?#"),
		"issuer", "must be an https URL without query, or http on this machine")
	check.Field(p.ClientID != "" && len(p.ClientID) <= 300, "client_id", "must have 1 to 300 characters")
	check.Field(len(p.RedirectURIs) > 0 && len(p.RedirectURIs) <= mostRedirects, "redirect_uris",
		"must be 1 to %d", mostRedirects)
	for _, u := range p.RedirectURIs {
		check.Field(federation.IsSafe(u) && len(u) <= longestIssuer && !strings.Contains(u, "#"), "redirect_uris",
			"%q must be an https URL without fragment, or http on this machine", text.Shorten(u, 100))
	}
	check.Field(len(p.Domains) <= mostDomains, "domains", "must be at most %d", mostDomains)
	p.Domains = slices.Clone(p.Domains)
	for i, d := range p.Domains {
		p.Domains[i] = strings.ToLower(d)
		check.Field(len(d) <= 253 && validDomain(p.Domains[i]), "domains", "%q is no domain such as example.org",
			text.Shorten(d, 100))
	}
	check.Field(len(p.SecondFactor) <= mostMethods, "second_factor", "must be at most %d", mostMethods)
	for _, m := range p.SecondFactor {
		check.Field(len(m) <= longestMethod && methodRule.MatchString(m), "second_factor",
			"%q is no value of amr or acr", text.Shorten(m, 100))
	}
	for _, list := range []*[]string{&p.RedirectURIs, &p.Domains, &p.SecondFactor} {
		if *list == nil {
			*list = []string{}
		}
	}
	return check.Err()
}

func (s *Service) updateProvider(
	ctx context.Context, req *api.PatchIdentityProvider,
) (*api.IdentityProvider, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	var p *federation.Provider
	runs, now := 0, s.now()
	err := s.revoking(ctx, func(ctx context.Context, tx bun.Tx) (_ []revocation.Fact, err error) {
		if p, err = s.federation.Hold(ctx, tx, req.ID, true); err != nil {
			return nil, err
		}
		if runs++; runs > 1 && p.UpdatedAt.Equal(now) { // an earlier run has done it
			return nil, nil
		}
		if !rpc.MatchETag(req.IfMatch, p.ETag()) {
			return nil, fault.New(fault.Precondition, "the identity provider was changed meanwhile; read it again")
		}
		before := *p
		apply(p, req)
		if err := checkProvider(p); err != nil {
			return nil, err
		}
		p.Revision, p.UpdatedAt = p.Revision+1, now
		if err := s.federation.Save(ctx, tx, p); err != nil {
			return nil, err
		}
		if err := s.noteProvider(ctx, tx, &before, p); err != nil || p.Enabled || !before.Enabled {
			return nil, err
		}
		return s.endFederated(ctx, tx, federated{provider: req.ID})
	})
	if err != nil {
		return nil, err
	}
	return &p.IdentityProvider, nil
}

// apply changes what a request names.
func apply(p *federation.Provider, req *api.PatchIdentityProvider) {
	set(&p.Name, req.Name)
	set(&p.ClientID, req.ClientID)
	set(&p.RedirectURIs, req.RedirectURIs)
	set(&p.Domains, req.Domains)
	set(&p.CreatesAccounts, req.CreatesAccounts)
	set(&p.SecondFactor, req.SecondFactor)
	set(&p.Enabled, req.Enabled)
	if req.ClientSecret.Given {
		var secret string
		req.ClientSecret.Apply(&secret)
		p.SetSecret(secret)
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Service) deleteProvider(ctx context.Context, req *api.IdentityProviderRef) (*rpc.None, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	runs := 0
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		p, err := s.federation.Hold(ctx, tx, req.ID, true)
		if runs++; runs > 1 && fault.Is(err, fault.NotFound) { // an earlier run has done it
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		ended, err := s.endFederated(ctx, tx, federated{provider: req.ID})
		if err != nil {
			return nil, err
		}
		if err := s.federation.Delete(ctx, tx, req.ID); err != nil {
			return nil, err
		}
		return ended, s.noteProvider(ctx, tx, p, nil)
	})
}

// federated are sessions that began at a provider, and logins there that wait for the second factor.
type federated struct {
	provider ids.IdentityProvider
	user     ids.User    // of one person; "": of everybody
	session  string      // in one session there; "": in any. Of a person also those of which it is not known
	keep     ids.Session // but for one here
}

// endFederated ends sessions and logins.
func (s *Service) endFederated(ctx context.Context, tx bun.Tx, f federated) (ended []revocation.Fact, err error) {
	for _, query := range []string{
		"DELETE FROM login_challenges WHERE provider_id = ? AND (user_id = ? OR ? = '') " +
			"AND (? = '' OR provider_session = ? OR provider_session = '' AND ? <> '')",
		"DELETE FROM sessions WHERE provider_id = ? AND (user_id = ? OR ? = '') " +
			"AND (? = '' OR provider_session = ? OR provider_session = '' AND ? <> '') AND id <> ? RETURNING id",
	} {
		args := []any{f.provider, f.user, f.user, f.session, f.session, f.user, f.keep}[:strings.Count(query, "?")]
		var sessions []ids.Session
		if err := tx.NewRaw(query, args...).Scan(ctx, &sessions); err != nil {
			return nil, err
		}
		for _, session := range sessions {
			ended = append(ended, revocation.OfSession(session))
		}
	}
	return ended, nil
}
