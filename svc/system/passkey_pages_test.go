package system_test

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Passkeys in a real browser with an authenticator of its own: added, used to sign in without a password, as the second
// step of a login, and removed.
func TestPasskeysInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	s.url = strings.Replace(s.url, "127.0.0.1", "localhost", 1) // passkeys belong to a domain
	admin := s.login(adminEmail)
	s.set(admin, api.RelyingPartyOrigins.Key(), s.url)
	s.unlimited(admin)
	c := s.chromium()
	c.run(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{Protocol: "ctap2", Transport: "internal", HasResidentKey: true,
				HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		return err
	}))
	c.run(chromedp.Navigate(c.site+"/sign-up?next=/account/settings"), chromedp.SendKeys(`input[name=name]`, "Ada"),
		chromedp.SendKeys(`input[name=email]`, "ada@example.org"), chromedp.SendKeys(`input[name=password]`, password), chromedp.Click(`.fields .go`))
	c.says("Add a passkey")
	c.run(chromedp.SendKeys(`[data-passkey] input[name=name]`, "My phone"), chromedp.Click(`[data-passkey] button`))
	c.says("Keep these codes")
	c.look("passkey-codes")
	c.open("account-passkeys", "/account/settings")
	c.says("My phone")

	signOut := func() {
		c.run(chromedp.Click(`.top form button`))
		c.says("Find your next night out")
	}
	signOut()
	c.open("sign-in-passkey", "/sign-in?next=/account")
	c.run(chromedp.Click(`[data-passkey] button`))
	c.says("Hello, Ada")
	signOut()
	c.run(chromedp.Navigate(c.site+"/sign-in?next=/account"), chromedp.SendKeys(`input[name=email]`, "ada@example.org"),
		chromedp.SendKeys(`input[name=password]`, password), chromedp.Click(`.fields .go`))
	c.says("One more step")
	c.look("sign-in-step")
	c.run(chromedp.Click(`[data-passkey] button`))
	c.says("Hello, Ada")
	c.run(chromedp.Navigate(c.site+"/account/settings"), chromedp.Click(`button[name=remove]`))
	c.says("Saved.")
	if strings.Contains(value[string](c, `document.querySelector("main").innerText`), "My phone") {
		t.Error("the passkey is still there")
	}
	c.quiet("passkeys")

	// Without a script there is none to give: the form says so.
	b := s.browser()
	b.send("/sign-in/passkey", "for", "sign-in").must(t, 400, "the browser gave no passkey")
	b.send("/sign-in/passkey", "for", "sign-in", "credential", "{}").must(t, 401, "That did not work.")
	b.send("/sign-in/passkey", "for", "step", "credential", "{}").must(t, 401, "That did not work.")
}
