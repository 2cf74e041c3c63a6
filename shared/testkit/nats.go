package testkit

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSServer is an embedded NATS server with JetStream, and a connection to it.
type NATSServer struct {
	URL    string
	Conn   *nats.Conn
	JS     jetstream.JetStream
	Server *server.Server // the one that runs now; nil between Stop and Start

	t    testing.TB
	opts server.Options
}

// NATS starts a server on a free port of 127.0.0.1, with its data in a temporary folder. It asks for no password and
// does not sync what it writes. It is stopped when the test ends.
func NATS(t testing.TB) *NATSServer {
	t.Helper()
	n := &NATSServer{t: t, opts: server.Options{
		ServerName: "testkit",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   t.TempDir(),
		NoSigs:     true,
		NoLog:      true,
	}}
	n.Start()
	t.Cleanup(n.Stop)
	n.Conn = n.Connect()
	js, err := jetstream.New(n.Conn)
	if err != nil {
		t.Fatal(err)
	}
	n.JS = js
	return n
}

// Start starts the server again after Stop, on the same port and data. Connections come back by themselves.
func (n *NATSServer) Start() {
	n.t.Helper()
	opts := n.opts // the server changes what it is given
	srv, err := server.NewServer(&opts)
	if err != nil {
		n.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(Within(10 * time.Second)) {
		n.t.Fatal("testkit: the NATS server is not ready after 10 seconds")
	}
	n.Server = srv
	n.URL = srv.ClientURL()
	n.opts.Port = opts.Port
}

// Stop stops the server. Connections to it keep trying.
func (n *NATSServer) Stop() {
	if n.Server == nil {
		return
	}
	n.Server.Shutdown()
	n.Server.WaitForShutdown()
	n.Server = nil
}

// Connect returns one more connection, closed when the test ends.
func (n *NATSServer) Connect(opts ...nats.Option) *nats.Conn {
	n.t.Helper()
	opts = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, opts...)
	nc, err := nats.Connect(n.URL, opts...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(nc.Close)
	return nc
}

// Stream creates a stream of the name for the subjects, and returns it.
func (n *NATSServer) Stream(name string, subjects ...string) jetstream.Stream {
	n.t.Helper()
	s, err := n.JS.CreateStream(n.t.Context(), jetstream.StreamConfig{Name: name, Subjects: subjects})
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// Messages returns the messages that are in the stream, oldest first.
func (n *NATSServer) Messages(stream string) []*jetstream.RawStreamMsg {
	n.t.Helper()
	s, err := n.JS.Stream(n.t.Context(), stream)
	if err != nil {
		n.t.Fatal(err)
	}
	state := s.CachedInfo().State
	var msgs []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := s.GetMsg(n.t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			n.t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}
