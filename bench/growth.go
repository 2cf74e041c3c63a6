package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ordersOfEvent is how many orders of the grown system each event has.
const ordersOfEvent = 20_000

// growth compares a system that has orders by the hundred thousand (-orders) with a new one: orders, whole purchases
// and scans at the door of new events. What gets slower with each order that was ever made shows here.
func (b *bench) growth(ctx context.Context) error {
	if !b.wants("system") {
		return nil
	}
	binary, err := build(ctx, b.workDir, b.binary)
	if err != nil {
		return err
	}
	var systems []*system
	defer func() {
		for _, s := range systems {
			_ = s.stop() // its folder goes with all others
		}
	}()
	names := []string{"few", "many"}
	for _, name := range names {
		dir := filepath.Join(b.workDir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		s, err := startSystem(ctx, dir, binary, b.settings)
		if err != nil {
			return err
		}
		systems = append(systems, s)
	}
	before, err := systems[1].footprint()
	if err != nil {
		return err
	}
	if err := b.fill(ctx, systems[1]); err != nil {
		return err
	}
	after, err := systems[1].footprint()
	if err != nil {
		return err
	}
	b.grown("growth", before, after, int64(b.Orders))

	var orders, buys []target
	ledgers, bought := make([]ledger, len(systems)), make([]purchases, len(systems))
	for i, s := range systems {
		seller := seller{name: names[i], client: s.client, tokens: s.buyers, cpu: s.cpu}
		if seller.hot, err = s.sell("Growth", 2500, plenty); err != nil {
			return err
		}
		bought[i].tickets = make(map[string]bool)
		orders = append(orders, target{names[i], orderOp(seller, seller.hot, &ledgers[i]), s.cpu})
		buys = append(buys, target{names[i], purchaseOp(seller, &bought[i]), s.cpu})
	}
	closed := Load{Conns: 64, Duration: b.Duration}
	b.rows = append(b.rows, alternate(ctx, "growth order", "capacity", orders, closed, b.cores, b.Options)...)
	closed.Conns = 32
	b.rows = append(b.rows, alternate(ctx, "growth purchase", "capacity", buys, closed, b.cores, b.Options)...)
	if err := b.growthDoor(ctx, systems, names); err != nil {
		return err
	}
	for i, s := range systems {
		took, err := s.startAgain(ctx)
		if err != nil {
			return err
		}
		r := whole(1, took, 0)
		record(r.Latency, took)
		b.rows = append(b.rows, series{r}.row("growth start", names[i], "capacity", 1, b.cores))
		fmt.Fprintf(b.progress, "%-8s start             %-9s %v\n", "growth", names[i], took.Round(time.Millisecond))
	}
	return nil
}

// startAgain stops the system, starts another on its folder, and returns how long that takes to be ready.
func (s *system) startAgain(ctx context.Context) (time.Duration, error) {
	if err := s.stop(); err != nil {
		return 0, err
	}
	ops, err := freeAddr()
	if err != nil {
		return 0, err
	}
	again := exec.Command(s.cmd.Path, "up", "--data", s.data, "--http", "127.0.0.1:0", "--ops", ops,
		"--nats", "127.0.0.1:0")
	again.Env = s.cmd.Env
	start := time.Now()
	p, err := startProcess("again", filepath.Dir(s.data), again)
	if err != nil {
		return 0, err
	}
	s.process = p
	ready, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := newClient(ops).waitReady(ready, "/readyz", p.ended); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, p.tail())
	}
	return time.Since(start), nil
}

// fill makes orders, which hold their seats, for event after event.
func (b *bench) fill(ctx context.Context, s *system) error {
	start := time.Now()
	var made int64
	for made < int64(b.Orders) && ctx.Err() == nil {
		o, err := s.sell(fmt.Sprintf("Before %d", made/ordersOfEvent+1), 2500, ordersOfEvent)
		if err != nil {
			return err
		}
		var l ledger
		count := min(ordersOfEvent, int64(b.Orders)-made)
		Run(ctx, Load{Conns: 128, Count: count}, orderOp(seller{client: s.client, tokens: s.buyers}, o, &l))
		if got := l.created.Load(); !mostly(got, count-got) {
			return fmt.Errorf("%d of %d orders were made", got, count)
		}
		made += count
	}
	fmt.Fprintf(b.progress, "%-8s %d orders made in %.0f s\n", "growth", made, time.Since(start).Seconds())
	return ctx.Err()
}

// growthDoor scans new tickets at both systems, in turns.
func (b *bench) growthDoor(ctx context.Context, systems []*system, names []string) error {
	runs := make([]series, len(systems))
	counts := make([]doorCounts, len(systems))
	for round := range b.Rounds {
		for i := range systems {
			if round%2 == 1 {
				i = len(systems) - 1 - i
			}
			s := systems[i]
			o, err := s.sell(fmt.Sprintf("Growth door %d", round+1), 0, int64(b.Tickets+perOrder))
			if err != nil {
				return err
			}
			codes, err := freeTickets(ctx, s, o, b.Tickets)
			if err != nil {
				return err
			}
			door := target{names[i], admitOp(s, o, codes, "admitted", &counts[i]), s.cpu}
			r := measure(ctx, door, Load{Conns: 64, Count: int64(len(codes))})
			runs[i] = append(runs[i], r)
			fmt.Fprintf(b.progress, "%-8s door     round %d  %-9s %8.0f/s\n", "growth", round+1, names[i], r.Goodput())
		}
	}
	for i, name := range names {
		b.rows = append(b.rows, runs[i].row("growth door", name, "capacity", 64, b.cores))
		right, wrong, unknown := counts[i].right.Load(), counts[i].wrong.Load(), counts[i].unknown.Load()
		b.check("growth door", name, "every ticket is admitted", wrong == 0 && mostly(right, unknown),
			"%d admitted, %d otherwise, %d with unknown outcome", right, wrong, unknown)
	}
	return nil
}
