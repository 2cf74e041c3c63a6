package rpc

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Announced is something that a member serves in another way than over NATS, with what it has counted of it.
type Announced struct {
	Name     string
	Metadata map[string]string
	Stats    EndpointStats
}

// Announcement is what a member of the system that serves nothing over NATS says of itself there. Name, Version and Log
// are required.
type Announcement struct {
	Name, Version, Description string
	Metadata                   map[string]string  // for listings: instance, zone
	Serves                     func() []Announced // asked with each INFO and STATS; nil: nothing
	Log                        *slog.Logger
	Ejects                     func() []string // see ServerConfig; may be nil

	// Answers reports whether a question with this inbox may be answered; nil: all may.
	Answers func(inbox string) bool
}

// Announce answers PING, INFO and STATS of the micro protocol for such a member, until the returned function is called.
// It returns once the NATS server knows.
func Announce(ctx context.Context, nc *nats.Conn, a Announcement) (stop func() error, err error) {
	s := &microService{nc: nc, description: a.Description, announced: a.Serves, answers: a.Answers,
		ejects: a.Ejects,
		id:     micro.ServiceIdentity{Name: a.Name, Version: a.Version, Metadata: a.Metadata},
		log: func(subject string, err error) {
			a.Log.Warn("a request for information about this member was not answered", "subject", subject,
				"error", err)
		}}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("rpc: announcing %s: %w", a.Name, err)
	}
	if err := flush(ctx, nc); err != nil {
		return nil, fmt.Errorf("rpc: announcing %s: %w", a.Name, err)
	}
	return s.stop, nil
}

func (s *microService) elsewhere() []Announced {
	if s.announced == nil {
		return nil
	}
	return s.announced()
}
