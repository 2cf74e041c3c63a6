// Package codes keeps promo codes and automatic discounts: what organizers make of them, and who may use one.
//
// How often a code is used, and which seats are kept for it, is decided by the inventory with the seats of the order.
// SQL has the terms. A change is written to SQL with the mark that the inventory has to be told, the inventory is told,
// and the mark is taken away; what is interrupted is found by a sweep.
package codes

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"
)

// Codes are the promo codes of all events.
type Codes struct {
	db     *store.DB
	inv    *inventory.Inventory
	offers *offers.Offers
	now    func() time.Time
	log    *slog.Logger
	open   func(context.Context, *api.Offer) error // opens the pool of an event on sale

	mu      sync.Mutex
	found   map[string]cached
	guesses map[string]guesses
}

// Deps is what Codes stand on.
type Deps struct {
	DB        *store.DB
	Inventory *inventory.Inventory
	Offers    *offers.Offers
	Now       func() time.Time
	Log       *slog.Logger
	Open      func(context.Context, *api.Offer) error
}

// New returns the codes that are kept in a database.
func New(d Deps) *Codes {
	return &Codes{db: d.DB, inv: d.Inventory, offers: d.Offers, now: d.Now, log: d.Log, open: d.Open,
		found: map[string]cached{}, guesses: map[string]guesses{}}
}

// Register binds the endpoints.
func (c *Codes) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreatePromoCode, c.create)
	rpc.Handle(srv, api.CreatePromoBatch, c.createBatch)
	rpc.Handle(srv, api.ListPromoCodes, c.list)
	rpc.Handle(srv, api.GetPromoCode, c.get)
	rpc.Handle(srv, api.UpdatePromoCode, c.update)
	rpc.Handle(srv, api.DeletePromoCode, c.delete)
	rpc.HandleParts(srv, api.GetPromoCodesCSV, c.csv)
	rpc.Handle(srv, api.CreateOrganizerCode, c.createForAll)
	rpc.Handle(srv, api.ListOrganizerCodes, c.listForAll)
	rpc.Handle(srv, api.UpdateOrganizerCode, c.updateForAll)
	rpc.Handle(srv, api.DeleteOrganizerCode, c.deleteForAll)
}

// Row is a row of the table promo_codes.
type Row struct {
	bun.BaseModel `bun:"table:promo_codes,alias:promo_codes"`

	ID          ids.PromoCode  `bun:"id,pk"`
	Scope       string         `bun:"scope"` // the event, or the organizer of all events that it is for
	OrganizerID ids.Organizer  `bun:"organizer_id"`
	EventID     ids.Event      `bun:"event_id"`
	Code        string         `bun:"code"` // as the organizer writes it; "" for what applies by itself
	Word        string         `bun:"word"` // what is compared
	Batch       string         `bun:"batch"`
	Automatic   bool           `bun:"automatic"`
	Terms       api.PromoTerms `bun:"terms,type:text"`
	Due         bool           `bun:"due"`         // the inventory has to be told
	KeepsUntil  *time.Time     `bun:"keeps_until"` // when the seats that it keeps are for all
	Deleted     bool           `bun:"deleted"`
	Revision    int64          `bun:"revision"`
	CreatedAt   time.Time      `bun:"created_at"`
	UpdatedAt   time.Time      `bun:"updated_at"`
}

// Key is what a list is sorted by.
func (r Row) Key() (time.Time, string) { return r.CreatedAt, r.ID.String() }

func (r *Row) code(used int) api.PromoCode {
	c := api.PromoCode{ID: r.ID, EventID: r.EventID, Code: r.Code, Batch: r.Batch, PromoTerms: r.Terms, Used: used,
		Revision: r.Revision, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
	if r.EventID == "" {
		c.OrganizerID = r.OrganizerID
	}
	return c
}

// Use returns what the inventory has to know of an order that uses the code.
func (r *Row) Use() *inventory.Terms {
	t := &inventory.Terms{Code: r.ID, Limit: r.Terms.MaxUses, Revision: r.Revision}
	if r.Deleted {
		t.Limit = inventory.NoUses
	}
	return t
}

// keeps returns the terms with the seats that are kept now.
func (r *Row) keeps(now time.Time) inventory.Terms {
	t := *r.Use()
	k := r.Terms.Reserve
	if k == nil || r.Deleted || r.EventID == "" || r.KeepsUntil == nil || !now.Before(*r.KeepsUntil) {
		return t
	}
	t.Keep = inventory.Reserve{Type: k.TicketTypeID, Quota: k.QuotaID, N: k.Quantity}
	return t
}

// keepUntil sets when the seats that the code keeps are for all.
func (r *Row) keepUntil(end time.Time) {
	r.KeepsUntil = nil
	if k := r.Terms.Reserve; k == nil || k.Quantity == 0 || r.Deleted {
		return
	}
	if until := r.Terms.ValidUntil; until != nil && until.Before(end) {
		end = *until
	}
	end = store.Time(end)
	r.KeepsUntil = &end
}

const noCode = "there is no such code"

// of returns a code of an event or organizer.
func (c *Codes) of(ctx context.Context, from bun.IDB, scope string, id ids.PromoCode, lock bool) (Row, error) {
	var row Row
	clause := bun.Safe("")
	if lock && c.db.Postgres() {
		clause = "FOR UPDATE"
	}
	err := from.NewRaw("SELECT * FROM promo_codes WHERE id = ? AND scope = ? AND NOT deleted ?", id, scope,
		clause).Scan(ctx, &row)
	return row, store.OrNotFound(err, noCode)
}

// Terms returns what the inventory has to know of an order that was made with a code. One that is gone may not be used
// again.
func (c *Codes) Terms(ctx context.Context, id ids.PromoCode) (*inventory.Terms, error) {
	if id == "" {
		return nil, nil
	}
	var row Row
	err := c.db.Read().NewRaw("SELECT * FROM promo_codes WHERE id = ?", id).Scan(ctx, &row)
	if err = store.OrNotFound(err, noCode); fault.Is(err, fault.NotFound) {
		return &inventory.Terms{Code: id, Limit: inventory.NoUses}, nil
	}
	return row.Use(), err
}

// settle tells the inventory of a code, and takes the mark away that it has to be told.
func (c *Codes) settle(ctx context.Context, row *Row) error {
	if err := c.tell(ctx, row); err != nil {
		return err
	}
	c.forget(row)
	return c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE promo_codes SET due = ? WHERE id = ? AND revision = ?", false, row.ID,
			row.Revision)
		return err
	})
}

func (c *Codes) tell(ctx context.Context, row *Row) error {
	terms := row.keeps(c.now())
	if row.EventID == "" {
		for _, event := range c.inv.Events() {
			if c.inv.Code(event, row.ID).ID == "" {
				continue // it is told by the next order that uses it
			}
			if err := c.inv.SetCode(ctx, event, terms); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		return nil
	}
	err := c.inv.SetCode(ctx, row.EventID, terms)
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	offer, err := c.offers.Get(ctx, row.EventID)
	switch {
	case fault.Is(err, fault.NotFound), err == nil && offer.Event.Status != api.EventPublished:
		return nil // nothing of it was sold
	case err != nil:
		return err
	}
	if err := c.open(ctx, offer); err != nil {
		return err
	}
	return c.inv.SetCode(ctx, row.EventID, terms)
}

// Restore tells the inventory which seats are kept of an event, after its pool was made anew.
func (c *Codes) Restore(ctx context.Context, event ids.Event) error {
	var rows []Row
	err := c.db.Read().NewRaw("SELECT * FROM promo_codes WHERE event_id = ? AND keeps_until IS NOT NULL ORDER BY id",
		event).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	for i := range rows {
		err := c.inv.SetCode(ctx, event, rows[i].keeps(c.now()))
		if fault.Is(err, fault.SoldOut) || fault.Is(err, fault.Conflict) {
			c.log.WarnContext(ctx, "seats are not kept for a code any more: others have them", "code", rows[i].ID,
				"event", event)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SweepEvery is how often codes are looked for whose change was interrupted, or whose seats are for all now.
const (
	SweepEvery = 5 * time.Second
	sweepSize  = 100
	lateAfter  = 10 * time.Second
)

// Sweep ends what was interrupted, and lets the seats go that were kept until now.
func (c *Codes) Sweep(ctx context.Context) error {
	now := store.Time(c.now())
	var rows []Row
	err := c.db.Read().NewRaw(`SELECT * FROM promo_codes WHERE due AND updated_at < ? ORDER BY updated_at LIMIT ?`,
		now.Add(-lateAfter), sweepSize).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	var over []Row
	err = c.db.Read().NewRaw("SELECT * FROM promo_codes WHERE keeps_until <= ? ORDER BY keeps_until LIMIT ?", now,
		sweepSize).Scan(ctx, &over)
	if err != nil {
		return err
	}
	for i := range rows {
		err := c.settle(ctx, &rows[i])
		if fault.Is(err, fault.SoldOut) || fault.Is(err, fault.Conflict) {
			err = c.unkeep(ctx, &rows[i])
		}
		if err != nil {
			return err
		}
	}
	for i := range over {
		if err := c.unkeep(ctx, &over[i]); err != nil {
			return err
		}
	}
	return nil
}

// unkeep keeps no seats for a code any more.
func (c *Codes) unkeep(ctx context.Context, row *Row) error {
	before := *row
	row.KeepsUntil, row.Revision = nil, row.Revision+1
	if before.Terms.Reserve != nil {
		none := *before.Terms.Reserve
		none.Quantity = 0
		row.Terms.Reserve = &none
	}
	if err := c.tell(ctx, row); err != nil {
		return err
	}
	c.forget(row)
	return c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		row.Due, row.UpdatedAt = false, store.Time(c.now())
		_, err := tx.NewUpdate().Model(row).WherePK().Where("revision = ?", before.Revision).Exec(ctx)
		return err
	})
}
