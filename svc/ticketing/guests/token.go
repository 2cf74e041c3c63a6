package guests

import (
	"context"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
)

// tokenRow is a row of the table order_tokens.
type tokenRow struct {
	bun.BaseModel `bun:"table:order_tokens,alias:order_tokens"`

	Hash      string    `bun:"hash,pk"`
	OrderID   ids.Order `bun:"order_id"`
	Mailed    bool      `bun:"mailed"`
	CreatedAt time.Time `bun:"created_at"`
}

const (
	mostTokens  = 20 // of an order; the oldest go
	mostChanges = 3  // of the address of an order
)

func errBadToken() error {
	return fault.New(fault.Unauthenticated, "the token of the order is not good, or is not any more: have another "+
		"one mailed with POST /v1/order-links, or sign in")
}

// check says whose order a token opens. The first use of a token that was mailed proves that the mail is read.
func (g *Guests) check(ctx context.Context, req *api.CheckToken) (*api.GuestPass, error) {
	if !strings.HasPrefix(req.Token, api.OrderTokenPrefix) ||
		len(req.Token) != len(api.OrderTokenPrefix)+tokenLength {
		return nil, errBadToken()
	}
	var found []struct {
		UserID      ids.User
		OrderID     ids.Order
		Mailed      bool
		ConfirmedAt *time.Time
	}
	err := store.Select(ctx, g.DB.Read(), &found, `SELECT g.user_id, g.order_id, t.mailed, g.confirmed_at
		FROM order_tokens AS t JOIN guests AS g ON g.order_id = t.order_id
		WHERE t.hash = ? AND g.claimed_by = '' AND g.email <> ''`, opaque.Hash(req.Token))
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, errBadToken()
	}
	pass := &api.GuestPass{UserID: found[0].UserID}
	if !found[0].Mailed || found[0].ConfirmedAt != nil {
		return pass, nil
	}
	return pass, g.confirm(ctx, found[0].OrderID, opaque.Hash(req.Token))
}

// confirm notes that the guest of an order reads what is mailed, as a token shows that is still good.
func (g *Guests) confirm(ctx context.Context, order ids.Order, hash string) error {
	now := store.Time(g.Now())
	return g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		r, err := lock(ctx, g.DB, tx, order)
		if err != nil || r.ConfirmedAt != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE guests SET confirmed_at = ? WHERE order_id = ?
			AND EXISTS (SELECT 1 FROM order_tokens WHERE hash = ? AND mailed)`, now, order, hash)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 { // the address was changed meanwhile
			return errBadToken()
		}
		return stream.Add(ctx, tx, api.GuestConfirmed.Subject, r.event(now))
	})
}

// mint makes the token of a guest's link, which stands in the mail and nowhere else. Those before it stay good.
func (g *Guests) mint(ctx context.Context, req *api.MintLink) (*api.MintedLink, error) {
	token, now := NewToken(), store.Time(g.Now())
	var r Row
	err := g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if r, err = lock(ctx, g.DB, tx, api.OrderOfGuest(req.UserID)); err != nil {
			return err
		}
		return addToken(ctx, tx, tokenRow{Hash: opaque.Hash(token), OrderID: r.OrderID, Mailed: true, CreatedAt: now})
	})
	if err != nil {
		return nil, err
	}
	return &api.MintedLink{Contact: r.Contact(), Token: token}, nil
}

func addToken(ctx context.Context, tx bun.Tx, row tokenRow) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM order_tokens WHERE order_id = ? AND hash IN (SELECT hash FROM
		(SELECT hash FROM order_tokens WHERE order_id = ? ORDER BY created_at DESC, hash LIMIT 1000 OFFSET ?) AS old)`,
		row.OrderID, row.OrderID, mostTokens-1)
	if err != nil {
		return err
	}
	_, err = store.Insert(ctx, tx, []tokenRow{row}, "CONFLICT (hash) DO NOTHING")
	return err
}

func endTokens(ctx context.Context, tx bun.Tx, order ids.Order, mailedOnly bool) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM order_tokens WHERE order_id = ? AND (mailed OR NOT ?)", order,
		mailedOnly)
	return err
}

// renew ends all tokens of the caller's order and makes another one.
func (g *Guests) renew(ctx context.Context, req *api.OrderRef) (*api.OrderAccess, error) {
	token, now := NewToken(), store.Time(g.Now())
	err := g.changing(ctx, req.ID, func(ctx context.Context, tx bun.Tx, r Row) error {
		if err := endTokens(ctx, tx, r.OrderID, false); err != nil {
			return err
		}
		return addToken(ctx, tx, tokenRow{Hash: opaque.Hash(token), OrderID: r.OrderID, CreatedAt: now})
	})
	if err != nil {
		return nil, err
	}
	return &api.OrderAccess{AccessToken: token}, nil
}

// endAccess ends all tokens of the caller's order.
func (g *Guests) endAccess(ctx context.Context, req *api.OrderRef) (*rpc.None, error) {
	return nil, g.changing(ctx, req.ID, func(ctx context.Context, tx bun.Tx, r Row) error {
		return endTokens(ctx, tx, r.OrderID, false)
	})
}

// changing changes what belongs to the caller, who is the guest of an order.
func (g *Guests) changing(
	ctx context.Context, order ids.Order, change func(context.Context, bun.Tx, Row) error,
) error {
	if _, err := g.own(ctx, order); err != nil {
		return err
	}
	return g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		r, err := lock(ctx, g.DB, tx, order)
		if err != nil {
			return err
		}
		return change(ctx, tx, r)
	})
}

// Change is what becomes of how a guest is reached, as it was checked.
type Change struct {
	order                 ids.Order
	email, name, language *string
}

// Some reports whether anything is to change.
func (c Change) Some() bool { return c.email != nil || c.name != nil || c.language != nil }

// CheckChange finds what cannot stand in a change. It returns also what else the check has found.
func CheckChange(check *fault.Check, req *api.OrderChange) (Change, error) {
	c := Change{order: req.ID, language: req.Language}
	name, language := "", ""
	if req.Email != nil {
		email := strings.TrimSpace(*req.Email)
		check.Field(text.Email(email), "email", "is not an email address")
		c.email = &email
	}
	if req.Name != nil {
		name = text.Clean(*req.Name)
		c.name = &name
	}
	if req.Language != nil {
		language = *req.Language
	}
	checkPerson(check, name, language)
	return c, check.Err()
}

// Update changes how the caller, who is the guest of an order, is reached. Another address is mailed a link, and the
// links that the one before was mailed end.
func (g *Guests) Update(ctx context.Context, req *api.OrderChange) error {
	var check fault.Check
	c, err := CheckChange(&check, req)
	if err != nil {
		return err
	}
	if _, err := g.own(ctx, req.ID); err != nil {
		return err
	}
	return g.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		return Apply(ctx, g.DB, tx, c, true, store.Time(g.Now()))
	})
}

// Apply changes how the guest of an order is reached, as Update does. The guest may change the address so many times,
// the organizer more often.
func Apply(ctx context.Context, db *store.DB, tx bun.Tx, c Change, byGuest bool, now time.Time) error {
	r, err := lock(ctx, db, tx, c.order)
	if err != nil {
		return err
	}
	if c.name != nil {
		r.Name = *c.name
	}
	if c.language != nil {
		r.Language = *c.language
	}
	moved := c.email != nil && *c.email != r.Email
	if moved && EmailKey(*c.email) == r.EmailKey {
		r.Email, moved = *c.email, false
	}
	if moved {
		if byGuest && r.Changes >= mostChanges {
			return fault.New(fault.Conflict, "the address of an order can be changed %d times", mostChanges)
		}
		r.Email, r.EmailKey, r.ConfirmedAt = *c.email, EmailKey(*c.email), nil
		if byGuest {
			r.Changes++
		}
		if err := endTokens(ctx, tx, r.OrderID, true); err != nil {
			return err
		}
		if err := stream.Add(ctx, tx, api.GuestWantsLink.Subject, r.event(now)); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `UPDATE guests SET email = ?, email_key = ?, name = ?, language = ?,
		confirmed_at = ?, changes = ? WHERE user_id = ?`, r.Email, r.EmailKey, r.Name, r.Language, r.ConfirmedAt,
		r.Changes, r.UserID)
	return err
}
