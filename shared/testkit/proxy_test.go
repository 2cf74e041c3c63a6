package testkit_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestProxy(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // an echo
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	p := testkit.NewProxy(t, ln.Addr().String())
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c, bufio.NewReader(c)
	}
	c, lines := dial()
	resume := p.Pause()
	fmt.Fprintln(c, "one")
	came := make(chan string, 1)
	go func() {
		line, _ := lines.ReadString('\n')
		came <- line
	}()
	select {
	case line := <-came:
		t.Errorf("%q came through a proxy that pauses", line)
	default:
	}
	resume()
	if line := <-came; line != "one\n" {
		t.Errorf("got %q", line)
	}
	p.Cut()
	if _, err := lines.ReadString('\n'); err == nil {
		t.Error("the connection was not cut")
	}
	c, lines = dial()
	fmt.Fprintln(c, "two")
	if line, err := lines.ReadString('\n'); line != "two\n" {
		t.Errorf("got %q, %v", line, err)
	}
}
