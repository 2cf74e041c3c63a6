package user

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// announceWithin is how long an answer waits for its revocations to be stored.
const announceWithin = time.Second

// revoking is a transaction that takes access tokens back. What fn returns goes into the outbox with it, so that no
// crash can lose it, and is stored where gateways watch before the caller is answered. If that is not possible in
// time, the outbox does it later.
func (s *Service) revoking(
	ctx context.Context, fn func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error),
) error {
	var messages []stream.Message
	err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		messages = messages[:0]
		facts, err := fn(ctx, tx)
		if err != nil || len(facts) == 0 {
			return err
		}
		for _, f := range facts {
			m, err := f.Message()
			if err != nil {
				return err
			}
			messages = append(messages, m)
		}
		return stream.AddAll(ctx, tx, messages...)
	})
	if err == nil {
		s.announce(context.WithoutCancel(ctx), messages)
	}
	return err
}

// announce stores revocations ahead of the outbox. The stream takes each once, by its id.
func (s *Service) announce(ctx context.Context, messages []stream.Message) {
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	for _, m := range messages {
		if _, err := s.js.Publish(ctx, m.Subject, m.Payload.([]byte), jetstream.WithMsgID(m.ID)); err != nil {
			s.metrics.Counter("starlight_user_revocations_late_total",
				"Revocations that were answered before they were stored; the outbox stores them.").Inc()
			s.log.WarnContext(ctx, "a revocation is not stored yet; the outbox will do it", "subject", m.Subject,
				"error", err)
			return
		}
	}
}

// renew makes the tokens of a locked person old, but those of a session to keep: pass "" to keep none.
func renew(ctx context.Context, tx bun.Tx, row *userRow, keep ids.Session) (revocation.Fact, error) {
	row.Generation++
	_, err := tx.ExecContext(ctx, "UPDATE users SET generation = ? WHERE id = ?", row.Generation, row.ID)
	return revocation.OfUser(row.ID, row.Generation, keep), err
}
