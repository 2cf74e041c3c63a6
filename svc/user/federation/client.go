package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// The errors of a sign-in. Their texts are for logs.
var (
	// ErrRefused is wrapped by the error of a sign-in that the provider does not confirm.
	ErrRefused = errors.New("federation: the sign-in is not confirmed")
	// ErrUnavailable is wrapped by the error of a provider that does not answer, or not as it should.
	ErrUnavailable = errors.New("federation: the provider is unavailable")
)

const (
	answerTimeout = 5 * time.Second
	metadataTTL   = time.Hour       // of what a provider says of itself
	failureTTL    = 2 * time.Second // before one that did not say so is asked again
	mostAnswer    = 1 << 20         // bytes of an answer
	mostHeader    = 64 << 10        // bytes of its header
	mostCalls     = 16              // at the same time, to one provider: one that is slow holds up no other
)

// client speaks with providers.
type client struct {
	own, foreign http.RoundTripper // to hosts that administrators have named, and to those that providers have
	now          func() time.Time

	mu    sync.Mutex
	known map[string]metadata // by issuer
	calls map[string]int      // that are under way, by issuer
}

// metadata is what a provider says of itself.
type metadata struct {
	provider *oidc.Provider
	keys     *keySet
	err      error
	until    time.Time

	Algorithms  []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	NamesItself bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	EndSession  string   `json:"end_session_endpoint"`                           // RP-Initiated Logout
}

func newClient(now func() time.Time) *client {
	own := http.DefaultTransport.(*http.Transport).Clone()
	own.MaxConnsPerHost, own.MaxResponseHeaderBytes = mostCalls, mostHeader
	foreign := own.Clone()
	foreign.DialContext = (&net.Dialer{Timeout: answerTimeout, Control: refuseInside}).DialContext
	return &client{own: own, foreign: foreign, now: now, known: map[string]metadata{}, calls: map[string]int{}}
}

// enter takes one of the calls to a provider.
func (c *client) enter(issuer string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[issuer] >= mostCalls {
		return nil, fmt.Errorf("%w: %d calls are under way", ErrUnavailable, mostCalls)
	}
	c.calls[issuer]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.calls[issuer]--; c.calls[issuer] == 0 {
			delete(c.calls, issuer)
		}
	}, nil
}

// metadata returns what a provider says of itself.
func (c *client) metadata(ctx context.Context, issuer string) (metadata, error) {
	c.mu.Lock()
	m, ok := c.known[issuer]
	c.mu.Unlock()
	if ok && c.now().Before(m.until) {
		return m, m.err
	}
	fresh, err := c.discover(ctx, issuer)
	fresh.until = c.now().Add(metadataTTL)
	switch {
	case err == nil:
	case ok && m.err == nil: // what it said before will do
		fresh = m
		fresh.until = c.now().Add(failureTTL)
	default:
		fresh.err, fresh.until = fmt.Errorf("%w: %w", ErrUnavailable, err), c.now().Add(failureTTL)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(_ string, m metadata) bool { return !c.now().Before(m.until) })
	c.known[issuer] = fresh
	return fresh, fresh.err
}

func (c *client) discover(ctx context.Context, issuer string) (m metadata, err error) {
	if m.provider, err = oidc.NewProvider(oidc.ClientContext(ctx, c.http(issuer)), issuer); err != nil {
		return m, err
	}
	if err := m.provider.Claims(&m); err != nil {
		return m, err
	}
	m.Algorithms = slices.DeleteFunc(m.Algorithms,
		func(name string) bool { return !slices.Contains(asymmetric(), name) })
	var where struct {
		Keys string `json:"jwks_uri"`
	}
	if err := m.provider.Claims(&where); err != nil {
		return m, err
	}
	for _, text := range []string{m.provider.Endpoint().AuthURL, m.provider.Endpoint().TokenURL, where.Keys} {
		if u, err := url.Parse(text); err != nil || !mayAsk(issuer, u) {
			return m, fmt.Errorf("the endpoint %.200q is neither https nor the provider's on this machine", text)
		}
	}
	m.keys = newKeySet(c.http(issuer), where.Keys, c.now)
	return m, nil
}

// asymmetric are the signatures that a provider may use: none whose key is known to who verifies, and not none.
func asymmetric() []string {
	return []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384,
		oidc.PS512, oidc.EdDSA}
}

// config returns how a party speaks with a provider.
func (m metadata) config(p *Provider, redirect string) *oauth2.Config {
	e := m.provider.Endpoint()
	e.AuthStyle = oauth2.AuthStyleInHeader // what RFC 8414 says if the provider says nothing
	if p.secret == "" || len(m.AuthMethods) > 0 && !slices.Contains(m.AuthMethods, "client_secret_basic") {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.secret, Endpoint: e, RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail}}
}

// authorizeURL returns where a browser goes for an attempt.
func (c *client) authorizeURL(ctx context.Context, p *Provider, a Attempt) (string, error) {
	leave, err := c.enter(p.Issuer)
	if err != nil {
		return "", err
	}
	defer leave()
	m, err := c.metadata(ctx, p.Issuer)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.nonce()), oauth2.S256ChallengeOption(a.verifier())}
	if a.Fresh {
		options = append(options, oauth2.SetAuthURLParam("max_age", "0"), oauth2.SetAuthURLParam("prompt", "login"))
	}
	return m.config(p, a.RedirectURI).AuthCodeURL(a.state(), options...), nil
}

// Return is what a browser came back with.
type Return struct {
	State, Code, Issuer string
}

// clockSkew is how far the clock of a provider may be off.
const clockSkew = time.Minute

// Claims are what a provider says of a person.
type Claims struct {
	Subject       string
	Email         string
	EmailVerified bool
	Name          string
	ProvenAt      time.Time // when the person proved who they are; zero: it does not say
	Methods       []string  // amr and acr
	Session       string    // sid: the session there; "": it does not say
	LogoutURL     string    // where a browser ends that session; "": the provider does not say

	issuer  string
	missing func(context.Context) error // reads what the token did not say
}

// flexible is a boolean that some providers write as text.
type flexible bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flexible) UnmarshalJSON(text []byte) error {
	*f = flexible(strings.Trim(string(text), `"`) == "true")
	return nil
}

type wireClaims struct {
	Email         string   `json:"email"`
	EmailVerified flexible `json:"email_verified"`
	Name          string   `json:"name"`
	AuthTime      float64  `json:"auth_time"`
	Methods       []string `json:"amr"`
	Class         string   `json:"acr"`
	Party         string   `json:"azp"`
	Session       string   `json:"sid"`
}

// exchange turns the code of an attempt into claims.
func (c *client) exchange(ctx context.Context, p *Provider, a Attempt, r Return) (*Claims, error) {
	leave, err := c.enter(p.Issuer)
	if err != nil {
		return nil, err
	}
	defer leave()
	m, err := c.metadata(ctx, p.Issuer)
	if err != nil {
		return nil, err
	}
	switch {
	case !same(r.State, a.state()):
		return nil, fmt.Errorf("%w: the state is another attempt's", ErrRefused)
	case r.Issuer != p.Issuer && (r.Issuer != "" || m.NamesItself):
		return nil, fmt.Errorf("%w: it comes from another provider", ErrRefused)
	case r.Code == "" || len(r.Code) > longestCode:
		return nil, fmt.Errorf("%w: there is no code", ErrRefused)
	}
	ctx = oidc.ClientContext(ctx, c.http(p.Issuer))
	tokens, err := m.config(p, a.RedirectURI).Exchange(ctx, r.Code, oauth2.VerifierOption(a.verifier()))
	if err != nil {
		return nil, exchangeError(err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return nil, fmt.Errorf("%w: the answer has no ID token", ErrRefused)
	}
	keys := &noted{keySet: m.keys}
	verified, err := oidc.NewVerifier(p.Issuer, keys, &oidc.Config{ClientID: p.ClientID, Now: c.now,
		SupportedSigningAlgs: m.Algorithms}).Verify(ctx, raw)
	switch {
	case keys.failed != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, keys.failed)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	claims, err := c.check(verified, tokens, m, p, a)
	if err == nil {
		claims.LogoutURL = m.logoutURL(p, raw)
	}
	return claims, err
}

// check checks what the library leaves to its user.
func (c *client) check(t *oidc.IDToken, tokens *oauth2.Token, m metadata, p *Provider, a Attempt) (*Claims, error) {
	refuse := func(why string) (*Claims, error) { return nil, fmt.Errorf("%w: %s", ErrRefused, why) }
	var w wireClaims
	if err := t.Claims(&w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	switch {
	case !same(t.Nonce, a.nonce()):
		return refuse("the nonce is another attempt's")
	case t.Subject == "" || len(t.Subject) > 255 || strings.ContainsRune(t.Subject, 0):
		return refuse("there is no subject")
	case len(w.Session) > longestSession || strings.ContainsRune(w.Session, 0):
		return refuse("the name of the session is too long, or none")
	case w.Party != "" && w.Party != p.ClientID || w.Party == "" && len(t.Audience) > 1:
		return refuse("it is for another party")
	case t.IssuedAt.After(c.now().Add(clockSkew)):
		return refuse("it is issued in the future")
	case t.AccessTokenHash != "" && t.VerifyAccessToken(tokens.AccessToken) != nil:
		return refuse("the access token is another's")
	}
	claims := &Claims{Subject: t.Subject, Email: w.Email, EmailVerified: bool(w.EmailVerified), Name: w.Name,
		Session: w.Session, issuer: p.Issuer}
	if w.AuthTime > 0 {
		claims.ProvenAt = time.Unix(int64(w.AuthTime), 0).UTC()
	}
	if a.Fresh && claims.ProvenAt.Before(a.Began().Add(-clockSkew)) {
		return refuse("the provider has not asked for a proof")
	}
	claims.Methods = append(w.Methods, w.Class)
	if w.Email == "" && m.provider.UserInfoEndpoint() != "" {
		claims.missing = func(ctx context.Context) error { return c.complete(ctx, p, m, tokens, claims) }
	}
	return claims, nil
}

// complete asks the provider for what the ID token did not say.
func (c *client) complete(ctx context.Context, p *Provider, m metadata, tokens *oauth2.Token, claims *Claims) error {
	var object json.RawMessage
	err := ask(ctx, c.http(p.Issuer), m.provider.UserInfoEndpoint(), tokens.AccessToken, &object)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var w struct {
		wireClaims
		Subject string `json:"sub"`
	}
	if err := errors.Join(unambiguous(object), json.Unmarshal(object, &w)); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if w.Subject != claims.Subject {
		return fmt.Errorf("%w: the user info is another's", ErrRefused)
	}
	claims.Email, claims.EmailVerified = w.Email, bool(w.EmailVerified)
	if claims.Name == "" {
		claims.Name = w.Name
	}
	return nil
}

// exchangeError tells a provider that refuses a code from one that does not answer, or does not know this system. What
// it answered is not in the text: it may hold secrets.
func exchangeError(err error) error {
	var answer *oauth2.RetrieveError
	switch {
	case !errors.As(err, &answer):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case answer.ErrorCode == "invalid_grant":
		return fmt.Errorf("%w: the code is wrong, over or used", ErrRefused)
	}
	return fmt.Errorf("%w: it answers %d %q", ErrUnavailable, answer.Response.StatusCode, answer.ErrorCode)
}
