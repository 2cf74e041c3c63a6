package testkit

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Outage stands between a test and PostgreSQL and can be begun and ended: connections break, and new ones are refused.
type Outage struct {
	URL string // of the database, through this

	dial func() (net.Conn, error)

	mu    sync.Mutex
	on    bool
	conns map[net.Conn]bool
}

// NewOutage returns a way to the database at dsn that is open. It ends with the test.
func NewOutage(t testing.TB, dsn string) *Outage {
	t.Helper()
	ln, through, dial := between(t, dsn)
	o := &Outage{URL: through, dial: dial, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { o.serve(client) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		o.Begin()
		serving.Wait()
	})
	return o
}

// Begin makes the database unreachable.
func (o *Outage) Begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = true
	for c := range o.conns {
		c.Close()
	}
}

// End makes it reachable again.
func (o *Outage) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = false
}

func (o *Outage) serve(client net.Conn) {
	defer client.Close()
	server, err := o.dial()
	if err != nil {
		return
	}
	defer server.Close()
	o.mu.Lock()
	open := !o.on
	if open {
		o.conns[client], o.conns[server] = true, true
	}
	o.mu.Unlock()
	if !open {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		client.Close()
	})
	_, _ = io.Copy(server, client)
	server.Close()
	back.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, client)
	delete(o.conns, server)
}
