package stream

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// ReplaySubjects are those, in the stream DEAD, of dead letters that their consumers shall try once more. They do not
// go back to the stream they came from: other consumers had them already, and a replay needs no right to write there.
const (
	replayPrefix   = deadPrefix + "replay."
	ReplaySubjects = replayPrefix + ">"
)

// letters are the subjects of dead letters: one token behind the prefix, the consumer.
const letters = deadPrefix + "*"

// Letter is a dead letter.
type Letter struct {
	Sequence uint64 // in the stream DEAD; names it
	Consumer string
	Stream   string // that the message came from
	Subject  string
	ID       string // of the message
	Reason   string
	Header   nats.Header
	Data     []byte
	Time     time.Time // when it was given up
}

// DeadLetters returns up to limit dead letters with a sequence above after, oldest first.
func DeadLetters(ctx context.Context, js jetstream.JetStream, after uint64, limit int) ([]Letter, error) {
	dead, err := js.Stream(ctx, DeadStream)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the dead letters cannot be read")
	}
	var found []Letter
	for len(found) < limit {
		m, err := dead.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(letters))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the dead letters cannot be read")
		}
		found = append(found, letter(m))
		after = m.Sequence
	}
	return found, nil
}

func letter(m *jetstream.RawStreamMsg) Letter {
	return Letter{Sequence: m.Sequence, Consumer: strings.TrimPrefix(m.Subject, deadPrefix),
		Stream: m.Header.Get(HeaderDeadStream), Subject: m.Header.Get(HeaderDeadSubject),
		ID: m.Header.Get(HeaderDeadID), Reason: m.Header.Get(HeaderDeadReason),
		Header: m.Header, Data: m.Data, Time: m.Time}
}

// Bury puts a message into the dead letters of a consumer that is not run by Consume, and so takes no replays.
// Instances that bury the same message leave one letter.
func Bury(ctx context.Context, js jetstream.JetStream, consumer string, raw jetstream.Msg, cause error) error {
	meta, err := raw.Metadata()
	if err != nil {
		return err
	}
	return bury(ctx, js, consumer, meta.Stream, message(raw, meta), cause)
}

func bury(ctx context.Context, js jetstream.JetStream, consumer, from string, m Msg, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	letter := nats.NewMsg(DeadSubject(consumer))
	letter.Data = m.Data
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") { // those are instructions to the stream, and were meant for another one
			letter.Header[name] = values
		}
	}
	letter.Header.Set(HeaderDeadReason, oneLine(cause.Error()))
	letter.Header.Set(HeaderDeadSubject, m.Subject)
	if from != DeadStream { // a replay keeps what says where it came from at first
		letter.Header.Set(HeaderDeadStream, from)
		letter.Header.Set(HeaderDeadSequence, strconv.FormatUint(m.Sequence, 10))
	}
	letter.Header.Set(HeaderDeadID, m.ID)
	// Of one message each consumer may have its own dead letter, and one more of each replay.
	id := consumer + ":" + m.ID
	if from == DeadStream {
		id += ":" + strconv.FormatUint(m.Sequence, 10)
	}
	_, err := js.PublishMsg(ctx, letter, jetstream.WithMsgID(id))
	return err
}

// Replay hands the dead letter of a sequence to its consumer once more and takes it off the list. If it fails again, it
// is a dead letter again. Without such a letter the fault is NotFound; where the consumer takes no replays it is
// Conflict, and the letter stays. note is called before, and may refuse.
func Replay(ctx context.Context, js jetstream.JetStream, sequence uint64, note func(Letter) error) error {
	dead, l, err := deadLetter(ctx, js, sequence)
	if err != nil {
		return err
	}
	if err := takesReplays(ctx, js, l.Consumer); err != nil {
		return err
	}
	if err := note(l); err != nil {
		return err
	}
	again := nats.NewMsg(replayPrefix + l.Consumer)
	again.Data = l.Data
	for name, values := range l.Header {
		if !strings.HasPrefix(name, "Nats-") {
			again.Header[name] = values
		}
	}
	// Asked for twice at the same moment, it is replayed once.
	if _, err := js.PublishMsg(ctx, again,
		jetstream.WithMsgID("replay:"+strconv.FormatUint(sequence, 10))); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the dead letter cannot be replayed")
	}
	if err := takeOff(ctx, dead, sequence); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the dead letter is replayed, but still listed")
	}
	return nil
}

// Drop takes the dead letter of a sequence off the list for good. Without such a letter the fault is NotFound. note is
// called before, and may refuse.
func Drop(ctx context.Context, js jetstream.JetStream, sequence uint64, note func(Letter) error) error {
	dead, l, err := deadLetter(ctx, js, sequence)
	if err != nil {
		return err
	}
	if err := note(l); err != nil {
		return err
	}
	if err := takeOff(ctx, dead, sequence); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the dead letter cannot be deleted")
	}
	return nil
}

// deadLetter returns the dead letter of a sequence, and the stream that has it.
func deadLetter(ctx context.Context, js jetstream.JetStream, sequence uint64) (jetstream.Stream, Letter, error) {
	dead, err := js.Stream(ctx, DeadStream)
	if err != nil {
		return nil, Letter{}, fault.Wrap(err, fault.Unavailable, "the dead letters cannot be read")
	}
	m, err := dead.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil &&
		strings.Contains(strings.TrimPrefix(m.Subject, deadPrefix), ".") {
		return nil, Letter{}, fault.New(fault.NotFound, "there is no such dead letter")
	}
	if err != nil {
		return nil, Letter{}, fault.Wrap(err, fault.Unavailable, "the dead letter cannot be read")
	}
	return dead, letter(m), nil
}

// takeOff deletes a message, unless that is done.
func takeOff(ctx context.Context, dead jetstream.Stream, sequence uint64) error {
	err := dead.DeleteMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil
	}
	return err
}

// takesReplays returns a fault unless a consumer has taken replays before: what runs it makes the consumer of its
// replays when it starts.
func takesReplays(ctx context.Context, js jetstream.JetStream, consumer string) error {
	_, err := js.Consumer(ctx, DeadStream, ReplayDurable(consumer))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return fault.New(fault.Conflict,
			"%s takes no replays: the dead letter stays. A read model that can read it by now counts it when it is "+
				"built again, "+
				"as by `starlight rebuild analytics`", consumer)
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "whether %s takes replays cannot be found out", consumer)
	}
	return nil
}

// ReplayDurable returns the name of the consumer, of the stream DEAD, that takes the replays of a durable consumer.
func ReplayDurable(durable string) string { return durable + "-replay" }

// replays returns the consumer of what is replayed to c.
func (c Consumer) replays() Consumer {
	c.Stream, c.Filters, c.FromNow = DeadStream, []string{replayPrefix + c.Durable}, false
	c.Concurrency = 1
	return c
}

// asBefore gives a replayed message the id and the subject that it had at first.
func asBefore(m Msg) Msg {
	if !strings.HasPrefix(m.Subject, replayPrefix) {
		return m
	}
	m.ID, m.Subject = m.Header.Get(HeaderDeadID), m.Header.Get(HeaderDeadSubject)
	return m
}
