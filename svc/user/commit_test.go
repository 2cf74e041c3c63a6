package user_test

import (
	"bytes"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
)

// The answer to the commit of every change of an account is lost once: what was done is answered as done.
func TestLostCommits(t *testing.T) {
	const old, fresh = "correct horse battery", "staple battery horse"
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	m := newHarness(t, testkit.Open(t, lose.URL, "user", user.Migrations()))
	new(neighbours).serve(t, m)
	var (
		tokens *api.Tokens
		name   = "Grace"
	)
	for _, step := range []struct {
		name, statement string
		run             func() error
	}{
		{"register", `INSERT INTO "users"`, func() error {
			_, err := rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.RegisterUser,
				&api.Register{Email: "ada@example.org", Password: old, Name: "Ada"})
			return err
		}},
		{"log in", `INSERT INTO "sessions"`, func() (err error) {
			tokens, err = m.tryLogin("192.0.2.1", "ada@example.org", old)
			return err
		}},
		{"refresh", "UPDATE refresh_tokens SET used", func() error {
			next, err := m.refresh(tokens.RefreshToken)
			if err == nil {
				tokens = next
			}
			return err
		}},
		{"change", "UPDATE", func() error {
			me := must(rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{}))(t)
			got, err := rpc.Call(m.as(tokens), m.gateway, api.UpdateMe,
				&api.UpdateProfile{Name: &name, IfMatch: `"` + me.ETag() + `"`})
			if err == nil && got.Name != name {
				t.Errorf("the account is %+v", got)
			}
			return err
		}},
		{"change the password", "UPDATE users SET password", func() error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.ChangeMyPassword,
				&api.ChangePassword{CurrentPassword: old, NewPassword: fresh})
			return err
		}},
		{"ask for a reset", `INSERT INTO "password_resets"`, func() error {
			_, err := rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.RequestPasswordReset,
				&api.RequestReset{Email: "ada@example.org"})
			return err
		}},
		{"delete", "DELETE FROM users", func() error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: fresh})
			return err
		}},
	} {
		lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(step.statement)) })
		if err := step.run(); err != nil || !lose.Lost() {
			t.Fatalf("%s: %v, lost %t", step.name, err, lose.Lost())
		}
	}
	if _, err := m.tryLogin("192.0.2.1", "ada@example.org", fresh); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the deleted account: %v", err)
	}
	for _, topic := range []string{api.UserRegistered.Subject, api.PasswordChanged.Subject, api.UserDeleted.Subject} {
		m.events(topic, 1)
	}
}
