package venue

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/store"
)

// venues is the table of that name.
type venues struct {
	db   *store.DB
	made quota.Counter
}

type row struct {
	bun.BaseModel `bun:"table:venues"`

	ID        ids.Venue `bun:",pk"`
	Owner     ids.User
	Name      string
	Address   string
	Timezone  string
	Gates     []string `bun:"type:text"`
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

func rowOf(v api.Venue) *row {
	return &row{ID: v.ID, Owner: v.Owner, Name: v.Name, Address: v.Address, Timezone: v.Timezone, Gates: v.Gates,
		Revision: v.Revision, CreatedAt: v.CreatedAt, UpdatedAt: v.UpdatedAt}
}

func (r row) venue() api.Venue {
	return api.Venue{ID: r.ID, Owner: r.Owner, Name: r.Name, Address: r.Address, Timezone: r.Timezone, Gates: r.Gates,
		Revision: r.Revision, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

func (t venues) insert(ctx context.Context, v api.Venue) error {
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := idempotency.KeepFor(ctx, tx, api.CreateVenue.Success(), v); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(rowOf(v)).Exec(ctx); err != nil {
			return err
		}
		if err := t.made.Take(ctx, tx, api.VenuesPerPerson, v.Owner.String(), "venues of a person", 1); err != nil {
			return err
		}
		return note(ctx, tx, auditlog.Act{Object: v.ID.String(), After: v})
	})
}

// note writes a line of the audit log.
func note(ctx context.Context, tx bun.Tx, act auditlog.Act) error {
	return auditlog.Add(ctx, tx, "venue", act)
}

// load returns a venue, or a NotFound fault.
func (t venues) load(ctx context.Context, id ids.Venue) (api.Venue, error) {
	var r row
	if err := t.db.Read().NewSelect().Model(&r).Where("id = ?", id).Scan(ctx); err != nil {
		return api.Venue{}, store.OrNotFound(err, "there is no such venue")
	}
	return r.venue(), nil
}

// replace writes a venue if the one that is stored has the revision of before, and reports whether it had.
func (t venues) replace(ctx context.Context, before, v api.Venue) (replaced bool, err error) {
	err = t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model(rowOf(v)).WherePK().Where("revision = ?", v.Revision-1).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if replaced = n == 1; err != nil || !replaced {
			return err
		}
		return note(ctx, tx, auditlog.Act{Object: v.ID.String(), Before: before, After: v})
	})
	return replaced, err
}

// newest returns a page of an owner's venues, or of all venues for no owner.
func (t venues) newest(ctx context.Context, owner ids.User, page api.Page) (*api.List[api.Venue], error) {
	limit, err := store.Limit(page.Limit)
	if err != nil {
		return nil, err
	}
	then, after, err := store.DecodeTimeCursor(page.Cursor)
	if err != nil {
		return nil, err
	}
	var rows []row
	q := t.db.Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(int64(limit) + 1)
	if owner != "" {
		q = q.Where("owner = ?", owner)
	}
	if page.Cursor != "" {
		q = q.Where("(created_at, id) < (?, ?)", then, after)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.Venue]{Items: []api.Venue{}}
	for i, r := range rows {
		if i == limit {
			last := out.Items[limit-1]
			out.NextCursor = store.EncodeTimeCursor(last.CreatedAt, string(last.ID))
			break
		}
		out.Items = append(out.Items, r.venue())
	}
	return out, nil
}
