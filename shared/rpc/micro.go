package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"
)

// Ejects is the metadata of an INFO answer that has the ids of the instances that the process leaves alone, with commas
// between.
const Ejects = "ejects"

// microService is the part of a server that NATS sees: its subscriptions, and its answers to PING, INFO and STATS of
// the micro protocol, in micro's own types. It stands in for micro.AddService, which counts a request as done without
// error when its callback returns, and lets nothing correct that: here a callback only queues.
type microService struct {
	nc          *nats.Conn
	id          micro.ServiceIdentity
	description string
	started     time.Time
	bindings    []*binding
	byName      bool
	ejects      func() []string         // see ServerConfig; may be nil
	announced   func() []Announced      // what is served in another way than over NATS; nil: nothing
	answers     func(inbox string) bool // see Announcement; nil: all
	log         func(subject string, err error)
	subs        []*nats.Subscription
}

// start subscribes. What it has subscribed to when it fails, stop ends.
func (s *microService) start() error {
	s.started = time.Now().UTC()
	s.id.ID = nuid.Next()
	for _, b := range s.bindings {
		sub, err := s.nc.QueueSubscribe(b.spec.Subject(), s.id.Name, b.accept)
		if err != nil {
			return fmt.Errorf("%s: %w", b.spec.Subject(), err)
		}
		s.subs = append(s.subs, sub)
	}
	if s.byName {
		if err := s.takeOwn(); err != nil {
			return err
		}
	}
	for verb, content := range map[micro.Verb]func() any{
		micro.PingVerb:  func() any { return micro.Ping{ServiceIdentity: s.id, Type: micro.PingResponseType} },
		micro.InfoVerb:  func() any { return s.info() },
		micro.StatsVerb: func() any { return s.stats() },
	} {
		for _, to := range [][2]string{{"", ""}, {s.id.Name, ""}, {s.id.Name, s.id.ID}} {
			if err := s.answer(verb, to[0], to[1], content); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOwn subscribes to the calls of all endpoints that are for this instance: see Spec.SubjectAt.
func (s *microService) takeOwn() error {
	at := map[string]*binding{}
	for _, b := range s.bindings {
		at[b.spec.SubjectAt(s.id.ID)] = b
	}
	for _, prefix := range []string{"api.", "http."} {
		subject := prefix + s.id.Name + ".*." + s.id.ID
		sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
			if b := at[m.Subject]; b != nil {
				b.accept(m)
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
		s.subs = append(s.subs, sub)
	}
	return nil
}

// answer answers a question that is put to all services, to those of a name, or to one instance.
func (s *microService) answer(verb micro.Verb, name, id string, content func() any) error {
	subject, err := micro.ControlSubject(verb, name, id)
	if err != nil {
		return err
	}
	sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
		if s.answers != nil && !s.answers(m.Reply) {
			return
		}
		body, err := json.Marshal(content())
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			s.log(subject, err)
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	s.subs = append(s.subs, sub)
	return nil
}

// stop ends the subscriptions; what the NATS server has sent already is still handled.
func (s *microService) stop() error {
	var errs []error
	for _, sub := range s.subs {
		if err := sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, fmt.Errorf("%s: %w", sub.Subject, err))
		}
	}
	s.subs = nil
	return errors.Join(errs...)
}

func (s *microService) info() micro.Info {
	id := s.id
	if s.ejects != nil {
		if ejected := s.ejects(); len(ejected) > 0 {
			id.Metadata = maps.Clone(id.Metadata)
			id.Metadata[Ejects] = strings.Join(ejected, ",")
		}
	}
	info := micro.Info{ServiceIdentity: id, Type: micro.InfoResponseType, Description: s.description,
		Endpoints: []micro.EndpointInfo{}}
	for _, b := range s.bindings {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{Name: b.spec.Name,
			Subject: b.spec.Subject(), QueueGroup: s.id.Name, Metadata: maps.Clone(b.metadata)})
	}
	for _, a := range s.elsewhere() {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{Name: a.Name, Subject: a.Name,
			Metadata: a.Metadata})
	}
	return info
}

func (s *microService) stats() micro.Stats {
	stats := micro.Stats{ServiceIdentity: s.id, Type: micro.StatsResponseType, Started: s.started,
		Endpoints: []*micro.EndpointStats{}}
	for _, b := range s.bindings {
		own := b.snapshot()
		one := &micro.EndpointStats{Name: b.spec.Name, Subject: b.spec.Subject(), QueueGroup: s.id.Name,
			NumRequests: int(own.Requests), NumErrors: int(own.Errors), LastError: own.LastError}
		if ran := b.stats.ran.Load(); ran > 0 {
			one.ProcessingTime = time.Duration(b.stats.nanos.Load())
			one.AverageProcessingTime = one.ProcessingTime / time.Duration(ran)
		}
		one.Data, _ = json.Marshal(own) // numbers and strings: it cannot fail
		stats.Endpoints = append(stats.Endpoints, one)
	}
	for _, a := range s.elsewhere() {
		one := &micro.EndpointStats{Name: a.Name, Subject: a.Name, NumRequests: int(a.Stats.Requests),
			NumErrors: int(a.Stats.Errors), LastError: a.Stats.LastError,
			AverageProcessingTime: time.Duration(a.Stats.MeanMs * float64(time.Millisecond))}
		one.Data, _ = json.Marshal(a.Stats) // numbers and strings: it cannot fail
		stats.Endpoints = append(stats.Endpoints, one)
	}
	return stats
}
