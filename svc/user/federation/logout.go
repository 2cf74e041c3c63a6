package federation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	longestLogout  = 24 * time.Hour // before its end a logout token may come
	longestSession = 255            // bytes of a provider's name for a session
	longestHint    = 4096           // bytes of an ID token that is part of an address
)

// Logout is a provider's word that a person has left. Who names the person by the subject, the session there, or both.
type Logout struct {
	ID    string // by which it is noted as used
	Until time.Time
	Who   Claims
}

// Logout checks a logout token. The error wraps ErrRefused or ErrUnavailable.
func (s *Store) Logout(ctx context.Context, p *Provider, token string) (Logout, error) {
	t, err := s.client.logout(ctx, p, token)
	if err != nil {
		return Logout{}, err
	}
	sum := sha256.Sum256([]byte(p.Issuer + "\n" + t.TokenID))
	return Logout{ID: "logout " + hex.EncodeToString(sum[:]), Until: t.Expiry.UTC(),
		Who: Claims{Subject: t.Subject, Session: t.SessionID}}, nil
}

// logout checks a logout token, which names a person, a session at the provider, or both.
func (c *client) logout(ctx context.Context, p *Provider, raw string) (*oidc.LogoutToken, error) {
	leave, err := c.enter(p.Issuer)
	if err != nil {
		return nil, err
	}
	defer leave()
	m, err := c.metadata(ctx, p.Issuer)
	if err != nil {
		return nil, err
	}
	keys := &noted{keySet: m.keys}
	t, err := oidc.NewVerifier(p.Issuer, keys, &oidc.Config{ClientID: p.ClientID, Now: c.now,
		SupportedSigningAlgs: m.Algorithms}).VerifyLogout(ctx, raw)
	switch {
	case keys.failed != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, keys.failed)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	case t.Subject == "" && t.SessionID == "" || strings.ContainsRune(t.Subject+t.SessionID, 0) ||
		t.Expiry.After(c.now().Add(longestLogout)):
		return nil, fmt.Errorf("%w: the token names no one, or is good for too long", ErrRefused)
	}
	return t, nil
}

// logoutURL returns where a browser goes to end the session at a provider that an ID token is of, "" if the provider
// does not say. The token shows the provider that the request comes from who was signed in there, so it need not ask.
func (m metadata) logoutURL(p *Provider, idToken string) string {
	u, err := url.Parse(m.EndSession)
	if err != nil || m.EndSession == "" || !mayAsk(p.Issuer, u) {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.ClientID)
	if len(idToken) <= longestHint {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
