package ticketing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
)

// leastGuestKey is how long the idempotency key of a guest is at least: who knows the key of a request, and all that it
// says, gets its answer again, with the token.
const leastGuestKey = 16

// noGuestFields refuses what only an order without an account has.
func noGuestFields(req *api.NewOrder) error {
	if req.Email == "" && req.Name == "" && req.Language == "" {
		return nil
	}
	const refused = "is for orders without an account: the caller's account has it"
	var check fault.Check
	check.Field(req.Email == "", "email", refused)
	check.Field(req.Name == "", "name", refused)
	check.Field(req.Language == "", "language", refused)
	return check.Err()
}

// createGuestOrder orders for a person without an account. The answer that is stored for the idempotency key has no
// token: it follows from the key.
func (s *Service) createGuestOrder(ctx context.Context, req *api.NewOrder) (*api.CreatedOrder, error) {
	guest, err := s.guests.Draft(ctx, req)
	if err != nil {
		return nil, err
	}
	made := creation{guest: &guests.Order{Guest: guest, Token: guests.NewToken()},
		guestMay: guests.LimitsOf(s.live)}
	if made.scope, made.key, made.hash, made.remember = rpc.Answer(ctx); made.remember {
		var check fault.Check
		check.Field(len(made.key) >= leastGuestKey, rpc.IdempotencyKey,
			"must be hard to guess without an account: at least %d characters", leastGuestKey)
		if err := check.Err(); err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(guest.EmailKey))
		made.scope += "guest " + hex.EncodeToString(sum[:])
		made.guest.Token = s.guests.TokenFor(made.scope, made.key, made.hash)
	}
	order, err := s.storedOrder(ctx, made)
	if order == nil && err == nil {
		order, err = s.makeOrder(ctx, req, "", made)
		if errors.Is(err, rpc.ErrDuplicateAnswer) {
			order, err = s.storedOrder(ctx, made)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case order == nil:
		return nil, fault.New(fault.Conflict, "a request with this idempotency key is under way")
	}
	order.Buyer = guest.Buyer()
	return &api.CreatedOrder{Order: *order, AccessToken: made.guest.Token}, nil
}

// storedOrder returns the answer that is stored under the idempotency key of a guest, or nil.
func (s *Service) storedOrder(ctx context.Context, c creation) (*api.Order, error) {
	if !c.remember {
		return nil, nil
	}
	hash, _, body, found, err := idempotency.In(s.db.DB).Lookup(ctx, c.scope, c.key)
	switch {
	case err != nil || !found:
		return nil, err
	case hash != c.hash:
		return nil, fault.New(fault.Unprocessable, "this idempotency key was used with another request")
	}
	var order api.Order
	return &order, json.Unmarshal(body, &order)
}

// overGuestLimits adds to those orders of a transaction that are refused those of guests who have enough.
func (db ticketStore) overGuestLimits(
	ctx context.Context, tx tx, in []creation, refused map[int]error, now time.Time,
) (map[int]error, error) {
	var rows []guests.Row
	for _, c := range in {
		if c.guest != nil {
			rows = append(rows, c.guest.Guest)
		}
	}
	if len(rows) == 0 {
		return refused, nil
	}
	count, err := guests.Counted(ctx, db.DB, tx, rows, now)
	if err != nil {
		return nil, err
	}
	byEmail, err := unpaidOfGuests(ctx, tx, rows, now)
	if err != nil {
		return nil, err
	}
	if refused == nil {
		refused = map[int]error{}
	}
	for i, c := range in {
		if c.guest == nil {
			continue
		}
		key := c.guest.Guest.EmailKey
		var err error
		if count.Has(c.row.ID) { // the same request has come before
			continue
		}
		if c.limits != (unpaidLimits{}) {
			others := make([]unpaid, len(byEmail[key]))
			for i, o := range byEmail[key] {
				o.UserID = c.row.UserID // all are this person's
				others[i] = o
			}
			err = c.limits.check(c.row, others, now)
		}
		if err == nil {
			err = count.Add(c.guest.Guest, c.guestMay, c.free)
		}
		if err != nil {
			refused[i] = err
			continue
		}
		if !c.free {
			byEmail[key] = append(byEmail[key], unpaid{ID: c.row.ID, EventID: c.row.EventID, Status: api.OrderPending,
				Items: c.row.Items, ExpiresAt: c.row.ExpiresAt})
		}
	}
	return refused, nil
}

// unpaidOfGuests is unpaidOf for guests, by their addresses.
func unpaidOfGuests(ctx context.Context, tx tx, of []guests.Row, now time.Time) (map[string][]unpaid, error) {
	keys := make([]string, len(of))
	for i, g := range of {
		keys[i] = g.EmailKey
	}
	var rows []struct {
		unpaid
		EmailKey string
	}
	err := store.Select(ctx, tx, &rows, `SELECT o.id, o.user_id, o.event_id, o.status, o.items, o.extended, o.expires_at,
		o.created_at, o.updated_at, g.email_key FROM guests AS g JOIN orders AS o ON o.id = g.order_id
		WHERE g.email_key IN (?) AND g.claimed_by = '' AND (o.status = 'pending'
		OR o.status IN ('expired', 'cancelled') AND o.created_at > ?)`, store.List(keys), now.Add(-endedUnpaid))
	byEmail := map[string][]unpaid{}
	for _, r := range rows {
		byEmail[r.EmailKey] = append(byEmail[r.EmailKey], r.unpaid)
	}
	return byEmail, err
}

// updateOrder changes how the buyer of an order without an account is reached.
func (s *Service) updateOrder(ctx context.Context, req *api.OrderChange) (*api.Order, error) {
	if err := s.guests.Update(ctx, req); err != nil {
		return nil, err
	}
	return s.getOrder(ctx, &api.OrderRef{ID: req.ID})
}

// exportOrder returns all that is kept about a guest.
func (s *Service) exportOrder(ctx context.Context, req *api.OrderRef) (*api.OrderRecords, error) {
	guest, err := s.guests.Own(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	order, err := s.getOrder(ctx, req)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.ticketsOf(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	kept := rows[:0]
	for _, t := range rows {
		if t.OwnerID == guest.UserID {
			kept = append(kept, t)
		}
	}
	given, err := s.exportAnswers(ctx, guest.UserID, "") // of one order
	if err != nil {
		return nil, err
	}
	return &api.OrderRecords{Order: *order, Tickets: s.tickets(kept), Answers: given.Answers,
		EmailVerified: guest.ConfirmedAt != nil, Language: guest.Language}, nil
}

// forgetOrder erases the personal data of a guest. What is not paid is given up first.
func (s *Service) forgetOrder(ctx context.Context, req *api.OrderRef) (*rpc.None, error) {
	guest, err := s.guests.Own(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := s.cancelOrders(ctx, "user_id", guest.UserID); err != nil {
		if fault.Is(err, fault.Unavailable) {
			err = fault.Wrap(err, fault.Conflict, "the order is being paid")
		}
		return nil, err
	}
	runs := 0
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		runs++
		if err := s.db.lockOrder(ctx, tx, req.ID); err != nil {
			return err
		}
		err := guests.Forget(ctx, s.db.DB, tx, req.ID, store.Time(s.now()))
		if runs > 1 && fault.Is(err, fault.NotFound) { // an earlier run has done it
			return nil
		}
		if err != nil {
			return err
		}
		return forgetNames(ctx, tx, guest.UserID)
	})
}

func (db ticketStore) lockOrder(ctx context.Context, tx tx, id ids.Order) error {
	var found ids.Order
	err := tx.NewRaw("SELECT id FROM orders WHERE id = ? ?", id, db.forUpdate()).Scan(ctx, &found)
	return store.OrNotFound(err, "there is no such order")
}
