package systemtest

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// ActAs makes the test binary, which starts itself again, what this variable says: starlight with a command line, or a
// NATS server with a configuration file and an address, as nats-server would be started.
const ActAs = "STARLIGHT_TEST_ACT_AS"

// Main is TestMain of a package that tests whole systems: this process is the tests, or a part of a system under test.
func Main(m *testing.M) {
	if as := os.Getenv(ActAs); as != "" {
		os.Exit(act(as))
	}
	testkit.AtOnce(3)
	debug.SetGCPercent(400) // systems come and go, and what they leave behind is looked through less often
	testkit.Main(m)
}

func act(as string) int {
	switch as {
	case "starlight":
		return command.Main(os.Args[1:], os.Stdout, os.Stderr)
	case "crashing":
		return crashing(os.Args[1:])
	case "venue":
		return venueComputer(os.Args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := os.Chdir(filepath.Dir(os.Args[1])); err != nil { // its data is beside its configuration
		return 1
	}
	host, port, err := net.SplitHostPort(os.Args[2])
	if err != nil {
		return 1
	}
	args := []string{"-c", os.Args[1], "-a", host, "-p", port}
	opts, err := server.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ContinueOnError), args, nil, nil, nil)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	opts.NoSigs = true
	srv, err := server.NewServer(opts)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	srv.ConfigureLogger()
	srv.Start()
	if !srv.ReadyForConnections(testkit.Within(20 * time.Second)) {
		return 1
	}
	os.Stdout.WriteString("ready\n")
	<-ctx.Done()
	srv.Shutdown()
	srv.WaitForShutdown()
	return 0
}

// Process is one that runs. It is killed when the test ends.
type Process struct {
	T    *testing.T
	Args []string
	Env  []string
	cmd  *exec.Cmd
	Log  string

	program string // another one than the test binary
}

// Spawn starts a process and waits until it says that it is ready.
func Spawn(t *testing.T, as string, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{T: t, Args: args, Env: append(env, ActAs+"="+as), Log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(p.end)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// Start starts the process and waits until it says that it is ready.
func (p *Process) Start() error {
	p.cmd = exec.Command(cmp.Or(p.program, os.Args[0]), p.Args...)
	p.cmd.Env = append(os.Environ(), p.Env...)
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			go io.Copy(io.Discard, out) // ends with the process
			return nil
		}
	}
	p.cmd.Wait()
	said, _ := os.ReadFile(p.Log)
	return fmt.Errorf("%v did not become ready: %s", p.Args, said)
}

// Kill ends the process without a word.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// end kills the process, and shows what it said last if the test failed.
func (p *Process) end() {
	p.Kill()
	if !p.T.Failed() {
		return
	}
	said, _ := os.ReadFile(p.Log)
	lines := strings.Split(string(said), "\n")
	p.T.Logf("%v said:\n%s", p.Args, strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

// Again starts the process anew after it was killed.
func (p *Process) Again() {
	p.T.Helper()
	if err := p.Start(); err != nil {
		p.T.Fatal(err)
	}
}

// Terminate asks the process to end, and reports how it did.
func (p *Process) Terminate() {
	p.T.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.T.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		said, _ := os.ReadFile(p.Log)
		_, race, _ := strings.Cut(string(said), "WARNING: DATA RACE")
		p.T.Errorf("the process %v did not end cleanly: %v\n%s", p.Args, err, race[:min(len(race), 10_000)])
	}
}
