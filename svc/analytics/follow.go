package analytics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/stream"
)

const (
	groupLimit = 16384                  // messages of one transaction: the more, the more of them share a page
	linger     = 200 * time.Millisecond // a group waits for company: the disk belongs to those who buy
	followWait = time.Second            // after a failure
	idleLimit  = 15 * time.Second       // after which the server forgets the consumer of an instance that is gone
)

// follower reads a stream from where it stopped, and folds what it reads.
type follower struct {
	stream  string // under its name the read model keeps how far it was read
	read    decoder
	prepare func(ctx context.Context, group []message) error  // before the transaction; may be nil
	also    func(f *fold, last uint64, group []message) error // in the transaction; may be nil
}

// decoder makes a change of a message, or nil if it is of no interest.
type decoder func(subject string, data []byte, persistent time.Time) (change, error)

// markIncomplete notes that messages are gone. Views are as good as they can be: the gateway drops some, too.
func (fl follower) markIncomplete(f *fold) error {
	if fl.stream != api.EventsStream {
		return nil
	}
	return f.markIncomplete()
}

// followers returns what an instance reads.
func (s *Service) followers() []follower {
	return []follower{
		{stream: api.EventsStream, read: new(reader).read, also: countInPassing,
			prepare: func(ctx context.Context, group []message) error {
				s.askInPassing(ctx, group)
				return s.buryUnreadable(ctx, group)
			}},
		{stream: api.AnalyticsStream, read: new(reader).read, prepare: s.buryUnreadable},
	}
}

// follow folds one stream until ctx ends. What goes wrong is tried again from the last sequence on disk; it is logged
// once until messages are folded again.
func (s *Service) follow(ctx context.Context, fl follower) error {
	outage := observe.NewOutage(s.log.With("stream", fl.stream), "a stream cannot be followed",
		"the stream is followed again", nil)
	for ctx.Err() == nil {
		err := s.followOnce(ctx, fl, func() { outage.Report(ctx, nil) })
		if err != nil && ctx.Err() == nil {
			outage.Report(ctx, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followWait):
		}
	}
	return nil
}

// message is what a message of a stream changes, which may be nothing, or why it cannot be read.
type message struct {
	seq    uint64
	change change
	err    error
	raw    jetstream.Msg // of one that cannot be read
	gone   bool          // from the stream, with all before it that were not read
}

// followOnce reads, prepares and commits groups of messages, each step beside the others, until one of them fails. It
// calls folded after each commit.
func (s *Service) followOnce(ctx context.Context, fl follower, folded func()) error {
	st, err := s.js.Stream(ctx, fl.stream)
	if err != nil {
		return err
	}
	last, err := s.position(fl, st.CachedInfo())
	if err != nil {
		return err
	}
	consumer, done, err := s.consumer(ctx, fl.stream, last)
	if err != nil {
		return err
	}
	defer done()
	messages, err := consumer.Messages(jetstream.PullMaxMessages(groupLimit))
	if err != nil {
		return err
	}
	defer messages.Stop()
	work, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, messages.Stop)()
	read, prepared, reached := make(chan []message), make(chan []message), make(chan struct{}, 1)
	s.progress.setFolded(fl.stream, last)
	work.Go(func() error { return s.watch(ctx, fl, st, reached) })
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
			if err := s.commit(fl, last, group); err != nil {
				return err
			}
			folded()
			if last = group[len(group)-1].seq; s.progress.setFolded(fl.stream, last) {
				signal(reached)
			}
		}
		return ctx.Err()
	})
	return work.Wait()
}

// mostInstances is how many instances may run at a time: their consumers have names that the role is allowed.
const mostInstances = 10

// Consumers returns the names of the consumers that instances make of a stream: one each, and of events one more while
// buyers are counted that were left out.
func Consumers(stream string) []string {
	n := mostInstances
	if stream == api.EventsStream {
		n *= 2
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("analytics-%d", i+1)
	}
	return names
}

// consumer makes a consumer of what comes after a sequence, under the first name that no instance has. It is deleted by
// done, or when no instance reads it. No filters mean all.
func (s *Service) consumer(
	ctx context.Context, stream string, after uint64, filters ...string,
) (c jetstream.Consumer, done func(), err error) {
	cfg := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		FilterSubjects: filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, InactiveThreshold: idleLimit,
		Metadata: map[string]string{"instance": s.id, "made": nuid.Next()}} // never the configuration of another one
	names := Consumers(stream)
	if s.reader != "" {
		names = []string{s.reader}
	}
	for _, cfg.Name = range names {
		if c, err = s.js.CreateConsumer(ctx, stream, cfg); !errors.Is(err, jetstream.ErrConsumerExists) {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return c, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followWait)
		defer cancel()
		if err := s.js.DeleteConsumer(ctx, stream, cfg.Name); err != nil {
			s.log.Debug("a consumer is left to the server", "stream", stream, "name", cfg.Name, "error", err)
		}
	}, nil
}

// signal wakes the reader of a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
	for enough := time.Now().Add(linger); err == nil; {
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

// position returns the last sequence that is folded. A stream of events that was made anew, or has lost its end, is
// read again from its beginning: what counts once by its id, still does. Views have no ids: of the same stream they
// are read on from its end.
func (s *Service) position(fl follower, info *jetstream.StreamInfo) (last uint64, err error) {
	made := uint64(info.Created.UnixNano())
	err = s.db.Update(func(tx *bolt.Tx) error {
		last = number(tx, fl.stream)
		known := number(tx, "made:"+fl.stream)
		anew := known != 0 && known != made
		if anew || last > info.State.LastSeq {
			s.log.Warn("a stream is not the one that was read, or has lost its end: it is read again",
				"stream", fl.stream, "read", last, "end", info.State.LastSeq)
			if last = max(info.State.FirstSeq, 1) - 1; fl.stream == api.AnalyticsStream && !anew {
				last = info.State.LastSeq
			}
			if fl.stream == api.EventsStream {
				if err := putNumber(tx, buyersPlace, 0); err != nil {
					return err
				}
			}
		}
		return errors.Join(putNumber(tx, "made:"+fl.stream, made), putNumber(tx, fl.stream, last))
	})
	return last, err
}

var errMoved = errors.New("analytics: the read model has moved meanwhile")

// commit folds a group and how far the stream was read in one transaction. The server numbers the messages of a stream
// without gaps: where one is, messages are gone.
func (s *Service) commit(fl follower, last uint64, group []message) error {
	var f *fold
	var lost uint64
	err := s.db.Update(func(tx *bolt.Tx) error {
		if number(tx, fl.stream) != last {
			return errMoved
		}
		f, lost = newFold(tx), 0
		next := last + 1
		for _, m := range group {
			if m.seq > next || m.gone {
				if lost += m.seq - next; m.gone {
					lost++
				}
				if err := fl.markIncomplete(f); err != nil {
					return err
				}
			}
			if next = m.seq + 1; m.change == nil {
				continue
			}
			if err := m.change.fold(f); err != nil {
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
	if lost > 0 {
		s.metrics.Counter("starlight_analytics_lost_total", "Messages that were gone before they could be folded.",
			"of", fl.stream).Add(int(lost))
		s.log.Warn("messages were gone before they could be counted", "stream", fl.stream, "after", last,
			"messages", lost)
	}
	s.metrics.Counter("starlight_analytics_messages_total", "Messages folded into the read model.", "of",
		fl.stream).Add(len(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	for event := range f.touched {
		s.touched[event] = s.beats
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
		s.log.Warn("a message cannot be read and is a dead letter", "subject", m.raw.Subject(), "sequence", m.seq,
			"error", m.err)
	}
	return nil
}
