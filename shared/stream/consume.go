package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
)

// The headers that a dead letter has besides those of the message.
const (
	HeaderDeadReason   = "Starlight-Dead-Reason"
	HeaderDeadSubject  = "Starlight-Dead-Subject"
	HeaderDeadStream   = "Starlight-Dead-Stream"
	HeaderDeadSequence = "Starlight-Dead-Sequence"
	HeaderDeadID       = "Starlight-Dead-Id"
)

// Consumer says what to consume, and how.
type Consumer struct {
	Stream  string
	Durable string   // its name: instances that use the same one share the messages
	Filters []string // subjects; none means the whole stream

	Concurrency int // handlers at a time in this instance; 0 means 1
	// one message at a time over all instances: each in its turn, a failing one holds up the rest
	Ordered     bool
	AckWait     time.Duration // after which the message of an instance that died is delivered again; 0 means 30 s
	HandlerTime time.Duration // what a handler gets; 0 means nine tenths of AckWait
	StopTime    time.Duration // what handlers under way still get when Consume is to end; 0 means 20 s
	MaxDeliver  int           // deliveries after which a message that fails is dead; 0 means 10
	// age from which on a message that fails is dead for whatever reason; 0 means no such age
	MaxAge time.Duration
	// pauses after the first, second ... failure; the last one repeats; nil means 100 ms to 30 s
	BackOff []time.Duration
	// wait for the server to confirm each ack: fewer repetitions, for handlers whose effect cannot be undone
	DoubleAck bool
	FromNow   bool // a new consumer begins with the next message instead of the oldest

	Log      *slog.Logger      // nil: none
	Registry *observe.Registry // nil: none
}

func (c Consumer) withDefaults() (Consumer, error) {
	if c.Stream == "" || c.Durable == "" || strings.ContainsAny(c.Durable, ".*> \t\r\n") {
		return c, fault.New(fault.Invalid, "a consumer needs a stream and a durable name that is a subject token")
	}
	c.Concurrency = max(c.Concurrency, 1)
	if c.Ordered {
		c.Concurrency = 1
	}
	if c.AckWait <= 0 {
		c.AckWait = 30 * time.Second
	}
	if c.HandlerTime <= 0 {
		c.HandlerTime = c.AckWait * 9 / 10
	}
	if c.StopTime <= 0 {
		c.StopTime = 20 * time.Second
	}
	if c.MaxDeliver <= 0 {
		c.MaxDeliver = 10
	}
	if len(c.BackOff) == 0 {
		c.BackOff = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second,
			10 * time.Second, 30 * time.Second}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("consumer", c.Durable)
	if c.Registry == nil {
		c.Registry = observe.NewRegistry()
	}
	return c, nil
}

// config is the server's side. It sets no limit on deliveries: a message over the server's limit would silently stay
// behind when the instances that tried it died, so the count is checked here.
func (c Consumer) config(name string) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:        name,
		FilterSubjects: c.Filters,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        c.AckWait,
		MaxDeliver:     -1,
		MaxAckPending:  max(1000, 8*c.Concurrency),
	}
	if c.Ordered {
		cfg.MaxAckPending = 1
	}
	if c.FromNow {
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	return cfg
}

// consumption is a Consumer at work.
type consumption struct {
	Consumer
	name    string // of the consumer at the server: Durable, or that of its replays
	js      jetstream.JetStream
	handler func(ctx context.Context, m Msg) error
	hand    *hand
	outage  *observe.Outage

	done, retried, postponed, dead *observe.Counter
	pending                        *observe.Gauge
}

// Consume hands the messages of a durable consumer to handler until ctx ends. The consumer is created where missing.
// What goes wrong with the stream or the connection is logged and tried again for ever; the only error is an invalid
// Consumer.
//
// A message that this instance has taken is kept in progress until it is settled, however long it waits for a handler
// and however long its handler takes: it is delivered again only when the instance dies or is cut off from the server.
//
// A handler that fails or panics gets the message again, after a pause. One that fails with a fault of code Unavailable
// or Timeout says nothing about the message: it stays with this instance and is tried until it succeeds, or is MaxAge
// old. A message that failed MaxDeliver times for other reasons, or failed with a fault of code Invalid, is published
// to dead.<durable> in the stream DEAD, with its headers and the reason, and not delivered again before Replay is
// called. Replays come from the stream DEAD, by a consumer of their own, and look to the handler as they did at first.
//
// The handler's context ends with the message's time, not with ctx. When ctx ends, messages without a handler go back
// to the server at once, for other instances; handlers under way get StopTime, then their contexts end, and Consume
// returns when they have. What a handler has done it writes down under the context of Recording.
func Consume(ctx context.Context, js jetstream.JetStream, c Consumer,
	handler func(ctx context.Context, m Msg) error) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	const name, help = "starlight_consumer_messages_total", "Messages handled, by outcome."
	counter := func(outcome string) *observe.Counter {
		return c.Registry.Counter(name, help, "consumer", c.Durable, "outcome", outcome)
	}
	gauge := func(name, help string) *observe.Gauge { return c.Registry.Gauge(name, help, "consumer", c.Durable) }
	k := &consumption{
		Consumer: c, name: c.Durable, js: js, handler: handler, hand: newHand(c),
		done: counter("done"), retried: counter("retried"), postponed: counter("postponed"), dead: counter("dead"),
		pending: gauge("starlight_consumer_pending", "Messages of the stream that the consumer has not been given."),
	}
	outage := func(waiting *observe.Gauge) *observe.Outage {
		return observe.NewOutage(c.Log, "messages wait: what their handler needs is not available",
			"no message waits any more", waiting)
	}
	k.outage = outage(gauge("starlight_consumer_waiting", "Messages that wait for what their handler needs."))
	again := &consumption{
		Consumer: c.replays(), name: ReplayDurable(c.Durable), js: js, handler: handler, hand: newHand(c.replays()),
		done: k.done, retried: k.retried, postponed: k.postponed, dead: k.dead,
		pending: gauge("starlight_consumer_replays_pending", "Dead letters to try once more."),
	}
	again.outage = outage(gauge("starlight_consumer_replays_waiting",
		"Replayed dead letters that wait for what their handler needs."))
	_, _ = again.create(ctx) // before a message can be given up; what fails is tried again below
	var both sync.WaitGroup
	for _, one := range []*consumption{k, again} {
		both.Go(func() { one.run(ctx) })
	}
	both.Wait()
	return nil
}

// run consumes until ctx ends.
func (k *consumption) run(ctx context.Context) {
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	over := make(chan struct{})
	var workers, attendant sync.WaitGroup
	k.hand.hire = func() {
		workers.Go(func() {
			for it := k.hand.next(); it != nil; it = k.hand.next() {
				k.handle(handling, it)
			}
		})
	}
	attendant.Go(func() { k.attend(over) })
	defer context.AfterFunc(ctx, k.hand.stop)()

	k.keepOn(ctx)
	k.hand.stop()
	// after the last request, or they would come back
	k.release(func(*item) bool { return true }, func(it *item) { _ = it.raw.Nak() })
	deadline := time.AfterFunc(k.StopTime, cancel)
	defer deadline.Stop()
	workers.Wait()
	close(over)
	attendant.Wait()
}

// attend keeps the messages in hand in progress at the server until over is closed. While the server cannot be reached,
// what no handler runs is dropped once another instance may have it.
func (k *consumption) attend(over <-chan struct{}) {
	tick := time.NewTicker(k.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.release(k.hand.expired, func(*item) {})
			if k.js.Conn().IsConnected() {
				k.hand.keepAlive()
			}
		case <-over:
			return
		}
	}
}

// release drops messages that no handler runs and for which the condition holds, and calls fn for each.
func (k *consumption) release(holds func(*item) bool, fn func(*item)) {
	for _, it := range k.hand.idle(holds) {
		if it.tries > 0 {
			k.outage.Over(context.Background())
		}
		fn(it)
	}
}

// keepOn takes messages until ctx ends.
func (k *consumption) keepOn(ctx context.Context) {
	retry := run.Backoff{First: 100 * time.Millisecond, Last: longestPause}
	var pause time.Duration // the one before; 0 at first
	for ctx.Err() == nil {
		began := time.Now()
		err := k.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			retry.Reset()
			pause = 0
		}
		next := retry.Next()
		k.Log.Log(ctx, interruption(pause, next), "consumer interrupted", "stream", k.Stream,
			"error", err, "retry_in", next)
		pause = next
		run.Pause(ctx, pause)
	}
}

// interruption returns the level of a failure between two pauses. Leaders change in any cluster; a consumer that cannot
// go on for seconds is worth one warning.
func interruption(before, next time.Duration) slog.Level {
	switch {
	case before == 0:
		return slog.LevelInfo
	case next == longestPause && before < next:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// How long the server keeps a request for messages, and how often it says that it still does.
const (
	pullTime  = 30 * time.Second
	pullAlive = 2 * time.Second
)

// create makes the consumer at the server, or finds it there.
func (k *consumption) create(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return k.js.CreateOrUpdateConsumer(ctx, k.Stream, k.config(k.name))
}

// session takes messages until ctx ends or the server ends it.
func (k *consumption) session(ctx context.Context) error {
	consumer, err := k.create(ctx)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	// Each request is for as many messages as there is room for, so that none waits in the client's buffer, where it
	// could not be kept in progress.
	for {
		room := k.hand.room(ctx)
		if room == 0 {
			return ctx.Err()
		}
		pull, end := context.WithTimeout(ctx, pullTime)
		messages, err := consumer.Fetch(room, jetstream.FetchContext(pull), jetstream.FetchHeartbeat(pullAlive))
		if err != nil {
			end()
			return fmt.Errorf("pull: %w", err)
		}
		for raw := range messages.Messages() {
			k.take(ctx, raw)
		}
		end()
		// A request whose server went away is made again, and so is one that is over.
		err = messages.Error()
		if err != nil && !errors.Is(err, jetstream.ErrNoHeartbeat) && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("pull: %w", err)
		}
	}
}

// take puts a message into the hand and in line for a handler.
func (k *consumption) take(ctx context.Context, raw jetstream.Msg) {
	meta, err := raw.Metadata()
	if err != nil {
		k.Log.ErrorContext(ctx, "message without metadata", "subject", raw.Subject(), "error", err)
		return
	}
	k.pending.Set(float64(meta.NumPending))
	k.hand.take(&item{raw: raw, meta: meta, msg: asBefore(message(raw, meta))})
}

func message(raw jetstream.Msg, meta *jetstream.MsgMetadata) Msg {
	m := Msg{
		ID:       raw.Headers().Get(nats.MsgIdHdr),
		Subject:  raw.Subject(),
		Data:     raw.Data(),
		Header:   raw.Headers(),
		Sequence: meta.Sequence.Stream,
		Time:     meta.Timestamp,
		Delivery: int(meta.NumDelivered),
	}
	if m.ID == "" {
		m.ID = meta.Stream + ":" + strconv.FormatUint(m.Sequence, 10)
	}
	return m
}

// oneLine makes s fit for a header.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 512 {
		s = strings.ToValidUTF8(s[:512], "")
	}
	return s
}
