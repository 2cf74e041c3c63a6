package command_test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The demo of a venue finds the demo of the system beside it by its defaults, and goes through to the end.
func TestEdgeDemo(t *testing.T) {
	dir := t.TempDir()
	s := up(t, filepath.Join(dir, "data"), "--demo")
	cmd := program(t, nil, "edge", "--demo", "--http", "127.0.0.1:0")
	cmd.Dir = dir
	var log testkit.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "ready") {
			break
		}
	}
	for _, want := range []string{"The line is cut:", "no line, ", "sell two more", "18.00 EUR back", "The line is joined.",
		"3 of 10 seats sold", "5 tickets, 90.00 EUR, 3 admitted", "ready  http://"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", text.String(), log.String())
	}
	stop(t, cmd)
	// That computer is gone with all that it had. It is closed once, however often an operator says so.
	var reports [2]string
	for i := range reports {
		closing := program(t, nil, "venue", "close", regexp.MustCompile("ven_[a-z0-9]+").FindString(text.String()), "--reason", "it was a demo")
		closing.Dir = dir
		said, err := closing.CombinedOutput()
		if reports[i] = string(said); err != nil || !strings.Contains(reports[i], "1 doors, 1 leases, 7 seats unknown") {
			t.Errorf("%s%v", said, err)
		}
	}
	if reports[0] != reports[1] {
		t.Errorf("the reports are %q", reports)
	}
	s.end(syscall.SIGTERM)
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("it leaves %v behind, %v", left, err)
	}
	fails(t, nil, "starlight up --demo", "edge", "--demo")
	fails(t, nil, "without --venue", "edge", "--demo", "--venue", "ven_x")
	fails(t, nil, "--venue, --hub and --creds", "edge")
}

// stop ends a process as an operator does.
func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("its end: %v", err)
	}
}
