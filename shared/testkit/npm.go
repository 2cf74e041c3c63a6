package testkit

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// NPM returns the folder of an npm package at a version, such as "maildev", "2.2.1", with all it needs. It is installed
// at the first use of a machine and kept in the temporary folder. Without npm, or without a registry to reach, the test
// is skipped, but fails if CI=true.
func NPM(t testing.TB, name, version string) string {
	t.Helper()
	home := filepath.Join(os.TempDir(), "starlight-npm", filepath.Base(name)+"-"+version)
	at := filepath.Join(home, "node_modules", filepath.FromSlash(name))
	if _, err := os.Stat(at); err == nil {
		return at
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(home), "new-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	out, err := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--prefix", fresh,
		name+"@"+version).CombinedOutput()
	if err != nil {
		Missing(t, "npm cannot install "+name+": "+err.Error()+"\n"+string(out))
	}
	// another test process may have been quicker
	if err := os.Rename(fresh, home); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, missing := os.Stat(at); missing != nil {
			t.Fatal(err)
		}
	}
	return at
}

// Node runs a script of an npm package until the test ends, or the returned function is called, and waits until
// something listens at the address.
func Node(t testing.TB, address, script string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command("node", append([]string{script}, args...)...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		Missing(t, "node does not start: "+err.Error())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait()
	}()
	stop = func() {
		cmd.Process.Kill()
		<-done
	}
	t.Cleanup(stop)
	Eventually(t, 60*time.Second, func() error {
		select {
		case <-done:
			return errors.New(script + " has ended")
		default:
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return stop
}

// Port returns a free port of 127.0.0.1, for a program that must be told one.
func Port(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}
