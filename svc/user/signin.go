package user

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/user/factor"
	"github.com/starlightsymphony/starlight/svc/user/federation"
)

func (s *Service) signInProviders(ctx context.Context, _ *rpc.None) (*api.List[api.SignInProvider], error) {
	all, err := s.federation.Providers(ctx)
	list := &api.List[api.SignInProvider]{Items: []api.SignInProvider{}}
	for _, p := range all {
		if p.Enabled {
			list.Items = append(list.Items, api.SignInProvider{ID: p.ID, Name: p.Name})
		}
	}
	return list, err
}

func (s *Service) startSignIn(ctx context.Context, req *api.NewSignIn) (*api.StartedSignIn, error) {
	return s.begin(ctx, req, "")
}

// begin starts a sign-in, or with a session a link of the person who is signed in there.
func (s *Service) begin(ctx context.Context, req *api.NewSignIn, link ids.Session) (*api.StartedSignIn, error) {
	if _, err := s.allow(ctx, s.db.Read(), networkAttempt(ctx)); err != nil {
		return nil, err
	}
	p, err := s.federation.Provider(ctx, s.db.Read(), req.ProviderID)
	if err == nil && !p.Enabled {
		err = fault.New(fault.NotFound, "there is no such identity provider")
	}
	if err != nil {
		return nil, err
	}
	a := federation.Attempt{RedirectURI: req.RedirectURI, Session: link, Fresh: req.Fresh}
	if a.RedirectURI == "" {
		a.RedirectURI = p.RedirectURIs[0]
	}
	var check fault.Check
	check.Field(slices.Contains(p.RedirectURIs, a.RedirectURI), "redirect_uri", "is none of the provider's pages")
	if err := check.Err(); err != nil {
		return nil, err
	}
	where, token, err := s.federation.Start(ctx, p, a)
	if err != nil {
		return nil, s.providerFault(ctx, p, err)
	}
	opened, _ := s.federation.Open(ctx, token)
	return &api.StartedSignIn{AuthorizeURL: where, LoginToken: token,
		ExpiresIn: int(opened.End().Sub(s.now()) / time.Second)}, nil
}

// networkAttempt is an attempt that names no account, from the network of the client.
func networkAttempt(ctx context.Context) attempt {
	return attempt{address: factorAttempt(ctx, "").address}
}

// providerFault is the answer for an error of a provider. It says who has to do something, and no more.
func (s *Service) providerFault(ctx context.Context, p *federation.Provider, err error) error {
	if !errors.Is(err, federation.ErrUnavailable) {
		return err
	}
	s.signIns("unavailable").Inc()
	s.log.WarnContext(ctx, "an identity provider is not there, or answers what it should not", "provider", p.ID,
		"error", excerpt(err))
	return fault.New(fault.Unavailable, "%s does not answer; try again later", p.Name).After(5 * time.Second)
}

// excerpt returns an error for the log: a provider may have written it, at any length.
func excerpt(err error) string { return text.Shorten(text.OneLine(err.Error()), 500) }

// errNotConfirmed is the error of a sign-in that is over, was used, or that the provider does not confirm.
var errNotConfirmed = errors.New("user: the sign-in is not confirmed")

// confirmed returns who came back from a provider. Each attempt is good once, whatever comes of it.
func (s *Service) confirmed(
	ctx context.Context, a federation.Attempt, r api.ReturnedSignIn,
) (*federation.Provider, *federation.Claims, error) {
	p, err := s.federation.Provider(ctx, s.db.Read(), a.ProviderID)
	if fault.Is(err, fault.NotFound) || err == nil && !p.Enabled {
		return nil, nil, errNotConfirmed
	}
	if err != nil {
		return nil, nil, err
	}
	fresh, err := s.spend(ctx, a.ID(), a.End())
	if err != nil {
		return nil, nil, err
	}
	if !fresh {
		return nil, nil, errNotConfirmed
	}
	if err := s.attributed(ctx, p, a, r); err != nil {
		return nil, nil, err
	}
	c, err := s.federation.Finish(ctx, p, a, federation.Return{State: r.State, Code: r.Code, Issuer: r.Issuer})
	if errors.Is(err, federation.ErrRefused) {
		return nil, nil, s.notConfirmed(ctx, p, err)
	}
	if err != nil {
		return nil, nil, s.providerFault(ctx, p, err)
	}
	return p, c, nil
}

// attributed refuses an answer that could be of another provider than that of the attempt, to which its code would be
// told: a provider may send a browser on to another one, with its own state. Who sends an answer says so by iss, or by
// the page to which it sends the browser, if no other provider has that page.
func (s *Service) attributed(
	ctx context.Context, p *federation.Provider, a federation.Attempt, r api.ReturnedSignIn,
) error {
	mixed := r.RedirectURI != "" && r.RedirectURI != a.RedirectURI
	if !mixed && r.Issuer == "" {
		all, err := s.federation.Providers(ctx)
		if err != nil {
			return err
		}
		mixed = slices.ContainsFunc(all, func(other federation.Provider) bool {
			return other.Enabled && other.ID != p.ID &&
				(r.RedirectURI == "" || slices.Contains(other.RedirectURIs, a.RedirectURI))
		})
	}
	if !mixed {
		return nil
	}
	return s.notConfirmed(ctx, p, errors.New("the answer may be of another provider: it has no iss, and its page is "+
		"not this provider's alone, or is not said"))
}

// notConfirmed counts a sign-in that a provider does not confirm, for the network that it comes from.
func (s *Service) notConfirmed(ctx context.Context, p *federation.Provider, cause error) error {
	s.signIns("refused").Inc()
	s.log.InfoContext(ctx, "a sign-in through an identity provider was refused", "provider", p.ID, "error",
		excerpt(cause))
	s.attempted(ctx, "provider "+p.ID.String(), "", "wrong")
	err := s.fail(context.WithoutCancel(ctx), networkAttempt(ctx), false, failureRow{}, "")
	return errors.Join(err, errNotConfirmed)
}

// finishSignIn begins the session of a person who came back from a provider.
func (s *Service) finishSignIn(ctx context.Context, req *api.FinishedSignIn) (*api.SignIn, error) {
	if _, err := s.allow(ctx, s.db.Read(), networkAttempt(ctx)); err != nil {
		return nil, err
	}
	over := fault.New(fault.Unauthenticated, "this sign-in is over or was not confirmed; start again")
	a, ok := s.federation.Open(ctx, req.LoginToken)
	if !ok || a.Session != "" {
		return nil, over
	}
	p, c, err := s.confirmed(ctx, a, req.ReturnedSignIn)
	if errors.Is(err, errNotConfirmed) {
		return nil, over
	}
	if err != nil {
		return nil, err
	}
	answer, err := s.signInAs(ctx, p, c, req)
	if fault.Is(err, fault.Conflict) || errors.Is(err, errNotConfirmed) { // somebody was quicker, perhaps the person
		answer, err = s.signInAs(ctx, p, c, req)
	}
	switch {
	case errors.Is(err, errNotConfirmed):
		return nil, over
	case err == nil:
		s.signIns("right").Inc()
	}
	return answer, err
}

// signInAs finds the person whom a provider has confirmed, or makes an account, and signs them in.
func (s *Service) signInAs(
	ctx context.Context, p *federation.Provider, c *federation.Claims, req *api.FinishedSignIn,
) (*api.SignIn, error) {
	g := guest{provider: p, claims: c, request: req}
	id, err := s.federation.Owner(ctx, s.db.Read(), p, c)
	if err == nil {
		g.row, err = s.byID(ctx, id)
	} else if fault.Is(err, fault.NotFound) {
		err = s.introduce(ctx, &g)
	}
	if fault.Is(err, fault.NotFound) { // deleted since
		err = errNotConfirmed
	}
	if err != nil {
		return nil, err
	}
	return s.admit(ctx, g)
}

// guest is a person whom a provider has confirmed, and who signs in.
type guest struct {
	provider *federation.Provider
	claims   *federation.Claims
	request  *api.FinishedSignIn

	row        userRow
	link, made bool // the account is linked by its address; it is new
}

// introduce finds the account that somebody is to be linked with, or makes one. The address says who somebody is only
// if the provider vouches for it. All others get one answer, whether or not there is an account.
func (s *Service) introduce(ctx context.Context, g *guest) error {
	p, c := g.provider, g.claims
	if err := s.complete(ctx, p, c); err != nil {
		return err
	}
	account, err := parseAddress(c.Email)
	if err != nil || !c.EmailVerified || !p.Vouches(account.key[strings.LastIndexByte(account.key, '@')+1:]) {
		return s.noAccount(ctx, p)
	}
	g.row, err = s.byAddress(ctx, account)
	g.link = true
	switch {
	case fault.Is(err, fault.NotFound):
		if !p.CreatesAccounts {
			return s.noAccount(ctx, p)
		}
		var check fault.Check
		name := checkName(&check, text.Shorten(text.OneLine(c.Name), longestName))
		if check.Err() != nil {
			name = account.text[:strings.LastIndexByte(account.text, '@')]
		}
		g.row, g.link, g.made = newUserRow(account, name, "", false, s.now()), false, true
		g.row.EmailVerified = true
		return nil
	case err != nil:
		return err
	}
	return s.mayLink(ctx, s.db.Read(), p, &g.row)
}

// complete has a provider say what it has not said yet of a person.
func (s *Service) complete(ctx context.Context, p *federation.Provider, c *federation.Claims) error {
	err := s.federation.Complete(ctx, c)
	if errors.Is(err, federation.ErrRefused) {
		return s.notConfirmed(ctx, p, err)
	}
	if err != nil {
		return s.providerFault(ctx, p, err)
	}
	return nil
}

func (s *Service) noAccount(ctx context.Context, p *federation.Provider) error {
	s.signIns("unknown").Inc()
	s.attempted(ctx, "provider "+p.ID.String(), "", "unknown")
	return fault.New(fault.Forbidden, "no account is linked with this identity: sign in to yours in another way, and "+
		"link it there")
}

// mayLink refuses to link an account by its address that is more than its address: one that has rights or a second
// factor, or whose address is not confirmed here. Its owner links it, signed in. But an account whose address nobody
// has proven is nobody's: whom a provider could have made one for, takes it over.
func (s *Service) mayLink(ctx context.Context, q bun.IDB, p *federation.Provider, row *userRow) error {
	if !row.EmailVerified && !row.Admin && !row.Locked && p.CreatesAccounts {
		return nil
	}
	has, err := s.factors.Count(ctx, q, row.ID)
	if err == nil && (!row.EmailVerified || row.Admin || row.Locked || has.Any()) {
		err = s.noAccount(ctx, p)
	}
	return err
}

// admit signs a guest in. Who has a second factor is asked for it, unless the provider has asked.
func (s *Service) admit(ctx context.Context, g guest) (*api.SignIn, error) {
	device, err := s.knownDevice(ctx, g.row.address(), g.request.DeviceToken)
	if err != nil {
		return nil, err
	}
	a := s.arrive(ctx, g.row.ID, g.request.DeviceToken, device, g.request.Client)
	a.session.ProviderID, a.session.ProviderFactor = g.provider.ID, g.provider.AskedForFactor(g.claims)
	a.session.ProviderSession = g.claims.Session
	a.session.ProvenAt = time.Unix(0, 0).UTC()
	if at := g.claims.ProvenAt; at.After(a.session.ProvenAt) {
		a.session.ProvenAt = at
		if at.After(a.session.CreatedAt) { // by the provider's clock
			a.session.ProvenAt = a.session.CreatedAt
		}
	}
	asked, challenge := s.newChallenge(ctx, g.row.ID, device)
	asked.ProviderID, asked.ProviderSession = g.provider.ID, g.claims.Session
	var row userRow
	var has factor.Count
	err = s.revoking(ctx, func(ctx context.Context, tx bun.Tx) (ended []revocation.Fact, err error) {
		if p, err := s.federation.Hold(ctx, tx, g.provider.ID, false); err != nil || !p.Enabled {
			return nil, errors.Join(err, errNotConfirmed)
		}
		if row, ended, err = s.welcome(ctx, tx, &g, a.session.ID); err != nil {
			return nil, err
		}
		if err := s.federation.Used(ctx, tx, g.provider, g.claims); err != nil {
			return nil, err
		}
		if has, err = s.factors.Count(ctx, tx, row.ID); err != nil {
			return nil, err
		}
		if has.Any() && !a.session.ProviderFactor {
			return ended, insertChallenge(ctx, tx, &asked)
		}
		return ended, s.enter(ctx, tx, &row, a)
	})
	if err != nil {
		return nil, err
	}
	s.attempted(ctx, "provider "+g.provider.ID.String(), row.ID, "right")
	if has.Any() && !a.session.ProviderFactor {
		return &api.SignIn{SecondFactorChallenge: challengeOf(challenge, has),
			ProviderLogoutURL: g.claims.LogoutURL}, nil
	}
	tokens, err := s.admitted(ctx, &row, a)
	return &api.SignIn{Tokens: tokens, ProviderLogoutURL: g.claims.LogoutURL}, err
}

// welcome locks the person of a guest, after making, linking or taking over the account if it has to be: from then on
// its sessions are over, but for the one to keep.
func (s *Service) welcome(
	ctx context.Context, tx bun.Tx, g *guest, keep ids.Session,
) (row userRow, ended []revocation.Fact, err error) {
	if g.made {
		fresh := g.row
		if err := s.insert(ctx, tx, &fresh, acceptedLanguages(g.request.Speaks), nil); err != nil {
			return fresh, nil, err
		}
	}
	if row, err = s.lock(ctx, tx, g.row.ID); err != nil {
		return row, nil, err
	}
	if row.Locked {
		return row, nil, s.locked(ctx, row.ID)
	}
	if !g.made && !g.link {
		owner, err := s.federation.Owner(ctx, tx, g.provider, g.claims)
		if fault.Is(err, fault.NotFound) || err == nil && owner != row.ID { // unlinked since
			err = errNotConfirmed
		}
		return row, nil, err
	}
	if g.link {
		if row.EmailKey != g.row.EmailKey {
			return row, nil, errNotConfirmed
		}
		if err := s.mayLink(ctx, tx, g.provider, &row); err != nil {
			return row, nil, err
		}
		if !row.EmailVerified {
			if ended, err = s.takeOver(ctx, tx, &row, keep); err != nil {
				return row, nil, err
			}
		}
	}
	_, fresh, err := s.federation.Link(ctx, tx, row.ID, g.provider, g.claims)
	if err == nil && fresh && g.link {
		err = s.tellIdentity(ctx, tx, api.IdentityWasLinked, row.ID, g.provider.Name)
	}
	return row, ended, err
}

// takeOver gives an account whose address nobody had proven to who has now: nothing that it was opened with before
// opens it any more, and no second factor is asked for.
func (s *Service) takeOver(
	ctx context.Context, tx bun.Tx, row *userRow, keep ids.Session,
) ([]revocation.Fact, error) {
	if err := s.proveAddress(ctx, tx, row); err != nil {
		return nil, err
	}
	if err := s.factors.RemoveAll(ctx, tx, row.ID); err != nil {
		return nil, err
	}
	return s.replacePassword(ctx, tx, row, "", keep)
}
