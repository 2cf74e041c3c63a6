package command_test

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A mail server that takes connections and does not answer does not keep the program from stopping.
func TestStopIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	called := make(chan net.Conn, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			called <- c
		}
	}()
	const bound = 6 * time.Second
	s := upWith(t, filepath.Join(t.TempDir(), "data"), func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "STARLIGHT_SMTP_URL=smtp://"+ln.Addr().String())
	}, "--stop-within", bound.String())
	resp, err := http.Post(s.ready[""]+"/v1/users", "application/json",
		strings.NewReader(`{"email":"ada@example.org","password":"correct horse","name":"Ada"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case c := <-called:
		defer c.Close()
	case <-time.After(testkit.Within(20 * time.Second)):
		t.Fatal("no mail is sent")
	}
	start := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case <-ended:
		t.Logf("it took %s and said %q", time.Since(start), said(s.log.String()))
	case <-time.After(bound + 4*time.Second):
		s.cmd.Process.Kill()
		<-ended
		t.Fatalf("it still runs after %s", time.Since(start))
	}
}
