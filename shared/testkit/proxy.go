package testkit

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy hands TCP connections on to a server, and can stand for what a network does to them.
type Proxy struct {
	Addr string // where it listens

	target string
	pass   sync.RWMutex // held for writing while nothing gets through
	delay  atomic.Int64 // nanoseconds, each way
	loss   atomic.Int64 // one in so many segments; 0: none
	cuts   atomic.Int64 // how often Drop was called
	closed chan struct{}

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
	p := &Proxy{Addr: ln.Addr().String(), target: target, conns: map[net.Conn]bool{}, closed: make(chan struct{})}
	p.work.Go(func() { p.accept(ln) })
	t.Cleanup(func() {
		ln.Close()
		close(p.closed)
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

// Drop loses whatever is sent over the connections of now on, and tells neither side. New ones work.
func (p *Proxy) Drop() { p.cuts.Add(1) }

// Delay makes everything take so much longer, each way.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Lose loses one in n segments of 1,460 bytes on their way. As TCP does, the sender learns of it and sends it once
// more, and what was sent after it waits until then: for another way there and back, and 0.2 s. 0 loses none.
func (p *Proxy) Lose(n int) { p.loss.Store(int64(n)) }

// segment is what a network carries at once, in bytes.
const segment = 1460

// arrival returns when something that is sent now is there, with what is lost of it on the way.
func (p *Proxy) arrival(bytes int) time.Time {
	way := time.Duration(p.delay.Load())
	at := time.Now().Add(way)
	loss := int(p.loss.Load())
	if loss == 0 {
		return at
	}
	again := 0 // how often the unluckiest segment is sent once more
	for range (bytes + segment - 1) / segment {
		n := 0
		for rand.IntN(loss) == 0 {
			n++
		}
		again = max(again, n)
	}
	return at.Add(time.Duration(again) * (2*way + 200*time.Millisecond))
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
		made := p.cuts.Load()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			p.keep(way[0], true)
			p.work.Go(func() { p.copy(way[0], way[1], made) })
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

// parcel is what was read at one time.
type parcel struct {
	data []byte
	due  time.Time
}

// copy ends when either side does; what was lost leaves both open until the proxy ends.
func (p *Proxy) copy(from, to net.Conn, made int64) {
	defer p.keep(from, false)
	defer from.Close()
	defer to.Close()
	parcels := make(chan parcel, 1<<12)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(parcels)
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				parcels <- parcel{append([]byte(nil), buf[:n]...), p.arrival(n)}
			}
			if err != nil {
				return
			}
		}
	})
	for one := range parcels {
		if err := p.forward(to, one, made); err != nil {
			from.Close() // the reader ends
		}
	}
	reading.Wait()
	if p.cuts.Load() > made { // the end of one side is lost on the other, too
		<-p.closed
	}
}

// forward writes when the proxy lets something through.
func (p *Proxy) forward(to io.Writer, one parcel, made int64) error {
	if wait := time.Until(one.due); wait > 0 {
		select {
		case <-time.After(wait):
		case <-p.closed:
		}
	}
	p.pass.RLock()
	defer p.pass.RUnlock()
	if p.cuts.Load() > made {
		return nil
	}
	_, err := to.Write(one.data)
	return err
}

// given are the ports that FreeAddress has returned.
var given sync.Map

// FreeAddress returns an address that is free, and outside of the ports that systems give out by themselves: one of
// those may be given to another process before it is used here. No test gets one of another.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const lowest, ports = 12000, 18000
	for range 100 {
		port := lowest + rand.IntN(ports)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}
