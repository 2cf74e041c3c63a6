package natsconf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	createdAdvisory = "$JS.EVENT.ADVISORY.STREAM.CREATED."
	updatedAdvisory = "$JS.EVENT.ADVISORY.STREAM.UPDATED."
	deletedAdvisory = "$JS.EVENT.ADVISORY.STREAM.DELETED."

	// guardInterval bounds how long a drift lasts whose advisory was lost with a connection, and guardRetry one that
	// could not be looked at or repaired.
	guardInterval = 30 * time.Second
	guardRetry    = time.Second
)

// GuardConfig says what Guard keeps.
type GuardConfig struct {
	Streams  []jetstream.StreamConfig // that are declared
	Replicas int                      // copies of each, 1 or 3; 0 leaves what is there
	Reserved []string                 // subjects between the parts of the system that no stream keeps, such as api.>
	Log      *slog.Logger
	Removed  func(stream string) // called for each stream that was removed; may be nil

	// Seen is called with each declared stream that was looked at, every 30 seconds; may be nil.
	Seen func(info *jetstream.StreamInfo)
}

// Guard keeps the streams as they are declared until ctx ends. It may run in several processes.
//
// Settings that are changed are repaired: changing those of a bucket with the nats tool, for one, silently lets
// replicas answer that may be behind. A stream that is deleted is reported but not made again: an empty inventory must
// not look like a fresh one.
//
// A stream that is not declared, and collects what the parts of the system say to each other or publishes into that, is
// removed. Others stay, and are reported once: they may be an operator's, or of a version that is newer than this one.
// No version declares a stream of requests.
func Guard(ctx context.Context, js jetstream.JetStream, cfg GuardConfig) error {
	g := &guard{GuardConfig: cfg, js: js, reported: map[string]bool{}}
	changed := make(chan *nats.Msg, 256)
	nc := js.Conn()
	for _, subject := range []string{createdAdvisory + "*", updatedAdvisory + "*", deletedAdvisory + "*"} {
		sub, err := nc.ChanSubscribe(subject, changed)
		if err != nil {
			return fmt.Errorf("natsconf: guard: %w", err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil && ctx.Err() == nil {
		return fmt.Errorf("natsconf: guard: %w", err)
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			g.checkAll(ctx)
			again.Reset(guardInterval)
		case msg := <-changed:
			name := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
			i := slices.IndexFunc(g.Streams, func(s jetstream.StreamConfig) bool { return s.Name == name })
			switch deleted := strings.HasPrefix(msg.Subject, deletedAdvisory); {
			case i < 0 && deleted:
			case i < 0:
				g.checkOthers(ctx)
			case deleted:
				g.Log.Error("a stream of the system was deleted", "stream", name)
			default:
				g.check(ctx, g.Streams[i])
			}
		}
		if g.failed {
			g.failed = false
			again.Reset(guardRetry)
		}
	}
}

// guard is a Guard at work.
type guard struct {
	GuardConfig
	js       jetstream.JetStream
	reported map[string]bool // streams that are not declared
	failed   bool            // something could not be looked at or mended
}

func (g *guard) checkAll(ctx context.Context) {
	for _, want := range g.Streams {
		g.check(ctx, want)
	}
	g.checkOthers(ctx)
}

// check repairs a declared stream.
func (g *guard) check(ctx context.Context, want jetstream.StreamConfig) {
	info, drifted, err := restore(ctx, g.js, want, g.Replicas)
	if info != nil && g.Seen != nil {
		g.Seen(info)
	}
	if err != nil && ctx.Err() == nil {
		g.failed = true
		g.Log.Error("a stream cannot be checked", "stream", want.Name, "error", err)
	} else if len(drifted) > 0 {
		g.Log.Warn("a stream's settings were changed from outside; they are back", "stream", want.Name,
			"settings", drifted)
	}
}

// checkOthers removes streams that must not be, and reports others that are not declared.
func (g *guard) checkOthers(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list := g.js.ListStreams(within)
	for info := range list.Info() {
		name := info.Config.Name
		if slices.ContainsFunc(g.Streams, func(s jetstream.StreamConfig) bool { return s.Name == name }) {
			continue
		}
		reason := g.forbidden(info.Config)
		if reason == "" {
			if !g.reported[name] {
				g.reported[name] = true
				g.Log.Warn("there is a stream that is not of this version of the system; it stays", "stream", name)
			}
			continue
		}
		err := g.js.DeleteStream(within, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) { // another process was faster
			continue
		}
		if err != nil {
			g.failed = true
			g.Log.Error("a stream that must not be cannot be removed", "stream", name, "reason", reason, "error", err)
			continue
		}
		g.Log.Error("a stream that must not be was removed", "stream", name, "reason", reason)
		if g.Removed != nil {
			g.Removed(name)
		}
	}
	if err := list.Err(); err != nil && ctx.Err() == nil {
		g.failed = true
		g.Log.Error("streams that are not declared cannot be looked for", "error", err)
	}
}

// forbidden returns why a stream that is not declared must not be, or "".
func (g *guard) forbidden(cfg jetstream.StreamConfig) string {
	reserved := func(subject string) bool {
		return strings.HasPrefix(subject, "_INBOX") || server.SubjectsCollide(subject, "_INBOX.>") ||
			slices.ContainsFunc(g.Reserved, func(r string) bool { return server.SubjectsCollide(subject, r) })
	}
	for _, s := range cfg.Subjects {
		if reserved(s) {
			return "it collects " + s
		}
	}
	if cfg.RePublish != nil {
		to := cfg.RePublish.Destination
		taken := func(s jetstream.StreamConfig) bool {
			return slices.ContainsFunc(s.Subjects, func(of string) bool { return server.SubjectsCollide(to, of) })
		}
		if to == "" || reserved(to) || slices.ContainsFunc(g.Streams, taken) {
			return "it publishes to " + to
		}
	}
	return ""
}

// restore repairs a stream that is there.
func restore(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, replicas int,
) (info *jetstream.StreamInfo, drifted []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, want.Name)
	if err != nil {
		return nil, nil, err
	}
	info = stream.CachedInfo()
	fixed, drifted := repair(info.Config, want, replicas)
	if len(drifted) == 0 {
		return info, nil, nil
	}
	_, err = js.UpdateStream(ctx, fixed)
	return info, drifted, err
}
