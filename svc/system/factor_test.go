package system_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A person enrols at one gateway and logs in at the other; an administrator who has to enrol may do nothing else first.
func TestSecondFactor(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	here, there := p.sites[0], p.sites[1]
	root := p.Login(systemtest.AdminEmail)
	p.Set(p.admin, api.AdminFactor.Key(), "true")
	testkit.Eventually(t, knownWithin, func() error {
		_, err := here.Send("GET", "/v1/config", root, nil)
		return err
	})
	testkit.Eventually(t, knownWithin, func() error {
		got, err := there.Send("GET", "/v1/users", root, nil)
		if err == nil && (got.Status != 403 || !strings.Contains(string(got.Body), `"second_factor"`)) {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return err
	})
	e := systemtest.Call[api.Enrolment](here, 201, "POST", "/v1/me/second-factors", root, api.NewFactor{Name: "telephone"})
	code := func() string {
		text, err := totp.GenerateCode(e.Secret, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	codes := systemtest.Call[api.RecoveryCodes](there, 200, "POST", "/v1/me/second-factors/"+e.ID.String()+"/confirm", root,
		api.FirstCode{Code: code()}).RecoveryCodes
	systemtest.Call[any](there, 200, "GET", "/v1/users", root, nil)
	systemtest.Call[any](here, 409, "DELETE", "/v1/me/second-factors/"+e.ID.String(), root, nil)

	login := systemtest.Call[api.SignIn](here, 200, "POST", "/v1/sessions", "", api.Login{Email: systemtest.AdminEmail, Password: systemtest.Password})
	if login.Tokens != nil || login.SecondFactorChallenge == nil {
		t.Fatalf("the password lets in: %+v", login)
	}
	step := func(s *systemtest.Site, proof api.FactorProof) systemtest.Answer {
		t.Helper()
		got, err := s.Send("POST", "/v1/sessions/second-factor", "",
			map[string]string{"challenge": login.Challenge, "code": proof.Code, "recovery_code": proof.RecoveryCode})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := step(there, api.FactorProof{RecoveryCode: "aaaa-bbbb-cccc-dddd"}); got.Status != 401 {
		t.Errorf("a wrong code: %d %s", got.Status, got.Body)
	}
	if got := step(there, api.FactorProof{RecoveryCode: codes[0]}); got.Status != 201 {
		t.Errorf("the right one: %d %s", got.Status, got.Body)
	}
	login = systemtest.Call[api.SignIn](here, 200, "POST", "/v1/sessions", "", api.Login{Email: systemtest.AdminEmail, Password: systemtest.Password})
	if got := step(there, api.FactorProof{RecoveryCode: codes[0]}); got.Status != 401 {
		t.Errorf("the same again: %d %s", got.Status, got.Body)
	}
	for _, secret := range append(codes, e.Secret) {
		if strings.Contains(mailbox(t, p.cfg), secret) {
			t.Error("a secret is mailed")
		}
	}
}
