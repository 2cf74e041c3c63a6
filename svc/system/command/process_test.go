package command_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// mainEnv makes the test binary be the program.
const mainEnv = "STARLIGHT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// program returns the command line as a process of its own, in an environment without any STARLIGHT_ but env.
func program(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "STARLIGHT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(append(cmd.Env, mainEnv+"=1"), env...)
	cmd.Dir = t.TempDir()
	return cmd
}

// execute runs a command to its end.
func execute(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := program(t, env, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	switch failure, exit := cmd.Run(), (*exec.ExitError)(nil); {
	case errors.As(failure, &exit):
		code = exit.ExitCode()
	case failure != nil:
		t.Fatal(failure)
	}
	return code, out.String(), err.String()
}

// said returns what a command told the person who ran it: standard error without the log.
func said(stderr string) []string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// fails runs a command that must end with 1 and one sentence that contains the words.
func fails(t *testing.T, env []string, words string, args ...string) {
	t.Helper()
	code, _, stderr := execute(t, env, args...)
	lines := said(stderr)
	if code != 1 || len(lines) != 1 || !strings.HasPrefix(lines[0], "starlight: ") ||
		!strings.Contains(lines[0], words) {
		t.Errorf("%v: exit %d, %q; want 1 and one sentence with %q", args, code, lines, words)
	}
}

// installation is a running `starlight up`.
type installation struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *bufio.Reader
	lines []string // up to ready
	data  string
	ready map[string]string // "": the gateway; docs, ops, nats
	log   testkit.Buffer
}

// up starts the program on free ports and returns when it says ready.
func up(t *testing.T, data string, args ...string) *installation {
	t.Helper()
	return upWith(t, data, func(*exec.Cmd) {}, args...)
}

// upWith does what up does with a process that was changed before its start.
func upWith(t *testing.T, data string, change func(*exec.Cmd), args ...string) *installation {
	t.Helper()
	args = append([]string{"up", "--data", data, "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--nats",
		"127.0.0.1:0"}, args...)
	s := &installation{t: t, cmd: program(t, nil, args...), data: data, ready: map[string]string{}}
	change(s.cmd)
	log := &s.log
	s.cmd.Stderr = log
	pipe, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	s.out = bufio.NewReader(pipe)
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
			t.Fatalf("it ended before it was ready: %q, %s", s.lines, log.String())
		}
		if s.lines = append(s.lines, strings.TrimSpace(line)); strings.HasPrefix(line, "ready") {
			break
		}
	}
	for _, part := range strings.Split(s.lines[len(s.lines)-1], "  ")[1:] {
		name, url, found := strings.Cut(part, " ")
		if !found {
			name, url = "", part
		}
		s.ready[name], _, _ = strings.Cut(url, " ")
	}
	return s
}

// end sends a signal and waits for a clean end.
func (s *installation) end(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	rest, err := io.ReadAll(s.out)
	if err != nil || !strings.Contains(string(rest), "stopping") {
		s.t.Errorf("after the signal it says %q, %v", rest, err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("after %v: %v", sig, err)
	}
}

// does runs an administrator's command that must succeed, and returns what it prints.
func (s *installation) does(args ...string) string {
	s.t.Helper()
	// which remembers where the system listens
	code, out, stderr := execute(s.t, nil, append(args, "--data", s.data)...)
	if code != 0 || stderr != "" {
		s.t.Errorf("%v: exit %d, %s", args, code, stderr)
	}
	return out
}

// admin returns a command with the flags that lead to the system.
func (s *installation) admin(args ...string) []string {
	return append(args, "--data="+s.data, "--nats-url="+s.ready["nats"])
}

func TestUp(t *testing.T) {
	s := up(t, filepath.Join(t.TempDir(), "data"))
	password := regexp.MustCompile(`^admin  \S+@\S+  password [A-Z2-7]{20,}  \(shown this once\)$`)
	if len(s.lines) != 2 || !password.MatchString(s.lines[0]) {
		t.Errorf("the first start says %q", s.lines)
	}
	for path, want := range map[string]int{s.ready[""] + "/healthz": 200, s.ready["docs"]: 200,
		s.ready["ops"] + "/readyz": 200, s.ready["ops"] + "/metrics": 200} {
		resp, err := http.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	s.settings()
	s.logs()
	ops := strings.TrimPrefix(s.ready["ops"], "http://")
	if code, out, _ := execute(t, nil, "healthy", "--ops", ops); code != 0 || out != "ready\n" {
		t.Errorf("healthy: exit %d, %q", code, out)
	}

	findings := strings.Split(strings.TrimSpace(s.does("audit")), "\n")
	for _, line := range findings {
		if !strings.HasPrefix(line, "ok ") {
			t.Errorf("audit: %s", line)
		}
	}
	if len(findings) < 5 {
		t.Errorf("the audit has %d checks", len(findings))
	}
	taken := func(flag, url string) []string {
		args := []string{"up", "--data=" + t.TempDir()}
		for _, f := range []string{"--http", "--ops", "--nats"} {
			address := "127.0.0.1:0"
			if f == flag {
				_, address, _ = strings.Cut(url, "://")
			}
			args = append(args, f+"="+address)
		}
		return args
	}
	for flag, url := range map[string]string{"--http": s.ready[""], "--ops": s.ready["ops"],
		"--nats": s.ready["nats"]} {
		fails(t, nil, "address already in use", taken(flag, url)...)
	}
	fails(t, nil, s.data+" is used by another process", "up", "--data="+s.data, "--http=127.0.0.1:0", "--ops=off",
		"--nats=127.0.0.1:0")

	s.end(syscall.SIGTERM)
	if out := s.does("audit"); len(strings.Split(strings.TrimSpace(out), "\n")) != len(findings) {
		t.Errorf("audit of the stopped system: %s", out)
	}
	fails(t, nil, "cannot be reached", s.admin("config", "list")...)
	fails(t, nil, "connection refused", "healthy", "--ops", ops)

	again := up(t, s.data)
	if len(again.lines) != 1 {
		t.Errorf("the second start says %q", again.lines)
	}
	if got := again.does("config", "get", "ticketing.hold_ttl"); got != "6m\n" {
		t.Errorf("after the restart the setting is %q", got)
	}
	again.end(os.Interrupt)
}

// settings tries the commands under config. It leaves ticketing.hold_ttl at 6m.
func (s *installation) settings() {
	const key = "ticketing.hold_ttl"
	get := func(want string) {
		s.t.Helper()
		if got := strings.TrimSpace(s.does("config", "get", key)); got != want {
			s.t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	get("10m")
	s.does("config", "set", key, "5m")
	get("5m")
	if list := s.does("config", "list"); !regexp.MustCompile(
		`(?m)^ticketing\.hold_ttl +5m +10m +1s to 24h `).MatchString(list) {
		s.t.Errorf("the list is\n%s", list)
	}
	fails(s.t, nil, key+": value: ", s.admin("config", "set", key, "soon")...)
	fails(s.t, nil, "there is no such setting", s.admin("config", "set", "no.such", "5m")...)
	fails(s.t, nil, "there is no such setting", s.admin("config", "get", "ticketing.*")...)
	for _, verb := range []string{"reset", "history", "rollback"} {
		fails(s.t, nil, "there is no such setting", s.admin("config", verb, "ticketing.hold_tll")...)
	}
	get("5m")
	s.does("config", "reset", key)
	get("10m")
	if got := s.does("config", "rollback", key); got != "5m\n" {
		s.t.Errorf("rollback says %q", got)
	}
	s.does("config", "set", key, "6m")
	history := strings.Split(strings.TrimSpace(s.does("config", "history", key)), "\n")
	if len(history) != 5 || !strings.HasSuffix(history[1], `"6m"`) || !strings.HasSuffix(history[3], "(default)") {
		s.t.Fatalf("the history is %q", history)
	}
	marker := strings.Fields(history[3])[0]
	if got := s.does("config", "rollback", key, marker); got != "10m\n" { // the entry is a return to the default
		s.t.Errorf("rollback to revision %s says %q", marker, got)
	}
	fails(s.t, nil, "has no revision 999999", s.admin("config", "rollback", key, "999999")...)
	s.does("config", "set", key, "6m")
}

// logs finds the change of a setting among the log lines.
func (s *installation) logs() {
	s.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(s.does("logs", "--service", "node"), "to=5m") { // they are shipped a moment later
		if time.Now().After(deadline) {
			s.t.Fatalf("the log has\n%s", s.does("logs"))
		}
	}
	if out := s.does("logs", "--request", "none"); out != "" {
		s.t.Errorf("lines of a request that never was: %s", out)
	}
	fails(s.t, nil, `level "loud" is none of`, s.admin("logs", "--level", "loud")...)
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		words string
		env   []string
		args  []string
	}{
		{"unexpected argument", nil, []string{"fly"}},
		{"unknown flag", nil, []string{"up", "--speed=9"}},
		{"needs STARLIGHT_NATS_URL and STARLIGHT_DATABASE_URL", nil, []string{"run", "event"}},
		{"must be one of", nil, []string{"run", "catering"}},
		{"belong together", nil, []string{"up", "--tls-cert=x.pem"}},
		{"STARLIGHT_ADMIN_PASSWORD_FILE", []string{"STARLIGHT_ADMIN_PASSWORD_FILE=/no/such/file"}, []string{"up"}},
		{"STARLIGHT_DATABASE_URL_FILE", []string{"STARLIGHT_DATABASE_URL_FILE=/no/such/file"}, []string{"audit"}},
		{"credentials", nil, []string{"config", "list"}},
	} {
		fails(t, c.env, c.words, c.args...)
	}
}

func TestPrints(t *testing.T) {
	if code, out, _ := execute(t, nil, "version"); code != 0 || !strings.HasPrefix(out, "starlight ") {
		t.Errorf("version: %d %q", code, out)
	}
	code, out, _ := execute(t, nil, "openapi")
	var document struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(out), &document); err != nil || code != 0 || document.OpenAPI == "" ||
		document.Paths["/v1/orders"] == nil {
		t.Errorf("openapi: %d, %v", code, err)
	}
	if code, out, _ := execute(t, nil, "up", "--help"); code != 0 || !strings.Contains(out, "STARLIGHT_TRUSTED_PROXY") {
		t.Errorf("help: %d\n%s", code, out)
	}
}

func TestAuthInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "auth")
	if code, _, stderr := execute(t, nil, "auth", "init", dir); code != 0 {
		t.Fatal(stderr)
	}
	for _, name := range []string{"auth.conf", "hub.conf", "creds/ops.creds", "creds/node.creds", "creds/gateway.creds",
		"creds/ticketing.creds"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "creds", "ops.creds"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := execute(t, nil, "auth", "init", dir); code != 0 {
		t.Fatal(stderr)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "creds", "ops.creds")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the second time made other credentials, %v", err)
	}
}

// The settings of the program may stand in the environment, and its secrets in files.
func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("a long enough sentence\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	cmd := program(t, []string{"STARLIGHT_DATA=" + filepath.Join(dir, "data"), "STARLIGHT_HTTP=" + address,
		"STARLIGHT_OPS=off", "STARLIGHT_NATS=127.0.0.1:0",
		"STARLIGHT_ADMIN_EMAIL=root@example.org", "STARLIGHT_ADMIN_PASSWORD_FILE=" + secret}) // no argument: up
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready  http://"+address) || strings.Contains(line, "ops http") {
		t.Fatalf("it says %q, %v", line, err)
	}
	resp, err := http.Post("http://"+address+"/v1/sessions", "application/json",
		strings.NewReader(`{"email":"root@example.org","password":"a long enough sentence"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("log in with the password of the file: %d", resp.StatusCode)
	}
}
