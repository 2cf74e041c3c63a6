package user_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
)

const ada = "ada@example.org"

// app is an authenticator app of ada.
type app struct {
	m      *harness
	id     ids.Factor
	secret string
	codes  []string // for recovery
}

// code is what the app shows at a time from now.
func (a *app) code(after time.Duration) string {
	a.m.t.Helper()
	return must(totp.GenerateCode(a.secret, a.m.clock.Now().Add(after)))(a.m.t)
}

// enrol adds an app to the account of a session. Its first code is used up.
func (m *harness) enrol(tokens *api.Tokens) *app {
	m.t.Helper()
	e := must(rpc.Call(m.as(tokens), m.gateway, api.AddSecondFactor, &api.NewFactor{Name: "telephone"}))(m.t)
	a := &app{m: m, id: e.ID, secret: e.Secret}
	a.codes = must(rpc.Call(m.as(tokens), m.gateway, api.ConfirmSecondFactor,
		&api.FirstCode{FactorRef: api.FactorRef{ID: e.ID}, Code: a.code(0)}))(m.t).RecoveryCodes
	m.clock.Advance(time.Minute)
	return a
}

// asked logs in with the password and returns what is asked for.
func (m *harness) asked(device string) *api.SecondFactorChallenge {
	m.t.Helper()
	got := must(rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.CreateSession,
		&api.Login{Email: ada, Password: password, DeviceToken: device}))(m.t)
	if got.Tokens != nil || got.SecondFactorChallenge == nil || !got.SecondFactorRequired {
		m.t.Fatalf("the login is answered with %+v", got)
	}
	return got.SecondFactorChallenge
}

func (m *harness) second(address string, req api.SecondStep) (*api.Tokens, error) {
	return rpc.Call(m.anonymous(address), m.gateway, api.CreateSessionWithFactor, &req)
}

func (m *harness) factors(tokens *api.Tokens) *api.SecondFactors {
	m.t.Helper()
	return must(rpc.Call(m.as(tokens), m.gateway, api.ListSecondFactors, &rpc.None{}))(m.t)
}

func proofOf(code string) api.FactorProof { return api.FactorProof{Code: code} }

// An app counts from its first code on; then a login asks for one, which is good once.
func TestAuthenticatorApp(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register(ada, password)
		tokens := m.login(ada, password)
		e := must(rpc.Call(m.as(tokens), m.gateway, api.AddSecondFactor, &api.NewFactor{Name: " my phone "}))(t)
		if !strings.HasPrefix(e.URI, "otpauth://totp/Starlight:ada@example.org?") || !strings.Contains(e.URI, "secret="+e.Secret) {
			t.Errorf("the address is %s", e.URI)
		}
		m.login(ada, password) // it does not count yet
		confirm := func(code string) (*api.RecoveryCodes, error) {
			return rpc.Call(m.as(tokens), m.gateway, api.ConfirmSecondFactor,
				&api.FirstCode{FactorRef: api.FactorRef{ID: e.ID}, Code: code})
		}
		a := &app{m: m, id: e.ID, secret: e.Secret}
		_, err := confirm(a.code(5 * time.Minute))
		wantCode(t, err, fault.Forbidden)
		_, err = confirm("12345")
		wantCode(t, err, fault.Invalid)
		codes := must(confirm(a.code(0)))(t).RecoveryCodes
		if len(codes) != 10 || len(codes[0]) != 29 { // 120 bits in groups of four
			t.Errorf("recovery codes %q", codes)
		}
		_, err = confirm(a.code(0))
		wantCode(t, err, fault.NotFound)
		list := m.factors(tokens)
		if len(list.Items) != 1 || list.Items[0].Name != "my phone" || !list.Items[0].Active || list.RecoveryCodes != 10 {
			t.Errorf("factors %+v", list)
		}

		login := m.asked("")
		if strings.Join(login.Methods, " ") != "totp recovery_code" {
			t.Errorf("methods %q", login.Methods)
		}
		step := api.SecondStep{Challenge: login.Challenge, FactorProof: proofOf(a.code(0))}
		_, err = m.second("192.0.2.1", step) // the code of the enrolment
		wantCode(t, err, fault.Unauthenticated)
		m.clock.Advance(30 * time.Second)
		for _, off := range []time.Duration{-time.Minute, time.Minute} { // too old, too new
			_, err = m.second("192.0.2.1", api.SecondStep{Challenge: login.Challenge, FactorProof: proofOf(a.code(off))})
			wantCode(t, err, fault.Unauthenticated)
		}
		step.FactorProof = proofOf(a.code(30 * time.Second)) // of a clock that is ahead
		got := must(m.second("192.0.2.1", step))(t)
		if me := must(rpc.Call(m.as(got), m.gateway, api.GetMe, &rpc.None{}))(t); me.Email != ada || got.DeviceToken == "" {
			t.Errorf("signed in as %+v", me)
		}
		_, err = m.second("192.0.2.1", step) // the challenge is used up
		wantCode(t, err, fault.Unauthenticated)
		login = m.asked(got.DeviceToken) // a known device is asked, too
		_, err = m.second("192.0.2.1", api.SecondStep{Challenge: login.Challenge, DeviceToken: got.DeviceToken,
			FactorProof: step.FactorProof}) // the code is used up
		wantCode(t, err, fault.Unauthenticated)
		for _, secret := range []string{login.Challenge, e.Secret, codes[0], strings.ReplaceAll(codes[0], "-", "")} {
			if strings.Contains(m.dump(), secret) {
				t.Errorf("%s lies in the database", secret)
			}
		}
		if n := len(m.events(api.FactorWasAdded.Subject, 1)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// A challenge is good for a while, from where the login came, and until the password is another one.
func TestChallengeIsBound(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register(ada, password)
		known := m.login(ada, password)
		a := m.enrol(known)
		login := m.asked("")
		step := api.SecondStep{Challenge: login.Challenge, FactorProof: proofOf(a.code(0))}
		_, err := m.second("198.51.100.7", step)
		wantCode(t, err, fault.Unauthenticated)
		m.clock.Advance(5 * time.Minute)
		step.FactorProof = proofOf(a.code(0))
		_, err = m.second("192.0.2.1", step)
		wantCode(t, err, fault.Unauthenticated)

		step.Challenge = m.asked(known.DeviceToken).Challenge
		_, err = m.second("192.0.2.1", step) // without the device that is known
		wantCode(t, err, fault.Unauthenticated)
		step.DeviceToken = known.DeviceToken
		if got := must(m.second("192.0.2.1", step))(t); got.DeviceToken != known.DeviceToken {
			t.Errorf("the device is %q now", got.DeviceToken)
		}

		step = api.SecondStep{Challenge: m.asked("").Challenge}
		must(rpc.Call(m.as(known), m.gateway, api.ChangeMyPassword,
			&api.ChangePassword{CurrentPassword: password, NewPassword: "staple battery horse"}))(t)
		m.clock.Advance(30 * time.Second)
		step.FactorProof = proofOf(a.code(0))
		_, err = m.second("192.0.2.1", step)
		wantCode(t, err, fault.Unauthenticated)
		for _, bad := range []api.SecondStep{{Challenge: "lc_x"}, {Challenge: step.Challenge},
			{Challenge: step.Challenge, FactorProof: api.FactorProof{Code: "123456", RecoveryCode: "x"}}} {
			if _, err := m.second("192.0.2.1", bad); err == nil {
				t.Errorf("%+v is accepted", bad)
			}
		}
	})
}

// A code, and a recovery code, that is sent many times at once, to two instances, lets one in.
func TestFactorsAreGoodOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register(ada, password)
		tokens := m.login(ada, password)
		a := m.enrol(tokens)
		m.twin()
		for _, proof := range []api.FactorProof{proofOf(a.code(0)), {RecoveryCode: " " + strings.ToUpper(a.codes[3])}} {
			const n = 4 // no more than the failures that cost no wait
			var challenges [n]string
			for i := range n {
				challenges[i] = m.asked("").Challenge
			}
			var errs [n]error
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					_, errs[i] = m.second("192.0.2.1", api.SecondStep{Challenge: challenges[i], FactorProof: proof})
				})
			}
			wg.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					wantCode(t, err, fault.Unauthenticated)
				}
			}
			if won != 1 {
				t.Errorf("%d of %d are in with %+v", won, n, proof)
			}
			m.clock.Advance(30 * time.Second)
		}
		if left := m.factors(tokens).RecoveryCodes; left != 9 {
			t.Errorf("%d recovery codes are left", left)
		}
		var used api.FactorEvent
		if err := json.Unmarshal([]byte(m.events(api.RecoveryCodeWasUsed.Subject, 1)[0]), &used); err != nil || used.Left != 9 {
			t.Errorf("told %+v, %v", used, err)
		}
	})
}

// Guesses at a code are slowed down as those at a password are, also when they all come at once, to two instances.
func TestFactorGuesses(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register(ada, password)
		tokens := m.login(ada, password)
		a := m.enrol(tokens)
		m.twin()
		login := m.asked("")
		const n = 30
		var throttled, wrong int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				_, err := m.second("192.0.2.1", api.SecondStep{Challenge: login.Challenge, FactorProof: proofOf(a.code(time.Hour))})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case fault.Is(err, fault.RateLimited):
					throttled++
				case fault.Is(err, fault.Unauthenticated):
					wrong++
				default:
					t.Errorf("a guess: %v", err)
				}
			})
		}
		wg.Wait()
		if wrong != 5 || throttled != n-5 {
			t.Errorf("of %d guesses %d were looked at and %d throttled", n, wrong, throttled)
		}
		right := api.SecondStep{Challenge: login.Challenge, FactorProof: proofOf(a.code(0))}
		_, err := m.second("192.0.2.1", right)
		wantCode(t, err, fault.RateLimited)
		_, err = rpc.Call(m.as(tokens), m.gateway, api.ProveIdentity, &api.Proof{FactorProof: right.FactorProof})
		wantCode(t, err, fault.RateLimited)
		m.clock.Advance(time.Second)
		must(m.second("192.0.2.1", right))(t)
		m.events(api.FactorsHaveFailed.Subject, 1)
	})
}

// A reset of the password leaves the second factor; without the last factor none is asked for.
func TestRemoveFactors(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register(ada, password)
		tokens := m.login(ada, password)
		a := m.enrol(tokens)
		e := must(rpc.Call(m.as(tokens), m.gateway, api.AddSecondFactor, &api.NewFactor{Name: "two"}))(t)
		b := &app{m: m, secret: e.Secret}
		more := must(rpc.Call(m.as(tokens), m.gateway, api.ConfirmSecondFactor,
			&api.FirstCode{FactorRef: api.FactorRef{ID: e.ID}, Code: b.code(0)}))(t)
		if more.RecoveryCodes == nil || len(more.RecoveryCodes) != 0 {
			t.Errorf("a second app brings %v", more.RecoveryCodes)
		}
		fresh := must(rpc.Call(m.as(tokens), m.gateway, api.RenewRecoveryCodes, &rpc.None{}))(t).RecoveryCodes
		for code, ok := range map[string]bool{a.codes[0]: false, fresh[0]: true} {
			_, err := m.second("192.0.2.1", api.SecondStep{Challenge: m.asked("").Challenge,
				FactorProof: api.FactorProof{RecoveryCode: code}})
			if (err == nil) != ok {
				t.Errorf("a code from before, or after, the renewal: %v", err)
			}
		}
		remove := func(id ids.Factor) error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.DeleteSecondFactor, &api.FactorRef{ID: id})
			return err
		}
		for _, id := range []ids.Factor{a.id, e.ID} {
			m.asked("")
			if err := remove(id); err != nil {
				t.Fatal(err)
			}
			wantCode(t, remove(id), fault.NotFound)
		}
		m.login(ada, password)
		if left := m.factors(tokens); left.RecoveryCodes != 0 || len(left.Items) != 0 {
			t.Errorf("left are %+v", left)
		}
		_, err := rpc.Call(m.as(tokens), m.gateway, api.RenewRecoveryCodes, &rpc.None{})
		wantCode(t, err, fault.Conflict)
		m.events(api.FactorWasRemoved.Subject, 2)
	})
}

func TestResetKeepsFactors(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register(ada, password)
		a := m.enrol(m.login(ada, password))
		m.requestReset(ada)
		if err := m.confirm(must(m.mint(m.lastReset(1).ResetID))(t).Token, password+"!"); err != nil {
			t.Fatal(err)
		}
		got := must(rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.CreateSession,
			&api.Login{Email: ada, Password: password + "!"}))(t)
		if got.Tokens != nil {
			t.Fatal("who reads the mail is in")
		}
		must(m.second("192.0.2.1", api.SecondStep{Challenge: got.Challenge, FactorProof: proofOf(a.code(0))}))(t)
	})
}

// What needs a fresh proof is refused a while after the login, and possible after one.
func TestStepUp(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		u := m.register(ada, password)
		tokens := m.login(ada, password)
		standing := func() *api.Standing {
			t.Helper()
			return must(rpc.Call(t.Context(), m.gateway, api.CheckSession,
				&api.SessionCheck{UserID: u.ID, SessionID: rpc.Caller(m.as(tokens)).Session}))(t)
		}
		prove := func(p api.Proof) error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.ProveIdentity, &p)
			return err
		}
		stale := func() {
			t.Helper()
			m.clock.Advance(10 * time.Minute)
			tokens = must(m.refresh(tokens.RefreshToken))(t)
			if standing().Fresh {
				t.Error("it is fresh for ever")
			}
		}
		if !standing().Fresh || m.factors(tokens).FreshUntil == nil {
			t.Error("a login is no proof")
		}
		stale()
		old := rpc.Caller(m.as(tokens))
		old.Fresh = false
		_, err := rpc.Call(rpc.WithPrincipal(t.Context(), old), m.gateway, api.AddSecondFactor, &api.NewFactor{Name: "x"})
		if f := wantCode(t, err, fault.Forbidden); len(f.Fields) != 1 || f.Fields[0].Field != "step_up" {
			t.Errorf("a program is told %+v", f.Fields)
		}
		wantCode(t, prove(api.Proof{}), fault.Invalid)
		wantCode(t, prove(api.Proof{Password: "not the password"}), fault.Forbidden)
		if err := prove(api.Proof{Password: password}); err != nil || !standing().Fresh {
			t.Errorf("after the password: %v", err)
		}
		a := m.enrol(tokens)
		stale()
		wantCode(t, prove(api.Proof{Password: password}), fault.Invalid)
		wantCode(t, prove(api.Proof{FactorProof: proofOf(a.code(time.Hour))}), fault.Forbidden)
		if standing().Fresh {
			t.Error("a wrong code is a proof")
		}
		if err := prove(api.Proof{FactorProof: proofOf(a.code(0))}); err != nil || !standing().Fresh {
			t.Errorf("after a code: %v", err)
		}
		wantCode(t, prove(api.Proof{FactorProof: proofOf(a.code(0))}), fault.Forbidden)
		stale()
		if err := prove(api.Proof{FactorProof: api.FactorProof{RecoveryCode: a.codes[0]}}); err != nil || !standing().Fresh {
			t.Errorf("after a recovery code: %v", err)
		}
	})
}

// An administrator has to enrol, if that is required, and cannot go back; another one helps who has lost everything.
func TestAdministratorsFactor(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		tokens, root := m.admin()
		standing := func() *api.Standing {
			t.Helper()
			return must(rpc.Call(t.Context(), m.gateway, api.CheckSession,
				&api.SessionCheck{UserID: root.ID, SessionID: rpc.Caller(m.as(tokens)).Session}))(t)
		}
		if standing().MustEnrol {
			t.Error("it is required by default")
		}
		if err := m.live.Change(api.AdminFactor.Is(true)); err != nil {
			t.Fatal(err)
		}
		if !standing().MustEnrol || !m.factors(tokens).Required {
			t.Error("it is not required")
		}
		_, err := m.signInElsewhere("root@example.org", "the first of them", api.FactorProof{})
		wantCode(t, err, fault.Forbidden)
		a := m.enrol(tokens)
		if standing().MustEnrol {
			t.Error("it is required of who has it")
		}
		_, err = rpc.Call(m.as(tokens), m.gateway, api.DeleteSecondFactor, &api.FactorRef{ID: a.id})
		wantCode(t, err, fault.Conflict)
		if left := m.factors(tokens); len(left.Items) != 1 || left.RecoveryCodes != 10 {
			t.Errorf("left are %+v", left)
		}

		u := m.register(ada, password)
		theirs := m.login(ada, password)
		m.enrol(theirs)
		must(rpc.Call(m.as(tokens), m.gateway, api.ResetSecondFactors, &api.UserRef{ID: u.ID}))(t)
		must(rpc.Call(m.as(tokens), m.gateway, api.ResetSecondFactors, &api.UserRef{ID: u.ID}))(t) // there is nothing left
		_, err = rpc.Call(m.as(theirs), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		theirs = m.login(ada, password)
		_, err = rpc.Call(m.as(theirs), m.gateway, api.ResetSecondFactors, &api.UserRef{ID: root.ID})
		wantCode(t, err, fault.Forbidden)
		m.events(api.FactorWasRemoved.Subject, 1)
	})
}

// signInElsewhere signs in at a venue.
func (m *harness) signInElsewhere(email, password string, proof api.FactorProof) (*line.CheckedUser, error) {
	venue := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "venue"})
	return rpc.Call(m.anonymous("192.0.2.1"), venue, line.CheckUserPassword,
		&line.CheckPassword{Email: email, Password: password, FactorProof: proof})
}

// At a venue the second factor comes with the password.
func TestFactorAtVenue(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		u := m.register(ada, password)
		if got := must(m.signInElsewhere(ada, password, api.FactorProof{}))(t); got.ID != u.ID {
			t.Errorf("signed in %+v", got)
		}
		a := m.enrol(m.login(ada, password))
		_, err := m.signInElsewhere(ada, password, api.FactorProof{})
		if f := wantCode(t, err, fault.Unauthenticated); len(f.Fields) != 1 || f.Fields[0].Field != "code" {
			t.Errorf("a program is told %+v", f)
		}
		_, err = m.signInElsewhere(ada, "not the password", proofOf(a.code(0)))
		if f := wantCode(t, err, fault.Unauthenticated); len(f.Fields) != 0 {
			t.Errorf("a stranger is told %+v", f)
		}
		_, err = m.signInElsewhere(ada, password, proofOf(a.code(time.Hour)))
		wantCode(t, err, fault.Unauthenticated)
		must(m.signInElsewhere(ada, password, proofOf(a.code(0))))(t)
		_, err = m.signInElsewhere(ada, password, proofOf(a.code(0)))
		wantCode(t, err, fault.Unauthenticated)
		must(m.signInElsewhere(ada, password, api.FactorProof{RecoveryCode: a.codes[0]}))(t)
	})
}

// The answer to the commit of each step is lost once: what was done is answered as done.
func TestLostCommitsOfFactors(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	m := newHarness(t, testkit.Open(t, lose.URL, "user", user.Migrations()))
	m.register(ada, password)
	tokens := m.login(ada, password)
	losing := func(statement string) {
		lose.Next(func(query []byte) bool { return strings.Contains(string(query), statement) })
	}
	losing(`INSERT INTO "second_factors"`)
	e := must(rpc.Call(m.as(tokens), m.gateway, api.AddSecondFactor, &api.NewFactor{Name: "telephone"}))(t)
	a := &app{m: m, id: e.ID, secret: e.Secret}
	losing("UPDATE second_factors SET active")
	codes := must(rpc.Call(m.as(tokens), m.gateway, api.ConfirmSecondFactor,
		&api.FirstCode{FactorRef: api.FactorRef{ID: e.ID}, Code: a.code(0)}))(t).RecoveryCodes
	if len(codes) != 10 {
		t.Fatalf("recovery codes %q", codes)
	}
	m.clock.Advance(time.Minute)
	losing(`INSERT INTO "login_challenges"`)
	login := m.asked("")
	losing(`INSERT INTO "sessions"`)
	must(m.second("192.0.2.1", api.SecondStep{Challenge: login.Challenge, FactorProof: proofOf(a.code(0))}))(t)
	losing("UPDATE sessions SET proven_at")
	must(rpc.Call(m.as(tokens), m.gateway, api.ProveIdentity,
		&api.Proof{FactorProof: api.FactorProof{RecoveryCode: codes[0]}}))(t)
	losing("DELETE FROM second_factors")
	must(rpc.Call(m.as(tokens), m.gateway, api.DeleteSecondFactor, &api.FactorRef{ID: a.id}))(t)
	if !lose.Lost() {
		t.Error("no commit was lost")
	}
	for _, topic := range []string{api.FactorWasAdded.Subject, api.RecoveryCodeWasUsed.Subject, api.FactorWasRemoved.Subject} {
		if n := len(m.events(topic, 1)); n != 1 {
			t.Errorf("%d events on %s", n, topic)
		}
	}
}

// twin starts a second instance on the same database.
func (m *harness) twin() {
	m.t.Helper()
	log, registry := testkit.Log(m.t), observe.NewRegistry()
	srv := rpc.NewServer(m.nats.Connect(),
		rpc.ServerConfig{Service: "user", Log: log, Registry: registry, Answers: idempotency.In(m.db)})
	m.newService(registry, log).Register(srv)
	testkit.Serve(m.t, srv)
}

// Every attempt to prove who one is has a line in the log: what was shown, whose it is if that is known, from where, and
// what came of it; and so has every session that begins. What was shown does not stand there.
func TestAttemptsAreLogged(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "one@corp.example", true)
		u := m.register(ada, password)
		attempts := func(of string) (lines []string) {
			for text := range strings.Lines(m.log.String()) {
				var line struct {
					Msg, At, By, User, Outcome, Address, Session string
				}
				if json.Unmarshal([]byte(text), &line) != nil || line.User != of {
					continue
				}
				if line.Msg == "an attempt to prove who one is" {
					lines = append(lines, strings.Join([]string{line.At, line.By, line.Outcome, line.Address}, " "))
				} else if line.Msg == "a session has begun" && line.Session != "" {
					lines = append(lines, "begun "+line.Address)
				}
			}
			return lines
		}
		_, err := m.tryLogin("192.0.2.7", ada, "a wrong one")
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.tryLogin("192.0.2.7", "nobody@example.org", "a wrong one")
		wantCode(t, err, fault.Unauthenticated)
		tokens := m.login(ada, password)
		a := m.enrol(tokens)
		challenge := m.asked("").Challenge
		_, err = m.second("192.0.2.1", api.SecondStep{Challenge: challenge, FactorProof: proofOf("000000")})
		wantCode(t, err, fault.Unauthenticated)
		must(m.second("192.0.2.1", api.SecondStep{Challenge: challenge, FactorProof: proofOf(a.code(0))}))(t)
		_, err = rpc.Call(m.anonymous("192.0.2.8"), m.gateway, api.CreateSessionWithPasskey, &api.PasskeyLogin{Credential: []byte(`{}`)})
		wantCode(t, err, fault.Unauthenticated)
		must(rpc.Call(m.as(admin), m.gateway, api.LockUser, &api.UserRef{ID: u.ID}))(t)
		_, err = m.tryLogin("192.0.2.7", ada, password)
		wantCode(t, err, fault.Forbidden)
		const login, step = "user.login ", "user.login_factor "
		want := []string{login + "password wrong 192.0.2.7", login + "password right 192.0.2.1", "begun 192.0.2.1",
			login + "password right 192.0.2.1", step + "code wrong 192.0.2.1", step + "code right 192.0.2.1", "begun 192.0.2.1",
			login + "password right 192.0.2.7", login + " locked 192.0.2.7"}
		if got := attempts(u.ID.String()); !slices.Equal(got, want) {
			t.Errorf("the log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		want = []string{login + "password wrong 192.0.2.7", "user.login_passkey passkey wrong 192.0.2.8"}
		if got := attempts(""); !slices.Equal(got, want) {
			t.Errorf("of nobody the log has %q", got)
		}
		in := must(rpc.Call(m.as(c.mustSignIn(t, p, "one")), m.gateway, api.GetMe, &rpc.None{}))(t)
		if got := attempts(in.ID.String()); len(got) != 2 || !strings.HasPrefix(got[0], "user.finish_sign_in provider "+p.ID.String()+" right") {
			t.Errorf("through a provider: %q", got)
		}
		if text := m.log.String(); strings.Contains(text, password) || strings.Contains(text, "a wrong one") || strings.Contains(text, a.code(0)) {
			t.Error("the log has what was shown")
		}
	})
}
