package gateway

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

const (
	liveQueue    = 256               // messages that may wait for a client before it is cut off
	livePatience = 10 * time.Second  // for a client to take what is written
	liveFlush    = 2 * time.Second   // for the NATS server to know of a subscription
	liveRetry    = "retry: 3000\n\n" // milliseconds after which a client comes back
)

// liveBeat is the interval of comments on an idle stream: proxies take a silent connection for a dead one.
const liveBeat = 15 * time.Second

// hub serves the live streams: the answer of an endpoint, then whatever its service publishes on the subject that the
// endpoint declares, as server-sent events until the client goes, its token ends, it is too slow, or the gateway
// drains.
type hub struct {
	cfg   Config
	beat  time.Duration
	ended chan struct{} // closed when the gateway drains
	teams *teams

	mu       sync.Mutex
	closed   bool
	streams  int
	byPerson map[ids.User]int

	refused, slow *observe.Counter
}

func newHub(cfg Config) *hub {
	h := &hub{cfg: cfg, beat: liveBeat, ended: make(chan struct{}), byPerson: map[ids.User]int{}}
	if cfg.LiveBeat > 0 {
		h.beat = cfg.LiveBeat
	}
	h.refused = cfg.Registry.Counter("starlight_live_refused_total", "Live streams refused because too many were open.")
	h.slow = cfg.Registry.Counter("starlight_live_slow_total",
		"Live streams cut off because their client was too slow.")
	cfg.Registry.GaugeFunc("starlight_live_streams", "Live streams that are open.", func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.streams)
	})
	return h
}

// close ends all streams and refuses new ones.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.ended)
	}
}

// enter takes a place for a stream of the person, if there is one. The returned function gives it back.
func (h *hub) enter(who ids.User) (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, fault.New(fault.Unavailable, "the gateway is going down").After(time.Second)
	case h.streams >= api.LiveStreams.Get(h.cfg.Settings):
		h.refused.Inc()
		return nil, fault.New(fault.Unavailable, "there are too many live streams").After(10 * time.Second)
	case who != "" && h.byPerson[who] >= api.LivePerPerson.Get(h.cfg.Settings):
		h.refused.Inc()
		return nil, fault.New(fault.RateLimited,
			"too many live streams are open; close one first").After(10 * time.Second)
	}
	h.streams++
	h.byPerson[who]++
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.streams--
		if h.byPerson[who]--; h.byPerson[who] == 0 {
			delete(h.byPerson, who)
		}
	}), nil
}

// serve answers with a stream. It subscribes first and asks for the snapshot then, so that no change falls between the
// two. The service authorizes the caller by answering: until it has, nothing that was received goes out.
func (h *hub) serve(x *exchange, spec rpc.Spec, ask func() (*nats.Msg, error)) error {
	leave, err := h.enter(x.principal.User)
	if err != nil {
		return err
	}
	s, err := h.open(x, spec, ask)
	if err != nil {
		leave()
		return err
	}
	header := &x.rc.Response.Header
	header.SetContentType("text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies in between shall pass on what comes, when it comes
	x.rc.SetConnectionClose()             // from now on the connection belongs to the stream
	if x.rc.IsHead() {
		s.stop()
		leave()
		return nil
	}
	s.conn, s.beat, s.ended = x.rc.Conn(), h.beat, h.ended
	unfollow := h.follow(x, s)
	var expire <-chan time.Time
	if !x.until.IsZero() {
		timer := time.NewTimer(x.until.Sub(h.cfg.Now()))
		expire = timer.C
	}
	x.rc.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer leave()
		defer s.stop()
		defer unfollow()
		if s.run(w, expire) == errSlow {
			h.slow.Inc()
		}
	})
	return nil
}

// follow ends a stream when its caller's session ends, or the caller leaves the team of the event that it is about.
func (h *hub) follow(x *exchange, s *liveStream) (unfollow func()) {
	if !x.principal.Known() {
		return func() {}
	}
	end := sync.OnceFunc(func() { close(s.revoked) })
	session := h.cfg.Revoked.Follow(x.identity, end)
	team := h.teams.follow(s.of, x.principal, end)
	return func() {
		session()
		team()
	}
}

// liveStream is one stream at work.
type liveStream struct {
	first []byte // the snapshot
	sub   *nats.Subscription
	queue chan *nats.Msg
	full  chan struct{} // closed once queue had no room

	of      string        // the token of its subject
	revoked chan struct{} // closed once the caller may not follow it any more

	conn  net.Conn
	beat  time.Duration
	ended <-chan struct{}
}

var errSlow = fault.New(fault.Timeout, "the client does not take what it is sent")

// open subscribes and takes the snapshot.
func (h *hub) open(x *exchange, spec rpc.Spec, ask func() (*nats.Msg, error)) (*liveStream, error) {
	token := spec.Live.Token(x.principal.User, func(name string) string { return x.fiber.Params(name) })
	if !live.IsToken(token) {
		return nil, fault.New(fault.NotFound, "there is nothing under this address")
	}
	s := &liveStream{queue: make(chan *nats.Msg, liveQueue), full: make(chan struct{}), of: token,
		revoked: make(chan struct{})}
	tooFull := sync.OnceFunc(func() { close(s.full) })
	var err error
	s.sub, err = h.cfg.NATS.Subscribe(live.Subject(spec.Service, token), func(m *nats.Msg) {
		select {
		case s.queue <- m:
		default:
			tooFull()
		}
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "live streams are not available").After(time.Second)
	}
	if s.first, err = h.snapshot(ask); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// snapshot asks for the state once the NATS server knows of the subscription.
func (h *hub) snapshot(ask func() (*nats.Msg, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), liveFlush)
	defer cancel()
	if err := h.cfg.NATS.FlushWithContext(ctx); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "live streams are not available").After(time.Second)
	}
	reply, err := ask()
	if err != nil {
		return nil, err
	}
	return reply.Data, nil
}

func (s *liveStream) stop() {
	_ = s.sub.Unsubscribe() // fails when the connection is closed, and then there is nothing to end
}

// run writes until the stream ends, and returns why.
func (s *liveStream) run(w *bufio.Writer, expire <-chan time.Time) error {
	if err := s.write(w, []byte(liveRetry), event("snapshot", "", s.first)); err != nil {
		return err
	}
	gone := s.watch()
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	for {
		var err error
		select {
		case m := <-s.queue:
			err = s.write(w, event(m.Header.Get(live.HeaderEvent), m.Header.Get(live.HeaderEventID), m.Data))
		case <-beat.C:
			err = s.write(w, []byte(": still here\n\n"))
		case <-s.full:
			return errSlow
		case <-expire:
			return s.write(w, event("end", "", []byte(`{"reason":"the access token has expired"}`)))
		case <-s.revoked:
			return s.write(w, event("end", "", []byte(`{"reason":"the session has ended or its rights have changed"}`)))
		case <-s.ended:
			return s.write(w, event("end", "", []byte(`{"reason":"the gateway is going down"}`)))
		case <-gone:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write sends pieces to the client, who has some seconds to take them.
func (s *liveStream) write(w *bufio.Writer, pieces ...[]byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(livePatience)); err != nil {
		return err
	}
	for _, p := range pieces {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return w.Flush()
}

// watch returns a channel that is closed when the client closes the connection, or sends what it has no business to
// send. The connection serves no further request, so there is no other reader.
func (s *liveStream) watch() <-chan struct{} {
	gone := make(chan struct{})
	_ = s.conn.SetReadDeadline(time.Time{}) // fails on a closed connection, as Read will
	go func() {
		defer close(gone)
		var b [1]byte
		_, _ = s.conn.Read(b[:]) // whatever it is
	}()
	return gone
}

// event writes one server-sent event. Name and id come from services; a line break would begin another field.
func event(name, id string, data []byte) []byte {
	var b bytes.Buffer
	for _, f := range [][2]string{{"id", id}, {"event", name}} {
		if f[1] != "" {
			b.WriteString(f[0] + ": " + firstLine(f[1]) + "\n")
		}
	}
	for line := range bytes.Lines(data) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	if len(data) == 0 {
		b.WriteString("data:\n") // without data there would be no event
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func firstLine(s string) string {
	for i := range len(s) {
		if s[i] < ' ' {
			return s[:i]
		}
	}
	return s
}
