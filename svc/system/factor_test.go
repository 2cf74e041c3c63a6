package system_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A person enrols at one gateway and logs in at the other; an administrator who has to enrol may do nothing else first.
func TestSecondFactor(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	here, there := p.sites[0], p.sites[1]
	root := p.login(adminEmail)
	p.set(p.admin, api.AdminFactor.Key(), "true")
	testkit.Eventually(t, knownWithin, func() error {
		_, err := here.send("GET", "/v1/config", root, nil)
		return err
	})
	testkit.Eventually(t, knownWithin, func() error {
		got, err := there.send("GET", "/v1/users", root, nil)
		if err == nil && (got.status != 403 || !strings.Contains(string(got.body), `"second_factor"`)) {
			err = fmt.Errorf("%d %s", got.status, got.body)
		}
		return err
	})
	e := call[api.Enrolment](here, 201, "POST", "/v1/me/second-factors", root, api.NewFactor{Name: "telephone"})
	code := func() string {
		text, err := totp.GenerateCode(e.Secret, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	codes := call[api.RecoveryCodes](there, 200, "POST", "/v1/me/second-factors/"+e.ID.String()+"/confirm", root,
		api.FirstCode{Code: code()}).RecoveryCodes
	call[any](there, 200, "GET", "/v1/users", root, nil)
	call[any](here, 409, "DELETE", "/v1/me/second-factors/"+e.ID.String(), root, nil)

	login := call[api.SignIn](here, 200, "POST", "/v1/sessions", "", api.Login{Email: adminEmail, Password: password})
	if login.Tokens != nil || login.SecondFactorChallenge == nil {
		t.Fatalf("the password lets in: %+v", login)
	}
	step := func(s *site, proof api.FactorProof) answer {
		t.Helper()
		got, err := s.send("POST", "/v1/sessions/second-factor", "",
			map[string]string{"challenge": login.Challenge, "code": proof.Code, "recovery_code": proof.RecoveryCode})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := step(there, api.FactorProof{RecoveryCode: "aaaa-bbbb-cccc-dddd"}); got.status != 401 {
		t.Errorf("a wrong code: %d %s", got.status, got.body)
	}
	if got := step(there, api.FactorProof{RecoveryCode: codes[0]}); got.status != 201 {
		t.Errorf("the right one: %d %s", got.status, got.body)
	}
	login = call[api.SignIn](here, 200, "POST", "/v1/sessions", "", api.Login{Email: adminEmail, Password: password})
	if got := step(there, api.FactorProof{RecoveryCode: codes[0]}); got.status != 401 {
		t.Errorf("the same again: %d %s", got.status, got.body)
	}
	for _, secret := range append(codes, e.Secret) {
		if strings.Contains(mailbox(t, p.cfg), secret) {
			t.Error("a secret is mailed")
		}
	}
}
