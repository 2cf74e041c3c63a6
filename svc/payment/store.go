package payment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// paymentStore has the tables of payments. Methods that end in a slice of results are commits of a batch.Group.
type paymentStore struct {
	db  *store.DB
	now func() time.Time
}

// payment reads one payment.
func (b *paymentStore) payment(ctx context.Context, id ids.Payment) (*record.Payment, error) {
	row := new(record.Payment)
	if err := b.db.Read().NewSelect().Model(row).Where("p.id = ?", id).Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, "no such payment")
	}
	return row, nil
}

// ofOrders reads the payments of orders that are not failed.
func (b *paymentStore) ofOrders(ctx context.Context, orders []ids.Order) []batch.Result[[]*record.Payment] {
	var rows []*record.Payment
	err := b.db.Read().NewSelect().Model(&rows).Where("p.order_id IN (?)", bun.List(orders)).
		Where("p.status <> ?", api.PaymentFailed).Scan(ctx)
	if err != nil {
		return batch.Fail[[]*record.Payment](len(orders), store.OrNotFound(err, "no such order"))
	}
	of := make(map[ids.Order][]*record.Payment, len(orders))
	for _, r := range rows {
		of[r.OrderID] = append(of[r.OrderID], r)
	}
	results := make([]batch.Result[[]*record.Payment], len(orders))
	for i, id := range orders {
		results[i].Out = of[id]
	}
	return results
}

// create stores new payments. Each result is the payment that is open for the order and provider: the new one, or the
// one of a request that was first.
func (b *paymentStore) create(ctx context.Context, rows []*record.Payment) []batch.Result[*record.Payment] {
	type slot struct {
		order    ids.Order
		provider string
	}
	slotOf := func(r *record.Payment) slot { return slot{r.OrderID, r.Provider} }
	// In one order everywhere, so that instances with the same orders at hand do not wait for each other in a circle.
	inserts := slices.SortedFunc(slices.Values(rows), func(a, b *record.Payment) int {
		return cmp.Or(cmp.Compare(a.OrderID, b.OrderID), cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.ID, b.ID))
	})
	orders := make([]ids.Order, len(inserts))
	for i, r := range inserts {
		orders[i] = r.OrderID
	}
	var open []*record.Payment
	err := b.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		open = nil
		if _, err := tx.NewInsert().Model(&inserts).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		return tx.NewSelect().Model(&open).Where("p.order_id IN (?)", bun.List(orders)).
			Where("p.status = ?", api.PaymentRequiresAction).Scan(ctx)
	})
	if err != nil {
		return batch.Fail[*record.Payment](len(rows), err)
	}
	return record.Match(rows, open, slotOf, slotOf, fault.New(fault.Conflict, "the order is being paid"))
}

// remoteCreated is a payment that the provider has created.
type remoteCreated struct {
	id     ids.Payment
	remote provider.Remote

	provider *provider.Guard        // that created it now, and may have its side to store; nil if it was stored before
	request  provider.CreateRequest // what it was asked

	// The stored answer of an idempotent request, if keyed.
	scope, key, hash string
	keyed            bool
}

// setRemote stores what the provider created, and the answers to those who asked. A payment whose remote id is known
// already stays as it is.
func (b *paymentStore) setRemote(ctx context.Context, ins []remoteCreated) []batch.Result[*record.Payment] {
	now := store.Time(b.now())
	list := make([]ids.Payment, len(ins))
	values := make([]bun.TupleValues, len(ins))
	for i, in := range ins {
		list[i] = in.id
		values[i] = bun.Tuple([]string{in.id.String(), in.remote.ID, in.remote.CheckoutURL})
	}
	created := map[*provider.Guard][]provider.CreateRequest{}
	for _, in := range ins {
		if in.provider != nil {
			created[in.provider] = append(created[in.provider], in.request)
		}
	}
	var results []batch.Result[*record.Payment]
	err := b.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		for p, reqs := range created {
			if err := p.Store(ctx, tx, reqs); err != nil {
				return err
			}
		}
		// Both databases name the columns of VALUES so.
		_, err := tx.NewRaw(`UPDATE payments SET remote_id = v.column2, checkout_url = v.column3, revision = revision + 1, updated_at = ?
			FROM (VALUES ?) AS v WHERE payments.id = v.column1 AND payments.remote_id IS NULL`, now, bun.List(values)).Exec(ctx)
		if err != nil {
			return err
		}
		var rows []*record.Payment
		if err := tx.NewSelect().Model(&rows).Where("p.id IN (?)", bun.List(list)).Scan(ctx); err != nil {
			return err
		}
		results = record.Match(ins, rows, func(in remoteCreated) ids.Payment { return in.id },
			func(r *record.Payment) ids.Payment { return r.ID }, fault.New(fault.Internal,
				"the payment was not stored"))
		for i, in := range ins {
			if !in.keyed || results[i].Err != nil {
				continue
			}
			body, err := json.Marshal(results[i].Out.Payment())
			if err != nil {
				return err
			}
			switch err := idempotency.Keep(ctx, tx, in.scope, in.key, in.hash, 0, body); {
			case errors.Is(err, rpc.ErrDuplicateAnswer):
				results[i].Err = rpc.ErrDuplicateAnswer
			case err != nil:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return batch.Fail[*record.Payment](len(ins), err)
	}
	return results
}

// watchFailed is for how long a failed payment is looked at: a provider may collect after all what it said was declined
// or cancelled, and the callback that tells of it may be lost.
const watchFailed = 72 * time.Hour

// unfinished claims payments that have been open, or failed, for a while, to ask their provider. Each is asked again
// after as long as it has been there, at least after interval: an abandoned checkout costs a call for each doubling of
// its age.
func (b *paymentStore) unfinished(ctx context.Context, interval time.Duration, limit int) ([]*record.Payment, error) {
	now := store.Time(b.now())
	var rows []*record.Payment
	// Looked at without a lock first: mostly there is nothing, and then no instance has to wait.
	due := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("p.status IN (?, ?, ?)", api.PaymentRequiresAction, api.PaymentProcessing, api.PaymentFailed).
			Where("p.poll_at <= ?", now)
	}
	if any, err := due(b.db.Read().NewSelect().Model((*record.Payment)(nil))).Exists(ctx); err != nil || !any {
		return nil, err
	}
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		if err := record.LockFree(b.db, due(tx.NewSelect().Model(&rows)).Order("p.poll_at").
			Limit(int64(limit))).Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows {
			next := now.Add(max(interval, now.Sub(r.CreatedAt)))
			if r.Status == api.PaymentFailed && now.Sub(r.CreatedAt) > watchFailed {
				next = now.AddDate(1000, 0, 0)
			}
			if _, err := tx.NewUpdate().Model((*record.Payment)(nil)).Set("poll_at = ?", next).
				Where("id = ?", r.ID).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return rows, err
}
