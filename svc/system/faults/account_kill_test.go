package faults_test

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// outbox returns the mails to an address that have a text, by their Message-ID, and the oldest first.
func outbox(s *systemtest.Mortal, to, text string) (found []string, ids map[string]int) {
	s.Site.T.Helper()
	files, err := filepath.Glob(filepath.Join(s.Cfg.Data, "outbox", "*.eml"))
	if err != nil {
		s.Site.T.Fatal(err)
	}
	ages := map[string]time.Time{}
	ids = map[string]int{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			s.Site.T.Fatal(err)
		}
		parsed, err := mail.ReadMessage(strings.NewReader(string(raw)))
		if err != nil || !strings.Contains(parsed.Header.Get("To"), to) {
			continue // it may be on its way to the disk
		}
		body := strings.ReplaceAll(string(raw), "=\r\n", "")
		if !strings.Contains(body, text) {
			continue
		}
		info, err := os.Stat(f)
		if err != nil {
			s.Site.T.Fatal(err)
		}
		ages[body] = info.ModTime()
		found = append(found, body)
		ids[parsed.Header.Get("Message-Id")]++
	}
	slices.SortFunc(found, func(a, b string) int { return ages[a].Compare(ages[b]) })
	return found, ids
}

// The process is killed before and after every commit of the user service on the way from a registration to the mail,
// from its token to the proof, and from a recovery code to its notice. Whatever the moment, the last mail's token proves
// the address, and a recovery code lets in once and is told.
func TestAccountAtEveryStep(t *testing.T) {
	t.Parallel()
	s := systemtest.StartMortal(t, "")
	s.Set(s.Admin, "gateway.rate_login", "0")
	secret := regexp.MustCompile(`ec_[A-Za-z0-9_-]{43}`)
	expect := func(want int, text string, into any, method, path, token string, body any, headers ...string) error {
		got, err := s.Send(method, path, token, body, headers...)
		if err == nil {
			err = got.Is(want, text)
		}
		if err == nil && into != nil {
			err = json.Unmarshal(got.Body, into)
		}
		return err
	}

	register := func(email string) error {
		return expect(201, email, nil, "POST", "/v1/users", "", api.Register{Email: email, Password: systemtest.Password, Name: "Somebody"},
			"Idempotency-Key", email)
	}
	var people []string
	s.Moments("the way from a registration to the mail", 4, func(n, point int) bool {
		email := fmt.Sprintf("person-%d@example.org", n)
		people = append(people, email)
		return s.Survive("user", point, func() error { return register(email) }, func() error {
			if found, _ := outbox(s, email, "ec_"); len(found) == 0 {
				return fmt.Errorf("%s has no mail", email)
			}
			return nil
		})
	})

	s.Moments("a proof of an address", 2, func(n, point int) bool {
		if n == len(people) { // what the service does on its own in the meantime are moments, too
			email := fmt.Sprintf("person-%d@example.org", n)
			people = append(people, email)
			if err := register(email); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, time.Minute, func() error {
				if found, _ := outbox(s, email, "ec_"); len(found) == 0 {
					return fmt.Errorf("%s has no mail", email)
				}
				return nil
			})
		}
		email := people[n]
		found, ids := outbox(s, email, "ec_")
		if len(ids) != 1 { // a mail that is sent again is the same mail
			t.Errorf("%s has mails %v", email, ids)
		}
		token := secret.FindString(found[len(found)-1])
		return s.Survive("user", point, func() error {
			got, err := s.Send("POST", "/v1/email-confirmations/confirm", "", api.ConfirmEmail{Token: token})
			if err == nil && got.Status != 410 { // it was done, and the answer was lost
				err = got.Is(204, "")
			}
			return err
		}, func() error {
			var tokens api.Tokens
			if err := expect(201, "", &tokens, "POST", "/v1/sessions", "", api.Login{Email: email, Password: systemtest.Password}); err != nil {
				return err
			}
			return expect(200, `"email_verified":true`, nil, "GET", "/v1/me", tokens.AccessToken, nil)
		})
	})

	e := systemtest.Call[api.Enrolment](s.Site, 201, "POST", "/v1/me/second-factors", s.Admin, api.NewFactor{Name: "telephone"})
	code, err := totp.GenerateCode(e.Secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	systemtest.Call[any](s.Site, 200, "POST", "/v1/me/second-factors/"+e.ID.String()+"/confirm", s.Admin, api.FirstCode{Code: code})
	used := 0
	s.Moments("the way from a recovery code to its notice", 4, func(_, point int) bool {
		var codes api.RecoveryCodes
		if err := expect(201, "", &codes, "POST", "/v1/me/recovery-codes", s.Admin, nil); err != nil {
			t.Fatal(err)
		}
		use := func() (systemtest.Answer, error) {
			var login api.SignIn
			err := expect(200, "", &login, "POST", "/v1/sessions", "", api.Login{Email: systemtest.AdminEmail, Password: systemtest.Password})
			if err != nil {
				return systemtest.Answer{}, err
			}
			return s.Send("POST", "/v1/sessions/second-factor", "",
				map[string]string{"challenge": login.Challenge, "recovery_code": codes.RecoveryCodes[0]})
		}
		used++
		died := s.Survive("user", point, func() error {
			got, err := use()
			if err == nil && got.Status != 401 { // it was used, and the answer was lost
				err = got.Is(201, "")
			}
			return err
		}, func() error {
			if _, ids := outbox(s, systemtest.AdminEmail, "9 are left"); len(ids) != used {
				return fmt.Errorf("%d notices, want %d", len(ids), used)
			}
			return nil
		})
		got, err := use()
		if err == nil {
			err = got.Is(401, "")
		}
		if err != nil {
			t.Errorf("a code is good twice: %v", err)
		}
		var has api.SecondFactors
		if err := expect(200, "", &has, "GET", "/v1/me/second-factors", s.Admin, nil); err != nil || has.RecoveryCodes != 9 {
			t.Errorf("%d codes are left, %v", has.RecoveryCodes, err)
		}
		return died
	})
	if _, ids := outbox(s, systemtest.AdminEmail, "9 are left"); len(ids) != used {
		t.Errorf("%d notices of %d codes", len(ids), used)
	}
}
