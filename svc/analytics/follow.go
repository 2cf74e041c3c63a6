package analytics

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// The streams that are folded.
const (
	eventsStream = "EVENTS"
	factsStream  = "ANALYTICS"
	buyersPlace  = "people"
)

const (
	groupLimit = 4096                   // messages of one transaction
	gather     = 200 * time.Millisecond // a group waits for company: the disk belongs to those who buy
	followWait = time.Second            // after a failure
	idleLimit  = 30 * time.Second       // after which the server forgets a consumer that nobody reads
	deadTopic  = "dead.analytics"
)

// follower reads a stream from where it stopped, and folds what it reads.
type follower struct {
	place   string // under which the read model keeps how far it was read
	stream  string
	filters []string // subjects; none means all
	read    func(subject string, data []byte, stored time.Time) (change, error)
	prepare func(ctx context.Context, group []message) error // before the transaction; may be nil
}

// followers returns what an instance reads.
func (s *Service) followers() []follower {
	return []follower{
		{place: eventsStream, stream: eventsStream, read: new(reader).read, prepare: s.buryUnreadable(eventsStream)},
		{place: factsStream, stream: factsStream, read: new(reader).read, prepare: s.buryUnreadable(factsStream)},
		{place: buyersPlace, stream: eventsStream, filters: []string{api.OrderWasPaid.Subject}, read: new(reader).readBuyer, prepare: s.ask},
	}
}

// follow folds one stream until ctx ends. What goes wrong is logged and tried again from the last sequence on disk.
func (s *Service) follow(ctx context.Context, fl follower) {
	for ctx.Err() == nil {
		if err := s.followOnce(ctx, fl); err != nil && ctx.Err() == nil {
			s.log.Warn("a stream is followed again", "stream", fl.stream, "for", fl.place, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followWait):
		}
	}
}

// message is a message with what it changes, which may be nothing, or why it cannot be read.
type message struct {
	jetstream.Msg
	seq    uint64
	change change
	err    error
}

func (s *Service) followOnce(ctx context.Context, fl follower) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	last, err := s.position(ctx, fl)
	if err != nil {
		return err
	}
	consumer, err := s.js.CreateConsumer(ctx, fl.stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		FilterSubjects: fl.filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last + 1, InactiveThreshold: idleLimit})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(groupLimit))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	arrived := make(chan message, groupLimit)
	ended := make(chan error, 1)
	go func() {
		defer close(arrived)
		ended <- pump(ctx, messages, fl.read, arrived)
	}()
	due := int(consumer.CachedInfo().NumPending)
	if due == 0 {
		if err := s.db.Update(func(tx *bolt.Tx) error { return setCaughtUp(tx, fl.place) }); err != nil {
			return err
		}
	}
	for group := range groups(arrived) {
		due -= len(group)
		if err := s.commit(ctx, fl, last, group, due <= 0); err != nil {
			cancel()
			messages.Stop()
			<-ended
			return err
		}
		last = group[len(group)-1].seq
	}
	return <-ended
}

// pump reads messages and decodes them, beside the transactions.
func pump(ctx context.Context, messages jetstream.MessagesContext, read func(string, []byte, time.Time) (change, error), arrived chan<- message) error {
	for next := uint64(1); ; next++ {
		msg, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != next { // the consumer does not send again what the connection lost
			return fmt.Errorf("message %d came when %d was due", meta.Sequence.Consumer, next)
		}
		m := message{Msg: msg, seq: meta.Sequence.Stream}
		m.change, m.err = read(msg.Subject(), msg.Data(), meta.Timestamp)
		select {
		case arrived <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// groups yields what arrives within a while of the first message, or as much as a transaction takes.
func groups(arrived <-chan message) iter.Seq[[]message] {
	return func(yield func([]message) bool) {
		for m := range arrived {
			group := []message{m}
			enough := time.After(gather)
			for more := true; more && len(group) < groupLimit; {
				select {
				case m, ok := <-arrived:
					if more = ok; ok {
						group = append(group, m)
					}
				case <-enough:
					more = false
				}
			}
			if !yield(group) {
				return
			}
		}
	}
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
		if last = number(tx, fl.place); last <= st.CachedInfo().State.LastSeq {
			return nil
		}
		s.log.Warn("a stream is shorter than what was read of it: it is read from its beginning", "stream", fl.stream, "read", last)
		last = 0
		return putNumber(tx, fl.place, 0)
	})
	return last, err
}

var errMoved = errors.New("analytics: the read model has moved meanwhile")

// commit folds a group and how far the stream was read in one transaction. After the last of those that were due when
// reading began, the read model has caught up.
func (s *Service) commit(ctx context.Context, fl follower, last uint64, group []message, upToDate bool) error {
	if fl.prepare != nil {
		if err := fl.prepare(ctx, group); err != nil {
			return err
		}
	}
	var f *fold
	err := s.db.Update(func(tx *bolt.Tx) error {
		if number(tx, fl.place) != last {
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
		if err := f.write(); err != nil {
			return err
		}
		if upToDate && number(tx, caughtUpKey(fl.place)) == 0 {
			if err := setCaughtUp(tx, fl.place); err != nil {
				return err
			}
		}
		return putNumber(tx, fl.place, group[len(group)-1].seq)
	})
	if err != nil {
		return err
	}
	s.metrics.Counter("starlight_analytics_messages_total", "Messages folded into the read model.", "of", fl.place).Add(len(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	for event := range f.touched {
		s.touched[event] = true
	}
	return nil
}

// buryUnreadable puts the messages of a group that cannot be read aside: the fold goes on without them.
func (s *Service) buryUnreadable(stream string) func(context.Context, []message) error {
	return func(ctx context.Context, group []message) error {
		for _, m := range group {
			if m.err == nil {
				continue
			}
			if err := s.bury(ctx, stream, m); err != nil {
				return err
			}
		}
		return nil
	}
}

// bury puts a message that cannot be read into the dead letters. All instances find it: its id makes it one.
func (s *Service) bury(ctx context.Context, name string, m message) error {
	h := nats.Header{}
	for k, v := range m.Headers() {
		h[k] = v
	}
	seq := strconv.FormatUint(m.seq, 10)
	h.Set(stream.HeaderDeadID, m.Headers().Get(jetstream.MsgIDHeader))
	h.Set(jetstream.MsgIDHeader, "analytics:"+name+":"+seq)
	h.Set(stream.HeaderDeadReason, fault.From(m.err).Error())
	h.Set(stream.HeaderDeadSubject, m.Subject())
	h.Set(stream.HeaderDeadStream, name)
	h.Set(stream.HeaderDeadSequence, seq)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: deadTopic, Header: h, Data: m.Data()}); err != nil {
		return err
	}
	s.metrics.Counter("starlight_analytics_dead_total", "Messages that could not be read.").Inc()
	s.log.Warn("a message cannot be read and is a dead letter", "stream", name, "sequence", m.seq, "error", m.err)
	return nil
}
