package testkit

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// LostCommit stands between a test and PostgreSQL and loses answers to COMMIT: the transaction has happened, and the
// client sees a broken connection.
type LostCommit struct {
	// URL is that of the database, through this.
	URL string

	dial func() (net.Conn, error)

	mu    sync.Mutex
	match func(query []byte) bool // of a statement in the transaction whose answer is lost next; nil: none
}

// LoseCommits returns a way to the database at dsn that loses nothing yet. It ends with the test.
func LoseCommits(t testing.TB, dsn string) *LostCommit {
	t.Helper()
	ln, through, dial := between(t, dsn)
	t.Cleanup(func() { ln.Close() })
	l := &LostCommit{URL: through, dial: dial}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go l.serve(client)
		}
	}()
	return l
}

// Next loses the answer to the next COMMIT of a transaction with a statement that matches.
func (l *LostCommit) Next(match func(query []byte) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.match = match
}

// Lost reports whether the answer has been lost that Next asked for.
func (l *LostCommit) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.match == nil
}

func (l *LostCommit) serve(client net.Conn) {
	defer client.Close()
	server, err := l.dial()
	if err != nil {
		return
	}
	var mu sync.Mutex
	lose := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer client.Close()
		defer server.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			cut := lose
			mu.Unlock()
			if err != nil || cut {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	matched := false
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		l.mu.Lock()
		matched = matched || l.match != nil && l.match(buf[:n])
		if matched && bytes.Contains(buf[:n], []byte("COMMIT")) {
			mu.Lock()
			lose = true
			mu.Unlock()
			l.match = nil
		}
		l.mu.Unlock()
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	server.Close()
	<-done
}
