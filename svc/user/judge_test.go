package user_test

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
	"github.com/starlightsymphony/starlight/svc/user/passwords"
)

// A password that can be guessed or was stolen is refused wherever a new one is set, by a fault of its field.
func TestNewPasswordsAreJudged(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "user", user.Migrations())
	m := newHarness(t, db)
	const stolen = "a sentence that was stolen"
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, fmt.Appendf(nil, "%X:12\n", sha1.Sum([]byte(stolen))), 0o600); err != nil {
		t.Fatal(err)
	}
	filter, _, err := passwords.Make(list, 1)
	if err != nil {
		t.Fatal(err)
	}
	judging, err := user.New(t.Context(), user.Deps{DB: db, JS: m.nats.JS, Live: m.live, Log: testkit.Log(t),
		Metrics: observe.NewRegistry(), Now: m.clock.Now, Keys: sealKeys(m.t), Stolen: filter})
	if err != nil {
		t.Fatal(err)
	}
	nats := testkit.NATS(t)
	srv := rpc.NewServer(nats.Connect(), rpc.ServerConfig{Service: "user", Log: testkit.Log(t),
		Registry: observe.NewRegistry(), Answers: idempotency.In(db)})
	judging.Register(srv)
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer srv.Drain(t.Context())
	client := rpc.NewClient(nats.Conn, rpc.ClientConfig{Name: "gateway"})

	ada := must(rpc.Call(t.Context(), client, api.RegisterUser,
		&api.Register{Email: "countess@example.org", Password: password, Name: "Ada Lovelace"}))(t)
	tokens := must(rpc.Call(t.Context(), client, api.CreateSession,
		&api.Login{Email: ada.Email, Password: password}))(t).Tokens
	for _, bad := range []string{"adalovelace1", "Lovelace2026", "countess", "iloveyou", stolen} {
		for field, set := range map[string]func() error{
			"password": func() error {
				_, err := rpc.Call(t.Context(), client, api.RegisterUser,
					&api.Register{Email: "countess@example.net", Password: bad, Name: "Ada Lovelace"})
				return err
			},
			"new_password": func() error {
				_, err := rpc.Call(m.as(tokens), client, api.ChangeMyPassword,
					&api.ChangePassword{CurrentPassword: password, NewPassword: bad})
				return err
			},
		} {
			f := wantCode(t, set(), fault.Invalid)
			if len(f.Fields) != 1 || f.Fields[0].Field != field {
				t.Errorf("%s as %s: %v", bad, field, f.Fields)
			}
		}
	}
	must(rpc.Call(m.as(tokens), client, api.ChangeMyPassword,
		&api.ChangePassword{CurrentPassword: password, NewPassword: "a sentence of my own"}))(t)
}
