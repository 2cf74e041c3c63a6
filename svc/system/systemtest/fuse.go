package systemtest

import (
	"context"
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

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// dieAround returns what ends this process around one commit of some services: the one whose number stands second in
// the file "crash" of a folder, counted from when that file came, before it if the number is negative. The services
// stand after it. The file is removed first, so it happens once.
func dieAround(dir string) func(service string, done bool) {
	armed := filepath.Join(dir, "crash")
	var mu sync.Mutex
	var commits int
	var counting string
	return func(service string, done bool) {
		text, err := os.ReadFile(armed)
		var serial, at int
		if _, scan := fmt.Sscan(string(text), &serial, &at); err != nil || scan != nil ||
			!strings.Contains(string(text), service) {
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
	cfg := Config(args[0])
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

// Fuse lets a process die where a test wants it to.
type Fuse struct {
	t      *testing.T
	P      *Process
	Dir    string // of its data
	serial int
}

// Survive does something while the process is to die around a commit of services, again and again as a client does, and
// reports whether it died before the outcome was there.
func (f *Fuse) Survive(services string, point int, act func() error, outcome func() error) (died bool) {
	f.t.Helper()
	armed := filepath.Join(f.Dir, "crash")
	f.serial++
	if err := os.WriteFile(armed, fmt.Appendf(nil, "%d %d %s", f.serial, point, services), 0o600); err != nil {
		f.t.Fatal(err)
	}
	acted := false
	testkit.Eventually(f.t, 90*time.Second, func() error {
		if _, err := os.Stat(armed); err != nil && !died { // it has taken the file
			died = true
			f.P.cmd.Wait()
			f.P.Again()
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
		f.P.cmd.Wait()
		f.P.Again()
	}
	return died
}

// EveryMoment says that a process is killed at each moment there is, and not only at some of them.
func EveryMoment() bool { return os.Getenv("STARLIGHT_STEPS") == "all" }

// Moments calls once for moments at which a process can die: before the first commit of an act, after it, before the
// second, and so on, until it has survived twice. It takes some of them by chance, and with STARLIGHT_STEPS=all each:
// then it died at least so often.
func (f *Fuse) Moments(what string, least int, once func(n, point int) (died bool)) (deaths int) {
	f.t.Helper()
	n, step, most := 0, 1, 4
	if EveryMoment() {
		most = 1
	}
	for alive := 0; alive < 2; step += 1 + rand.IntN(most) {
		sides := []int{-step, step}
		if !EveryMoment() {
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
	if EveryMoment() && deaths < least || deaths == 0 {
		f.t.Errorf("%s has more steps", what)
	}
	return deaths
}

// Mortal is the whole system in a process that can be told to die.
type Mortal struct {
	*Site
	*Fuse
	Cfg   system.Config
	Admin string
}

// StartMortal starts a whole system in a process that can be told to die, which sends its mails to the URL.
func StartMortal(t *testing.T, smtpURL string) *Mortal {
	t.Helper()
	cfg := Config(t.TempDir())
	cfg.HTTP, cfg.NATS, cfg.Leaf = testkit.FreeAddress(t), testkit.FreeAddress(t), testkit.FreeAddress(t)
	p := Spawn(t, "crashing", nil, cfg.Data, cfg.HTTP, cfg.NATS, cfg.Leaf, smtpURL)
	s := &Site{T: t, URL: "http://" + cfg.HTTP, Timeout: 5 * time.Second}
	admin := s.Login(AdminEmail)
	s.Set(admin, "payment.sandbox", "true")
	s.Set(admin, "payment.poll_after", "1s")
	s.Set(admin, "user.access_ttl", "30m")
	return &Mortal{Site: s, Fuse: &Fuse{t: t, P: p, Dir: cfg.Data}, Cfg: cfg, Admin: s.Login(AdminEmail)}
}
