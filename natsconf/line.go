package natsconf

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// How the line is watched. A server may say that it is linked while nothing gets through, because the hub does not know
// any more what the venue listens to, or may have stopped to dial. So what counts is an answer from the hub.
const (
	linePatience = 30 * time.Second
	lineLook     = 500 * time.Millisecond // between two looks at the server
	lineProbe    = 5 * time.Second        // between two probes that are answered, and for how long each waits
	lineRetry    = time.Second            // after one that is not
	lineLost     = 12 * time.Second       // without an answer the line counts as cut

	mostPatience = 10 // times the patience: the longest pause between two restarts
)

// lineSubject is what every instance of the hub's service answers in the venue's account, by the micro protocol.
const lineSubject = "$SRV.PING." + VenueUser

// lineWatch decides what follows from the answers of the hub. Its times are those of one clock.
type lineWatch struct {
	patience time.Duration
	heard    time.Time     // the last answer, or the last restart
	answered time.Time     // the last answer; zero: none yet
	pause    time.Duration // how long the hub may be silent before the next restart
}

// answer notes an answer.
func (w *lineWatch) answer(now time.Time) { w.heard, w.answered, w.pause = now, now, w.patience }

// up reports whether the line works, as far as is known.
func (w *lineWatch) up(linked bool, now time.Time) bool {
	return linked && !w.answered.IsZero() && now.Sub(w.answered) < lineLost
}

// stuck reports whether it is time to start the server anew, and counts on that being done.
func (w *lineWatch) stuck(now time.Time) bool {
	if now.Sub(w.heard) < w.pause {
		return false
	}
	w.heard, w.pause = now, min(2*w.pause, mostPatience*w.patience)
	return true
}

// watchLine probes the line until ctx ends, and starts the server anew when the hub is silent for too long.
func (l *Leaf) watchLine(ctx context.Context) {
	tick := time.NewTicker(lineLook)
	defer tick.Stop()
	w := &lineWatch{patience: l.cfg.Patience, heard: time.Now(), pause: l.cfg.Patience}
	var next time.Time // probe
	for {
		now, linked := time.Now(), l.Linked()
		why := l.errors.Load().reason()
		if !linked {
			next = now // at once when it is linked again
		} else if !now.Before(next) {
			err := l.probe(ctx)
			now = time.Now()
			if err == nil {
				w.answer(now)
				next = now.Add(lineProbe)
			} else {
				next = now.Add(lineRetry)
				why = "the hub is reached, and does not answer: " + err.Error()
			}
		}
		if ctx.Err() != nil {
			return
		}
		l.report(w.up(linked, now), why)
		if w.stuck(now) {
			l.restart(ctx, linked)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe asks the hub for a sign of life, over each connection: the hub may have lost where the answers to one of them
// are to go.
func (l *Leaf) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lineProbe)
	defer cancel()
	all := l.connections()
	failed := make(chan error, len(all))
	for _, nc := range all {
		go func() {
			_, err := nc.RequestWithContext(ctx, lineSubject, nil)
			failed <- err
		}()
	}
	var err error
	for range all {
		if one := <-failed; err == nil {
			err = one
		}
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return errors.New("no instance of its venue service is connected to this venue")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s", lineProbe)
	}
	return err
}

// report notes a change of the state.
func (l *Leaf) report(up bool, why string) {
	before := l.State()
	now := before
	if now.Up = up; up {
		why = ""
		l.errors.Load().forget()
	}
	now.Reason = why
	if now == before {
		return
	}
	if up != before.Up {
		now.Since = time.Now()
	}
	l.state.Store(&now)
	if up == before.Up {
		return
	}
	if up {
		l.log.Info("the line to the hub is up", "hub", l.cfg.Hub)
	} else {
		l.log.Warn("the line to the hub is cut", "hub", l.cfg.Hub, "reason", why)
	}
	if l.cfg.OnChange != nil {
		l.cfg.OnChange(now)
	}
}

// restart starts the server anew. Connections in the process come back by themselves.
func (l *Leaf) restart(ctx context.Context, linked bool) {
	l.log.Warn("the hub does not answer; the leaf node is started anew", "hub", l.cfg.Hub, "linked", linked)
	l.end()
	now := l.State()
	now.Restarts++
	l.state.Store(&now)
	for err := l.start(ctx); err != nil && ctx.Err() == nil; err = l.start(ctx) {
		l.log.Error("the leaf node does not start", "error", err)
		select {
		case <-time.After(lineRetry):
		case <-ctx.Done():
		}
	}
}

// leafLog is the log of a server at a venue. It dials every second, so what it says again goes to debug.
type leafLog struct {
	*logBridge

	mu   sync.Mutex
	last string
}

var _ server.Logger = (*leafLog)(nil)

// connectionID is what the server puts before a message about a connection.
var connectionID = regexp.MustCompile(`^.* - lid:\d+ - `)

// attempt is a part of a message that differs from dial to dial.
var attempt = regexp.MustCompile(` \(attempt \d+\)`)

// Errorf implements server.Logger.
func (b *leafLog) Errorf(format string, v ...any) {
	text := connectionID.ReplaceAllString(fmt.Sprintf(format, v...), "")
	text = attempt.ReplaceAllString(text, "")
	b.mu.Lock()
	again := text == b.last
	b.last = text
	b.mu.Unlock()
	if again {
		b.Debugf("%s", text)
		return
	}
	b.logBridge.Errorf("%s", text)
}

// forget makes an error that comes again be logged again.
func (b *leafLog) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = ""
}

// reason returns why the server is not linked, in words for the people at the venue.
func (b *leafLog) reason() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case strings.Contains(b.last, "Authorization Violation"), strings.Contains(b.last, "Authentication"):
		return "the hub refuses the credentials: they were revoked, or are of another system (" + b.last + ")"
	case b.last == "":
		return "the line is cut"
	}
	return b.last
}
