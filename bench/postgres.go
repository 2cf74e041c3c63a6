package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/uptrace/bun/driver/pgdriver"
)

// postgres is a database server from the machine's own binaries, in a temporary folder.
type postgres struct {
	*process
	dir     string
	url     string
	version string
}

// postgresSettings are the server's defaults where durability is concerned, said aloud, and otherwise kind to it: no
// checkpoint falls into a measurement for want of room.
func postgresSettings() []string {
	return []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=256MB",
		"max_wal_size=4GB", "max_connections=200", "unix_socket_directories=", "log_min_messages=warning"}
}

// findPostgres returns the path of a PostgreSQL program: on PATH, or where Debian keeps it.
func findPostgres(program string) (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if len(found) > 0 {
		return slices.Max(found), nil
	}
	return exec.LookPath(program)
}

// startPostgres makes a new cluster in a folder of its own under parent, and starts it with fsync on. Its output goes
// to logs.
func startPostgres(ctx context.Context, parent, logs string, settings []string) (_ *postgres, err error) {
	initdb, err := findPostgres("initdb")
	if err != nil {
		return nil, fmt.Errorf("no PostgreSQL on this machine: %w", err)
	}
	server, err := findPostgres("postgres")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "starlight-bench-pg-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	password := rand.Text()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil { // the folder itself is closed to others
		return nil, err
	}
	data := filepath.Join(dir, "data")
	make := exec.CommandContext(ctx, initdb, "-D", data, "-U", "bench", "--auth=scram-sha-256", "--pwfile="+secret,
		"--encoding=UTF8", "--locale=C")
	make.Dir = dir
	if err := demote(make, dir); err != nil {
		return nil, err
	}
	if out, err := make.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-p", addr[len("127.0.0.1:"):]}
	for _, setting := range append(postgresSettings(), settings...) {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(server, args...)
	cmd.Dir = dir
	if err := demote(cmd, dir); err != nil {
		return nil, err
	}
	p := &postgres{dir: dir, url: "postgres://bench:" + password + "@" + addr + "/postgres?sslmode=disable"}
	if p.process, err = startProcess("postgres", logs, cmd); err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		err = fmt.Errorf("PostgreSQL: %w\n%s", err, p.tail())
		_ = p.process.stop(syscall.SIGQUIT, time.Second)
		return nil, err
	}
	return p, nil
}

// await returns when the server answers queries.
func (p *postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	db := sql.OpenDB(pgdriver.NewConnector(pgdriver.WithDSN(p.url)))
	defer db.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.QueryRowContext(ctx, "SHOW server_version").Scan(&p.version)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-p.ended:
			return err
		case <-tick.C:
		}
	}
}

// stop ends the server and removes its folder. SIGINT is its "fast" shutdown.
func (p *postgres) stop() error {
	err := p.process.stop(syscall.SIGINT, 10*time.Second)
	if rmErr := os.RemoveAll(p.dir); err == nil {
		err = rmErr
	}
	return err
}
