package stream

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// publish sends rows and returns those that are stored. An error means that none is, and that it is not the rows'
// fault.
func (r *Relay) publish(ctx context.Context, rows []row) (acked []int64, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if len(rows) >= crowd && r.publishTogether(ctx, rows) == nil {
		acked = make([]int64, len(rows))
		for i, row := range rows {
			acked[i] = row.Seq
			delete(r.tries, row.Seq)
			row.trace(ctx, began)
		}
		r.sent.Add(len(rows))
		return acked, nil
	}
	futures := make([]jetstream.PubAckFuture, len(rows))
	errs := make([]error, len(rows))
	for i, row := range rows {
		futures[i], errs[i] = r.send(row)
	}
	acked = make([]int64, 0, len(rows))
	for i, row := range rows {
		if errs[i] == nil {
			errs[i] = settled(ctx, futures[i])
		}
		if errs[i] == nil {
			acked = append(acked, row.Seq)
			delete(r.tries, row.Seq)
			row.trace(ctx, began)
		}
	}
	r.sent.Add(len(acked))
	if len(acked) == len(rows) {
		return acked, nil
	}
	r.failed.Add(len(rows) - len(acked))
	return acked, r.blame(ctx, rows, errs, len(acked) > 0)
}

// publishTogether sends all rows as one atomic batch, which costs the stream one sync instead of one for each. It is
// all or nothing: one message that the stream refuses, or has already, refuses the batch, and then they go one by one.
func (r *Relay) publishTogether(ctx context.Context, rows []row) error {
	batch, err := jetstreamext.NewBatchPublisher(r.js, jetstreamext.BatchFlowControl{})
	if err != nil {
		return err
	}
	for i, row := range rows {
		msg, err := row.message()
		if err != nil {
			return err
		}
		if i == len(rows)-1 {
			_, err = batch.CommitMsg(ctx, msg)
		} else {
			err = batch.AddMsg(msg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blame decides what becomes of rows that failed. It returns an error if nothing got through and rows are left that do
// not step aside: then the fault is not theirs.
func (r *Relay) blame(ctx context.Context, rows []row, errs []error, others bool) error {
	var first error
	for i, row := range rows {
		if errs[i] == nil {
			continue
		}
		r.tries[row.Seq]++
		tries, refused := r.tries[row.Seq], definite(errs[i])
		if len(r.held) < maxHeld && (refused && others || tries >= holdAfter && (refused || others)) {
			d := min(time.Second<<min(max(tries-holdAfter, 0), 6), longestHold)
			r.held[row.Seq] = time.Now().Add(d)
			r.log.ErrorContext(ctx, "outbox: message refused", "subject", row.Subject, "id", row.ID,
				"attempts", tries, "retry_in", d, "error", errs[i])
		} else if first == nil {
			first = errs[i]
		}
	}
	if others {
		return nil
	}
	return first
}

// definite reports whether err is an answer, as opposed to none in time.
func definite(err error) bool {
	for _, silence := range []error{context.DeadlineExceeded, context.Canceled, jetstream.ErrAsyncPublishTimeout,
		jetstream.ErrTooManyStalledMsgs, nats.ErrDisconnected, nats.ErrConnectionClosed} {
		if errors.Is(err, silence) {
			return false
		}
	}
	return true
}

func (r *Relay) send(row row) (jetstream.PubAckFuture, error) {
	msg, err := row.message()
	if err != nil {
		return nil, err
	}
	return r.js.PublishMsgAsync(msg)
}

// message returns the message that the row stands for.
func (row row) message() (*nats.Msg, error) {
	msg := nats.NewMsg(row.Subject)
	msg.Data = row.Payload
	header, err := row.header()
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		msg.Header[k] = []string{v}
	}
	msg.Header.Set(nats.MsgIdHdr, row.ID)
	return msg, nil
}

func (row row) header() (header map[string]string, err error) {
	err = json.Unmarshal([]byte(row.Header), &header)
	return header, err
}

// trace makes the span of a message that is published, if what has caused it is traced.
func (row row) trace(ctx context.Context, began time.Time) {
	tracer := tracing.Of(ctx)
	if tracer == nil {
		return
	}
	if header, err := row.header(); err == nil {
		span := tracer.Start(header[rpc.HeaderTrace], "publish "+row.Subject, tracing.Producer, began)
		span.Set("messaging.system", "nats")
		span.End(nil)
	}
}

// settled waits for the answer of the stream.
func settled(ctx context.Context, f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
