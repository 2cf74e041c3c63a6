package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/starlightsymphony/starlight/shared/web"
)

// refuseInside refuses to dial what is no host of the public Internet, after names are resolved.
func refuseInside(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !web.IsPublic(at.Addr()) {
		return errors.New("a provider names a host that is not in the public Internet")
	}
	return nil
}

// http returns who speaks with the provider of an issuer.
func (c *client) http(issuer string) *http.Client {
	return &http.Client{Timeout: answerTimeout, Transport: guarded{c, issuer},
		// What is asked has a fixed address. Elsewhere it could be inside.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// guarded speaks TLS, but with an issuer on this machine, and reads so much and no more. The host of the issuer may be
// anywhere, as an administrator has named it. Those that the provider names are in the public Internet, so that it
// cannot have something asked that only this machine reaches.
type guarded struct {
	*client
	issuer string
}

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !mayAsk(g.issuer, r.URL) {
		return nil, fmt.Errorf("%s is neither https nor the provider's on this machine", r.URL.Redacted())
	}
	by := g.foreign
	issuer, err := url.Parse(g.issuer)
	if err != nil {
		return nil, err
	}
	// Where there is a proxy, it is dialled, and decides.
	if proxy, err := http.ProxyFromEnvironment(r); strings.EqualFold(issuer.Hostname(), r.URL.Hostname()) ||
		err == nil && proxy != nil {
		by = g.own
	}
	resp, err := by.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, mostAnswer), resp.Body}
	}
	return resp, err
}

// mayAsk reports whether what goes to an address that a provider names stays secret on its way. Without TLS it stays on
// this machine, which is for providers alone that are there themselves.
func mayAsk(issuer string, u *url.URL) bool {
	return safe(u) && (u.Scheme == "https" || strings.HasPrefix(issuer, "http:"))
}

// safe reports whether what goes to an address stays secret on its way.
func safe(u *url.URL) bool {
	if u.Scheme == "https" {
		return u.Host != ""
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

// isSafe is safe for text.
func isSafe(text string) bool {
	u, err := url.Parse(text)
	return err == nil && safe(u)
}

// ask reads a JSON object, for who has an access token if there is one.
func ask(ctx context.Context, client *http.Client, where, access string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	if access != "" {
		req.Header.Set("Authorization", "Bearer "+access)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", where, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
