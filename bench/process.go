package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that the harness started and will stop.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	stdin io.Closer
}

// startProcess starts cmd with its output in a log file under dir.
func startProcess(name, dir string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	endWithHarness(cmd)
	// A baseline ends when this pipe does: stop needs no signal, and other systems know no endWithHarness.
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

// stop asks the process to end, and makes it after patience. It returns an error in the latter case.
func (p *process) stop(signal os.Signal, patience time.Duration) error {
	p.stdin.Close()
	_ = p.cmd.Process.Signal(signal) // it may have ended already
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s did not end within %v", p.name, patience)
}

// cpu returns the processor time of the process and its children.
func (p *process) cpu() time.Duration { return treeCPU(p.cmd.Process.Pid) }

// tail returns the end of the log, for an error message.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// hello is the line with which a baseline server says that it listens.
type hello struct {
	Addr   string   `json:"addr"`
	Tokens []string `json:"tokens,omitempty"`
}

// startBaseline runs this program again as one of the servers of serve.go, in a process of its own: its processor time
// and its garbage are then told apart from the generator's.
func startBaseline(ctx context.Context, dir, kind string, args, env []string) (*process, hello, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, hello{}, err
	}
	cmd := exec.Command(self, append([]string{"serve", kind}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, hello{}, err
	}
	defer out.Close()
	cmd.Stdout = in
	p, err := startProcess(kind, dir, cmd)
	in.Close()
	if err != nil {
		return nil, hello{}, err
	}
	type answer struct {
		line []byte
		err  error
	}
	first := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadBytes('\n')
		first <- answer{line, err}
	}()
	var h hello
	select {
	case a := <-first:
		if err = a.err; err == nil {
			err = json.Unmarshal(a.line, &h)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = p.stop(syscall.SIGTERM, time.Second)
		return nil, hello{}, fmt.Errorf("baseline %s: %w\n%s", kind, err, p.tail())
	}
	return p, h, nil
}

// freeAddr returns a loopback address on which nobody listens right now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
