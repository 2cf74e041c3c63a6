package testkit

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun/driver/pgdriver"
)

// Main runs the tests of a package and keeps one PostgreSQL for all of them: func TestMain(m *testing.M) {
// testkit.Main(m) }. Without it a server is started whenever a test needs one and none is running.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has more to do. It returns the exit code.
func Run(m *testing.M) int {
	machine.mu.Lock()
	machine.users++
	machine.mu.Unlock()
	defer machine.release()
	return m.Run()
}

// machine is the one server of a test binary. It is shared because starting a server takes longer than most tests.
var machine cluster

// cluster is a PostgreSQL server with a count of those who use it.
type cluster struct {
	mu    sync.Mutex
	users int
	admin *url.URL // of a database in which others can be created; nil when the server is not running
	stop  func()
}

// acquire returns the running server, started if need be.
func acquire(t testing.TB) (*cluster, func()) {
	t.Helper()
	machine.mu.Lock()
	defer machine.mu.Unlock()
	if machine.admin == nil {
		if given := os.Getenv("STARLIGHT_TEST_DATABASE_URL"); given != "" {
			u, err := url.Parse(given)
			if err != nil {
				t.Fatal("testkit: STARLIGHT_TEST_DATABASE_URL cannot be parsed")
			}
			machine.admin, machine.stop = u, func() {}
		} else {
			bin, err := binaries()
			if err != nil {
				missing(t, err.Error())
			}
			admin, stop, err := start(bin)
			if err != nil {
				t.Fatalf("testkit: start PostgreSQL of %s: %v", bin, err)
			}
			machine.admin, machine.stop = admin, stop
		}
	}
	machine.users++
	return &machine, machine.release
}

// release stops the server after its last user.
func (c *cluster) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
	if c.users == 0 && c.admin != nil {
		c.stop()
		c.admin = nil
	}
}

// create makes a database with a name of its own.
func (c *cluster) create(ctx context.Context) (dsn string, drop func(), err error) {
	c.mu.Lock()
	admin := *c.admin
	c.mu.Unlock()
	name := "test_" + strings.ToLower(rand.Text()[:16])
	if err := execute(ctx, admin.String(), "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", nil, err
	}
	fresh := admin
	fresh.Path = "/" + name
	return fresh.String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		execute(ctx, admin.String(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	}, nil
}

func execute(ctx context.Context, dsn, query string) error {
	db := sql.OpenDB(pgdriver.NewConnector(pgdriver.WithDSN(dsn), pgdriver.WithReadTimeout(time.Minute)))
	defer db.Close()
	_, err := db.ExecContext(ctx, query)
	return err
}

// binaries returns the folder of the newest PostgreSQL on this machine.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
		return filepath.Dir(newest), nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("initdb is neither in /usr/lib/postgresql nor in PATH")
	}
	return filepath.Dir(initdb), nil
}

// version returns N of /usr/lib/postgresql/N/bin/initdb.
func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// start makes a data folder and runs a server on it, listening on 127.0.0.1. The data need not survive anything, so
// nothing is synced.
func start(bin string) (admin *url.URL, stop func(), err error) {
	dir, err := os.MkdirTemp("", "starlight-pg-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	attr, err := unprivileged(dir)
	if err != nil {
		return nil, nil, err
	}
	password := rand.Text()
	secret := filepath.Join(dir, "password")
	// within a folder that only the server's user may enter
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		return nil, nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "starlight", "-A", "scram-sha-256",
		"--pwfile", secret, "-E", "UTF8", "--locale", "C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, nil, err
	}
	defer logFile.Close()
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", "",
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "synchronous_commit=off", "-c", "max_connections=300", "-c", "autovacuum=off", "-c",
		"deadlock_timeout=20ms")
	server.SysProcAttr, server.Dir, server.Stdout, server.Stderr = attr, dir, logFile, logFile
	exited, err := spawn(server)
	if err != nil {
		return nil, nil, err
	}
	stop = func() {
		halt(server, exited)
		remove()
	}
	admin = &url.URL{Scheme: "postgres", User: url.UserPassword("starlight", password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable"}
	if err := ready(admin.String(), exited); err != nil {
		text, _ := os.ReadFile(logFile.Name())
		stop()
		return nil, nil, fmt.Errorf("%w\n%s", err, text)
	}
	return admin, stop, nil
}

// spawn starts cmd from a thread that lives as long as cmd does: the kernel's promise to stop a child with its parent
// is tied to the thread that made it.
func spawn(cmd *exec.Cmd) (exited <-chan error, err error) {
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
			close(done)
		}
	}()
	return done, <-started
}

// halt asks the server to stop at once, and makes it after ten seconds.
func halt(cmd *exec.Cmd, exited <-chan error) {
	cmd.Process.Signal(os.Interrupt) // "fast shutdown": sessions are cut off
	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	select {
	case <-exited:
	case <-t.C:
		cmd.Process.Kill()
		<-exited
	}
}

// ready waits until the server takes connections.
func ready(dsn string, exited <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := execute(ctx, dsn, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return errors.New("the server ended")
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		case <-tick.C:
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// between returns a listener for what stands between a test and the database at dsn, the URL of the database through
// it, and the way from there to the database itself: TCP, or a socket in a folder.
func between(t testing.TB, dsn string) (ln net.Listener, through string, dial func() (net.Conn, error)) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	network, target, q := "tcp", u.Host, u.Query()
	if folder := q.Get("host"); folder != "" {
		network, target = "unix", folder+"/.s.PGSQL."+u.Port()
		q.Del("host")
	}
	u.Host, u.RawQuery = ln.Addr().String(), q.Encode()
	return ln, u.String(), func() (net.Conn, error) { return net.Dial(network, target) }
}
