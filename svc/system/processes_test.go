package system_test

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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// The test binary starts itself again as what this variable says: starlight with a command line, or a NATS server with
// a configuration file and an address, as nats-server would be started.
const actAs = "STARLIGHT_TEST_ACT_AS"

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

// process is one that runs. It is killed when the test ends.
type process struct {
	t    *testing.T
	args []string
	env  []string
	cmd  *exec.Cmd
	log  string

	program string // another one than the test binary
}

// spawn starts a process and waits until it says that it is ready.
func spawn(t *testing.T, as string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: args, env: append(env, actAs+"="+as), log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(p.end)
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) start() error {
	p.cmd = exec.Command(cmp.Or(p.program, os.Args[0]), p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
	said, _ := os.ReadFile(p.log)
	return fmt.Errorf("%v did not become ready: %s", p.args, said)
}

// kill ends the process without a word.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// end kills the process, and shows what it said last if the test failed.
func (p *process) end() {
	p.kill()
	if !p.t.Failed() {
		return
	}
	said, _ := os.ReadFile(p.log)
	lines := strings.Split(string(said), "\n")
	p.t.Logf("%v said:\n%s", p.args, strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

// again starts the process anew after it was killed.
func (p *process) again() {
	p.t.Helper()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

// terminate asks the process to end, and reports how it did.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		said, _ := os.ReadFile(p.log)
		_, race, _ := strings.Cut(string(said), "WARNING: DATA RACE")
		p.t.Errorf("the process %v did not end cleanly: %v\n%s", p.args, err, race[:min(len(race), 10_000)])
	}
}
