package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
)

// The two ends of the echo, named and restricted as the system's own roles are.
const (
	roleAsks    = "gateway"
	roleAnswers = "echo"
)

// broker is an embedded NATS server, made by the same package as the system's, with connections in process.
type broker struct{ server *natsconf.Server }

func startBroker(ctx context.Context, dir string) (*broker, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	server, err := natsconf.Start(ctx, natsconf.Config{Dir: dir, Name: "bench", Roles: []natsconf.Role{
		{Name: roleAsks, Publish: []string{echoSubject}},
		{Name: roleAnswers, Subscribe: []string{echoSubject}, Publish: []string{natsconf.InboxPrefix(roleAsks) + ".>"}},
	}})
	if err != nil {
		return nil, err
	}
	return &broker{server}, nil
}

// connect returns a connection for each end.
func (b *broker) connect() (asks, answers *nats.Conn, err error) {
	asks, err = b.server.Connect(roleAsks)
	if err != nil {
		return nil, nil, err
	}
	answers, err = b.server.Connect(roleAnswers)
	if err != nil {
		asks.Close()
		return nil, nil, err
	}
	return asks, answers, nil
}

func (b *broker) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = b.server.Shutdown(ctx) // the process ends next, and the folder is thrown away
}

// startOpenBroker starts a NATS server that syncs what it stores, as the system's does, and lets everybody do
// everything: the harness writes what the services would.
func startOpenBroker(dir string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{ServerName: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		StoreDir: dir, JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the broker is not ready after 10 seconds")
	}
	return s, nil
}
