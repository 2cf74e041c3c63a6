package testkit

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy hands TCP connections on to a server, and can stand for what a network does to them.
type Proxy struct {
	Addr string // where it listens

	target string
	pass   sync.RWMutex // held for writing while nothing gets through

	mu    sync.Mutex
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

// NewProxy returns a proxy to the server at the address. It is closed when the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: ln.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	p.work.Go(func() { p.accept(ln) })
	t.Cleanup(func() {
		ln.Close()
		p.Cut()
		p.work.Wait()
	})
	return p
}

// Pause lets nothing through, and breaks no connection, until the returned function is called.
func (p *Proxy) Pause() (resume func()) {
	p.pass.Lock()
	return sync.OnceFunc(p.pass.Unlock)
}

// Cut breaks all connections. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) accept(ln net.Listener) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			in.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			p.keep(way[0], true)
			p.work.Go(func() { p.copy(way[0], way[1]) })
		}
	}
}

func (p *Proxy) keep(c net.Conn, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
	}
}

func (p *Proxy) copy(from, to net.Conn) {
	defer p.keep(from, false)
	defer from.Close()
	defer to.Close()
	io.Copy(gated{p, to}, from) // ends when either side does
}

// gated writes when the proxy lets something through.
type gated struct {
	p  *Proxy
	to io.Writer
}

func (g gated) Write(b []byte) (int, error) {
	g.p.pass.RLock()
	defer g.p.pass.RUnlock()
	return g.to.Write(b)
}
