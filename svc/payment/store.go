package payment

import (
	"cmp"
	"context"
	"database/sql"
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
	if err := store.Select(ctx, b.db.Read(), row, "SELECT * FROM payments WHERE id = ?", id); err != nil {
		return nil, store.OrNotFound(err, "no such payment")
	}
	return row, nil
}

// ofOrders reads the payments of orders that are not failed.
func (b *paymentStore) ofOrders(ctx context.Context, orders []ids.Order) []batch.Result[[]*record.Payment] {
	var rows []*record.Payment
	err := store.Select(ctx, b.db.Read(), &rows, "SELECT * FROM payments WHERE order_id IN (?) AND status <> ?",
		store.List(orders), api.PaymentFailed)
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
	err := b.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		open, err = store.Insert(ctx, tx, inserts, "CONFLICT DO NOTHING")
		if err != nil || len(open) == len(inserts) {
			return err
		}
		open = nil
		return store.Select(ctx, tx, &open,
			"SELECT * FROM payments WHERE order_id IN (?) AND status = 'requires_action'", store.List(orders))
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
		results = make([]batch.Result[*record.Payment], len(ins))
		for i, in := range ins {
			row, err := remoteOf(ctx, tx, in, now)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				results[i].Err = fault.Wrap(err, fault.Internal, "the payment was not stored")
				continue
			case err != nil:
				return err
			}
			if results[i].Out = row; !in.keyed {
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

// remoteOf stores what the provider created of a payment, and returns the payment.
func remoteOf(ctx context.Context, tx bun.Tx, in remoteCreated, now time.Time) (*record.Payment, error) {
	row := new(record.Payment)
	err := store.Select(ctx, tx, row, `UPDATE payments SET remote_id = ?, checkout_url = ?, revision = revision + 1,
		updated_at = ? WHERE id = ? AND remote_id IS NULL RETURNING *`, in.remote.ID, in.remote.CheckoutURL, now, in.id)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.Select(ctx, tx, row, "SELECT * FROM payments WHERE id = ?", in.id)
	}
	return row, err
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
