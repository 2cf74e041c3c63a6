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

// A process with few descriptors outlives a thousand idle connections to each of its listeners, and serves again once
// they are gone.
func TestIdleConnectionsDoNotEndTheProcess(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell to set a limit with")
	}
	s := upWith(t, filepath.Join(t.TempDir(), "data"), func(cmd *exec.Cmd) {
		cmd.Args = append([]string{sh, "-c", `ulimit -n 400 && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = sh
	})
	serves := func() error {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(s.ready[""] + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := serves(); err != nil {
		t.Fatal(err)
	}
	var idle []net.Conn
	for _, url := range []string{s.ready[""], s.ready["ops"]} {
		for range 500 {
			c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			idle = append(idle, c)
		}
	}
	for _, c := range idle {
		c.Close()
	}
	testkit.Eventually(t, 20*time.Second, serves)
	s.end(syscall.SIGTERM)
}
