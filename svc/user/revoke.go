package user

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/store"
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

// check answers the gateway whether a session stands, and what its person may do with it.
func (s *Service) check(ctx context.Context, req *api.SessionCheck) (*api.Standing, error) {
	var row struct {
		userRow
		ProvenAt       time.Time `bun:"proven_at"`
		ProviderFactor bool      `bun:"provider_factor"`
	}
	err := s.db.Read().NewRaw(`SELECT u.*, s.proven_at, s.provider_factor FROM users AS u
		JOIN sessions AS s ON s.user_id = u.id
		WHERE s.id = ? AND u.id = ? AND s.expires_at > ?`, req.SessionID, req.UserID, s.now()).Scan(ctx, &row)
	if err = store.OrNotFound(err, noUser); fault.Is(err, fault.NotFound) {
		return nil, errEnded()
	}
	if err != nil {
		return nil, err
	}
	missing, err := s.mustEnrol(ctx, s.db.Read(), &row.userRow)
	return &api.Standing{Roles: row.roles(), Fresh: s.freshUntil(row.ProvenAt).After(s.now()),
		MustEnrol: missing && !row.ProviderFactor}, err
}

// freshUntil returns until when a proof counts.
func (s *Service) freshUntil(proven time.Time) time.Time {
	return proven.Add(api.StepUpTTL.Get(s.live))
}

// mustEnrol reports whether a person is an administrator without the second factor that is required.
func (s *Service) mustEnrol(ctx context.Context, q bun.IDB, row *userRow) (bool, error) {
	if !row.Admin || !api.AdminFactor.Get(s.live) {
		return false, nil
	}
	has, err := s.factors.Count(ctx, q, row.ID)
	return !has.Any(), err
}
