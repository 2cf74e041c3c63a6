package browsing_test

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// Passkeys in a real browser with an authenticator of its own: added, used to sign in without a password, as the second
// step of a login, and removed.
func TestPasskeysInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1) // passkeys belong to a domain
	admin := s.Login(systemtest.AdminEmail)
	s.Set(admin, api.RelyingPartyOrigins.Key(), s.URL)
	s.Unlimited(admin)
	c := s.Chromium()
	c.Run(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{Protocol: "ctap2", Transport: "internal", HasResidentKey: true,
				HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		return err
	}))
	c.Run(chromedp.Navigate(c.Site+"/sign-up?next=/account/settings"), chromedp.SendKeys(`input[name=name]`, "Ada"),
		chromedp.SendKeys(`input[name=email]`, "ada@example.org"), chromedp.SendKeys(`input[name=password]`, systemtest.Password), chromedp.Click(`.fields .go`))
	c.Says("Add a passkey")
	c.Run(chromedp.SendKeys(`[data-passkey] input[name=name]`, "My phone"), chromedp.Click(`[data-passkey] button`))
	c.Says("Keep these codes")
	c.Look("passkey-codes")
	c.Open("account-passkeys", "/account/settings")
	c.Says("My phone")

	signOut := func() {
		c.Run(chromedp.Click(`.top form button`))
		c.Says("Find your next night out")
	}
	signOut()
	c.Open("sign-in-passkey", "/sign-in?next=/account")
	c.Run(chromedp.Click(`[data-passkey] button`))
	c.Says("Hello, Ada")
	signOut()
	c.Run(chromedp.Navigate(c.Site+"/sign-in?next=/account"), chromedp.SendKeys(`input[name=email]`, "ada@example.org"),
		chromedp.SendKeys(`input[name=password]`, systemtest.Password), chromedp.Click(`.fields .go`))
	c.Says("One more step")
	c.Look("sign-in-step")
	c.Run(chromedp.Click(`[data-passkey] button`))
	c.Says("Hello, Ada")
	c.Run(chromedp.Navigate(c.Site+"/account/settings"), chromedp.Click(`button[name=remove]`))
	c.Says("Saved.")
	if strings.Contains(systemtest.Value[string](c, `document.querySelector("main").innerText`), "My phone") {
		t.Error("the passkey is still there")
	}
	c.Quiet("passkeys")

	// Without a script there is none to give: the form says so.
	b := s.Browser()
	b.Send("/sign-in/passkey", "for", "sign-in").Must(t, 400, "the browser gave no passkey")
	b.Send("/sign-in/passkey", "for", "sign-in", "credential", "{}").Must(t, 401, "That did not work.")
	b.Send("/sign-in/passkey", "for", "step", "credential", "{}").Must(t, 401, "That did not work.")
}
