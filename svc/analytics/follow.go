package analytics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/starlightsymphony/starlight/shared/stream"
)

// The streams that are folded.
const (
	eventsStream = "EVENTS"
	factsStream  = "ANALYTICS"
)

const (
	groupLimit = 16384                  // messages of one transaction: the more, the more of them share a page
	gather     = 200 * time.Millisecond // a group waits for company: the disk belongs to those who buy
	followWait = time.Second            // after a failure
	idleLimit  = 30 * time.Second       // after which the server forgets a consumer that nobody reads
)

// follower reads a stream from where it stopped, and folds what it reads.
type follower struct {
	stream  string // under its name the read model keeps how far it was read
	read    decoder
	prepare func(ctx context.Context, group []message) error  // before the transaction; may be nil
	also    func(f *fold, last uint64, group []message) error // in the transaction; may be nil
}

// decoder makes a change of a message, or nil if it is of no interest.
type decoder func(subject string, data []byte, stored time.Time) (change, error)

// followers returns what an instance reads.
func (s *Service) followers() []follower {
	return []follower{
		{stream: eventsStream, read: new(reader).read, also: countInPassing, prepare: func(ctx context.Context, group []message) error {
			s.askInPassing(ctx, group)
			return s.buryUnreadable(ctx, group)
		}},
		{stream: factsStream, read: new(reader).read, prepare: s.buryUnreadable},
	}
}

// follow folds one stream until ctx ends. What goes wrong is logged and tried again from the last sequence on disk.
func (s *Service) follow(ctx context.Context, fl follower) {
	for ctx.Err() == nil {
		if err := s.followOnce(ctx, fl); err != nil && ctx.Err() == nil {
			s.log.Warn("a stream is followed again", "stream", fl.stream, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followWait):
		}
	}
}

// message is what a message of a stream changes, which may be nothing, or why it cannot be read.
type message struct {
	seq    uint64
	change change
	err    error
	raw    jetstream.Msg // of one that cannot be read
}

// followOnce reads, prepares and commits groups of messages, each step beside the others, until one of them fails.
func (s *Service) followOnce(ctx context.Context, fl follower) error {
	last, err := s.position(ctx, fl)
	if err != nil {
		return err
	}
	consumer, err := s.consumer(ctx, fl.stream, last)
	if err != nil {
		return err
	}
	due := int(consumer.CachedInfo().NumPending)
	if due == 0 {
		if err := s.db.Update(func(tx *bolt.Tx) error { return setCaughtUp(tx, fl.stream) }); err != nil {
			return err
		}
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(groupLimit))
	if err != nil {
		return err
	}
	defer messages.Stop()
	work, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, messages.Stop)()
	read, prepared := make(chan []message), make(chan []message)
	work.Go(func() error {
		for next := uint64(1); ; {
			group, err := readGroup(messages, next, fl.read)
			if err != nil {
				return err
			}
			next += uint64(len(group))
			if !send(ctx, read, group) {
				return ctx.Err()
			}
		}
	})
	work.Go(func() error {
		for group, ok := receive(ctx, read); ok; group, ok = receive(ctx, read) {
			if fl.prepare != nil {
				if err := fl.prepare(ctx, group); err != nil {
					return err
				}
			}
			if !send(ctx, prepared, group) {
				break
			}
		}
		return ctx.Err()
	})
	work.Go(func() error {
		for group, ok := receive(ctx, prepared); ok; group, ok = receive(ctx, prepared) {
			due -= len(group)
			if err := s.commit(fl, last, group, due <= 0); err != nil {
				return err
			}
			last = group[len(group)-1].seq
		}
		return ctx.Err()
	})
	return work.Wait()
}

// consumer makes a consumer of what comes after a sequence, which is gone when nobody reads it. No filters mean all.
func (s *Service) consumer(ctx context.Context, stream string, after uint64, filters ...string) (jetstream.Consumer, error) {
	return s.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		FilterSubjects: filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, InactiveThreshold: idleLimit})
}

func send(ctx context.Context, to chan<- []message, group []message) bool {
	select {
	case to <- group:
		return true
	case <-ctx.Done():
		return false
	}
}

func receive(ctx context.Context, from <-chan []message) ([]message, bool) {
	select {
	case group := <-from:
		return group, true
	case <-ctx.Done():
		return nil, false
	}
}

// readGroup returns the messages that are there, or arrive within a while after the first, or as many as a transaction
// takes. The first is the consumer's message number next.
func readGroup(messages jetstream.MessagesContext, next uint64, read decoder) (group []message, err error) {
	msg, err := messages.Next()
	for enough := time.Now().Add(gather); err == nil; {
		var m message
		var pending uint64
		if m, pending, err = readMessage(msg, next, read); err != nil {
			break
		}
		group, next = append(group, m), next+1
		wait := time.Until(enough)
		switch {
		case len(group) == groupLimit:
			return group, nil
		case pending > 0:
			msg, err = messages.Next()
			continue
		case wait > 0:
			if msg, err = messages.Next(jetstream.NextMaxWait(wait)); !errors.Is(err, nats.ErrTimeout) {
				continue
			}
		}
		return group, nil
	}
	return nil, err
}

// readMessage decodes the consumer's message number next, and says how many are there after it.
func readMessage(msg jetstream.Msg, next uint64, read decoder) (m message, pending uint64, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return m, 0, err
	}
	if meta.Sequence.Consumer != next { // the consumer does not send again what the connection lost
		return m, 0, fmt.Errorf("message %d came when %d was due", meta.Sequence.Consumer, next)
	}
	m.seq = meta.Sequence.Stream
	if m.change, m.err = read(msg.Subject(), msg.Data(), meta.Timestamp); m.err != nil {
		m.raw = msg
	}
	return m, meta.NumPending, nil
}

// position returns the last sequence that is folded. A stream that has been made anew begins again: what counts once by
// its id, still does.
func (s *Service) position(ctx context.Context, fl follower) (uint64, error) {
	st, err := s.js.Stream(ctx, fl.stream)
	if err != nil {
		return 0, err
	}
	var last uint64
	err = s.db.Update(func(tx *bolt.Tx) error {
		if last = number(tx, fl.stream); last <= st.CachedInfo().State.LastSeq {
			return nil
		}
		s.log.Warn("a stream is shorter than what was read of it: it is read from its beginning", "stream", fl.stream, "read", last)
		last = 0
		if fl.stream == eventsStream {
			if err := putNumber(tx, buyersPlace, 0); err != nil {
				return err
			}
		}
		return putNumber(tx, fl.stream, 0)
	})
	return last, err
}

var errMoved = errors.New("analytics: the read model has moved meanwhile")

// commit folds a group and how far the stream was read in one transaction. After the last of those that were due when
// reading began, the read model has caught up.
func (s *Service) commit(fl follower, last uint64, group []message, upToDate bool) error {
	var f *fold
	err := s.db.Update(func(tx *bolt.Tx) error {
		if number(tx, fl.stream) != last {
			return errMoved
		}
		f = newFold(tx)
		for _, m := range group {
			if m.change == nil {
				continue
			}
			if err := m.change.fold(f); err != nil {
				return err
			}
		}
		if upToDate {
			if err := setCaughtUp(tx, fl.stream); err != nil {
				return err
			}
		}
		if fl.also != nil {
			if err := fl.also(f, last, group); err != nil {
				return err
			}
		}
		if err := f.write(); err != nil {
			return err
		}
		return putNumber(tx, fl.stream, group[len(group)-1].seq)
	})
	if err != nil {
		return err
	}
	s.metrics.Counter("starlight_analytics_messages_total", "Messages folded into the read model.", "of", fl.stream).Add(len(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	for event := range f.touched {
		s.touched[event] = true
	}
	return nil
}

// buryUnreadable puts the messages of a group that cannot be read into the dead letters: the fold goes on without them.
// All instances find them; they are kept once.
func (s *Service) buryUnreadable(ctx context.Context, group []message) error {
	for _, m := range group {
		if m.err == nil {
			continue
		}
		if err := stream.Bury(ctx, s.js, "analytics", m.raw, m.err); err != nil {
			return err
		}
		s.metrics.Counter("starlight_analytics_dead_total", "Messages that could not be read.").Inc()
		s.log.Warn("a message cannot be read and is a dead letter", "subject", m.raw.Subject(), "sequence", m.seq, "error", m.err)
	}
	return nil
}
