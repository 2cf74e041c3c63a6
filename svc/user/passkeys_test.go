package user_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
)

// key is an authenticator in software, with one passkey.
type key struct {
	m       *harness
	party   virtualwebauthn.RelyingParty
	device  virtualwebauthn.Authenticator
	passkey virtualwebauthn.Credential
}

func newKey(m *harness, u *api.User) *key {
	return &key{m: m, party: virtualwebauthn.RelyingParty{Name: "Starlight", ID: "localhost", Origin: "http://localhost:8080"},
		device:  virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(u.ID)}),
		passkey: newCredential(m.t)}
}

// newCredential returns a new passkey. The library shortens coordinates that begin with a zero, so none of these does.
func newCredential(t *testing.T) virtualwebauthn.Credential {
	t.Helper()
	for {
		private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
		public := must(private.PublicKey.Bytes())(t)
		if public[1] == 0 || public[33] == 0 {
			continue
		}
		return virtualwebauthn.NewCredentialWithImportedKey(virtualwebauthn.KeyTypeEC2, must(x509.MarshalPKCS8PrivateKey(private))(t))
	}
}

// make answers options to make a passkey.
func (k *key) make(options *api.PasskeyOptions) json.RawMessage {
	k.m.t.Helper()
	parsed := must(virtualwebauthn.ParseAttestationOptions(string(options.PublicKey)))(k.m.t)
	return json.RawMessage(virtualwebauthn.CreateAttestationResponse(k.party, k.device, k.passkey, *parsed))
}

// prove answers options to prove who one is.
func (k *key) prove(options *api.PasskeyOptions) json.RawMessage {
	k.m.t.Helper()
	k.passkey.Counter++
	parsed := must(virtualwebauthn.ParseAssertionOptions(string(options.PublicKey)))(k.m.t)
	return json.RawMessage(virtualwebauthn.CreateAssertionResponse(k.party, k.device, k.passkey, *parsed))
}

func (m *harness) newPasskeyOptions(tokens *api.Tokens) *api.PasskeyOptions {
	m.t.Helper()
	return must(rpc.Call(m.as(tokens), m.gateway, api.GetNewPasskeyOptions, &rpc.None{}))(m.t)
}

// passkeyOptions are for a signed-in person, for a login, or with neither for the authenticator to know who it is.
func (m *harness) passkeyOptions(tokens *api.Tokens, challenge string) *api.PasskeyOptions {
	m.t.Helper()
	ctx := m.anonymous("192.0.2.1")
	if tokens != nil {
		ctx = m.as(tokens)
	}
	return must(rpc.Call(ctx, m.gateway, api.GetPasskeyOptions, &api.PasskeyRequest{Challenge: challenge}))(m.t)
}

func (m *harness) addPasskey(tokens *api.Tokens, credential json.RawMessage) (*api.AddedPasskey, error) {
	return rpc.Call(m.as(tokens), m.gateway, api.AddPasskey, &api.NewPasskey{Name: "key ring", Credential: credential})
}

func (m *harness) passkeyLogin(credential json.RawMessage) (*api.Tokens, error) {
	return rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.CreateSessionWithPasskey,
		&api.PasskeyLogin{Credential: credential})
}

// A passkey lets in without address and password, by an answer that is good once.
func TestPasskeyLogin(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		u := m.register(ada, password)
		tokens := m.login(ada, password)
		k := newKey(m, u)
		options := m.newPasskeyOptions(tokens)
		made := k.make(options)
		added := must(m.addPasskey(tokens, made))(t)
		if added.Name != "key ring" || len(added.RecoveryCodes) != 10 {
			t.Errorf("added %+v", added)
		}
		_, err := m.addPasskey(tokens, made)
		wantCode(t, err, fault.Conflict)
		// At a venue there is no passkey: its owner is told what to do there.
		_, err = m.signInElsewhere(ada, password, api.FactorProof{})
		if f := wantCode(t, err, fault.Unauthenticated); !strings.Contains(f.Detail, "pair this device") {
			t.Errorf("at a venue its owner is told %+v", f)
		}
		must(m.signInElsewhere(ada, password, api.FactorProof{RecoveryCode: added.RecoveryCodes[0]}))(t)
		list := must(rpc.Call(m.as(tokens), m.gateway, api.ListPasskeys, &rpc.None{}))(t).Items
		if len(list) != 1 || list[0].ID != added.ID || list[0].LastUsedAt != nil {
			t.Errorf("passkeys %+v", list)
		}

		answer := k.prove(m.passkeyOptions(nil, ""))
		m.twin()
		const n = 4
		var won [n]*api.Tokens
		var errs [n]error
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { won[i], errs[i] = m.passkeyLogin(answer) })
		}
		wg.Wait()
		in := 0
		for i := range n {
			if errs[i] != nil {
				wantCode(t, errs[i], fault.Unauthenticated)
				continue
			}
			in++
			if me := must(rpc.Call(m.as(won[i]), m.gateway, api.GetMe, &rpc.None{}))(t); me.ID != u.ID {
				t.Errorf("signed in as %+v", me)
			}
		}
		if in != 1 {
			t.Errorf("one answer lets %d in", in)
		}
		must(m.passkeyLogin(k.prove(m.passkeyOptions(nil, ""))))(t)
		k.passkey.Counter -= 2 // a copy of the key, which does not know of the last login
		_, err = m.passkeyLogin(k.prove(m.passkeyOptions(nil, "")))
		wantCode(t, err, fault.Unauthenticated)
		k.passkey.Counter += 2

		for what, change := range map[string]func(k *key){
			"another site":       func(k *key) { k.party.Origin = "http://localhost:8081" },
			"another domain":     func(k *key) { k.party.ID = "evil.example" },
			"another key":        func(k *key) { k.passkey.Key = newCredential(m.t).Key },
			"another person":     func(k *key) { k.device.Options.UserHandle = []byte(newUserID()) },
			"no person verified": func(k *key) { k.device.Options.UserNotVerified = true },
			"a key not known":    func(k *key) { k.passkey.ID = []byte("sixteen bytes of") },
		} {
			other := *k
			change(&other)
			_, err := m.passkeyLogin(other.prove(m.passkeyOptions(nil, "")))
			if !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: %v", what, err)
			}
		}
		late := k.prove(m.passkeyOptions(nil, ""))
		stepUp := k.prove(m.passkeyOptions(tokens, ""))
		for _, answer := range []json.RawMessage{stepUp, json.RawMessage(`{}`), json.RawMessage(`7`)} {
			_, err = m.passkeyLogin(answer)
			wantCode(t, err, fault.Unauthenticated)
		}
		m.clock.Advance(5 * time.Minute)
		_, err = m.passkeyLogin(late)
		wantCode(t, err, fault.Unauthenticated)
	})
}

// A passkey is a second factor, too, and a proof; it is made for one session.
func TestPasskeyAsSecondFactor(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		u := m.register(ada, password)
		tokens, other := m.login(ada, password), m.login(ada, password)
		k := newKey(m, u)
		_, err := m.addPasskey(other, k.make(m.newPasskeyOptions(tokens)))
		wantCode(t, err, fault.Invalid)
		added := must(m.addPasskey(tokens, k.make(m.newPasskeyOptions(tokens))))(t)

		login, second := m.asked(""), m.asked("")
		if len(login.Methods) != 2 || login.Methods[0] != api.FactorPasskey {
			t.Errorf("methods %q", login.Methods)
		}
		answer := k.prove(m.passkeyOptions(nil, login.Challenge))
		_, err = m.second("192.0.2.1", api.SecondStep{Challenge: second.Challenge, Passkey: answer})
		wantCode(t, err, fault.Unauthenticated)
		must(m.second("192.0.2.1", api.SecondStep{Challenge: login.Challenge, Passkey: answer}))(t)
		_, err = rpc.Call(m.anonymous("198.51.100.7"), m.gateway, api.GetPasskeyOptions,
			&api.PasskeyRequest{Challenge: second.Challenge})
		wantCode(t, err, fault.Unauthenticated)

		prove := func(as *api.Tokens, answer json.RawMessage) error {
			_, err := rpc.Call(m.as(as), m.gateway, api.ProveIdentity, &api.Proof{Passkey: answer})
			return err
		}
		answer = k.prove(m.passkeyOptions(tokens, ""))
		wantCode(t, prove(other, answer), fault.Forbidden)
		if err := prove(tokens, answer); err != nil {
			t.Error(err)
		}
		wantCode(t, prove(tokens, answer), fault.Forbidden)

		stranger := m.register("eve@example.org", password)
		evil := must(m.tryLogin("192.0.2.1", "eve@example.org", password))(t)
		_, err = rpc.Call(m.as(evil), m.gateway, api.DeletePasskey, &api.PasskeyRef{ID: added.ID})
		wantCode(t, err, fault.NotFound)
		_, err = rpc.Call(m.as(evil), m.gateway, api.RenamePasskey, &api.PasskeyName{PasskeyRef: api.PasskeyRef{ID: added.ID}, Name: "x"})
		wantCode(t, err, fault.NotFound)
		theirs := newKey(m, stranger)
		theirs.passkey = k.passkey // the id of ada's passkey, which eve has seen
		_, err = m.addPasskey(evil, theirs.make(m.newPasskeyOptions(evil)))
		wantCode(t, err, fault.Conflict)

		if got := must(rpc.Call(m.as(tokens), m.gateway, api.RenamePasskey, &api.PasskeyName{PasskeyRef: api.PasskeyRef{ID: added.ID},
			Name: "blue key"}))(t); got.Name != "blue key" || got.LastUsedAt == nil {
			t.Errorf("renamed to %+v", got)
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.DeletePasskey, &api.PasskeyRef{ID: added.ID}))(t)
		m.login(ada, password)
		if left := m.factors(tokens); left.RecoveryCodes != 0 || left.Passkeys != 0 {
			t.Errorf("left are %+v", left)
		}
		m.events(api.FactorWasRemoved.Subject, 1)
	})
}

// An export names second factors and tells no secret; none of them outlives the account.
func TestFactorsInExportAndDeletion(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		(&neighbours{}).serve(t, m)
		u := m.register(ada, password)
		tokens := m.login(ada, password)
		if out := must(m.export(tokens))(t); out.SecondFactors == nil || out.Passkeys == nil || out.RecoveryCodes != 0 {
			t.Errorf("without a factor: %+v", out.Head)
		}
		a := m.enrol(tokens)
		k := newKey(m, u)
		must(m.addPasskey(tokens, k.make(m.newPasskeyOptions(tokens))))(t)
		m.clock.Advance(time.Minute)
		must(m.passkeyLogin(k.prove(m.passkeyOptions(nil, ""))))(t)
		out := must(m.export(tokens))(t)
		if len(out.SecondFactors) != 1 || out.SecondFactors[0].Name == "" || out.RecoveryCodes != 10 ||
			len(out.Passkeys) != 1 || out.Passkeys[0].Name != "key ring" || out.Passkeys[0].LastUsedAt == nil ||
			!out.Passkeys[0].LastUsedAt.Equal(m.clock.Now()) {
			t.Errorf("exported %+v", out.Head)
		}
		text := string(must(json.Marshal(out))(t))
		for _, secret := range []string{a.secret, a.codes[0], base64.RawURLEncoding.EncodeToString(k.passkey.ID)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in %s", secret, text)
			}
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password}))(t)
		for _, table := range []string{"second_factors", "recovery_codes", "passkeys", "login_challenges", "devices"} {
			var left int
			if err := m.db.Read().NewRaw("SELECT count(*) FROM ?", bun.Ident(table)).Scan(t.Context(), &left); err != nil ||
				left != 0 {
				t.Errorf("%d rows of %s are left, %v", left, table, err)
			}
		}
		_, err := m.passkeyLogin(k.prove(m.passkeyOptions(nil, "")))
		wantCode(t, err, fault.Unauthenticated)
	})
}

// A passkey is for the domain of the settings, at its pages.
func TestRelyingParty(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		u := m.register(ada, password)
		tokens := m.login(ada, password)
		for _, err := range []error{m.live.Change(api.RelyingParty.Is("example.org")),
			m.live.Change(api.RelyingPartyOrigins.Is("https://shop.example.org, https://office.example.org"))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		k := newKey(m, u)
		k.party.ID, k.party.Origin = "example.org", "https://office.example.org"
		must(m.addPasskey(tokens, k.make(m.newPasskeyOptions(tokens))))(t)
		k.party.Origin = "https://shop.example.org"
		must(m.passkeyLogin(k.prove(m.passkeyOptions(nil, ""))))(t)
		k.party.Origin = "https://example.org"
		_, err := m.passkeyLogin(k.prove(m.passkeyOptions(nil, "")))
		wantCode(t, err, fault.Unauthenticated)
	})
}

func TestLostCommitsOfPasskeys(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	m := newHarness(t, testkit.Open(t, lose.URL, "user", user.Migrations()))
	u := m.register(ada, password)
	tokens := m.login(ada, password)
	k := newKey(m, u)
	var id ids.Passkey
	for _, step := range []struct {
		statement string
		run       func() error
	}{
		{`INSERT INTO "passkeys"`, func() error {
			added, err := m.addPasskey(tokens, k.make(m.newPasskeyOptions(tokens)))
			if err == nil {
				id = added.ID
			}
			return err
		}},
		{`INSERT INTO "sessions"`, func() error {
			_, err := m.passkeyLogin(k.prove(m.passkeyOptions(nil, "")))
			return err
		}},
		{"UPDATE sessions SET proven_at", func() error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.ProveIdentity, &api.Proof{Passkey: k.prove(m.passkeyOptions(tokens, ""))})
			return err
		}},
		{"DELETE FROM passkeys", func() error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.DeletePasskey, &api.PasskeyRef{ID: id})
			return err
		}},
	} {
		lose.Next(func(query []byte) bool { return strings.Contains(string(query), step.statement) })
		if err := step.run(); err != nil || !lose.Lost() {
			t.Fatalf("%s: %v, lost %t", step.statement, err, lose.Lost())
		}
	}
}
