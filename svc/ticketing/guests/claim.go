package guests

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

const (
	linksAtOnce  = 5  // orders whose links are mailed for one request
	claimsAtOnce = 50 // orders that one transaction takes over

	// settling is how long after a payment was begun it may not be stored yet. Its order is taken over after that.
	settling = 30 * time.Second

	requestsKept = 24 * time.Hour
)

// requestLinks notes that the links of an address are to be mailed to it. Whether there are any is found out later: the
// answer, and the time it takes, are the same.
func (g *Guests) requestLinks(ctx context.Context, req *api.LinksOf) (*rpc.None, error) {
	var check fault.Check
	check.Field(text.Email(req.Email), "email", "is not an email address")
	if err := check.Err(); err != nil {
		return nil, err
	}
	id, now := rand.Text(), store.Time(g.Now())
	return nil, g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO link_requests (id, email_key, created_at) VALUES (?, ?, ?) "+
			"ON CONFLICT (id) DO NOTHING", id, EmailKey(req.Email), now)
		if err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.OrderLinksRequested.Subject, api.LinksRequest{RequestID: id, At: now})
	})
}

// SendLinks has the links to the newest orders of a requested address mailed.
func (g *Guests) SendLinks(ctx context.Context, req api.LinksRequest) error {
	now := store.Time(g.Now())
	return g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var keys []string
		err := tx.NewRaw("DELETE FROM link_requests WHERE id = ? OR created_at < ? RETURNING CASE WHEN id = ? "+
			"THEN email_key ELSE '' END", req.RequestID, now.Add(-requestsKept), req.RequestID).Scan(ctx, &keys)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key == "" {
				continue
			}
			var rows []Row
			err := tx.NewRaw("SELECT * FROM guests WHERE email_key = ? AND claimed_by = '' ORDER BY created_at DESC, "+
				"user_id LIMIT ?", key, linksAtOnce).Scan(ctx, &rows)
			if err != nil {
				return err
			}
			for _, r := range rows {
				if err := stream.Add(ctx, tx, api.GuestWantsLink.Subject, r.event(now)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// claim gives the caller the orders that were made with the caller's address.
func (g *Guests) claim(ctx context.Context, _ *rpc.None) (*api.ClaimedOrders, error) {
	me, err := rpc.Call(ctx, g.Client, api.GetContact, &api.GetContactOf{ID: rpc.Caller(ctx).User})
	if err != nil {
		return nil, err
	}
	if !me.EmailVerified {
		return nil, fault.New(fault.Conflict, "confirm your mail address first")
	}
	n, more, err := g.claimFor(ctx, *me)
	return &api.ClaimedOrders{Claimed: n, More: more}, err
}

// ClaimAll gives a person whose account has changed the orders of the address, if it is confirmed.
func (g *Guests) ClaimAll(ctx context.Context, user ids.User) error {
	me, err := rpc.Call(ctx, g.Client, api.GetContact, &api.GetContactOf{ID: user})
	if fault.Is(err, fault.NotFound) || err == nil && !me.EmailVerified {
		return nil
	}
	for more := true; more && err == nil; {
		var n int
		if n, more, err = g.claimFor(ctx, *me); err == nil && more && n == 0 {
			err = fault.New(fault.Unavailable, "an order of the address is being paid at this moment")
		}
	}
	return err
}

// claimFor gives a person some of the orders of the address. Each is taken over once: who has locked its guest finds it
// without an account, or not at all.
func (g *Guests) claimFor(ctx context.Context, to api.Contact) (claimed int, more bool, err error) {
	key, now := EmailKey(to.Email), store.Time(g.Now())
	var taken []ids.Order
	err = g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var orders []ids.Order
		err := tx.NewRaw("SELECT order_id FROM guests WHERE email_key = ? AND claimed_by = '' "+
			"ORDER BY order_id LIMIT ?",
			key, claimsAtOnce+1).Scan(ctx, &orders)
		if err != nil {
			return err
		}
		before := taken
		taken, more = nil, len(orders) > claimsAtOnce
		for _, id := range orders[:min(len(orders), claimsAtOnce)] {
			done, err := g.move(ctx, tx, id, key, to.ID, now)
			if err != nil {
				return err
			}
			if done {
				taken = append(taken, id)
			} else {
				more = true
			}
		}
		if len(orders) == 0 && len(before) > 0 { // an earlier run has done it after all
			return tx.NewRaw("SELECT order_id FROM guests WHERE order_id IN (?) AND claimed_by = ?", bun.List(before),
				to.ID).Scan(ctx, &taken)
		}
		return nil
	})
	if err == nil {
		g.Changed(taken...)
	}
	return len(taken), more, err
}

// move gives an order to a person, with its tickets. It reports false if that has to wait, or another was first. The
// order is locked first, as by everything that changes it.
func (g *Guests) move(
	ctx context.Context, tx bun.Tx, order ids.Order, key string, to ids.User, now time.Time,
) (bool, error) {
	forUpdate := bun.Safe("")
	if g.DB.Postgres() {
		forUpdate = "FOR UPDATE"
	}
	var found []struct {
		Status    string
		PaymentID ids.Payment
		UpdatedAt time.Time
	}
	err := tx.NewRaw("SELECT status, payment_id, updated_at FROM orders WHERE id = ? ?", order, forUpdate).Scan(ctx,
		&found)
	if err != nil || len(found) == 0 {
		return false, err
	}
	if o := found[0]; o.Status == api.OrderPending && o.PaymentID != "" && now.Sub(o.UpdatedAt) < settling {
		return false, nil
	}
	r, err := lock(ctx, g.DB, tx, order)
	if fault.Is(err, fault.NotFound) || err == nil && r.EmailKey != key {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var tickets []record.Ticket
	for _, step := range []struct {
		query string
		args  []any
	}{
		{"UPDATE guests SET claimed_by = ? WHERE order_id = ?", []any{to, order}},
		{"UPDATE orders SET user_id = ?, updated_at = ?, revision = revision + 1 WHERE id = ?", []any{to, now, order}},
		{"UPDATE ticket_offers SET giver = ? WHERE giver = ?", []any{to, r.UserID}},
		{"UPDATE tickets SET given_by = ? WHERE order_id = ? AND given_by = ?", []any{to, order, r.UserID}},
	} {
		if _, err := tx.ExecContext(ctx, step.query, step.args...); err != nil {
			return false, err
		}
	}
	err = tx.NewRaw("UPDATE tickets SET owner_id = ? WHERE order_id = ? AND owner_id = ? RETURNING *", to, order,
		r.UserID).Scan(ctx, &tickets)
	if err != nil {
		return false, err
	}
	changed := make([]ids.Ticket, len(tickets))
	for i, t := range tickets {
		changed[i] = t.ID
	}
	if err := record.Mark(ctx, tx, r.EventID, changed...); err != nil {
		return false, err
	}
	if err := endTokens(ctx, tx, order, false); err != nil {
		return false, err
	}
	event := r.event(now)
	event.To = to
	return true, stream.Add(ctx, tx, api.OrderWasClaimed.Subject, event)
}

// Forget erases what is known of the guest of an order, and publishes it. The order and its tickets are not touched.
func Forget(ctx context.Context, db *store.DB, tx bun.Tx, order ids.Order, now time.Time) error {
	r, err := lock(ctx, db, tx, order)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE guests SET email = '', email_key = '', name = '', language = '', client = '' "+
		"WHERE order_id = ?", order)
	if err != nil {
		return err
	}
	if err := endTokens(ctx, tx, order, false); err != nil {
		return err
	}
	return stream.Add(ctx, tx, api.GuestForgotten.Subject, r.event(now))
}

// Erase erases the guests of orders once they need not be kept any more, and the tokens of their orders.
func Erase(ctx context.Context, tx bun.Tx, orders []string) (int64, error) {
	if _, err := tx.ExecContext(ctx, "DELETE FROM order_tokens WHERE order_id IN (?)", bun.List(orders)); err != nil {
		return 0, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE guests SET email = '', email_key = '', name = '', language = '', client = ''
		WHERE order_id IN (?) AND email <> ''`, bun.List(orders))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// ForgetAccount erases what was known of a person as a guest, before there was the account.
func ForgetAccount(ctx context.Context, tx bun.Tx, user ids.User) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM guests WHERE claimed_by = ?", user)
	return err
}
