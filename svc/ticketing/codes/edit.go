package codes

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// owner is what a code belongs to: an event, or an organizer.
type owner struct {
	scope     string
	event     *api.Event // nil for codes of all events
	organizer ids.Organizer
	ends      time.Time
}

// ofEvent returns an event whose codes the caller may see and change: they are as good as money.
func (c *Codes) ofEvent(ctx context.Context, id ids.Event) (owner, error) {
	offer, err := c.offers.As(ctx, id, api.MayEditEvent)
	if err != nil {
		return owner{}, err
	}
	e := &offer.Event
	return owner{scope: e.ID.String(), event: e, organizer: e.OrganizerID, ends: e.EndsAt}, nil
}

// ofOrganizer is ofEvent for the codes of all events.
func (c *Codes) ofOrganizer(ctx context.Context, id ids.Organizer) (owner, error) {
	team, err := c.offers.Team(ctx, id)
	if err != nil {
		return owner{}, err
	}
	return owner{scope: id.String(), organizer: id}, team.Require(rpc.Caller(ctx), api.MayEditEvent)
}

func (o owner) eventID() ids.Event {
	if o.event == nil {
		return ""
	}
	return o.event.ID
}

// newRow returns a code as it is first kept.
func (c *Codes) newRow(o owner, code string, t api.PromoTerms) Row {
	now := store.Time(c.now())
	row := Row{ID: ids.New[ids.PromoCodeKind](now), Scope: o.scope, OrganizerID: o.organizer, EventID: o.eventID(),
		Code: code, Word: normalize(code), Automatic: t.Auto, Terms: t, Revision: 1, CreatedAt: now, UpdatedAt: now}
	if o.event != nil {
		row.keepUntil(o.ends)
	}
	row.Due = row.KeepsUntil != nil
	return row
}

func (c *Codes) create(ctx context.Context, req *api.NewPromoCode) (*api.PromoCode, error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	return c.add(ctx, o, req.Code, req.PromoTerms, api.CreatePromoCode.Success())
}

func (c *Codes) createForAll(ctx context.Context, req *api.NewOrganizerCode) (*api.PromoCode, error) {
	o, err := c.ofOrganizer(ctx, req.OrganizerID)
	if err != nil {
		return nil, err
	}
	return c.add(ctx, o, req.Code, req.PromoTerms, api.CreateOrganizerCode.Success())
}

// add keeps a new code. With an idempotency key a repeated request finds the one of the first.
func (c *Codes) add(
	ctx context.Context, o owner, code string, t api.PromoTerms, status int,
) (*api.PromoCode, error) {
	clean(&t)
	var wrong fault.Check
	check(&wrong, &t, o.event)
	switch {
	case t.Auto:
		wrong.Field(code == "", "code", "is not for what applies by itself")
	case code == "":
		code = random("")
	default:
		checkCode(&wrong, "code", code)
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	row := c.newRow(o, code, t)
	if scope, key, hash, keyed := rpc.Answer(ctx); keyed {
		row.ID = ids.Derive[ids.PromoCodeKind](scope, key, hash)
	}
	if err := c.insert(ctx, &row); err != nil {
		return nil, err
	}
	if row.Due {
		if err := c.settle(ctx, &row); err != nil {
			return nil, c.refused(ctx, &row, nil, err)
		}
	}
	c.forget(&row)
	made := row.code(0)
	err := c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		return idempotency.KeepFor(ctx, tx, status, &made)
	})
	return &made, err
}

// insert writes a new code, unless the same request has written it before: then row is that one.
func (c *Codes) insert(ctx context.Context, row *Row) error {
	return c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		made, err := store.Insert(ctx, tx, []Row{*row}, "CONFLICT DO NOTHING")
		if err != nil {
			return err
		}
		if len(made) == 0 {
			known, err := c.of(ctx, tx, row.Scope, row.ID, false)
			if fault.Is(err, fault.NotFound) {
				return fault.New(fault.Conflict, "there is such a code already").About("code", "is there already")
			}
			*row = known
			return err
		}
		return c.note(ctx, tx, row, nil, row)
	})
}

// note writes a line of the audit log. What codes are entered as is not in it: they are as good as money.
func (c *Codes) note(ctx context.Context, tx bun.Tx, row, before, after *Row) error {
	act := auditlog.Act{Object: row.ID.String(), Event: row.EventID}
	if before != nil {
		act.Before = logged(before)
	}
	if after != nil {
		act.After = logged(after)
	}
	return auditlog.Add(ctx, tx, "ticketing", act)
}

func logged(row *Row) api.PromoTerms {
	t := row.Terms
	t.Name = ""
	return t
}

// refused undoes a change for which there are no seats. before is nil if the code is new.
func (c *Codes) refused(ctx context.Context, row, before *Row, cause error) error {
	if !fault.Is(cause, fault.SoldOut) && !fault.Is(cause, fault.Conflict) {
		return cause // the sweep goes on
	}
	ctx = context.WithoutCancel(ctx)
	undone := *row
	undone.Revision, undone.UpdatedAt = row.Revision+1, store.Time(c.now())
	if before == nil {
		undone.Deleted = true
	} else {
		undone.Terms, undone.KeepsUntil = before.Terms, before.KeepsUntil
	}
	err := c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model(&undone).WherePK().Where("revision = ?", row.Revision).Exec(ctx)
		if err != nil {
			return err
		}
		return c.note(ctx, tx, row, row, &undone)
	})
	if err == nil {
		err = c.settle(ctx, &undone)
	}
	if err != nil {
		c.log.WarnContext(ctx, "a code that is refused will be undone later", "code", row.ID, "error", err)
	}
	if fault.Is(cause, fault.SoldOut) {
		return fault.New(fault.Conflict, "the seats that the code is to keep are not there").About("reserve.quantity",
			"is more than there are")
	}
	return cause
}

func (c *Codes) update(ctx context.Context, req *api.PatchPromoCode) (*api.PromoCode, error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	return c.change(ctx, o, req.ID, req.IfMatch, &req.PromoChanges)
}

func (c *Codes) updateForAll(ctx context.Context, req *api.PatchOrganizerCode) (*api.PromoCode, error) {
	o, err := c.ofOrganizer(ctx, req.OrganizerID)
	if err != nil {
		return nil, err
	}
	return c.change(ctx, o, req.ID, req.IfMatch, &req.PromoChanges)
}

func (c *Codes) change(
	ctx context.Context, o owner, id ids.PromoCode, ifMatch string, changes *api.PromoChanges,
) (*api.PromoCode, error) {
	var before, row Row
	err := c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var err error
		if before, err = c.of(ctx, tx, o.scope, id, true); err != nil {
			return err
		}
		if !rpc.MatchETag(ifMatch, before.code(0).ETag()) {
			return fault.New(fault.Precondition, "the code was changed meanwhile")
		}
		row = before
		apply(&row.Terms, changes)
		clean(&row.Terms)
		var wrong fault.Check
		if check(&wrong, &row.Terms, o.event); wrong.Err() != nil {
			return wrong.Err()
		}
		row.Due, row.Revision, row.UpdatedAt = true, row.Revision+1, store.Time(c.now())
		if o.event != nil {
			row.keepUntil(o.ends)
		}
		if _, err := tx.NewUpdate().Model(&row).WherePK().Exec(ctx); err != nil {
			return err
		}
		return c.note(ctx, tx, &row, &before, &row)
	})
	if err != nil {
		return nil, err
	}
	if err := c.settle(ctx, &row); err != nil {
		return nil, c.refused(ctx, &row, &before, err)
	}
	return c.shown(ctx, row)
}

func (c *Codes) delete(ctx context.Context, req *api.PromoCodeRef) (*rpc.None, error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	return nil, c.remove(ctx, o, req.ID)
}

func (c *Codes) deleteForAll(ctx context.Context, req *api.OrganizerCodeRef) (*rpc.None, error) {
	o, err := c.ofOrganizer(ctx, req.OrganizerID)
	if err != nil {
		return nil, err
	}
	return nil, c.remove(ctx, o, req.ID)
}

func (c *Codes) remove(ctx context.Context, o owner, id ids.PromoCode) error {
	var row Row
	err := c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var err error
		if row, err = c.of(ctx, tx, o.scope, id, true); err != nil {
			return err
		}
		before := row
		row.Deleted, row.KeepsUntil, row.Due = true, nil, true
		row.Revision, row.UpdatedAt = row.Revision+1, store.Time(c.now())
		if _, err := tx.NewUpdate().Model(&row).WherePK().Exec(ctx); err != nil {
			return err
		}
		return c.note(ctx, tx, &row, &before, nil)
	})
	if err != nil {
		return err
	}
	return c.settle(ctx, &row)
}
