package user

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	ticketPrefix = "lt_"
	ticketTTL    = time.Minute // enough to open a stream
)

// issueTicket makes a ticket for the caller's session.
func (s *Service) issueTicket(ctx context.Context, _ *rpc.None) (*api.LiveTicket, error) {
	if _, err := s.current(ctx); err != nil {
		return nil, err
	}
	secret, hash := opaque.New(ticketPrefix)
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO live_tickets (hash, session_id, expires_at) VALUES (?, ?, ?)",
			hash, rpc.Caller(ctx).Session, s.now().Add(ticketTTL))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &api.LiveTicket{Ticket: secret, ExpiresIn: int(ticketTTL / time.Second)}, nil
}

// useTicket takes a ticket and returns who it was made for, as they are now. Of several requests with one ticket, to
// any number of instances, one finds it.
func (s *Service) useTicket(ctx context.Context, req *api.UseTicket) (*api.LivePass, error) {
	wrong := fault.New(fault.Unauthenticated, "the ticket is not valid; each is good once, for a minute")
	if !opaque.Is(ticketPrefix, req.Ticket) {
		return nil, wrong
	}
	now := s.now()
	var ticket struct {
		SessionID ids.Session `bun:"session_id"`
		ExpiresAt time.Time   `bun:"expires_at"`
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return tx.NewRaw("DELETE FROM live_tickets WHERE hash = ? RETURNING session_id, expires_at",
			opaque.Hash(req.Ticket)).Scan(ctx, &ticket)
	})
	if fault.Is(store.OrNotFound(err, "no ticket"), fault.NotFound) || err == nil && !now.Before(ticket.ExpiresAt) {
		return nil, wrong
	}
	if err != nil {
		return nil, err
	}
	var row userRow
	err = s.db.Read().NewRaw(
		"SELECT u.* FROM users AS u JOIN sessions AS s ON s.user_id = u.id WHERE s.id = ? AND s.expires_at > ?",
		ticket.SessionID, now).Scan(ctx, &row)
	if err = store.OrNotFound(err, noUser); fault.Is(err, fault.NotFound) {
		return nil, wrong
	}
	if err != nil {
		return nil, err
	}
	return &api.LivePass{UserID: row.ID, SessionID: ticket.SessionID, Roles: row.roles(), Generation: row.Generation,
		Until: now.Add(api.AccessTTL.Get(s.live))}, nil
}
