package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync"
)

// sink is a SMTP server that keeps what it takes, as a mail server must: a mail is on disk before it is acknowledged.
type sink struct {
	ln  net.Listener
	dir string

	mu    sync.Mutex
	mails []sunkMail
	on    func(sunkMail) // may be nil
}

// sunkMail is a mail as it came.
type sunkMail struct {
	from, to string
	raw      []byte
}

// id returns the Message-ID of the mail.
func (m sunkMail) id() string {
	// not parsed: it would be work that the bare client is spared
	_, rest, _ := bytes.Cut(m.raw, []byte("\nMessage-ID: "))
	id, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(id))
}

func startSink(dir string) (*sink, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{ln: ln, dir: dir}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s, nil
}

func (s *sink) addr() string { return s.ln.Addr().String() }

func (s *sink) stop() { s.ln.Close() }

// taken returns the mails so far.
func (s *sink) taken() []sunkMail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails[:len(s.mails):len(s.mails)]
}

// tell has fn called with each mail from now on, once it is on disk.
func (s *sink) tell(fn func(sunkMail)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = fn
}

func (s *sink) serve(conn net.Conn) {
	defer conn.Close()
	spool, err := os.CreateTemp(s.dir, "spool-*")
	if err != nil {
		return
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	in := textproto.NewReader(bufio.NewReaderSize(conn, 64<<10))
	fmt.Fprint(conn, "220 sink\r\n")
	var m sunkMail
	for {
		line, err := in.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		answer := "250 fine"
		switch strings.ToUpper(verb) {
		case "EHLO":
			answer = "250-sink\r\n250 8BITMIME"
		case "MAIL":
			m = sunkMail{from: address(rest)}
		case "RCPT":
			m.to = address(rest)
		case "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			if m.raw, err = in.ReadDotBytes(); err != nil {
				return
			}
			if err := s.keep(spool, m); err != nil {
				answer = "451 " + err.Error()
			}
		case "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		}
		if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
			return
		}
	}
}

func address(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (s *sink) keep(spool *os.File, m sunkMail) error {
	if _, err := spool.Write(m.raw); err != nil {
		return err
	}
	if err := spool.Sync(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	if s.on != nil {
		s.on(m)
	}
	return nil
}
