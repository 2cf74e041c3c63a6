package stream

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// item is a message that this instance has taken.
type item struct {
	raw   jetstream.Msg
	meta  *jetstream.MsgMetadata
	msg   Msg
	tries int // that failed for want of something else

	// Of the hand.
	alive time.Time // when the server was last told, or knew, that the message is here
	state state
	timer *time.Timer // of a parked one
}

type state int

const (
	inLine state = iota // for a handler
	running
	parked // until it is tried again
)

// hand holds the messages that this instance has taken and not settled, and keeps all of them in progress at the
// server.
type hand struct {
	limit   int           // messages in line or running beyond which none is taken
	ackWait time.Duration // after which the server gives a message that it hears nothing of to another instance
	freed   chan struct{} // wakes the one that waits for room
	hire    func()        // starts one more worker: whoever consumes little has few
	most    int           // workers

	mu       sync.Mutex
	waiting  sync.Cond        // workers wait for the line to get longer, or for the stop
	items    map[uint64]*item // by sequence in the stream
	line     []*item
	busy     int // in line or running
	workers  int // that were started
	resting  int // of them, those that wait
	stopping bool
}

func newHand(c Consumer) *hand {
	// While a handler runs, the next message is on its way.
	h := &hand{limit: 2 * c.Concurrency, most: c.Concurrency, ackWait: c.AckWait,
		freed: make(chan struct{}, 1), items: map[uint64]*item{}}
	h.waiting.L = &h.mu
	return h
}

// room waits until a request to the server is worth it, and returns for how many messages there is room: 0 when ctx has
// ended.
func (h *hand) room(ctx context.Context) int {
	for ctx.Err() == nil {
		h.mu.Lock()
		room := h.limit - h.busy
		h.mu.Unlock()
		if room >= max(1, h.limit/4) {
			return room
		}
		select {
		case <-h.freed:
		case <-ctx.Done():
		}
	}
	return 0
}

// take puts a message in line. A copy of one that is here already, as after a lost connection, is passed over.
func (h *hand) take(it *item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, twice := h.items[it.msg.Sequence]; twice {
		return
	}
	it.alive = time.Now()
	h.items[it.msg.Sequence] = it
	h.queue(it)
}

func (h *hand) queue(it *item) {
	it.state = inLine
	h.line = append(h.line, it)
	h.busy++
	if len(h.line) > h.resting && h.workers < h.most {
		h.workers++
		h.hire()
	}
	h.waiting.Signal()
}

// next waits for a message to run, and returns nil when the instance stops.
func (h *hand) next() *item {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.stopping {
		if len(h.line) == 0 {
			h.resting++
			h.waiting.Wait()
			h.resting--
			continue
		}
		it := h.line[0]
		h.line[0], h.line = nil, h.line[1:]
		if h.items[it.msg.Sequence] == it {
			it.state = running
			return it
		}
	}
	return nil
}

// drop forgets a message that is settled.
func (h *hand) drop(it *item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(it)
}

func (h *hand) forget(it *item) {
	delete(h.items, it.msg.Sequence)
	if it.state == parked {
		it.timer.Stop()
	} else {
		h.release()
	}
}

// release notes that a message is not in line or running any more.
func (h *hand) release() {
	h.busy--
	select {
	case h.freed <- struct{}{}:
	default:
	}
}

// park has a message wait for d and puts it in line again. When the instance stops, it drops the message and reports
// false.
func (h *hand) park(it *item, d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		h.forget(it)
		return false
	}
	h.release()
	it.state = parked
	it.timer = time.AfterFunc(d, func() { h.unpark(it) })
	return true
}

func (h *hand) unpark(it *item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopping && h.items[it.msg.Sequence] == it {
		h.queue(it)
	}
}

// stop lets no further message run.
func (h *hand) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
	h.waiting.Broadcast()
}

// idle drops the messages that no handler runs, and for which the condition holds, and returns them.
func (h *hand) idle(holds func(*item) bool) (dropped []*item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, it := range h.items {
		if it.state != running && holds(it) {
			h.forget(it)
			dropped = append(dropped, it)
		}
	}
	return dropped
}

// keepAlive tells the server that the messages are being worked on.
func (h *hand) keepAlive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, it := range h.items {
		it.alive = now
		_ = it.raw.InProgress() // an error is one of the connection; the next time is soon
	}
}

// expired reports whether the server has given the message to another instance: it has not heard of it for too long.
func (h *hand) expired(it *item) bool { return time.Since(it.alive) > h.ackWait }
