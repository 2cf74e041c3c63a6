package command_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// smallDisk mounts a file system of some megabytes in memory, and unmounts it when the test ends.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		testkit.Missing(t, "a small file system cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all that is left of the disk. Removing the file it returns gives it back.
func fill(t *testing.T, disk string) string {
	t.Helper()
	path := filepath.Join(disk, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if n, err := f.Write(make([]byte, size)); err != nil || n < size {
			size /= 2
		}
	}
	return path
}

// A disk that is full makes the process say that it is not ready. Once there is room again the process ends, with a
// clear word, because the stores that failed open only at a start; that start finds everything. One on a full disk says
// so.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "96m")
	data := filepath.Join(disk, "data")
	s := up(t, data)
	health := func() string {
		resp, err := http.Get(s.ready["ops"] + "/readyz")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(resp.StatusCode, " ", string(text))
	}
	s.does("config", "set", "ticketing.hold_ttl", "6m")
	filler := fill(t, disk)
	attempt := 0
	// until a stream meets the end of what the disk had given it already
	testkit.Eventually(t, 60*time.Second, func() error {
		attempt++
		code, out, stderr := execute(t, nil,
			s.admin("config", "set", "payment.manual_instructions",
				strings.Repeat("pay here ", 100)+fmt.Sprint(attempt))...)
		if got := health(); !strings.HasPrefix(got, "503") || !strings.Contains(got, "takes no writes") {
			return fmt.Errorf("config set: %d %s %s; readyz: %s", code, out, stderr, got)
		}
		return nil
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, s.out)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(testkit.Within(20 * time.Second)):
		t.Fatalf("with room again the process goes on; readyz says %s", health())
	}
	if err := s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if lines := said(s.log.String()); len(lines) == 0 || !strings.Contains(lines[0], "the disk takes writes again") {
		t.Errorf("it ended with the words %q", lines)
	}
	again := up(t, data)
	if got := again.does("config", "get", "ticketing.hold_ttl"); got != "6m\n" {
		t.Errorf("after the restart the setting is %q", got)
	}
	again.end(syscall.SIGTERM)

	fill(t, disk)
	fails(t, nil, "the disk is full", "up", "--data="+data, "--http=127.0.0.1:0", "--ops=off", "--nats=127.0.0.1:0")
}
