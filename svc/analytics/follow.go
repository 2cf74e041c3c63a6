package analytics

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// The streams that are folded.
const (
	eventsStream = "EVENTS"
	factsStream  = "ANALYTICS"
)

const (
	groupLimit = 4096             // messages of one transaction
	followWait = time.Second      // after a failure
	idleLimit  = 30 * time.Second // after which the server forgets a consumer that nobody reads
	deadTopic  = "dead.analytics"
)

// follow folds one stream until ctx ends. What goes wrong is logged and tried again from the last sequence on disk.
func (s *Service) follow(ctx context.Context, name string) {
	for ctx.Err() == nil {
		if err := s.followOnce(ctx, name); err != nil && ctx.Err() == nil {
			s.log.Warn("a stream is followed again", "stream", name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followWait):
		}
	}
}

// message is a message with what it changes, or why it cannot be read.
type message struct {
	jetstream.Msg
	seq    uint64
	change change
	err    error
}

func (s *Service) followOnce(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	last, err := s.position(ctx, name)
	if err != nil {
		return err
	}
	consumer, err := s.js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last + 1, InactiveThreshold: idleLimit})
	if err != nil {
		return err
	}
	iter, err := consumer.Messages(jetstream.PullMaxMessages(groupLimit))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, iter.Stop)
	defer stop()
	defer iter.Stop()
	arrived := make(chan message, groupLimit)
	ended := make(chan error, 1)
	go func() {
		defer close(arrived)
		ended <- pump(ctx, iter, arrived)
	}()
	for group := range groups(arrived) {
		if err := s.commit(ctx, name, last, group); err != nil {
			cancel()
			iter.Stop()
			<-ended
			return err
		}
		last = group[len(group)-1].seq
	}
	return <-ended
}

// pump reads messages and decodes them, beside the transactions.
func pump(ctx context.Context, iter jetstream.MessagesContext, arrived chan<- message) error {
	for next := uint64(1); ; next++ {
		msg, err := iter.Next()
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

// groups yields what has arrived meanwhile, at least one message at a time.
func groups(arrived <-chan message) func(func([]message) bool) {
	return func(yield func([]message) bool) {
		for m := range arrived {
			group := []message{m}
			for more := true; more && len(group) < groupLimit; {
				select {
				case m, ok := <-arrived:
					if more = ok; ok {
						group = append(group, m)
					}
				default:
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
func (s *Service) position(ctx context.Context, name string) (uint64, error) {
	st, err := s.js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	var last uint64
	err = s.db.Update(func(tx *bolt.Tx) error {
		if last = number(tx, name); last <= st.CachedInfo().State.LastSeq {
			return nil
		}
		s.log.Warn("a stream is shorter than what was read of it: it is read from its beginning", "stream", name, "read", last)
		last = 0
		return putNumber(tx, name, 0)
	})
	return last, err
}

var errMoved = errors.New("analytics: the read model has moved meanwhile")

// commit folds a group and how far the stream was read in one transaction. What cannot be read is put aside before.
func (s *Service) commit(ctx context.Context, name string, last uint64, group []message) error {
	for _, m := range group {
		if m.err != nil && !s.discard {
			if err := s.bury(ctx, name, m); err != nil {
				return err
			}
		}
	}
	var f *fold
	err := s.db.Update(func(tx *bolt.Tx) error {
		if number(tx, name) != last {
			return errMoved
		}
		f = newFold(tx)
		for _, m := range group {
			if m.change == nil {
				continue
			}
			if err := m.change(f); err != nil {
				return err
			}
		}
		if err := f.write(); err != nil {
			return err
		}
		return putNumber(tx, name, group[len(group)-1].seq)
	})
	if err != nil {
		return err
	}
	s.folded.Add(len(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	for event := range f.touched {
		s.touched[event] = true
	}
	return nil
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
	s.dead.Inc()
	s.log.Warn("a message cannot be read and is a dead letter", "stream", name, "sequence", m.seq, "error", m.err)
	return nil
}
