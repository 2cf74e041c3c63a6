package command_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

const root = "../../.."

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// help returns what a command line prints with --help; the words before it must be of the grammar.
func help(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := command.Main(append(args, "--help"), &out, &out); code != 0 {
		t.Errorf("%v: exit %d, %s", args, code, out.String())
	}
	return out.String()
}

// variables are those that the program reads: flags, and secrets, which are none.
func variables(t *testing.T) string {
	t.Helper()
	known := help(t, "run", "gateway") + help(t, "logs") + help(t, "up")
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources {
		if !strings.HasSuffix(file, "_test.go") {
			known += read(t, "svc/system/command/"+file)
		}
	}
	return known
}

// What compose.yaml starts is what the program accepts: each role once, as itself and with its own folder of secrets,
// by variables that are flags.
func TestComposeStartsTheProgram(t *testing.T) {
	text := regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(read(t, "compose.yaml"), "")
	known := variables(t)
	var roles []string
	for name, service := range composeServices(text) {
		image := strings.Contains(service, "<<: *member") || strings.Contains(service, "image: starlight")
		m := regexp.MustCompile(`(?m)^    command: \[(.*)\]`).FindStringSubmatch(service)
		if !image {
			continue
		}
		if m == nil {
			t.Errorf("%s has no command", name)
			continue
		}
		var args []string
		for arg := range strings.SplitSeq(m[1], ", ") {
			args = append(args, strings.Trim(arg, `"`))
		}
		help(t, args...)
		if args[0] == "run" {
			roles = append(roles, args[1])
			if name != args[1] || !strings.Contains(service, "subpath: members/"+name+"}") {
				t.Errorf("%s runs %s, without the folder of its secrets", name, args[1])
			}
		}
	}
	sameRoles(t, "compose.yaml", roles)
	for _, name := range regexp.MustCompile(`(?m)\bSTARLIGHT_[A-Z_]+`).FindAllString(text, -1) {
		if !strings.Contains(known, name) {
			t.Errorf("compose.yaml sets %s, which nothing reads", name)
		}
	}
}

// composeServices are the texts of the services, by name.
func composeServices(text string) map[string]string {
	_, text, _ = strings.Cut(text, "\nservices:\n")
	text, _, _ = strings.Cut(text, "\nvolumes:")
	services := map[string]string{}
	starts := regexp.MustCompile(`(?m)^  ([a-z0-9]+):$`).FindAllStringSubmatchIndex(text, -1)
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		services[text[at[2]:at[3]]] = text[at[1]:end]
	}
	return services
}

func sameRoles(t *testing.T, where string, got []string) {
	t.Helper()
	want := system.Names()
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%s starts %v, want %v", where, got, want)
	}
}

// The script that starts a cluster on one machine starts every role.
func TestClusterScript(t *testing.T) {
	m := regexp.MustCompile(`for role in (.*); do`).FindStringSubmatch(read(t, "deploy/cluster"))
	if m == nil {
		t.Fatal("there are no roles")
	}
	sameRoles(t, "deploy/cluster", strings.Fields(m[1]))
	for _, script := range []string{"deploy/cluster", "deploy/backup", "deploy/kubernetes/secrets"} {
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", filepath.Join(root, script)).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func TestUnits(t *testing.T) {
	unit, dir := read(t, "deploy/systemd/starlight@.service"), t.TempDir()
	known := variables(t)
	for _, name := range regexp.MustCompile(`STARLIGHT_[A-Z_]+`).FindAllString(unit+read(t, "deploy/systemd/starlight.env"), -1) {
		if !strings.Contains(known, name) {
			t.Errorf("a unit sets %s, which nothing reads", name)
		}
	}
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: only the variables were checked")
	}
	// It asks whether the program and the person are on this machine.
	unit = strings.NewReplacer("/usr/local/bin/starlight", "/bin/true", "User=starlight", "User=root").Replace(unit)
	service, target := filepath.Join(dir, "starlight@gateway.service"), filepath.Join(dir, "starlight.target")
	for file, text := range map[string]string{service: unit, target: read(t, "deploy/systemd/starlight.target")} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), path, "verify", "--man=no", service, target).CombinedOutput()
	for line := range strings.Lines(string(out)) { // it also tells of other units of the machine
		if strings.Contains(line, dir) || strings.Contains(line, "starlight") {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// Lines go to a log store as they were written, also when it does not take them at first.
func TestLogsGoToAStore(t *testing.T) {
	data := t.TempDir()
	s, err := system.Start(t.Context(), system.Config{Data: data, HTTP: "127.0.0.1:0", Ops: "off", NATS: "127.0.0.1:0",
		AdminPassword: "a long enough one", LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	var got bytes.Buffer
	refusals := 1
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusals--; refusals >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = got.ReadFrom(r.Body)
	}))
	defer store.Close()
	var out, errs bytes.Buffer
	if code := command.Main([]string{"logs", "--to", store.URL + "/insert?x=y", "--data", data, "--nats-url", s.NATSURL()}, &out, &errs); code != 0 {
		t.Fatalf("exit %d, %s", code, errs.String())
	}
	if !strings.Contains(got.String(), `"msg":"ready"`) || !strings.HasPrefix(got.String(), "{") || !strings.HasSuffix(got.String(), "}\n") {
		t.Errorf("the store has %q", got.String())
	}
	if out.Len() > 0 || !strings.Contains(errs.String(), "503") {
		t.Errorf("printed %q, said %q", out.String(), errs.String())
	}
}
