package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// RoleCPU is the processor time that a role spends on an operation.
type RoleCPU struct {
	Scenario string  `json:"scenario"`
	Role     string  `json:"role"`
	Micros   float64 `json:"us"`
}

// rolesOfPurchase are the roles with a process each, in the order in which they are started.
func rolesOfPurchase() []string {
	return []string{"config", "user", "event", "ticketing", "payment", "notification", "analytics", "gateway"}
}

// roles runs whole purchases on a system of processes, one for each role and one for the broker, which tells where the
// processor time of a purchase goes. What one process saves, such as messages within it, is spent here.
func (b *bench) roles(ctx context.Context) (err error) {
	if !b.wants("system") {
		return nil
	}
	dir := filepath.Join(b.workDir, "roles")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	binary, err := build(ctx, b.workDir, b.binary)
	if err != nil {
		return err
	}
	broker, at, err := b.start(ctx, "broker", []string{"-dir", dir}, nil)
	if err != nil {
		return err
	}
	processes := map[string]*process{"broker": broker}
	defer func() {
		for _, name := range rolesOfPurchase() {
			if p := processes[name]; p != nil {
				err = errors.Join(err, p.stop(syscall.SIGTERM, 20*time.Second))
			}
		}
	}()
	address, err := freeAddr()
	if err != nil {
		return err
	}
	const email = "bench@example.org"
	password := rand.Text()
	ops := map[string]*Client{}
	for _, role := range rolesOfPurchase() {
		own, err := freeAddr()
		if err != nil {
			return err
		}
		cmd := exec.Command(binary, "run", role, "--data", filepath.Join(dir, "data", role), "--http", address,
			"--ops", own, "--nats-url", at.Addr, "--replicas", "1", "--public-url", "http://"+address)
		cmd.Env = append(os.Environ(), "STARLIGHT_ADMIN_EMAIL="+email, "STARLIGHT_ADMIN_PASSWORD="+password,
			"STARLIGHT_DATABASE_URL=sqlite:"+filepath.Join(dir, "sql"))
		if processes[role], err = startProcess(role, dir, cmd); err != nil {
			return err
		}
		ops[role] = newClient(own)
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, role := range rolesOfPurchase() {
		if err := ops[role].waitReady(ready, "/readyz", processes[role].ended); err != nil {
			return fmt.Errorf("%s: %w\n%s", role, err, processes[role].tail())
		}
	}
	sys := &system{process: processes["gateway"], client: newClient(address), data: dir}
	if err := sys.prepare(ctx, ops["gateway"], email, password, b.settings); err != nil {
		return fmt.Errorf("%w\n%s", err, sys.tail())
	}
	s := seller{name: "system", client: sys.client, tokens: sys.buyers}
	if s.hot, err = sys.sell("Roles", 2500, plenty); err != nil {
		return err
	}
	bought := purchases{tickets: map[string]bool{}}
	s.cpu = func() (all time.Duration) {
		for _, p := range processes {
			all += p.cpu()
		}
		return all
	}
	buy := target{"system", purchaseOp(s, &bought), s.cpu}
	Run(ctx, Load{Conns: 32, Duration: min(warmUp, b.Duration)}, buy.newOp)
	before := map[string]time.Duration{}
	for name, p := range processes {
		before[name] = p.cpu()
	}
	r := measure(ctx, buy, Load{Conns: 32, Duration: b.Duration * time.Duration(b.Rounds)})
	settle(ctx, s.cpu) // the mails belong to the purchases
	for _, name := range append(rolesOfPurchase(), "broker") {
		used := float64((processes[name].cpu() - before[name]).Microseconds())
		b.roleCPU = append(b.roleCPU, RoleCPU{"roles", name, used / float64(max(r.Good, 1))})
	}
	b.rows = append(b.rows, series{r}.row("roles", "system", "capacity", 32, b.cores))
	return ctx.Err()
}

func (r Report) roleTable(t *strings.Builder) {
	if len(r.Roles) == 0 {
		return
	}
	t.WriteString("\nProcessor time of a purchase by role, each in a process of its own:\n\n" +
		"| role | µs |\n|---|---:|\n")
	for _, x := range r.Roles {
		fmt.Fprintf(t, "| %s | %.0f |\n", x.Role, x.Micros)
	}
}
