package ledger

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// payouts are what organizers are due of the money that providers have collected, and what they have got.
type payouts struct {
	db     *store.DB
	client *rpc.Client
	now    func() time.Time
}

// payoutRow is a transfer from sales to the bank or, if it returns another one, back. It is never changed or deleted.
type payoutRow struct {
	bun.BaseModel `bun:"table:payouts,alias:y"`

	ID          ids.Payout `bun:",pk"`
	OrganizerID ids.Organizer
	Returns     ids.Payout
	Amount      int64
	Currency    string
	Reference   string
	MadeBy      ids.User
	At          time.Time
}

func (r *payoutRow) payout(returned *time.Time) *api.Payout {
	p := &api.Payout{ID: r.ID, OrganizerID: r.OrganizerID, Amount: api.Money{Amount: r.Amount, Currency: r.Currency},
		Reference: r.Reference, By: r.MadeBy, CreatedAt: r.At.UTC()}
	if returned != nil {
		at := returned.UTC()
		p.ReturnedAt = &at
	}
	return p
}

func (s *payouts) register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListOrganizerBalances, s.listBalances)
	rpc.Handle(srv, api.ListDuePayouts, s.listDue)
	rpc.Handle(srv, api.CreatePayout, s.create)
	rpc.Handle(srv, api.ReturnPayout, s.takeBack)
	rpc.Handle(srv, api.ListPayouts, s.list)
}

// queryOfBalances sums up what organizers are due, one of them or all. Money that came without having been asked for is
// not theirs, and what was taken at a counter is with them.
func queryOfBalances(of string) string {
	return `SELECT organizer_id, currency, SUM(collected) AS collected, SUM(returned) AS returned, SUM(paid) AS paid FROM (
		SELECT p.organizer_id, l.currency, CASE l.kind WHEN 'capture' THEN l.amount ELSE 0 END AS collected,
			CASE l.kind WHEN 'refund_owed' THEN l.amount WHEN 'dispute' THEN l.amount WHEN 'dispute_won' THEN -l.amount
				ELSE 0 END AS returned, 0 AS paid
			FROM payments AS p JOIN ledger_transfers AS l ON l.payment_id = p.id
			WHERE p.organizer_id ` + of + ` AND p.provider <> '` + api.BoxOffice + `' AND p.flag <> '` + record.FlagMismatch + `'
		UNION ALL
		SELECT organizer_id, currency, 0, 0, CASE returns WHEN '' THEN amount ELSE -amount END FROM payouts
			WHERE organizer_id ` + of + `
	) AS moved GROUP BY organizer_id, currency`
}

// QueryOfBalances sums up what an organizer is due, by currency.
func QueryOfBalances() string { return queryOfBalances("= ?0") + " ORDER BY currency" }

// balanceRow is a row of queryOfBalances.
type balanceRow struct {
	OrganizerID               ids.Organizer
	Currency                  string
	Collected, Returned, Paid int64
}

func (r *balanceRow) balance() api.OrganizerBalance {
	in := func(amount int64) api.Money { return api.Money{Amount: amount, Currency: r.Currency} }
	return api.OrganizerBalance{Collected: in(r.Collected), Returned: in(r.Returned), PaidOut: in(r.Paid),
		Due: in(r.Collected - r.Returned - r.Paid)}
}

func balances(ctx context.Context, db bun.IDB, of ids.Organizer) ([]api.OrganizerBalance, error) {
	var rows []balanceRow
	err := db.NewRaw(QueryOfBalances(), of).Scan(ctx, &rows)
	out := make([]api.OrganizerBalance, len(rows))
	for i, r := range rows {
		out[i] = r.balance()
	}
	return out, err
}

// listDue lists what all organizers are due. It adds up the ledger, as the trial balance does.
func (s *payouts) listDue(ctx context.Context, req *api.Page) (*api.List[api.DuePayout], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	after, err := store.DecodeCursor(req.Cursor, 2)
	if err != nil {
		return nil, err
	}
	if after == nil {
		after = []string{"", ""}
	}
	if err := Assign(ctx, s.db, s.client); err != nil {
		return nil, err
	}
	var rows []balanceRow
	err = s.db.Read().NewRaw(queryOfBalances("NOT IN ('', '"+nobody+"')")+` HAVING SUM(collected - returned - paid) > 0
		AND (organizer_id, currency) > (?, ?) ORDER BY organizer_id, currency LIMIT ?`, after[0], after[1], limit+1).
		Scan(ctx, &rows)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.DuePayout]{Items: []api.DuePayout{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeCursor(rows[limit-1].OrganizerID.String(), rows[limit-1].Currency)
	}
	for _, r := range rows {
		out.Items = append(out.Items, api.DuePayout{OrganizerID: r.OrganizerID, Balance: r.balance()})
	}
	return out, nil
}

func (s *payouts) listBalances(ctx context.Context, req *api.OrganizerRef) (*api.List[api.OrganizerBalance], error) {
	if err := readable(ctx, s.client, req.ID); err != nil {
		return nil, err
	}
	if err := Assign(ctx, s.db, s.client); err != nil {
		return nil, err
	}
	items, err := balances(ctx, s.db.Read(), req.ID)
	return &api.List[api.OrganizerBalance]{Items: items}, store.FaultOf(ctx, err)
}

// create records a payout, of no more than is due. Others of the organizer wait until it is there.
func (s *payouts) create(ctx context.Context, req *api.NewPayout) (*api.Payout, error) {
	var check fault.Check
	check.Field(req.Amount.Amount > 0, "amount.amount", "must be more than 0")
	text.CheckLine(&check, "reference", req.Reference, 1, 140)
	if err := check.Err(); err != nil {
		return nil, err
	}
	if err := readable(ctx, s.client, req.OrganizerID); err != nil {
		return nil, err
	}
	if err := Assign(ctx, s.db, s.client); err != nil {
		return nil, err
	}
	row := &payoutRow{ID: ids.New[ids.PayoutKind](s.now()), OrganizerID: req.OrganizerID, Amount: req.Amount.Amount,
		Currency: req.Amount.Currency, Reference: req.Reference, MadeBy: rpc.Caller(ctx).User, At: store.Time(s.now())}
	made := row.payout(nil)
	return made, s.alone(ctx, req.OrganizerID, func(ctx context.Context, tx bun.Tx) error {
		if err := idempotency.KeepFor(ctx, tx, api.CreatePayout.Success(), made); err != nil {
			return err
		}
		all, err := balances(ctx, tx, req.OrganizerID)
		if err != nil {
			return err
		}
		due := api.Money{Currency: req.Amount.Currency}
		i := slices.IndexFunc(all, func(b api.OrganizerBalance) bool { return b.Due.Currency == due.Currency })
		if i >= 0 {
			due = all[i].Due
		}
		if req.Amount.Amount > due.Amount {
			return fault.New(fault.Conflict, "%s is due, not %s", due, req.Amount)
		}
		return s.enter(ctx, tx, row, auditlog.Act{After: made})
	})
}

// takeBack records that the money of a payout has come back.
func (s *payouts) takeBack(ctx context.Context, req *api.PayoutRef) (*api.Payout, error) {
	var sent payoutRow
	err := s.db.Read().NewSelect().Model(&sent).Where("y.id = ?", req.ID).Where("y.returns = ''").Scan(ctx)
	if err != nil {
		return nil, store.OrNotFound(store.FaultOf(ctx, err), "there is no such payout")
	}
	at := store.Time(s.now())
	err = s.alone(ctx, sent.OrganizerID, func(ctx context.Context, tx bun.Tx) error {
		var before payoutRow
		err := tx.NewSelect().Model(&before).Where("y.returns = ?", sent.ID).Scan(ctx)
		if err == nil {
			at = before.At
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		back := sent
		back.ID, back.Returns, back.At = ids.New[ids.PayoutKind](s.now()), sent.ID, at
		back.MadeBy = rpc.Caller(ctx).User
		return s.enter(ctx, tx, &back, auditlog.Act{Before: sent.payout(nil), After: sent.payout(&at)})
	})
	return sent.payout(&at), err
}

// alone runs a transaction while no other one pays the organizer.
func (s *payouts) alone(
	ctx context.Context, of ids.Organizer, fn func(ctx context.Context, tx bun.Tx) error,
) error {
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.db.Alone(ctx, tx, "payouts "+of.String()); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

func (s *payouts) enter(ctx context.Context, tx bun.Tx, row *payoutRow, act auditlog.Act) error {
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return err
	}
	act.Of, act.At = row.OrganizerID, row.At
	if act.Object = row.ID.String(); row.Returns != "" {
		act.Object = row.Returns.String()
	}
	return auditlog.Add(ctx, tx, "payment", act)
}

// QueryOfPayouts is a page of what an organizer was paid, before a payout, newest first.
const QueryOfPayouts = `SELECT y.*, r.at AS returned_at FROM payouts AS y
	LEFT JOIN payouts AS r ON r.returns = y.id AND r.returns <> ''
	WHERE y.organizer_id = ?0 AND (?1 = '' OR y.id < ?1) AND y.returns = '' ORDER BY y.id DESC LIMIT ?2`

func (s *payouts) list(ctx context.Context, req *api.PayoutPage) (*api.List[api.Payout], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	before, err := store.DecodeIDCursor[ids.PayoutKind](req.Cursor)
	if err != nil {
		return nil, err
	}
	if err := readable(ctx, s.client, req.OrganizerID); err != nil {
		return nil, err
	}
	var rows []struct {
		payoutRow
		ReturnedAt *time.Time
	}
	if err := s.db.Read().NewRaw(QueryOfPayouts, req.OrganizerID, before, limit+1).Scan(ctx, &rows); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.Payout]{Items: []api.Payout{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeCursor(rows[limit-1].ID.String())
	}
	for _, r := range rows {
		out.Items = append(out.Items, *r.payout(r.ReturnedAt))
	}
	return out, nil
}
