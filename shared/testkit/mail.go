package testkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Mail is a mail as Maildev tells of it.
type Mail struct {
	ID, Subject, Text, HTML, MessageID string
	To                                 []struct{ Address, Name string }
	Headers                            map[string]any
	Attachments                        []struct{ FileName, GeneratedFileName, ContentType string }
}

// Maildev starts a real mail server, npm's maildev, at two ports of 127.0.0.1, and returns what it has received.
func Maildev(t testing.TB, smtp, web string) (mails func() ([]Mail, error), stop func()) {
	t.Helper()
	at := NPM(t, "maildev", "2.2.1")
	stop = Node(t, "127.0.0.1:"+web, filepath.Join(at, "bin", "maildev"), "--smtp", smtp, "--web", web, "--ip",
		"127.0.0.1", "--web-ip", "127.0.0.1",
		"--mail-directory", t.TempDir())
	return func() (all []Mail, err error) {
		resp, err := http.Get("http://127.0.0.1:" + web + "/email")
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return all, json.NewDecoder(resp.Body).Decode(&all)
	}, stop
}

// MailServer is an SMTP server in trouble: it answers commands as it is told, or says nothing at all. What a mail
// server does on good days is for tests with a real one.
type MailServer struct {
	Addr string

	mu      sync.Mutex
	ln      net.Listener
	conns   map[net.Conn]bool
	answers map[string]string
	silent  chan struct{} // closed when it speaks again; nil: it speaks
	after   string        // the command from which on it is silent; empty: any
	hangUp  bool
	dials   int
	last    string // command
	mails   []string
}

// NewMailServer starts a server at an address, such as 127.0.0.1:0. It ends with the test, or with Stop.
func NewMailServer(t testing.TB, addr string) *MailServer {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	m := &MailServer{Addr: ln.Addr().String(), ln: ln, conns: map[net.Conn]bool{}, answers: map[string]string{}}
	t.Cleanup(m.Stop)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.dials++
			m.conns[conn] = true
			m.mu.Unlock()
			go m.serve(conn)
		}
	}()
	return m
}

// Answer makes the server answer a command so from now on; empty means as usual.
func (m *MailServer) Answer(command, answer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[command] = answer
}

// Silence makes the server keep its clients waiting, or ends that.
func (m *MailServer) Silence(on bool) {
	m.silence(on, "")
}

// SilenceAfter makes the server say nothing more once it has got a command. After DATA it has the mail.
func (m *MailServer) SilenceAfter(command string) {
	m.silence(true, command)
}

func (m *MailServer) silence(on bool, after string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = after
	if m.silent != nil {
		close(m.silent)
		m.silent = nil
	}
	if on {
		m.silent = make(chan struct{})
	}
}

// HangUp makes the server close each connection after one mail.
func (m *MailServer) HangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hangUp = true
}

// Mails returns what the server has taken, as it came.
func (m *MailServer) Mails() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.mails...)
}

// Dials returns how many connections there were.
func (m *MailServer) Dials() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dials
}

// LastCommand returns what the server was asked last, such as DATA; of a mail it is the whole.
func (m *MailServer) LastCommand() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// Stop ends the server and its connections: the address is free.
func (m *MailServer) Stop() {
	m.Silence(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ln.Close()
	for conn := range m.conns {
		conn.Close()
	}
}

func (m *MailServer) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.conns, conn)
	}()
	in := bufio.NewReader(conn)
	answer, command := "220 hello", ""
	for {
		m.mu.Lock()
		silent := m.silent
		if m.after != "" && m.after != command {
			silent = nil
		}
		m.mu.Unlock()
		if silent != nil {
			<-silent
		}
		if _, err := fmt.Fprint(conn, answer+"\r\n"); err != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command = strings.ToUpper(strings.Fields(line + " x")[0])
		m.mu.Lock()
		answer = m.answers[command]
		if m.last = command; command == "DATA" {
			m.last = "" // it is yet to come
		}
		m.mu.Unlock()
		switch {
		case answer != "":
		case command == "EHLO":
			answer = "250-here\r\n250 ENHANCEDSTATUSCODES"
		case command == "DATA":
			if err := m.take(conn, in); err != nil {
				return
			}
			answer = "250 2.0.0 taken"
		default:
			answer = "250 2.0.0 fine"
		}
	}
}

// take reads a mail. It returns an error when the connection is to end.
func (m *MailServer) take(conn net.Conn, in *bufio.Reader) error {
	fmt.Fprint(conn, "354 go on\r\n")
	var mail strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			break
		}
		mail.WriteString(line)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = append(m.mails, mail.String())
	m.last = "DATA"
	if m.hangUp {
		fmt.Fprint(conn, "250 2.0.0 taken\r\n")
		return net.ErrClosed
	}
	return nil
}
