package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// dieAround returns what ends this process around one commit of some services: the one whose number stands second in the
// file "crash" of a folder, counted from when that file came, before it if the number is negative. The services stand
// after it. The file is removed first, so it happens once.
func dieAround(dir string) func(service string, done bool) {
	armed := filepath.Join(dir, "crash")
	var mu sync.Mutex
	var commits int
	var counting string
	return func(service string, done bool) {
		text, err := os.ReadFile(armed)
		var serial, at int
		if _, scan := fmt.Sscan(string(text), &serial, &at); err != nil || scan != nil || !strings.Contains(string(text), service) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if counting != string(text) {
			counting, commits = string(text), 0
		}
		n := commits
		if !done {
			commits++
			n = -commits
		}
		if n == at {
			os.Remove(armed)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
}

// crashing is a process with the whole system that kills itself where it is told to.
func crashing(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := config(args[0])
	cfg.HTTP, cfg.NATS, cfg.Leaf, cfg.SMTPURL, cfg.Ops, cfg.LogTo = args[1], args[2], args[3], args[4], "off", os.Stderr
	cfg.AroundCommit = dieAround(cfg.Data)
	s, err := system.Start(ctx, cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	<-ctx.Done()
	if s.Close(context.Background()) != nil {
		return 1
	}
	return 0
}

// fuse lets a process die where a test wants it to.
type fuse struct {
	t      *testing.T
	p      *process
	dir    string // of its data
	serial int
}

// survive does something while the process is to die around a commit of services, again and again as a client does, and
// reports whether it died before the outcome was there.
func (f *fuse) survive(services string, point int, act func() error, outcome func() error) (died bool) {
	f.t.Helper()
	armed := filepath.Join(f.dir, "crash")
	f.serial++
	if err := os.WriteFile(armed, fmt.Appendf(nil, "%d %d %s", f.serial, point, services), 0o600); err != nil {
		f.t.Fatal(err)
	}
	acted := false
	testkit.Eventually(f.t, 90*time.Second, func() error {
		if _, err := os.Stat(armed); err != nil && !died { // it has taken the file
			died = true
			f.p.cmd.Wait()
			f.p.again()
		}
		if !acted {
			if err := act(); err != nil {
				return err
			}
			acted = true
		}
		return outcome()
	})
	if !died && os.Remove(armed) != nil { // it has just taken the file, and dies after all
		died = true
		f.p.cmd.Wait()
		f.p.again()
	}
	return died
}

// everyMoment says that a process is killed at each moment there is, and not only at some of them.
func everyMoment() bool { return os.Getenv("STARLIGHT_STEPS") == "all" }

// moments calls once for moments at which a process can die: before the first commit of an act, after it, before the
// second, and so on, until it has survived twice. It takes some of them by chance, and with STARLIGHT_STEPS=all each: then
// it died at least so often.
func (f *fuse) moments(what string, least int, once func(n, point int) (died bool)) (deaths int) {
	f.t.Helper()
	n, step, most := 0, 1, 4
	if everyMoment() {
		most = 1
	}
	for alive := 0; alive < 2; step += 1 + rand.IntN(most) {
		sides := []int{-step, step}
		if !everyMoment() {
			sides = sides[:1+rand.IntN(2)]
		}
		for _, point := range sides {
			if alive++; once(n, point) {
				deaths, alive = deaths+1, 0
			}
			n++
		}
	}
	f.t.Logf("%s was killed at %d moments", what, deaths)
	if everyMoment() && deaths < least || deaths == 0 {
		f.t.Errorf("%s has more steps", what)
	}
	return deaths
}

// mortal is the whole system in a process that can be told to die.
type mortal struct {
	*site
	*fuse
	cfg   system.Config
	admin string
}

func startMortal(t *testing.T, smtpURL string) *mortal {
	t.Helper()
	cfg := config(t.TempDir())
	cfg.HTTP, cfg.NATS, cfg.Leaf = testkit.FreeAddress(t), testkit.FreeAddress(t), testkit.FreeAddress(t)
	p := spawn(t, "crashing", nil, cfg.Data, cfg.HTTP, cfg.NATS, cfg.Leaf, smtpURL)
	s := &site{t: t, url: "http://" + cfg.HTTP, timeout: 5 * time.Second}
	admin := s.login(adminEmail)
	s.set(admin, "payment.sandbox", "true")
	s.set(admin, "payment.poll_after", "1s")
	s.set(admin, "user.access_ttl", "30m")
	return &mortal{site: s, fuse: &fuse{t: t, p: p, dir: cfg.Data}, cfg: cfg, admin: s.login(adminEmail)}
}

// A purchase and its refund, with the process killed before and after every commit of their way: from the payer's consent
// through callback, payment, tickets and news to the money's return. Whatever the moment, the order has its tickets in
// the end, the money is collected once and given back once, and the records agree.
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	s := startMortal(t, "")
	admin := s.admin
	s.anyOrders(admin)
	event := s.concert(admin, 10000, 1500)

	status := func(o api.Order, want string) func() error {
		return func() error {
			got, err := s.send("GET", "/v1/orders/"+o.ID.String(), admin, nil)
			if err != nil {
				return err
			}
			return got.is(200, `"status":"`+want+`"`)
		}
	}
	var paid []api.Order
	var payments []ids.Payment
	buy := func() (api.Order, ids.Payment) {
		o := call[api.Order](s.site, 201, "POST", "/v1/orders", admin, seats(event, 2))
		pay := call[api.Payment](s.site, 201, "POST", "/v1/orders/"+o.ID.String()+"/payments", admin, api.NewPayment{Provider: "sandbox"})
		paid, payments = append(paid, o), append(payments, pay.ID)
		return o, pay.ID
	}
	consent := func(pay ids.Payment) func() error {
		return func() error {
			got, err := s.send("POST", "/v1/sandbox/payments/"+pay.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
			if err != nil {
				return err
			}
			return got.is(202, "")
		}
	}
	// Before and after three commits: the consent, the callback with what it means, the tickets. After the last commit the
	// outcome is there to be seen, so that moment may be missed.
	s.moments("a purchase", 5, func(_, point int) bool {
		o, pay := buy()
		return s.survive("payment ticketing", point, consent(pay), status(o, api.OrderPaid))
	})
	refund := func(n int) func() error {
		return func() error {
			got, err := s.send("POST", "/v1/payments/"+payments[n].String()+"/refunds", admin, api.NewRefund{}, "Idempotency-Key", "refund-"+payments[n].String())
			if err != nil {
				return err
			}
			return got.is(201, "")
		}
	}
	// The last moment may be missed here, too; and commits of what comes together are one.
	refunded := 0
	s.moments("a refund", 10, func(n, point int) bool {
		if refunded = n + 1; n == len(paid) {
			buy()
			testkit.Eventually(t, 60*time.Second, func() error {
				if err := consent(payments[n])(); err != nil {
					return err
				}
				return status(paid[n], api.OrderPaid)()
			})
		}
		return s.survive("payment ticketing", point, refund(n), status(paid[n], api.OrderRefunded))
	})
	for ; refunded < len(paid); refunded++ {
		testkit.Eventually(t, 60*time.Second, refund(refunded))
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		if got := s.left(event); got.Sold != 0 || got.Held != 0 {
			return fmt.Errorf("seats did not come back: %+v", got)
		}
		return nil
	})
	mustAudit(t, s.cfg, ops(t, "nats://"+s.cfg.NATS, filepath.Join(s.cfg.Data, "creds")))
}

// decode reads the body of an answer, unless into is nil.
func (a answer) decode(into any) error {
	if into == nil {
		return nil
	}
	return json.Unmarshal(a.body, into)
}

// is checks an answer for its status and for text in its body.
func (a answer) is(status int, text string) error {
	if a.status != status || !strings.Contains(string(a.body), text) {
		return fmt.Errorf("got %d %s", a.status, a.body)
	}
	return nil
}
