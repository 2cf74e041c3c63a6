package system_test

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
)

// mailed returns the link with a token that was mailed to an address, below the site.
func (s *site) mailed(outbox, email, path string) (link string) {
	s.t.Helper()
	find := regexp.MustCompile(`https?://\S+` + regexp.QuoteMeta(path) + `\?token=([A-Za-z0-9_%-]+)`)
	testkit.Eventually(s.t, 30*time.Second, func() error {
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
	cfg := config(t.TempDir())
	s, _, _ := start(t, cfg)
	outbox := filepath.Join(cfg.Data, "outbox")
	const ada = "ada@example.org"
	b := s.browser()
	b.send("/sign-up", "name", "Ada", "email", ada, "password", password, "next", "/account/settings").must(t, 200, "not confirmed yet")
	link := s.mailed(outbox, ada, "/confirm")
	token, err := url.QueryUnescape(strings.SplitN(link, "=", 2)[1])
	if err != nil {
		t.Fatal(err)
	}
	b.get(link).must(t, 200, "Is this your address?") // which alone confirms nothing
	b.get("/account/settings").must(t, 200, "not confirmed yet")
	b.send("/confirm", "token", "ec_wrong").must(t, 400)
	b.send("/confirm", "token", token).must(t, 200, "Your address is confirmed.")
	b.send("/account/settings", "name", "Ada Lovelace", "email", ada, "language", "de", "country", "DE", "city", "Berlin").must(t, 200, "Saved.", "Ada Lovelace", "Berlin")
	b.send("/account/settings", "name", "", "email", ada).must(t, 400, "name")
	b.send("/account/settings", "name", "Ada", "email", "new@example.org", "password", "wrong").must(t, 403)
	b.send("/account/preferences", "orders.push", "yes").must(t, 200, "Saved.")

	// A lost password.
	other := s.browser()
	other.send("/sign-in", "email", ada, "password", password).must(t, 200)
	lost := s.browser()
	for _, email := range []string{ada, "nobody@example.org"} {
		lost.send("/forgot", "email", email).must(t, 200, "the link is on its way")
	}
	link = s.mailed(outbox, ada, "/reset")
	lost.get(link).must(t, 200, "Set a new password")
	token = strings.SplitN(link, "=", 2)[1]
	const fresh = "seven quiet lamps in march"
	lost.send("/reset", "token", token, "new", "short").must(t, 400)
	lost.send("/reset", "token", token, "new", fresh).must(t, 200, "Sign in")
	lost.send("/reset", "token", token, "new", fresh).must(t, 410)
	for _, old := range []*browser{b, other} { // sessions from before have ended
		if got := old.get("/account"); !strings.HasPrefix(got.at, "/sign-in") {
			t.Errorf("after the reset /account leads to %s", got.at)
		}
	}
	b.send("/sign-in", "email", ada, "password", password).must(t, 401)
	b.send("/sign-in", "email", ada, "password", fresh, "next", "/account/settings").must(t, 200, "Ada Lovelace")

	// A second factor.
	enrol := b.send("/account/second-factors", "name", "Phone").must(t, 200, "data:image/png;base64,")
	secret := enrol.field(t, "secret")
	at := regexp.MustCompile(`action="(/account/second-factors/[a-z0-9_]+)"`).FindStringSubmatch(enrol.text)[1]
	b.send(at, "code", "000000", "secret", secret, "uri", "otpauth://totp/x?secret="+secret).must(t, 403, "data:image/png")
	code := func(at time.Time) string {
		t.Helper()
		code, err := totp.GenerateCode(secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	kept := b.send(at, "code", code(time.Now()), "secret", secret, "uri", "").must(t, 200, "Keep these codes")
	recovery := regexp.MustCompile(`<code>([^<]+)</code>`).FindStringSubmatch(kept.text)[1]
	other.send("/sign-in", "email", ada, "password", fresh, "next", "/account").must(t, 200, "One more step")
	if got := other.get("/account"); !strings.HasPrefix(got.at, "/sign-in") {
		t.Errorf("without the second factor /account leads to %s", got.at)
	}
	other.send("/sign-in/code", "code", "123456", "next", "/account").must(t, 401)
	other.send("/sign-in/code", "code", recovery, "next", "/account").must(t, 200, "Hello, Ada Lovelace")

	// Another device is sent away.
	devices := b.get("/account/settings").must(t, 200, "this device")
	away := regexp.MustCompile(`name="session" value="(ses_[a-z0-9]+)"`).FindStringSubmatch(devices.text)
	if away == nil {
		t.Fatalf("no other device is listed: %s", devices.text)
	}
	b.send("/account/sessions", "session", away[1]).must(t, 200, "Saved.")
	if got := other.get("/account"); !strings.HasPrefix(got.at, "/sign-in") {
		t.Errorf("a device that was sent away is at %s", got.at)
	}
	b.send("/account/deletion", "password", "wrong").must(t, 403)
	b.send("/account/deletion", "password", fresh).must(t, 200, "Sign in")
	b.send("/sign-in", "email", ada, "password", fresh).must(t, 401)
}
