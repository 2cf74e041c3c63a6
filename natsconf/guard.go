package natsconf

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	updatedAdvisory = "$JS.EVENT.ADVISORY.STREAM.UPDATED."
	deletedAdvisory = "$JS.EVENT.ADVISORY.STREAM.DELETED."

	// guardInterval bounds how long a drift lasts whose advisory was lost with a connection.
	guardInterval = 30 * time.Second
)

// Guard repairs the settings of the declared streams as soon as they are changed, until ctx ends. Changing the settings
// of a bucket with the nats tool, for one, silently lets replicas answer that may be behind. It may run in several
// processes. A stream that is deleted is reported but not made again: an empty inventory must not look like a fresh
// one.
func Guard(
	ctx context.Context, js jetstream.JetStream, streams []jetstream.StreamConfig, replicas int, log *slog.Logger,
) error {
	changed := make(chan *nats.Msg, 256)
	nc := js.Conn()
	for _, subject := range []string{updatedAdvisory + "*", deletedAdvisory + "*"} {
		sub, err := nc.ChanSubscribe(subject, changed)
		if err != nil {
			return fmt.Errorf("natsconf: guard: %w", err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil && ctx.Err() == nil {
		return fmt.Errorf("natsconf: guard: %w", err)
	}
	check := func(want jetstream.StreamConfig) {
		if drifted, err := restore(ctx, js, want, replicas); err != nil && ctx.Err() == nil {
			log.Error("a stream cannot be checked", "stream", want.Name, "error", err)
		} else if len(drifted) > 0 {
			log.Warn("a stream's settings were changed from outside; they are back",
				"stream", want.Name, "settings", drifted)
		}
	}
	for _, want := range streams {
		check(want)
	}
	tick := time.NewTicker(guardInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for _, want := range streams {
				check(want)
			}
		case msg := <-changed:
			name := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
			i := slices.IndexFunc(streams, func(s jetstream.StreamConfig) bool { return s.Name == name })
			if i < 0 {
				continue
			}
			if strings.HasPrefix(msg.Subject, deletedAdvisory) {
				log.Error("a stream of the system was deleted", "stream", name)
				continue
			}
			check(streams[i])
		}
	}
}

// restore repairs a stream that is there.
func restore(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, replicas int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, want.Name)
	if err != nil {
		return nil, err
	}
	fixed, drifted := repair(stream.CachedInfo().Config, want, replicas)
	if len(drifted) == 0 {
		return nil, nil
	}
	_, err = js.UpdateStream(ctx, fixed)
	return drifted, err
}
