package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
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

	Concurrency int             // handlers at a time in this instance; 0 means 1
	Ordered     bool            // one message at a time over all instances: each in its turn, a failing one holds up the rest
	AckWait     time.Duration   // after which the message of an instance that died is delivered again; 0 means 30 s
	HandlerTime time.Duration   // what a handler gets; 0 means nine tenths of AckWait
	MaxDeliver  int             // deliveries after which a message is dead; 0 means 10
	BackOff     []time.Duration // pauses after the first, second ... failure; the last one repeats; nil means 100 ms to 30 s
	DoubleAck   bool            // wait for the server to confirm each ack: fewer repetitions, for handlers whose effect cannot be undone
	FromNow     bool            // a new consumer begins with the next message instead of the oldest

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
	if c.MaxDeliver <= 0 {
		c.MaxDeliver = 10
	}
	if len(c.BackOff) == 0 {
		c.BackOff = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second, 30 * time.Second}
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

	done, retried, dead *observe.Counter
	pending             *observe.Gauge
}

// Consume hands the messages of a durable consumer to handler until ctx ends, then finishes those that have arrived and
// returns nil. The consumer is created where missing. What goes wrong with the stream or the connection is logged and
// tried again for ever; the only other error is an invalid Consumer.
//
// The handler's context ends with the message's time, not with ctx. A handler that fails or panics gets the message
// again, after a pause. A message that failed MaxDeliver times, or failed with a fault of code Invalid, is published to
// dead.<durable> in the stream DEAD, with its headers and the reason, and not delivered again unless somebody calls
// Replay. Those come from the stream DEAD, by a consumer of their own, and look to the handler as they did at first.
func Consume(ctx context.Context, js jetstream.JetStream, c Consumer, handler func(ctx context.Context, m Msg) error) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	const name, help = "starlight_consumer_messages_total", "Messages handled, by outcome."
	k := &consumption{
		Consumer: c, js: js, handler: handler,
		done:    c.Registry.Counter(name, help, "consumer", c.Durable, "outcome", "done"),
		retried: c.Registry.Counter(name, help, "consumer", c.Durable, "outcome", "retried"),
		dead:    c.Registry.Counter(name, help, "consumer", c.Durable, "outcome", "dead"),
		pending: c.Registry.Gauge("starlight_consumer_pending", "Messages of the stream that the consumer has not been given.", "consumer", c.Durable),
	}
	again := *k
	again.Consumer, again.name = k.replays(), ReplayDurable(c.Durable)
	again.pending = c.Registry.Gauge("starlight_consumer_replays_pending", "Dead letters to try once more.", "consumer", c.Durable)
	k.name = c.Durable
	var both sync.WaitGroup
	for _, one := range []*consumption{k, &again} {
		both.Go(func() { one.keepOn(ctx) })
	}
	both.Wait()
	return nil
}

// keepOn consumes until ctx ends.
func (k *consumption) keepOn(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		err := k.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = 0
		}
		pause = min(max(2*pause, 100*time.Millisecond), 5*time.Second)
		k.Log.WarnContext(ctx, "consumer interrupted", "stream", k.Stream, "error", err, "retry_in", pause)
		wait(ctx, pause, nil)
	}
}

// session consumes until ctx ends or the server ends it.
func (k *consumption) session(ctx context.Context) error {
	setup, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	consumer, err := k.js.CreateOrUpdateConsumer(setup, k.Stream, k.config(k.name))
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	// What is buffered here is on its AckWait already, so no more than the handlers are about to take.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(2*k.Concurrency), jetstream.PullExpiry(30*time.Second),
		jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Drain) // ends Next once what has arrived is handed out
	defer stop()

	work := make(chan jetstream.Msg)
	var workers sync.WaitGroup
	for range k.Concurrency {
		workers.Go(func() {
			for m := range work {
				k.handle(context.WithoutCancel(ctx), m)
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	for {
		m, err := messages.Next()
		if err != nil {
			return err
		}
		work <- m
	}
}

// handle runs the handler on one message and settles it.
func (k *consumption) handle(ctx context.Context, raw jetstream.Msg) {
	meta, err := raw.Metadata()
	if err != nil {
		k.Log.ErrorContext(ctx, "message without metadata", "subject", raw.Subject(), "error", err)
		return
	}
	k.pending.Set(float64(meta.NumPending))
	m := asBefore(message(raw, meta))
	ctx = rpc.WithMeta(ctx, rpc.Meta{
		RequestID:   m.Header.Get(rpc.HeaderRequestID),
		TraceParent: rpc.ChildTrace(m.Header.Get(rpc.HeaderTrace)),
	})
	log := k.Log.With("message", m.ID, "subject", m.Subject, "delivery", m.Delivery)

	if m.Delivery > k.MaxDeliver { // those who had it before ended without a word
		k.bury(ctx, log, raw, meta, m, errors.New("given up by its handlers"))
		return
	}
	err = k.run(ctx, raw, m)
	switch {
	case err == nil:
		k.ack(ctx, log, raw)
	case fault.Is(err, fault.Invalid) || m.Delivery >= k.MaxDeliver:
		k.bury(ctx, log, raw, meta, m, err)
	default:
		k.retry(ctx, log, raw, m, err)
	}
}

// run calls the handler, and turns a panic into an error.
func (k *consumption) run(ctx context.Context, raw jetstream.Msg, m Msg) (err error) {
	ctx, cancel := context.WithTimeout(ctx, k.HandlerTime)
	defer cancel()
	raw.InProgress() // it may have waited in the buffer; a lost signal costs a repetition at most
	if k.HandlerTime > k.AckWait {
		go k.attend(ctx, raw)
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in handler: %v\n%s", r, debug.Stack())
		}
	}()
	return k.handler(ctx, m)
}

// attend tells the server that a message is being worked on, until ctx ends.
func (k *consumption) attend(ctx context.Context, raw jetstream.Msg) {
	tick := time.NewTicker(k.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			raw.InProgress()
		case <-ctx.Done():
			return
		}
	}
}

func (k *consumption) ack(ctx context.Context, log *slog.Logger, raw jetstream.Msg) {
	k.done.Inc()
	var err error
	if k.DoubleAck {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err = raw.DoubleAck(ctx)
	} else {
		err = raw.Ack()
	}
	if err != nil {
		log.WarnContext(ctx, "message handled, but not acknowledged: it will come again", "error", err)
	}
}

func (k *consumption) retry(ctx context.Context, log *slog.Logger, raw jetstream.Msg, m Msg, cause error) {
	k.retried.Inc()
	pause := k.BackOff[min(m.Delivery, len(k.BackOff))-1]
	log.WarnContext(ctx, "message failed", "error", cause, "retry_in", pause)
	if err := raw.NakWithDelay(pause); err != nil {
		log.WarnContext(ctx, "message failed, and the pause could not be set", "error", err)
	}
}

// bury moves a message to the dead letters. If that fails it stays, and is tried again.
func (k *consumption) bury(ctx context.Context, log *slog.Logger, raw jetstream.Msg, meta *jetstream.MsgMetadata, m Msg, cause error) {
	if err := bury(ctx, k.js, k.Durable, meta.Stream, m, cause); err != nil {
		k.retry(ctx, log, raw, m, errors.Join(cause, fmt.Errorf("dead letter: %w", err)))
		return
	}
	k.dead.Inc()
	log.ErrorContext(ctx, "message given up, see the stream "+DeadStream, "error", cause)
	if err := raw.Term(); err != nil {
		log.WarnContext(ctx, "message given up, but not terminated", "error", err)
	}
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
