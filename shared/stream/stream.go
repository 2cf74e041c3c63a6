// Package stream carries facts between services: what a transaction did becomes a message exactly when the transaction
// commits, and a consumer applies each message once.
//
// A writer calls Add with its transaction. A Relay reads the outbox table and publishes to JetStream with the row's id
// as message id, so that a row published twice is stored once. A reader runs Consume with a handler; within the
// handler's transaction Once tells whether the message is new. Between them delivery is at least once, in whatever
// order failures leave: handlers must not count on more.
//
// The request id and trace of a request travel with its messages, and shared/rpc finds them in a handler's context.
package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// The stream of dead letters, the messages that no handler could deal with, and its subjects.
const (
	DeadStream   = "DEAD"
	DeadSubjects = deadPrefix + ">"
	deadPrefix   = "dead."
)

// DeadSubject returns the subject of a consumer's dead letters.
func DeadSubject(consumer string) string { return deadPrefix + consumer }

// messageKind names the ids of messages.
type messageKind struct{}

// Prefix implements ids.Kind.
func (messageKind) Prefix() string { return "msg" }

// Message is a message to be published once its transaction has committed.
type Message struct {
	Subject string
	Payload any    // []byte and json.RawMessage are sent as they are, everything else as JSON
	ID      string // made up if empty; two messages with one id are stored once
	Cause          // taken from the context of Add if empty
}

// Cause names the request that something belongs to: for code that hands it to a commit which has another context.
type Cause struct {
	RequestID   string
	TraceParent string
}

// CauseOf returns the request in ctx.
func CauseOf(ctx context.Context) Cause {
	m := rpc.From(ctx)
	return Cause{RequestID: m.RequestID, TraceParent: m.TraceParent}
}

// NewMessage returns a message that belongs to the request in ctx.
func NewMessage(ctx context.Context, subject string, payload any) Message {
	return Message{Subject: subject, Payload: payload, Cause: CauseOf(ctx)}
}

// Add writes one message to the outbox. See AddAll.
func Add(ctx context.Context, tx bun.IDB, subject string, payload any) error {
	return AddAll(ctx, tx, Message{Subject: subject, Payload: payload})
}

// outboxRow is a row to insert; the database numbers it.
type outboxRow struct {
	bun.BaseModel `bun:"table:outbox"`

	ID      string
	Subject string
	Header  string
	Payload []byte
	At      time.Time
}

// Bounds of one INSERT.
const (
	maxRows  = 500
	maxBytes = 1 << 20
)

// AddAll writes messages to the outbox as part of the transaction tx, in order. ctx is the one that store.DB.Tx gave
// its function, which also makes the relay look as soon as the transaction has committed. A transaction that changes
// one thing at a time should lock it before it adds: messages about the thing are then numbered as they happened.
func AddAll(ctx context.Context, tx bun.IDB, msgs ...Message) error {
	now := time.Now()
	meta := rpc.From(ctx)
	rows := make([]outboxRow, 0, min(len(msgs), maxRows))
	size := 0
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		_, err := store.Insert(ctx, tx, rows, "")
		rows, size = rows[:0], 0
		return err
	}
	for _, m := range msgs {
		row, err := m.row(now, meta)
		if err != nil {
			return err
		}
		if len(rows) == maxRows || size+len(row.Payload) > maxBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		rows = append(rows, row)
		size += len(row.Payload)
	}
	if err := flush(); err != nil {
		return err
	}
	store.Announce(ctx)
	return nil
}

// row returns m as the outbox keeps it.
func (m Message) row(now time.Time, meta *rpc.Meta) (outboxRow, error) {
	row := outboxRow{ID: m.ID, Subject: m.Subject, At: now}
	if m.Subject == "" {
		return row, fmt.Errorf("stream: a message needs a subject")
	}
	if row.ID == "" {
		row.ID = string(ids.New[messageKind](now))
	}
	switch p := m.Payload.(type) {
	case []byte:
		row.Payload = p
	case json.RawMessage:
		row.Payload = p
	default:
		data, err := json.Marshal(p)
		if err != nil {
			return row, fmt.Errorf("stream: payload of %s: %w", m.Subject, err)
		}
		row.Payload = data
	}
	if row.Payload == nil {
		row.Payload = []byte{}
	}
	header := map[string]string{}
	if id := first(m.RequestID, meta.RequestID); id != "" {
		header[rpc.HeaderRequestID] = id
	}
	if trace := first(m.TraceParent, meta.TraceParent); trace != "" {
		header[rpc.HeaderTrace] = trace
	}
	data, err := json.Marshal(header)
	row.Header = string(data)
	return row, err
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Msg is a message that a handler receives.
type Msg struct {
	ID       string // the message id, or "stream:sequence" if its publisher gave none
	Subject  string
	Data     []byte
	Header   nats.Header
	Sequence uint64    // in the stream
	Time     time.Time // when the stream stored it
	Delivery int       // 1 the first time
}

// Decode reads the JSON of the message into v. What is not JSON of that shape is a fault of code Invalid: a handler
// that returns it sends the message to the dead letters at once, since it will not get better.
func (m Msg) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fault.Wrap(err, fault.Invalid, "message %s on %s is not readable", m.ID, m.Subject)
	}
	return nil
}

// Once records, as part of the transaction tx, that the consumer has dealt with the message. It reports false if that
// was so already; the handler then changes nothing and returns nil.
func Once(ctx context.Context, tx bun.IDB, consumer, id string) (first bool, err error) {
	res, err := store.Exec(ctx, tx,
		"INSERT INTO processed (consumer, message_id, at) VALUES (?, ?, ?) ON CONFLICT (consumer, message_id) DO "+
			"NOTHING",
		consumer, id, time.Now())
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Forget deletes what Once recorded before olderThan. Keep it longer than a message can stay in its stream.
func Forget(ctx context.Context, db *store.DB, olderThan time.Time) (deleted int64, err error) {
	err = db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM processed WHERE at < ?", olderThan)
		if err != nil {
			return err
		}
		deleted, err = res.RowsAffected()
		return err
	})
	return deleted, err
}
