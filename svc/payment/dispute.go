package payment

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// disputeRow is a dispute as it is stored.
type disputeRow struct {
	bun.BaseModel `bun:"table:payment_disputes,alias:d"`

	ID        string `bun:",pk"`
	PaymentID ids.Payment
	Amount    int64
	Currency  string
	Reason    string
	Status    string
	AnswerBy  *time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (r *disputeRow) amount() api.Money { return api.Money{Amount: r.Amount, Currency: r.Currency} }

func (r *disputeRow) dispute() api.Dispute {
	return api.Dispute{ID: r.ID, PaymentID: r.PaymentID, Amount: r.amount(), Reason: r.Reason,
		Status: r.Status, AnswerBy: r.AnswerBy, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

// lookAfterwards records refunds that have failed after they had succeeded, and disputes, if a callback may be about
// one.
func (s *Service) lookAfterwards(ctx context.Context, g *provider.Guard, row *callbackRow) error {
	if !g.Concerns(row.Type) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	remote, err := g.Fetch(ctx, row.RemoteID) // names our payment
	if fault.Is(err, fault.NotFound) || err == nil && (remote.PaymentID == "" || remote.Status != provider.Succeeded) {
		return nil
	}
	if err != nil {
		return err
	}
	seen, err := g.Afterwards(ctx, row.RemoteID)
	if err != nil || len(seen.FailedRefunds) == 0 && len(seen.Disputes) == 0 {
		return err
	}
	failed, disputed, err := s.store.afterwards(ctx, remote.PaymentID, seen)
	for _, r := range failed {
		s.metrics.refunded("failed_later")
		s.log.ErrorContext(ctx, "a refund has failed after it had succeeded: a person has to make it again",
			"refund", r.ID, "payment", r.PaymentID, "reason", r.Failure)
	}
	for _, d := range disputed {
		s.metrics.disputed(d.Status)
		s.log.WarnContext(ctx, "a payment is disputed", "dispute", d.ID, "payment", d.PaymentID,
			"status", d.Status, "reason", d.Reason)
	}
	return err
}

// afterwards records what was seen of a payment, with its transfers, and returns what is new.
func (b *paymentStore) afterwards(ctx context.Context, id ids.Payment,
	seen provider.Afterwards) (failed []*record.Refund, disputed []*disputeRow, err error) {
	now := store.Time(b.now())
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		failed, disputed = nil, nil
		var payments []*record.Payment
		if err := record.Lock(b.db, tx.NewSelect().Model(&payments).Where("p.id = ?", id)).
			Scan(ctx); err != nil || len(payments) == 0 {
			return err
		}
		payment := payments[0]
		var refunds []*record.Refund
		if err := tx.NewSelect().Model(&refunds).Where("r.payment_id = ?", id).
			Where("r.status = ?", api.RefundSucceeded).Order("r.id").Scan(ctx); err != nil {
			return err
		}
		for _, r := range refunds {
			why, ok := seen.FailedRefunds[r.RemoteID]
			if !ok || r.RemoteID == "" {
				continue
			}
			if err := b.refundFailed(ctx, tx, payment, r, why, now); err != nil {
				return err
			}
			failed = append(failed, r)
		}
		for _, d := range seen.Disputes {
			row, err := b.dispute(ctx, tx, payment, d, now)
			if err != nil {
				return err
			}
			if row != nil {
				disputed = append(disputed, row)
			}
		}
		return nil
	})
	return failed, disputed, err
}

// refundFailed records that the money of a refund has come back to the provider: the buyer is owed it as before.
func (b *paymentStore) refundFailed(ctx context.Context, tx bun.Tx, payment *record.Payment, r *record.Refund,
	why string, now time.Time) error {
	r.Status, r.Failure, r.UpdatedAt = api.RefundFailed, why, now
	if _, err := tx.NewUpdate().Model(r).Column("status", "failure", "updated_at").WherePK().Exec(ctx); err != nil {
		return err
	}
	err := tx.NewRaw(`UPDATE payments SET refunded = refunded - ?, updated_at = ?, revision = revision + 1,
		status = CASE WHEN status = ? AND flag = '' THEN ? ELSE status END WHERE id = ? RETURNING *`,
		r.Amount, now, api.PaymentRefunded, api.PaymentSucceeded, payment.ID).Scan(ctx, payment)
	if err != nil {
		return err
	}
	if err := ledger.Enter(ctx, tx, ledger.RefundFailed(payment, r, now)); err != nil {
		return err
	}
	return stream.Add(ctx, tx, api.RefundHasFailed.Subject, api.RefundEvent{Refund: r.Refund(),
		Payment: payment.Payment()})
}

// dispute records what has become of a dispute, and returns it if that is new.
func (b *paymentStore) dispute(ctx context.Context, tx bun.Tx, payment *record.Payment, d provider.Dispute,
	now time.Time) (*disputeRow, error) {
	var stored []*disputeRow
	if err := tx.NewSelect().Model(&stored).Where("d.id = ?", d.ID).Scan(ctx); err != nil {
		return nil, err
	}
	row := &disputeRow{ID: d.ID, PaymentID: payment.ID, Amount: d.Amount.Amount, Currency: d.Amount.Currency,
		Reason: d.Reason, CreatedAt: now}
	if len(stored) > 0 {
		row = stored[0]
	}
	if row.Status == d.Status {
		return nil, nil
	}
	had := taken(row.Status)
	row.Status, row.UpdatedAt = d.Status, now
	if !d.AnswerBy.IsZero() {
		at := store.Time(d.AnswerBy)
		row.AnswerBy = &at
	}
	_, err := tx.NewInsert().Model(row).On("CONFLICT (id) DO UPDATE").Set("status = EXCLUDED.status").
		Set("answer_by = EXCLUDED.answer_by").
		Set("updated_at = EXCLUDED.updated_at").Returning("NULL").Exec(ctx)
	if err != nil {
		return nil, err
	}
	switch has := taken(row.Status); {
	case has && !had:
		err = ledger.Enter(ctx, tx, ledger.Dispute(payment, row.ID, row.amount(), now))
	case had && !has:
		err = ledger.Enter(ctx, tx, ledger.DisputeWon(payment, row.ID, row.amount(), now))
	}
	if err != nil {
		return nil, err
	}
	act := auditlog.Act{Act: "payment.dispute", At: now, Object: row.ID, After: row.dispute(),
		Without: []string{"created_at", "updated_at"}, By: &api.AuditAuthor{Service: payment.Provider}}
	if err := auditlog.Add(ctx, tx, "payment", act); err != nil {
		return nil, err
	}
	return row, stream.Add(ctx, tx, api.PaymentDisputed.Subject, api.DisputeEvent{Dispute: row.dispute(),
		Payment: payment.Payment()})
}

// taken reports whether the provider has taken the money of a dispute in that state: all but inquiries, until it is
// won.
func taken(status string) bool { return status == api.DisputeOpen || status == api.DisputeLost }

// listDisputes shows who reclaims the money of a payment.
func (s *Service) listDisputes(ctx context.Context, req *api.PaymentRef) (*api.List[api.Dispute], error) {
	if _, err := s.Managed(ctx, req.ID, api.MayReadMoney); err != nil {
		return nil, err
	}
	var rows []*disputeRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("d.payment_id = ?", req.ID).
		Order("d.created_at", "d.id").Scan(ctx); err != nil {
		return nil, err
	}
	out := &api.List[api.Dispute]{Items: make([]api.Dispute, len(rows))}
	for i, r := range rows {
		out.Items[i] = r.dispute()
	}
	return out, nil
}

// repeatRefund makes a refund that has failed once more, because a person says so.
func (s *Service) repeatRefund(ctx context.Context, req *api.RefundRef) (*api.Refund, error) {
	if _, err := s.Managed(ctx, req.PaymentID, api.MayRefund); err != nil {
		return nil, err
	}
	var rows []*record.Refund
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		// The provider knows the failed attempt by its key: the next one has another.
		res, err := tx.NewUpdate().Model((*record.Refund)(nil)).Set("status = ?", api.RefundPending).
			Set("repeats = repeats + 1").Set("attempts = 0").
			Set("failure = ''").Set("due_at = ?", store.Time(s.now())).Set("updated_at = ?", store.Time(s.now())).
			Where("id = ?", req.RefundID).Where("payment_id = ?", req.PaymentID).Where("status = ?", api.RefundFailed).
			Returning("NULL").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 1 {
			if err := auditlog.Add(ctx, tx, "payment", auditlog.Act{Object: req.RefundID.String(),
				After: map[string]any{"payment_id": req.PaymentID, "status": api.RefundPending}}); err != nil {
				return err
			}
		}
		return tx.NewSelect().Model(&rows).Where("r.id = ?", req.RefundID).
			Where("r.payment_id = ?", req.PaymentID).Scan(ctx)
	})
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0:
		return nil, fault.New(fault.NotFound, "no such refund")
	case rows[0].Status == api.RefundSucceeded:
		return nil, fault.New(fault.Conflict, "the refund has succeeded")
	}
	s.log.InfoContext(ctx, "a refund is made again", "refund", req.RefundID, "payment", req.PaymentID,
		"by", rpc.Caller(ctx).User)
	s.RefundNow()
	out := rows[0].Refund()
	return &out, nil
}
