package command_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// run runs a command line and returns what it printed.
func run(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = command.Main(args, &o, &e)
	return code, o.String(), e.String()
}

func TestAgainstARunningSystem(t *testing.T) {
	data := t.TempDir()
	s, err := system.Start(t.Context(),
		system.Config{Data: data, HTTP: "127.0.0.1:0", Ops: "off", NATS: "127.0.0.1:0",
			AdminPassword: "a long enough one", LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	at := []string{"--data", data, "--nats-url", s.NATSURL()}
	ok := func(want string, args ...string) {
		t.Helper()
		testkit.Eventually(t, 5*time.Second, func() error { // what was just written may take a moment to be seen
			code, out, errs := run(append(args, at...)...)
			if code != 0 || !strings.Contains(out, want) {
				return fmt.Errorf("%v: exit %d, %q, %q; want %q", args, code, out, errs, want)
			}
			return nil
		})
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if code, _, errs := run(append(args, at...)...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %q; want %q", args, code, errs, want)
		}
	}
	ok("How long an unpaid order keeps its seats.", "config", "list")
	ok("10m", "config", "get", "ticketing.hold_ttl")
	ok("10m -> 6m", "config", "set", "--dry-run", "ticketing.hold_ttl", "6m")
	refused("not a duration", "config", "set", "--dry-run", "ticketing.hold_ttl", "soon")
	ok("10m", "config", "get", "ticketing.hold_ttl")
	ok("", "config", "set", "ticketing.hold_ttl", "5m")
	ok("5m", "config", "get", "ticketing.hold_ttl")
	refused("not a duration", "config", "set", "ticketing.hold_ttl", "soon")
	refused("no such setting", "config", "set", "no.such", "1")
	ok("", "config", "set", "ticketing.hold_ttl", "7m")
	ok(`"7m"`, "config", "history", "ticketing.hold_ttl")
	ok("", "config", "rollback", "ticketing.hold_ttl")
	ok("5m", "config", "get", "ticketing.hold_ttl")
	refused("no revision 999", "config", "rollback", "ticketing.hold_ttl", "999")
	ok("", "config", "reset", "ticketing.hold_ttl")
	ok("10m", "config", "get", "ticketing.hold_ttl")
	ok(" nats ", "config", "history", "ticketing.hold_ttl")
	base := filepath.Join(t.TempDir(), "base.conf")
	file := func(text string) {
		t.Helper()
		if err := os.WriteFile(base, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file("ticketing.hold_ttl = 8m\nuser.site_name = Nocturne\nlog.level = loud\n")
	refused("log.level: value: ", "config", "base", base)
	file("ticketing.hold_ttl = 8m\nuser.site_name = Nocturne\n")
	ok("ticketing.hold_ttl: (none) -> 8m", "config", "base", "--dry-run", base)
	ok("10m", "config", "get", "ticketing.hold_ttl")
	ok("user.site_name: (none) -> Nocturne", "config", "base", base)
	ok("8m", "config", "get", "ticketing.hold_ttl")
	ok(" base ", "config", "list")
	ok("", "config", "set", "payment.sandbox", "true") // with admin.creds
	if err := os.Remove(filepath.Join(data, "creds", "admin.creds")); err != nil {
		t.Fatal(err)
	}
	refused("administrators alone", "config", "set", "payment.sandbox", "false")
	refused("administrators alone", "config", "reset", "base.ticketing.hold_ttl")
	refused("administrators alone", "config", "base", base)
	ok("", "config", "set", "ticketing.hold_ttl", "9m")
	refused("administrators alone", "config", "set", "payment.sandbox", "false", "--nats-creds",
		filepath.Join(data, "creds", "ops.creds"))
	ok("true", "config", "get", "payment.sandbox")
	ok("ready", "logs", "--level", "info")
	ok("ok ", "audit")
	ok("gateway", "mesh", "ls")
	ok("ticketing", "mesh", "map")
	ok("<svg ", "mesh", "map", "--format", "svg")
	ok("flowchart LR", "mesh", "map", "--format", "mermaid")
	ok("REQUESTS/S", "mesh", "top", "--count", "1", "--every", "100ms")
	ok("all is as declared", "mesh", "drift")
}

// A mail that the mail server refuses for good is a dead letter, which an operator sees and hands over once more.
func TestDeadLetters(t *testing.T) {
	data, mails := t.TempDir(), testkit.NewMailServer(t, "127.0.0.1:0")
	mails.Answer("DATA", "554 5.6.0 not from you")
	s, err := system.Start(t.Context(),
		system.Config{Data: data, HTTP: "127.0.0.1:0", Ops: "off", NATS: "127.0.0.1:0",
			AdminPassword: "a long enough one", LogTo: io.Discard,
			SMTPURL: "smtp://" + mails.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	at := []string{"--data", data, "--nats-url", s.NATSURL()}
	resp, err := http.Post(s.URL()+"/v1/users", "application/json",
		strings.NewReader(`{"email":"ada@example.org","password":"a long enough one","name":"Ada"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	letter := regexp.MustCompile(
		`(?m)^(\d+) +\S+ +notify-email-urgent +notify\.email\.urgent +"invalid: the mail server refuses the mail for good: .*5\.6\.0 not from you`)
	replay := []string{"dead", "replay"}
	testkit.Eventually(t, 30*time.Second, func() error {
		code, out, errs := run(append([]string{"dead", "list"}, at...)...)
		found := letter.FindAllStringSubmatch(out, -1)
		if code != 0 || len(found) != 2 { // the administrator is welcome too
			return fmt.Errorf("exit %d, %q, %q", code, out, errs)
		}
		replay = append(replay, found[0][1], found[1][1])
		return nil
	})
	if code, _, errs := run(append([]string{"dead", "replay", "999"}, at...)...); code != 1 ||
		!strings.Contains(errs, "999: there is no such dead letter") {
		t.Errorf("exit %d, %q", code, errs)
	}
	if code, _, errs := run(append([]string{"dead", "drop", "999"}, at...)...); code != 1 ||
		!strings.Contains(errs, "999: there is no such dead letter") {
		t.Errorf("exit %d, %q", code, errs)
	}
	mails.Answer("DATA", "")
	if code, out, errs := run(append(replay, at...)...); code != 0 || strings.Count(out, "replayed") != 2 {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		code, out, errs := run(append([]string{"dead", "list"}, at...)...)
		if got := mails.Mails(); len(got) != 2 || !strings.Contains(got[0]+got[1], "ada@example.org") || code != 0 ||
			letter.MatchString(out) {
			return fmt.Errorf("mails %q; exit %d, %q, %q", got, code, out, errs)
		}
		return nil
	})
}

func TestAudit(t *testing.T) {
	data := t.TempDir()
	if code, _, errs := run("audit", "--data", data, "--nats-url", "nats://127.0.0.1:1", "--nats-creds",
		data); code != 1 || errs == "" {
		t.Errorf("audit of nothing: exit %d, %q", code, errs)
	}
}

func TestWithoutASystem(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"openapi"}, {"--help"},
		{"auth", "init", filepath.Join(t.TempDir(), "auth")}} {
		if code, out, errs := run(args...); code != 0 || out == "" {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	for _, args := range [][]string{{"nonsense"}, {"run", "ticketing"}, {"run", "juggler"}, {"up", "--tls-cert", "x"},
		{"config", "get", "no.such"}} {
		if code, _, errs := run(args...); code != 1 ||
			!strings.HasPrefix(errs[strings.LastIndex(strings.TrimSpace(errs), "\n")+1:], "starlight: ") {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
}

// The version is asked for in either way, and is that of the build.
func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		var out, err bytes.Buffer
		if code := command.Main([]string{arg}, &out, &err); code != 0 ||
			out.String() != "starlight "+system.BuildVersion()+"\n" || err.Len() > 0 {
			t.Errorf("%s: exit %d, %q, %q", arg, code, out.String(), err.String())
		}
	}
}
