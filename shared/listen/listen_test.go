package listen_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/listen"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// failing is a listener whose Accept fails some times before it does its work.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	}
	return f.Listener.Accept()
}

func local(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func config(log io.Writer) listen.Config {
	return listen.Config{Name: "test", Log: slog.New(slog.NewTextHandler(log, nil)), Registry: observe.NewRegistry()}
}

func dial(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func accept(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAcceptGoesOnWhenDescriptorsRunOut(t *testing.T) {
	var log testkit.Buffer
	raw := local(t)
	ln := listen.New(&failing{raw, []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS}},
		config(&log))
	dial(t, raw)
	accept(t, ln)
	if n := strings.Count(log.String(), "cannot be taken"); n != 1 {
		t.Errorf("it is told %d times, want once: %s", n, log.String())
	}
}

func TestAcceptFailsWhenTheListenerIsBroken(t *testing.T) {
	ln := listen.New(&failing{local(t), []error{syscall.EINVAL}}, config(io.Discard))
	if _, err := ln.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Accept says %v, want EINVAL", err)
	}
}

func TestCloseEndsTheWait(t *testing.T) {
	many := make([]error, 1000)
	for i := range many {
		many[i] = syscall.EMFILE
	}
	ln := listen.New(&failing{local(t), many}, config(io.Discard))
	ended := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		ended <- err
	}()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept says %v, want net.ErrClosed", err)
		}
	case <-time.After(testkit.Within(10 * time.Second)):
		t.Fatal("Accept does not end")
	}
}

// closed reports whether the other side has closed the connection.
func closed(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestBounds(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*listen.Config)
	}{
		{"in all", func(c *listen.Config) { c.Total = 2 }},
		{"of one address", func(c *listen.Config) { c.PerAddress = func() int { return 2 } }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(io.Discard)
			tc.set(&cfg)
			ln := listen.New(local(t), cfg)
			dial(t, ln)
			first := accept(t, ln)
			dial(t, ln)
			accept(t, ln)
			third := dial(t, ln)
			accepted := make(chan net.Conn)
			go func() {
				c, err := ln.Accept()
				if err != nil {
					t.Error(err)
				}
				accepted <- c
			}()
			if !closed(t, third) {
				t.Error("the third of two is not closed")
			}
			first.Close()
			first.Close() // gives back one place all the same
			dial(t, ln)
			c := <-accepted
			defer c.Close()
			go func() {
				if c, err := ln.Accept(); err == nil {
					c.Close()
					t.Error("closing twice made two places")
				}
			}()
			if !closed(t, dial(t, ln)) {
				t.Error("one too many is not closed")
			}
			ln.Close()
		})
	}
}

func TestProxiesAreNotBoundByAddress(t *testing.T) {
	cfg := config(io.Discard)
	cfg.PerAddress = func() int { return 1 }
	cfg.Exempt = netip.Addr.IsLoopback
	ln := listen.New(local(t), cfg)
	for range 3 {
		dial(t, ln)
		accept(t, ln)
	}
}

func TestRoomStaysBelowTheLimit(t *testing.T) {
	if n := listen.Room(); n < 16 || n > 100_000 {
		t.Errorf("room for %d", n)
	}
}
