package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// recordingTime is what the context of Recording lasts.
const recordingTime = 10 * time.Second

// Recording returns a context for writing down what a handler has done outside: a mail that was sent, money that has
// gone. It lasts ten seconds, even if the handler's time is over or the process is to stop, so that done work is not
// done again.
func Recording(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordingTime)
}

// handle runs the handler on one message and settles it, or has it wait for another try.
func (k *consumption) handle(ctx context.Context, it *item) {
	m := it.msg
	ctx, span := k.trace(ctx, m)
	log := k.Log.With("message", m.ID, "subject", m.Subject, "delivery", m.Delivery)
	if m.Delivery > k.MaxDeliver { // the instances that had it before died with it
		err := errors.New("given up by its handlers")
		span.End(err)
		k.bury(ctx, log, it, err)
		return
	}
	err := k.call(ctx, m)
	span.End(err)
	old := k.MaxAge > 0 && time.Since(m.Time) > k.MaxAge
	switch {
	case err == nil:
		k.settled(it)
		k.ack(ctx, log, it)
	case fault.Is(err, fault.Invalid) || old || m.Delivery >= k.MaxDeliver && !passing(err):
		k.bury(ctx, log, it, err)
	case passing(err):
		k.postpone(ctx, it, err)
	default:
		k.retry(ctx, log, it, err)
	}
}

// trace returns the context of the request that caused a message, and the span of its handling if that is traced.
func (k *consumption) trace(ctx context.Context, m Msg) (context.Context, *tracing.Span) {
	meta := rpc.Meta{RequestID: m.Header.Get(rpc.HeaderRequestID), TraceParent: m.Header.Get(rpc.HeaderTrace)}
	meta.Span = tracing.Of(ctx).Start(meta.TraceParent, k.Durable+" "+m.Subject, tracing.Consumer, time.Now())
	if meta.Span == nil {
		meta.TraceParent = rpc.ChildTrace(meta.TraceParent)
		return rpc.WithMeta(ctx, meta), nil
	}
	meta.TraceParent = meta.Span.Traceparent()
	meta.Span.Set("messaging.system", "nats")
	meta.Span.Set("starlight.request_id", meta.RequestID)
	meta.Span.SetInt("messaging.delivery", m.Delivery)
	return rpc.WithMeta(ctx, meta), meta.Span
}

// passing reports whether an error is about what the handler needs, and not about the message. Errors of the database
// and of NATS count as what they are, even if the handler made no faults of them.
func passing(err error) bool {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Code == fault.Unavailable || f.Code == fault.Timeout
	}
	for _, away := range []error{context.DeadlineExceeded, context.Canceled, nats.ErrTimeout,
		nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionClosed, jetstream.ErrNoStreamResponse} {
		if errors.Is(err, away) {
			return true
		}
	}
	return store.Unavailable(err)
}

// call calls the handler, and turns a panic into an error.
func (k *consumption) call(ctx context.Context, m Msg) (err error) {
	ctx, cancel := context.WithTimeout(ctx, k.HandlerTime)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in handler: %v\n%s", r, debug.Stack())
		}
	}()
	return k.handler(ctx, m)
}

// settled takes a message off the hand.
func (k *consumption) settled(it *item) {
	k.hand.drop(it)
	if it.tries > 0 {
		k.outage.Over(context.Background())
	}
}

func (k *consumption) ack(ctx context.Context, log *slog.Logger, it *item) {
	k.done.Inc()
	var err error
	if k.DoubleAck {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = it.raw.DoubleAck(ctx)
	} else {
		err = it.raw.Ack()
	}
	if err != nil {
		log.WarnContext(ctx, "message handled, but not acknowledged: it will come again", "error", err)
	}
}

// retry gives a message that failed back, to be delivered again after a pause.
func (k *consumption) retry(ctx context.Context, log *slog.Logger, it *item, cause error) {
	k.retried.Inc()
	pause := k.pause(it.msg.Delivery)
	level := slog.LevelDebug
	if it.msg.Delivery == 1 { // what becomes of it in the end is logged too
		level = slog.LevelWarn
	}
	log.Log(ctx, level, "message failed", "error", cause, "retry_in", pause)
	k.settled(it)
	if err := it.raw.NakWithDelay(pause); err != nil {
		log.WarnContext(ctx, "message failed, and the pause could not be set", "error", err)
	}
}

func (k *consumption) pause(failures int) time.Duration {
	return k.BackOff[min(max(failures, 1), len(k.BackOff))-1]
}

// postpone keeps a message here for another try: it was not the message's fault, and must not count as a delivery.
func (k *consumption) postpone(ctx context.Context, it *item, cause error) {
	k.postponed.Inc()
	it.tries++
	k.outage.Failed(ctx, it.tries == 1, cause)
	if !k.hand.park(it, k.pause(it.tries)) { // stopping: another instance may have what it needs
		k.outage.Over(context.Background())
		_ = it.raw.Nak() // without it, the server waits for AckWait
	}
}

// bury moves a message to the dead letters. If that fails it stays, and is tried again.
func (k *consumption) bury(ctx context.Context, log *slog.Logger, it *item, cause error) {
	err := bury(context.WithoutCancel(ctx), k.js, k.Durable, it.meta.Stream, it.msg, cause)
	if err != nil {
		k.postpone(ctx, it, errors.Join(cause, fmt.Errorf("dead letter: %w", err)))
		return
	}
	k.dead.Inc()
	log.ErrorContext(ctx, "message given up, see the stream "+DeadStream, "error", cause)
	k.settled(it)
	if err := it.raw.Term(); err != nil {
		log.WarnContext(ctx, "message given up, but not terminated", "error", err)
	}
}
