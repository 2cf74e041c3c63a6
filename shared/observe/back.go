package observe

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Of the stream so many messages are looked at in one step back, and twice as many in the next. A page is shorter than
// asked for once so many lines were read for it.
const (
	firstStep   = 4096
	mostRead    = 50_000
	longestStep = 1 << 20
)

var errStep = errors.New("the step is over")

// Back returns up to limit lines that stand before a sequence of the stream, or at its end if that is 0, newest first,
// and the sequence before which to go on: 0 if there is no more. A page may have fewer lines than there are: reading is
// bounded. Follow means nothing here.
func Back(ctx context.Context, js jetstream.JetStream, opts TailOptions, before uint64, limit int) (
	lines []Entry, next uint64, err error) {
	subjects, err := tailSubjects(opts)
	if err != nil {
		return nil, 0, err
	}
	logs, err := js.Stream(ctx, LogStream)
	if err != nil {
		return nil, 0, fmt.Errorf("reading stream %s: %w", LogStream, err)
	}
	state := logs.CachedInfo().State
	if before == 0 || before > state.LastSeq+1 {
		before = state.LastSeq + 1
	}
	for step, seen := uint64(firstStep), 0; seen < mostRead; step = min(2*step, longestStep) {
		if before <= max(state.FirstSeq, 1) {
			return lines, 0, nil
		}
		from := max(state.FirstSeq, 1)
		if before-from > step {
			from = before - step
		}
		found, past, n, err := readStep(ctx, js, opts, subjects, from, before)
		if err != nil {
			return nil, 0, err
		}
		seen += n
		slices.Reverse(found)
		for _, f := range found {
			lines = append(lines, f.Entry)
			if len(lines) == limit {
				return lines, f.sequence, nil
			}
		}
		if past {
			return lines, 0, nil
		}
		before = from
	}
	return lines, before, nil
}

// found is a line with its place in the stream.
type found struct {
	Entry
	sequence uint64
}

// readStep returns the lines of a part of the stream, whether some of it is older than what is asked for, and how many
// lines it has read.
func readStep(ctx context.Context, js jetstream.JetStream, opts TailOptions, subjects []string, from, before uint64) (
	lines []found, past bool, n int, err error) {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: subjects,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from}
	err = read(ctx, js, config, false, func(e Entry, m *jetstream.MsgMetadata) error {
		if m.Sequence.Stream >= before {
			return errStep
		}
		n++
		switch {
		case m.Timestamp.Before(opts.Since):
			past = true
		case opts.wants(e):
			lines = append(lines, found{e, m.Sequence.Stream})
		}
		return nil
	})
	if errors.Is(err, errStep) {
		err = nil
	}
	return lines, past, n, err
}
