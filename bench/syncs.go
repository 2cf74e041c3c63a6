package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Syncs is how often an operation makes the system wait for the disk, by what it writes.
type Syncs struct {
	Scenario  string  `json:"scenario"`
	Component string  `json:"component"`
	Each      float64 `json:"each"` // of an operation
}

const (
	tracedPurchases = 40
	tracerPatience  = 10 * time.Second
)

// tracer is a strace of the calls by which a process syncs files.
type tracer struct {
	cmd   *exec.Cmd
	file  string
	ended chan error
}

// startTracer attaches a tracer to a process. It returns nil where there is none.
func startTracer(ctx context.Context, dir string, pid int) *tracer {
	program, err := exec.LookPath("strace")
	if err != nil {
		return nil
	}
	t := &tracer{file: filepath.Join(dir, "strace"), ended: make(chan error, 1)}
	t.cmd = exec.CommandContext(ctx, program, "-f", "-y", "-qq", "-o", t.file, "-p", strconv.Itoa(pid),
		"-e", "trace=fsync,fdatasync,sync_file_range,msync,openat")
	if err := t.cmd.Start(); err != nil {
		return nil
	}
	go func() { t.ended <- t.cmd.Wait() }()
	return t
}

// stop detaches the tracer and returns how often each component was synced.
func (t *tracer) stop(data string) (map[string]int, error) {
	_ = t.cmd.Process.Signal(syscall.SIGINT) // it may have ended already
	select {
	case <-t.ended:
	case <-time.After(tracerPatience):
		_ = t.cmd.Process.Kill()
		<-t.ended
	}
	f, err := os.Open(t.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return countSyncs(f, data)
}

// countSyncs reads what strace has written: a call that syncs a file, or opens one that syncs with each write. What is
// written like that is written once.
func countSyncs(trace io.Reader, data string) (map[string]int, error) {
	counts := map[string]int{}
	lines := bufio.NewScanner(trace)
	for lines.Scan() {
		_, call, _ := strings.Cut(lines.Text(), " ")
		name, args, ok := strings.Cut(strings.TrimSpace(call), "(")
		if !ok || strings.HasPrefix(name, "<") { // the rest of a call that was begun in another line
			continue
		}
		var path string
		if name == "openat" {
			if !strings.Contains(args, "O_SYNC") && !strings.Contains(args, "O_DSYNC") {
				continue
			}
			_, path, _ = strings.Cut(args, `"`)
			path, _, _ = strings.Cut(path, `"`)
		} else {
			_, path, _ = strings.Cut(args, "<")
			path, _, _ = strings.Cut(path, ">")
		}
		rel, err := filepath.Rel(data, path)
		if err != nil || strings.HasPrefix(rel, "..") {
			rel = path
		}
		counts[syncComponent(filepath.ToSlash(rel))]++
	}
	return counts, lines.Err()
}

// syncComponent is component, but tells the state of consumers from the messages of their stream.
func syncComponent(path string) string {
	if parts := strings.Split(path, "/"); slices.Contains(parts, "obs") {
		if i := slices.Index(parts, "obs"); i+1 < len(parts) {
			return "consumer " + parts[i+1]
		}
	}
	return component(path)
}

// syncsOf counts how often a purchase syncs, one buyer at a time, and adds it to the report.
func (b *bench) syncsOf(ctx context.Context, scenario string, sys *system, buy target) error {
	sys.settle(ctx)
	t := startTracer(ctx, b.workDir, sys.cmd.Process.Pid)
	if t == nil {
		return nil
	}
	run := Run(ctx, Load{Conns: 1, Count: tracedPurchases}, buy.newOp)
	sys.settle(ctx)
	counts, err := t.stop(sys.data)
	if err != nil || len(counts) == 0 || run.Good == 0 {
		return err
	}
	var all []Syncs
	total := 0
	for name, n := range counts {
		total += n
		all = append(all, Syncs{scenario, name, float64(n) / float64(run.Good)})
	}
	slices.SortFunc(all, func(a, b Syncs) int {
		return cmp.Or(cmp.Compare(b.Each, a.Each), cmp.Compare(a.Component, b.Component))
	})
	b.syncs = append(b.syncs, Syncs{scenario, "in all", float64(total) / float64(run.Good)})
	b.syncs = append(b.syncs, all...)
	fmt.Fprintf(b.progress, "%-8s %.1f syncs each, of %d\n", scenario, float64(total)/float64(run.Good), run.Good)
	return nil
}

func (r Report) syncTable(t *strings.Builder) {
	if len(r.Syncs) == 0 {
		return
	}
	t.WriteString("\nSyncs of an operation, as strace sees them:\n\n| scenario | | each |\n|---|---|---:|\n")
	for _, x := range r.Syncs {
		if x.Each >= 0.05 {
			fmt.Fprintf(t, "| %s | %s | %.1f |\n", x.Scenario, x.Component, x.Each)
		}
	}
}
