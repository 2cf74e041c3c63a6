package browsing_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// mailed returns the link with a token that was mailed to an address, below the site.
func mailed(s *systemtest.Site, outbox, email, path string) (link string) {
	s.T.Helper()
	find := regexp.MustCompile(`https?://\S+` + regexp.QuoteMeta(path) + `\?token=([A-Za-z0-9_%-]+)`)
	testkit.Eventually(s.T, 30*time.Second, func() error {
		files, err := filepath.Glob(filepath.Join(outbox, "*.eml"))
		if err != nil {
			return err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			plain := strings.ReplaceAll(strings.ReplaceAll(string(text), "=\r\n", ""), "=3D", "=")
			if m := find.FindStringSubmatch(plain); m != nil && strings.Contains(plain, email) {
				link = path + "?token=" + m[1]
				return nil
			}
		}
		return fmt.Errorf("no mail to %s has a link to %s, of %d", email, path, len(files))
	})
	return link
}

// A person's account in the browser, without scripts: the address is confirmed and the password reset by mailed links, a
// second factor is enrolled and used, another device is sent away, and the account deleted.
func TestAccountInTheBrowser(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, _ := systemtest.Start(t, cfg)
	outbox := filepath.Join(cfg.Data, "outbox")
	const ada = "ada@example.org"
	b := s.Browser()
	b.Send("/sign-up", "name", "Ada", "email", ada, "password", systemtest.Password, "next", "/account/settings").Must(t, 200, "not confirmed yet")
	link := mailed(s, outbox, ada, "/confirm")
	token, err := url.QueryUnescape(strings.SplitN(link, "=", 2)[1])
	if err != nil {
		t.Fatal(err)
	}
	b.Get(link).Must(t, 200, "Is this your address?") // which alone confirms nothing
	b.Get("/account/settings").Must(t, 200, "not confirmed yet")
	b.Send("/confirm", "token", "ec_wrong").Must(t, 400)
	b.Send("/confirm", "token", token).Must(t, 200, "Your address is confirmed.")
	b.Send("/account/settings", "name", "Ada Lovelace", "email", ada, "language", "de", "country", "DE", "city", "Berlin").Must(t, 200, "Saved.", "Ada Lovelace", "Berlin")
	b.Send("/account/settings", "name", "", "email", ada).Must(t, 400, "name")
	b.Send("/account/settings", "name", "Ada", "email", "new@example.org", "password", "wrong").Must(t, 403)
	b.Send("/account/preferences", "orders.push", "yes").Must(t, 200, "Saved.")

	// A lost password.
	other := s.Browser()
	other.Send("/sign-in", "email", ada, "password", systemtest.Password).Must(t, 200)
	lost := s.Browser()
	for _, email := range []string{ada, "nobody@example.org"} {
		lost.Send("/forgot", "email", email).Must(t, 200, "the link is on its way")
	}
	link = mailed(s, outbox, ada, "/reset")
	lost.Get(link).Must(t, 200, "Set a new password")
	token = strings.SplitN(link, "=", 2)[1]
	const fresh = "seven quiet lamps in march"
	lost.Send("/reset", "token", token, "new", "short").Must(t, 400)
	lost.Send("/reset", "token", token, "new", fresh).Must(t, 200, "Sign in")
	lost.Send("/reset", "token", token, "new", fresh).Must(t, 410)
	for _, old := range []*systemtest.Browser{b, other} { // sessions from before have ended
		if got := old.Get("/account"); !strings.HasPrefix(got.At, "/sign-in") {
			t.Errorf("after the reset /account leads to %s", got.At)
		}
	}
	b.Send("/sign-in", "email", ada, "password", systemtest.Password).Must(t, 401)
	b.Send("/sign-in", "email", ada, "password", fresh, "next", "/account/settings").Must(t, 200, "Ada Lovelace")

	// A second factor.
	enrol := b.Send("/account/second-factors", "name", "Phone").Must(t, 200, "data:image/png;base64,")
	secret := enrol.Field(t, "secret")
	at := regexp.MustCompile(`action="(/account/second-factors/[a-z0-9_]+)"`).FindStringSubmatch(enrol.Text)[1]
	b.Send(at, "code", "000000", "secret", secret, "uri", "otpauth://totp/x?secret="+secret).Must(t, 403, "data:image/png")
	code := func(at time.Time) string {
		t.Helper()
		code, err := totp.GenerateCode(secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	kept := b.Send(at, "code", code(time.Now()), "secret", secret, "uri", "").Must(t, 200, "Keep these codes")
	recovery := regexp.MustCompile(`<code>([^<]+)</code>`).FindStringSubmatch(kept.Text)[1]
	other.Send("/sign-in", "email", ada, "password", fresh, "next", "/account").Must(t, 200, "One more step")
	if got := other.Get("/account"); !strings.HasPrefix(got.At, "/sign-in") {
		t.Errorf("without the second factor /account leads to %s", got.At)
	}
	other.Send("/sign-in/code", "code", "123456", "next", "/account").Must(t, 401)
	other.Send("/sign-in/code", "code", recovery, "next", "/account").Must(t, 200, "Hello, Ada Lovelace")

	// Another device is sent away.
	devices := b.Get("/account/settings").Must(t, 200, "this device")
	away := regexp.MustCompile(`name="session" value="(ses_[a-z0-9]+)"`).FindStringSubmatch(devices.Text)
	if away == nil {
		t.Fatalf("no other device is listed: %s", devices.Text)
	}
	b.Send("/account/sessions", "session", away[1]).Must(t, 200, "Saved.")
	if got := other.Get("/account"); !strings.HasPrefix(got.At, "/sign-in") {
		t.Errorf("a device that was sent away is at %s", got.At)
	}
	b.Send("/account/deletion", "password", "wrong").Must(t, 403)
	b.Send("/account/deletion", "password", fresh).Must(t, 200, "Sign in")
	b.Send("/sign-in", "email", ada, "password", fresh).Must(t, 401)
}
